//! Edition: a table and what was changed in it since, read as one table.
//!
//! A change of a few addresses must not cost a pass over millions. So the large table, the *base*, stays as it is; hosts that a delta
//! touches move, with all their addresses, into a small table, the *patch*, and the base's records of them are hidden. From time to
//! time an edition is made [flat](Edition::flat) again.
//!
//! Numbers of addresses and hosts are those of the base, and from its end on those of the patch; those of hidden ones mean nobody.
//! Networks and policies are numbered anew, over both.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use zerocopy::byteorder::little_endian::{U16, U32};

use super::{Digest, HostView, Record, Table};
use crate::policy::Policy;

mod amend;
mod between;
mod count;
mod flat;
mod place;

pub use self::amend::Stopped;

/// A table with its changes. Cheap to clone, cheap to change by little.
#[derive(Clone)]
pub struct Edition {
    base: Arc<Table>,
    patch: Arc<Table>,
    /// Records of the base that do not count any more, ascending.
    hidden: Arc<[u32]>,
    /// Names, sorted; also of networks that no address is in any more.
    networks: Arc<[Box<str>]>,
    base_networks: Arc<[u16]>,
    patch_networks: Arc<[u16]>,
    /// Sorted by name.
    policies: Arc<[Policy]>,
    base_policies: Arc<[u16]>,
    patch_policies: Arc<[u16]>,
    /// Addresses by network and policy, where there are any.
    counts: Arc<BTreeMap<(u16, u16), u32>>,
    hosts: usize,
    digest: Digest,
    generation: u64,
}

/// A policy of the base that is gone: no visible record has it.
const GONE: u16 = u16::MAX;

impl Edition {
    /// A table without a change.
    pub fn of(base: Arc<Table>) -> Edition {
        let numbers = |length: usize| (0..length as u16).collect::<Arc<[u16]>>();
        let networks: Arc<[Box<str>]> = base.networks().map(Box::from).collect();
        Edition {
            patch: Arc::new(Table::empty()),
            hidden: Arc::default(),
            base_networks: numbers(networks.len()),
            networks,
            patch_networks: Arc::default(),
            policies: base.policies().into(),
            base_policies: numbers(base.policies().len()),
            patch_policies: Arc::default(),
            counts: Arc::new(count::of(base.records().iter())),
            hosts: base.hosts(),
            digest: base.digest(),
            generation: base.generation(),
            base,
        }
    }

    /// The same content under another generation.
    pub fn with_generation(mut self, generation: u64) -> Edition {
        self.generation = generation;
        self
    }

    /// The number of this table among those that an agent ran.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The identity of the content: that of the flat table.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Number of addresses.
    pub fn len(&self) -> usize {
        self.base.len() - self.hidden.len() + self.patch.len()
    }

    /// Whether there is no address.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of hosts.
    pub fn hosts(&self) -> usize {
        self.hosts
    }

    /// Numbers of addresses are below this.
    pub fn end(&self) -> u32 {
        (self.base.len() + self.patch.len()) as u32
    }

    /// The table without its changes.
    pub fn base(&self) -> &Arc<Table> {
        &self.base
    }

    /// How many records stand in the patch or are hidden: what reading costs more than it would of a flat table.
    pub fn weight(&self) -> usize {
        self.patch.len() + self.hidden.len()
    }

    /// Whether both are changes of one table, so that what neither changed is the same.
    pub fn same_base(&self, other: &Edition) -> bool {
        Arc::ptr_eq(&self.base, &other.base)
    }

    /// An address; none where the number means nobody.
    pub fn record(&self, id: u32) -> Option<Record> {
        match id.checked_sub(self.base.len() as u32) {
            None if self.is_hidden(id) => None,
            None => Some(self.base_record(id)),
            Some(at) => ((at as usize) < self.patch.len()).then(|| self.patch_record(at)),
        }
    }

    /// All addresses with their numbers, sorted by (network name, address).
    pub fn iter(&self) -> impl Iterator<Item = (u32, Record)> + '_ {
        let mut hidden = self.hidden.iter().copied().peekable();
        let mut base =
            (0..self.base.len() as u32).filter(move |id| hidden.next_if_eq(id).is_none()).map(|id| (id, self.base_record(id))).peekable();
        let mut patch = self.patch_iter().peekable();
        std::iter::from_fn(move || match (base.peek(), patch.peek()) {
            (Some((_, old)), Some((_, new))) if new.key() < old.key() => patch.next(),
            (Some(_), _) => base.next(),
            (None, _) => patch.next(),
        })
    }

    /// The addresses of the patch with their numbers, sorted by (network name, address).
    pub fn patch_iter(&self) -> impl Iterator<Item = (u32, Record)> + '_ {
        let first = self.base.len() as u32;
        (0..self.patch.len() as u32).map(move |at| (first + at, self.patch_record(at)))
    }

    /// The addresses of the base that are hidden here and were not in an older edition of the same base, with their numbers.
    pub fn hidden_since<'a>(&'a self, older: &'a Edition) -> impl Iterator<Item = u32> + 'a {
        let mut known = older.hidden.iter().copied().peekable();
        self.hidden.iter().copied().filter(move |id| {
            while known.next_if(|old| old < id).is_some() {}
            known.next_if_eq(id).is_none()
        })
    }

    /// The names of the networks, sorted; the position is [`Record::network`] of this edition's records.
    pub fn networks(&self) -> impl ExactSizeIterator<Item = &str> + Clone {
        self.networks.iter().map(|name| &**name)
    }

    /// The name of one network.
    ///
    /// # Panics
    /// If `index` is not a [`Record::network`] of this edition.
    pub fn network(&self, index: u16) -> &str {
        &self.networks[usize::from(index)]
    }

    /// The policies, sorted by name; the position is [`Record::policy`] of this edition's records.
    pub fn policies(&self) -> &[Policy] {
        &self.policies
    }

    /// Addresses by network and policy, where there are any.
    pub fn counts(&self) -> &BTreeMap<(u16, u16), u32> {
        &self.counts
    }

    /// One host.
    ///
    /// # Panics
    /// If `index` is not a [`Record::host`] of this edition.
    pub fn host(&self, index: u32) -> HostView<'_> {
        match index.checked_sub(self.base.hosts() as u32) {
            None => self.base.host(index),
            Some(at) => self.patch.host(at),
        }
    }

    /// The bytes of a host's id.
    pub fn host_id(&self, index: u32) -> &[u8] {
        match index.checked_sub(self.base.hosts() as u32) {
            None => self.base.host_parts(index).1,
            Some(at) => self.patch.host_parts(at).1,
        }
    }

    /// The host with this id. O(log hosts).
    pub fn find_host(&self, id: &str) -> Option<u32> {
        if let Some(at) = self.patch.find_host(id) {
            return Some(self.base.hosts() as u32 + at);
        }
        // All of a host's addresses are hidden, or none.
        self.base.find_host(id).filter(|host| self.base.addresses_of(*host).next().is_some_and(|id| !self.is_hidden(id)))
    }

    /// The numbers of a host's addresses, ascending. O(log addresses + its addresses).
    pub fn addresses_of(&self, host: u32) -> impl Iterator<Item = u32> + use<'_> {
        let (table, host, first) = match host.checked_sub(self.base.hosts() as u32) {
            None => (&self.base, host, 0),
            Some(at) => (&self.patch, at, self.base.len() as u32),
        };
        table.addresses_of(host).map(move |at| first + at)
    }

    /// The number of an address. O(log networks + log addresses).
    pub fn find(&self, network: &str, address: IpAddr) -> Option<u32> {
        if let Some(at) = self.patch.find(network, address) {
            return Some(self.base.len() as u32 + at);
        }
        self.base.find(network, address).filter(|id| !self.is_hidden(*id))
    }

    /// Gives the memory back that the base's pages take; see [`Table::cool`].
    pub fn cool(&self) {
        self.base.cool();
    }

    fn is_hidden(&self, id: u32) -> bool {
        self.hidden.binary_search(&id).is_ok()
    }

    fn base_record(&self, id: u32) -> Record {
        let mut record = self.base.records()[id as usize];
        record.network = U16::new(self.base_networks[usize::from(record.network())]);
        record.policy = U16::new(self.base_policies[usize::from(record.policy())]);
        record
    }

    fn patch_record(&self, at: u32) -> Record {
        let mut record = self.patch.records()[at as usize];
        record.network = U16::new(self.patch_networks[usize::from(record.network())]);
        record.policy = U16::new(self.patch_policies[usize::from(record.policy())]);
        record.host = U32::new(self.base.hosts() as u32 + record.host());
        record
    }
}

impl Default for Edition {
    fn default() -> Self {
        Edition::of(Arc::new(Table::empty()))
    }
}

impl std::fmt::Debug for Edition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Edition")
            .field("generation", &self.generation)
            .field("digest", &self.digest)
            .field("hosts", &self.hosts)
            .field("addresses", &self.len())
            .field("weight", &self.weight())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(super) mod tests;
