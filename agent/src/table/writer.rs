//! Makes tables. The same hosts and policies give the same bytes, in whatever order they come.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use super::check::has_control;
use super::error::WriteError;
use super::layout::{MAX_LIST, MAX_TEXT};
use super::strings::Strings;
use super::{Record, Table, TableError, assemble, check};
use crate::policy::Policy;
use crate::unit::{Mac, mapped};

/// A host that a [`Writer`] knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostRef(pub(super) u32);

/// A policy that a [`Writer`] knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyRef(pub(super) u32);

/// A network that a [`Writer`] knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkRef(u32);

/// A project with tags, which hosts share, that a [`Writer`] knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LabelRef(u32);

/// Collects hosts, addresses and policies for a table.
///
/// Hosts without an address and policies that no address has are left out. What breaks a rule is remembered and
/// refused by [`Writer::finish`].
#[derive(Default)]
pub struct Writer {
    pub(super) hosts: Vec<HostDraft>,
    pub(super) addresses: Vec<AddressDraft>,
    pub(super) policies: Vec<Policy>,
    /// Ids and names, end to end.
    pub(super) host_text: String,
    pub(super) strings: Strings,
    labels_known: HashMap<Label, u32>,
    pub(super) labels: Vec<Label>,
    pub(super) generation: u64,
    /// Also those that no address has.
    pub(super) all_policies: bool,
    mistake: Option<WriteError>,
}

/// Project and tags, as indices of [`Strings`]; tags sorted, each once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Label {
    pub(super) project: u32,
    pub(super) tags: Vec<u32>,
}

#[derive(Clone, Copy)]
pub(super) struct HostDraft {
    start: usize,
    id: u32,
    name: u32,
    pub(super) label: u32,
}

#[derive(Clone, Copy)]
pub(super) struct AddressDraft {
    pub(super) octets: [u8; 16],
    pub(super) mac: [u8; 6],
    pub(super) network: u32,
    pub(super) host: u32,
    pub(super) policy: u32,
}

impl Writer {
    /// A writer with nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// A writer with room for so many hosts and addresses.
    pub fn sized(hosts: usize, addresses: usize) -> Self {
        Writer { hosts: Vec::with_capacity(hosts), addresses: Vec::with_capacity(addresses), ..Self::default() }
    }

    /// Sets the generation, which is 0 otherwise.
    pub fn generation(mut self, generation: u64) -> Self {
        self.generation = generation;
        self
    }

    /// Adds a policy; its name must be its own.
    pub fn policy(&mut self, policy: Policy) -> PolicyRef {
        self.check_text("policy", &policy.name, false);
        for route in &policy.alarm {
            self.check_text("route", route, false);
        }
        self.check_list("routes of a policy", policy.alarm.len());
        if let Some(mistake) = policy.mistakes().into_iter().next() {
            self.remember(WriteError::Policy { policy: policy.name.clone(), mistake });
        }
        self.policies.push(policy);
        PolicyRef(self.policies.len() as u32 - 1)
    }

    /// Adds a host. The same host twice is one host.
    pub fn host<'a>(&mut self, id: &str, name: &str, project: &str, tags: impl IntoIterator<Item = &'a str>) -> HostRef {
        let label = self.label(project, tags);
        self.host_with(id, name, label)
    }

    /// Adds a project with tags, for [`Writer::host_with`].
    pub fn label<'a>(&mut self, project: &str, tags: impl IntoIterator<Item = &'a str>) -> LabelRef {
        self.check_text("project", project, true);
        let project = self.strings.intern(project);
        let mut indices = Vec::new();
        for tag in tags {
            self.check_text("tag", tag, false);
            indices.push(self.strings.intern(tag));
        }
        indices.sort_unstable_by(|&a, &b| self.strings.text(a).cmp(self.strings.text(b)));
        indices.dedup();
        self.check_list("tags of a host", indices.len());
        let label = Label { project, tags: indices };
        LabelRef(match self.labels_known.get(&label) {
            Some(&index) => index,
            None => {
                let index = self.labels.len() as u32;
                self.labels.push(label.clone());
                self.labels_known.insert(label, index);
                index
            }
        })
    }

    /// Adds a host whose project and tags are known already: cheaper where many hosts share them.
    pub fn host_with(&mut self, id: &str, name: &str, label: LabelRef) -> HostRef {
        self.check_text("id", id, false);
        self.check_text("name", name, true);
        let start = self.host_text.len();
        self.host_text.push_str(id);
        self.host_text.push_str(name);
        self.hosts.push(HostDraft { start, id: id.len() as u32, name: name.len() as u32, label: label.0 });
        HostRef(self.hosts.len() as u32 - 1)
    }

    /// Adds an address of a host. Without a MAC the agent learns it by broadcast.
    pub fn address(&mut self, host: HostRef, network: &str, address: IpAddr, mac: Option<Mac>, policy: PolicyRef) {
        let network = self.network(network);
        self.address_with(host, network, address, mac, policy);
    }

    /// Adds a network, for [`Writer::address_with`].
    pub fn network(&mut self, name: &str) -> NetworkRef {
        self.check_text("network", name, false);
        NetworkRef(self.strings.intern(name))
    }

    /// Adds an address in a network that is known already.
    pub fn address_with(&mut self, host: HostRef, network: NetworkRef, address: IpAddr, mac: Option<Mac>, policy: PolicyRef) {
        if let Some(mac) = mac.filter(|mac| !mac.is_unicast()) {
            self.remember(WriteError::Mac { network: self.strings.text(network.0).to_owned(), address, mac });
        }
        let mac = mac.map_or([0; 6], |mac| mac.0);
        self.addresses.push(AddressDraft { octets: mapped(address), mac, network: network.0, host: host.0, policy: policy.0 });
    }

    /// Adds an address of another table as it is.
    pub(super) fn record(&mut self, host: HostRef, network: NetworkRef, record: &Record, policy: PolicyRef) {
        let (octets, mac) = (record.octets, record.mac);
        self.addresses.push(AddressDraft { octets, mac, network: network.0, host: host.0, policy: policy.0 });
    }

    /// The table, or the first rule that was broken.
    pub fn finish(self) -> Result<Table, WriteError> {
        if let Some(mistake) = self.mistake {
            return Err(mistake);
        }
        let bytes = assemble::assemble(&self)?;
        // What a reader would refuse must not leave this function, and the check costs little.
        let mut table = check::check(bytes.into()).map_err(|error| match error {
            TableError::Policy { policy, mistake } => WriteError::Policy { policy, mistake },
            other => unreachable!("the writer wrote what the reader refuses: {other}"),
        })?;
        check::name(&mut table);
        Ok(table)
    }

    /// Adds the policies of a table, in its order.
    pub(super) fn policies_of(&mut self, table: &Table) -> Vec<PolicyRef> {
        table.policies().iter().map(|policy| self.policy(policy.clone())).collect()
    }

    pub(super) fn id(&self, host: u32) -> &str {
        let draft = &self.hosts[host as usize];
        &self.host_text[draft.start..draft.start + draft.id as usize]
    }

    pub(super) fn name(&self, host: u32) -> &str {
        let draft = &self.hosts[host as usize];
        let start = draft.start + draft.id as usize;
        &self.host_text[start..start + draft.name as usize]
    }

    fn remember(&mut self, mistake: WriteError) {
        self.mistake.get_or_insert(mistake);
    }

    fn check_list(&mut self, what: &'static str, found: usize) {
        if found > MAX_LIST {
            self.remember(WriteError::TooMany { what, found: found as u64, allowed: MAX_LIST as u64 });
        }
    }

    fn check_text(&mut self, field: &'static str, text: &str, may_be_empty: bool) {
        if let Some(allowed) = text_rule(text, may_be_empty) {
            let found: String = text.chars().take(80).collect();
            self.remember(WriteError::Text { field, found, allowed });
        }
    }
}

/// What is allowed instead, if a table cannot hold `text`.
pub fn text_rule(text: &str, may_be_empty: bool) -> Option<String> {
    let good = text.len() <= MAX_TEXT && (may_be_empty || !text.is_empty()) && !has_control(text);
    (!good).then(|| {
        let least = if may_be_empty { 0 } else { 1 };
        format!("{least} to {MAX_TEXT} bytes without control characters")
    })
}

/// Where each string of the shared part of the text goes.
pub(super) type Pool<'a> = BTreeMap<&'a str, u32>;
