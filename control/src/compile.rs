//! From host lists and a policy file to who is probed how: hosts put together, policies assigned, a table made.

use std::collections::HashMap;
use std::time::Duration;

use rollcall_agent::policy::Policy;
use rollcall_agent::table::{NetworkRef, Table, WriteError, Writer};
use rollcall_agent::unit::mapped;

use crate::assign::{Assigner, Choice};
use crate::hosts::{HostList, Monitor};
use crate::mistake::{Mistakes, quoted};
use crate::policies::{PolicyFile, Silence, when_silent};

/// Hosts with their policies: all that a table is made of.
#[derive(Debug)]
pub struct Roll {
    /// The host lists.
    pub list: HostList,
    /// The policy file.
    pub policies: PolicyFile,
    /// In the order of the lists; also those of which no address is watched.
    pub hosts: Vec<Host>,
    /// Watched addresses, in the order of the lists.
    pub addresses: Vec<Address>,
    /// Hosts of which no address is watched, because their rows say `monitor=false`.
    pub left_out: u64,
    /// Rows that say `monitor=false`.
    pub rows_left_out: u64,
}

/// One host, put together from its rows.
#[derive(Clone, Debug)]
pub struct Host {
    /// A row with its id.
    pub row: u32,
    /// A row with its name.
    name: u32,
    /// A row with its project.
    project_row: u32,
    /// In the list's strings.
    pub project: u32,
    /// The tags of all its rows.
    pub tags: u32,
    /// Whether any of its addresses is watched.
    pub watched: bool,
}

impl Host {
    /// Takes what one more row says, and notes where it says otherwise.
    fn merge(&mut self, list: &HostList, at: u32, mistakes: &mut Mistakes) {
        let row = list.rows[at as usize];
        let mut conflict = |field: &str, found: &str, other: u32, expected: &str| {
            let other = list.place(list.rows[other as usize].place);
            let id = quoted(list.id(&row));
            let allowed = format!("the same in all rows of host {id} ({} in {other})", quoted(expected));
            mistakes.push(list.mistake(row.place, field, quoted(found), allowed));
        };
        let (name, known) = (list.name(&row), list.name(&list.rows[self.name as usize]));
        if known.is_empty() {
            self.name = at;
        } else if !name.is_empty() && name != known {
            conflict("name", name, self.name, known);
        }
        let (project, known) = (list.strings.text(row.project), list.strings.text(self.project));
        if known.is_empty() {
            (self.project, self.project_row) = (row.project, at);
        } else if !project.is_empty() && project != known {
            conflict("project", project, self.project_row, known);
        }
    }
}

/// One watched address.
#[derive(Clone, Copy, Debug)]
pub struct Address {
    /// In [`HostList::rows`].
    pub row: u32,
    /// In [`Roll::hosts`].
    pub host: u32,
    /// Its policy.
    pub policy: Choice,
    /// Whether it is expected to be silent, and probed for all that.
    pub silent: bool,
}

impl Roll {
    /// Puts hosts together and gives every address its policy. `mistakes` are those of reading; all that is wrong
    /// comes back at once.
    pub fn compile(list: HostList, policies: PolicyFile, mut mistakes: Mistakes) -> Result<Roll, Mistakes> {
        let readable = mistakes.is_empty();
        let mut roll = Roll { list, policies, hosts: Vec::new(), addresses: Vec::new(), left_out: 0, rows_left_out: 0 };
        roll.gather(&mut mistakes);
        // Policies with mistakes would blame hosts for what is not their fault.
        if readable {
            roll.assign(&mut mistakes);
        }
        mistakes.sort();
        mistakes.none_or(roll)
    }

    /// The table.
    pub fn table(&self, generation: u64) -> Result<Table, WriteError> {
        let mut writer = Writer::sized(self.hosts.len(), self.addresses.len()).generation(generation);
        let refs: Vec<_> = self.policies().map(|policy| policy.map(|policy| writer.policy(policy.clone()))).collect();
        let silent = self.addresses.iter().any(|address| address.silent);
        let when_silent =
            |(policy, silence): (Option<&Policy>, Silence)| policy.filter(|_| silent).and_then(|policy| when_silent(policy, silence));
        let silent_refs: Vec<_> =
            self.policies().zip(self.silences()).map(when_silent).map(|policy| policy.map(|policy| writer.policy(policy))).collect();
        let mut hosts = vec![None; self.hosts.len()];
        let mut labels: HashMap<(u32, u32), _, foldhash::fast::RandomState> = HashMap::default();
        let mut networks: Vec<Option<NetworkRef>> = vec![None; self.list.strings.len()];
        for address in &self.addresses {
            let host = *hosts[address.host as usize].get_or_insert_with(|| {
                let host = &self.hosts[address.host as usize];
                let label = *labels
                    .entry((host.project, host.tags))
                    .or_insert_with(|| writer.label(self.list.strings.text(host.project), self.list.tags(host.tags)));
                writer.host_with(self.id(host), self.name(host), label)
            });
            let row = &self.list.rows[address.row as usize];
            let refs = if address.silent { &silent_refs } else { &refs };
            if let Some(policy) = refs[address.policy.index(&self.policies)] {
                let network = networks[row.network as usize].get_or_insert_with(|| writer.network(self.list.strings.text(row.network)));
                writer.address_with(host, *network, row.address, row.mac, policy);
            }
        }
        writer.finish()
    }

    /// All policies by [`Choice::index`]: those of the file, then `default` if there is one.
    pub fn policies(&self) -> impl Iterator<Item = Option<&Policy>> {
        self.policies.rules.iter().map(|rule| Some(&rule.policy)).chain([self.policies.fallback.as_ref()])
    }

    /// What they do about hosts that are expected to be silent, likewise.
    fn silences(&self) -> impl Iterator<Item = Silence> {
        self.policies.rules.iter().map(|rule| rule.silence).chain([self.policies.fallback_silence])
    }

    /// The policy of an address.
    pub fn policy(&self, choice: Choice) -> Option<&Policy> {
        match choice {
            Choice::Rule(rule) => self.policies.rules.get(rule as usize).map(|rule| &rule.policy),
            Choice::Fallback => self.policies.fallback.as_ref(),
        }
    }

    /// How many hosts have a watched address.
    pub fn watched_hosts(&self) -> u64 {
        self.hosts.len() as u64 - self.left_out
    }

    /// Id of a host.
    pub fn id(&self, host: &Host) -> &str {
        self.list.id(&self.list.rows[host.row as usize])
    }

    /// Name of a host; empty where no row has one.
    pub fn name(&self, host: &Host) -> &str {
        self.list.name(&self.list.rows[host.name as usize])
    }

    /// Brings the rows of each host together, and compares what they say of it. Everything stays in the order of the
    /// lists: so all later passes read memory from one end to the other.
    fn gather(&mut self, mistakes: &mut Mistakes) {
        let list = std::mem::take(&mut self.list);
        let (unions, again) = std::thread::scope(|scope| {
            let again = scope.spawn(|| duplicates(&list));
            let unions = self.gather_rows(&list, mistakes);
            (unions, again.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        self.list = list;
        self.tell_duplicates(&again, mistakes);
        for (index, tags) in unions {
            let host = &mut self.hosts[index as usize];
            host.tags = self.list.union(host.tags, tags);
        }
        self.left_out = self.hosts.iter().filter(|host| !host.watched).count() as u64;
    }

    /// The hosts that have rows with other tags than the first one, with those tags.
    fn gather_rows(&mut self, list: &HostList, mistakes: &mut Mistakes) -> Vec<(u32, u32)> {
        // A list that brings each host's rows together, sorted by id, as exports do: then a look at the last host is enough.
        let sorted = list.rows.is_sorted_by(|a, b| list.id(a) <= list.id(b));
        let mut known: HashMap<&str, u32, foldhash::fast::RandomState> = HashMap::default();
        known.reserve(if sorted { 0 } else { list.rows.len() });
        self.hosts.reserve(list.rows.len());
        let mut unions = Vec::new();
        self.addresses.reserve(list.rows.len());
        for (at, row) in list.rows.iter().enumerate() {
            let new = self.hosts.len() as u32;
            let index = if sorted {
                let last = self.hosts.last().filter(|host| list.id(&list.rows[host.row as usize]) == list.id(row));
                last.map_or(new, |_| new - 1)
            } else {
                *known.entry(list.id(row)).or_insert(new)
            };
            if index == new {
                let at = at as u32;
                let (project, tags) = (row.project, row.tags);
                self.hosts.push(Host { row: at, name: at, project_row: at, project, tags, watched: false });
            }
            let host = &mut self.hosts[index as usize];
            if index != new {
                host.merge(list, at as u32, mistakes);
                if host.tags != row.tags {
                    unions.push((index, row.tags));
                }
            }
            if row.monitor != Monitor::Off {
                host.watched = true;
                self.addresses.push(Address {
                    row: at as u32,
                    host: index,
                    policy: Choice::Fallback,
                    silent: row.monitor == Monitor::Silent,
                });
            } else {
                self.rows_left_out += 1;
            }
        }
        unions
    }

    /// Identity is (network, address): nothing may have it twice.
    fn tell_duplicates(&self, again: &[(u32, u32)], mistakes: &mut Mistakes) {
        let list = &self.list;
        for (row, first) in again {
            let (row, first) = (&list.rows[*row as usize], &list.rows[*first as usize]);
            let network = list.strings.text(row.network);
            let found = format!("{} in network {} again (host {})", row.address, quoted(network), quoted(list.id(row)));
            let allowed = format!("each address once in a network; it is in {} (host {})", list.place(first.place), quoted(list.id(first)));
            mistakes.push(list.mistake(row.place, "address", found, allowed));
        }
    }

    fn assign(&mut self, mistakes: &mut Mistakes) {
        let assigner = Assigner::new(&self.list, &self.policies);
        let mut addresses = std::mem::take(&mut self.addresses);
        for address in &mut addresses {
            let host = &self.hosts[address.host as usize];
            match assigner.choose(self, host, &self.list.rows[address.row as usize]) {
                Some(choice) => address.policy = choice,
                None => {
                    let row = &self.list.rows[address.row as usize];
                    let found = format!("no policy in {} for host {}", self.policies.file, quoted(self.list.id(row)));
                    let allowed = "a [[policy]] that matches it, or [defaults] for hosts that nothing matches";
                    mistakes.push(self.list.mistake(row.place, "policy", found, allowed));
                }
            }
        }
        let silences: Vec<Silence> = self.silences().collect();
        addresses.retain(|address| !(address.silent && silences[address.policy.index(&self.policies)] == Silence::Stop));
        self.addresses = addresses;
    }
}

/// Rows of watched addresses that were there before, with the first row of each.
fn duplicates(list: &HostList) -> Vec<(u32, u32)> {
    let watched = list.rows.iter().enumerate().filter(|(_, row)| row.monitor != Monitor::Off);
    let mut keys: Vec<(u32, u128, u32)> = Vec::with_capacity(list.rows.len());
    keys.extend(watched.map(|(at, row)| (row.network, u128::from_be_bytes(mapped(row.address)), at as u32)));
    // By row at last: rows count up with files and lines.
    if !keys.is_sorted() {
        keys.sort_unstable();
    }
    let mut first = 0;
    let mut again = Vec::new();
    for at in 1..keys.len() {
        if (keys[at].0, keys[at].1) == (keys[first].0, keys[first].1) {
            again.push((keys[at].2, keys[first].2));
        } else {
            first = at;
        }
    }
    again.sort_unstable();
    again
}

/// Probes a second that so many addresses cost while they are up.
pub fn probes_per_second(addresses: u64, interval: Duration) -> f64 {
    addresses as f64 / interval.as_secs_f64()
}

#[cfg(test)]
mod tests;
