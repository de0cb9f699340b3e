//! Roster: who sits in which slot, and what a new table changes. Pure; one owner, [`Keeper`], makes the plans that the
//! engine carries out.
//!
//! An address that did not change keeps its slot, and with it phase and state. A freed slot rests for
//! [`QUARANTINE`] before it is given away, so nothing that was said about its old host is taken for the new one.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rollcall_agent_ebpf::SLOTS_MAX;

use crate::alarm::Key;
use crate::clock::Mono;
use crate::policy::Policy;
use crate::table::{Digest, Record, Table};
use crate::unit::Verdict;

/// How long a freed slot rests.
pub const QUARANTINE: Duration = Duration::from_secs(10);

/// A network and a policy: what addresses are counted by, and all that the engine must know beside the address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Group {
    /// Name of the network.
    pub network: String,
    /// The agent's number of the network; `None` when it is attached to no such network.
    pub number: Option<u16>,
    /// The policy.
    pub policy: Policy,
}

/// A table with its slots.
pub struct Roster {
    /// The table.
    pub table: Arc<Table>,
    /// Its digest, computed once.
    pub digest: Digest,
    /// The generation in force; 0 before the first table.
    pub generation: u64,
    /// Slot of each record.
    pub slots: Vec<u32>,
    /// Record of each slot.
    records: Vec<u32>,
    /// The agent's number of each network of the table.
    pub networks: Vec<Option<u16>>,
    /// Groups in use, by their number.
    pub groups: HashMap<u16, Arc<Group>>,
}

/// No record in this slot.
const VACANT: u32 = u32::MAX;

impl Default for Roster {
    fn default() -> Self {
        let table = Arc::new(Table::empty());
        Roster { digest: table.digest(), table, generation: 0, slots: vec![], records: vec![], networks: vec![], groups: HashMap::new() }
    }
}

impl Roster {
    /// The record of a slot, when an address of this table sits there.
    pub fn record(&self, slot: u32) -> Option<&Record> {
        match self.records.get(slot as usize) {
            None | Some(&VACANT) => None,
            Some(&record) => self.table.records().get(record as usize),
        }
    }

    /// The agent's number of the network of a record.
    pub fn network(&self, record: &Record) -> Option<u16> {
        self.networks.get(usize::from(record.network())).copied().flatten()
    }

    fn key(&self, record: &Record) -> (&str, [u8; 16]) {
        (self.table.network(record.network()), record.octets())
    }
}

/// An address for a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The slot.
    pub slot: u32,
    /// Its record in the new table.
    pub record: u32,
    /// Number of its group.
    pub group: u16,
    /// Verdict from before a restart, and since when, in milliseconds since the Unix epoch.
    pub restored: Option<(Verdict, u64)>,
}

/// What the engine must do to follow a new table, in this order: remove, change, add.
pub struct Plan {
    /// The roster when all is done.
    pub roster: Arc<Roster>,
    /// Slots whose address is gone.
    pub removed: Vec<u32>,
    /// Whom they belonged to.
    pub forgotten: Vec<Key>,
    /// Slots whose MAC or policy changed.
    pub changed: Vec<Assignment>,
    /// Slots with a new address.
    pub added: Vec<Assignment>,
    /// Addresses that stay as they are.
    pub unchanged: u64,
    /// Slots needed in all.
    pub capacity: u32,
}

/// More addresses than slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Too many addresses for one agent.
    #[error(
        "the table has {0} addresses, and with slots that rest after a stop that is more than the {SLOTS_MAX} of one agent: split it, or try again in 10 s"
    )]
    TooManyAddresses(usize),
    /// Too many combinations of network and policy.
    #[error("the table has more than 65,535 combinations of network and policy: use fewer policies")]
    TooManyGroups,
}

/// Gives slots to addresses, and group numbers to networks and policies.
#[derive(Clone, Default)]
pub struct Keeper {
    networks: HashMap<String, u16>,
    next: u32,
    free: VecDeque<(Mono, u32)>,
    groups: HashMap<Arc<Group>, u16>,
}

impl Keeper {
    /// A keeper for an agent with these networks, in the order of their numbers.
    pub fn new<'a>(networks: impl IntoIterator<Item = &'a str>) -> Self {
        let networks = networks.into_iter().enumerate().map(|(i, name)| (name.to_owned(), i as u16)).collect();
        Keeper { networks, ..Keeper::default() }
    }

    /// Plans the way from the present roster to a new table. Nothing has changed when it returns an error.
    pub fn plan(
        &mut self,
        present: &Roster,
        table: Arc<Table>,
        generation: u64,
        restored: &HashMap<(String, IpAddr), (Verdict, u64)>,
        now: Mono,
    ) -> Result<Plan, PlanError> {
        let digest = table.digest();
        let networks: Vec<_> = table.networks().map(|name| self.networks.get(name).copied()).collect();
        let (groups, numbers) = self.group_numbers(present, &table, &networks)?;
        let mut differ = Differ::new(present, &table, &numbers);
        differ.run(&self.groups);
        let Differ { mut removed, forgotten, changed, added, mut slots, unchanged, .. } = differ;
        removed.sort_unstable();

        let resting = self.free.iter().take_while(|(at, _)| now.since(*at) >= QUARANTINE).count();
        let fresh = added.len().saturating_sub(resting) as u64;
        if u64::from(self.next) + fresh > u64::from(SLOTS_MAX) {
            return Err(PlanError::TooManyAddresses(table.len()));
        }
        let added: Vec<Assignment> = added
            .into_iter()
            .map(|(record, group)| {
                let slot = self.slot(now);
                slots[record as usize] = slot;
                let restored = (!restored.is_empty())
                    .then(|| {
                        let found = &table.records()[record as usize];
                        restored.get(&(table.network(found.network()).to_owned(), found.address())).copied()
                    })
                    .flatten();
                Assignment { slot, record, group, restored }
            })
            .collect();
        self.free.extend(removed.iter().map(|slot| (now, *slot)));
        self.groups = groups.iter().map(|(number, group)| (group.clone(), *number)).collect();

        let mut records = vec![VACANT; self.next as usize];
        slots.iter().enumerate().for_each(|(record, slot)| records[*slot as usize] = record as u32);
        let roster = Arc::new(Roster { table, digest, generation, slots, records, networks, groups });
        Ok(Plan { roster, removed, forgotten, changed, added, unchanged, capacity: self.next })
    }

    fn slot(&mut self, now: Mono) -> u32 {
        match self.free.front() {
            Some((at, slot)) if now.since(*at) >= QUARANTINE => {
                let slot = *slot;
                self.free.pop_front();
                slot
            }
            _ => {
                self.next += 1;
                self.next - 1
            }
        }
    }

    /// Numbers for all groups of a table: those in use keep theirs, new ones get numbers that neither table uses.
    #[allow(clippy::type_complexity)]
    fn group_numbers(
        &self,
        present: &Roster,
        table: &Table,
        networks: &[Option<u16>],
    ) -> Result<(HashMap<u16, Arc<Group>>, HashMap<(u16, u16), u16>), PlanError> {
        let used: HashSet<(u16, u16)> = table.records().iter().map(|record| (record.network(), record.policy())).collect();
        let mut used: Vec<_> = used.into_iter().collect();
        used.sort_unstable();
        let mut groups = HashMap::new();
        let mut numbers = HashMap::new();
        let mut new = Vec::new();
        for (network, policy) in used {
            let group = Group {
                network: table.network(network).to_owned(),
                number: networks[usize::from(network)],
                policy: table.policies()[usize::from(policy)].clone(),
            };
            match self.groups.get_key_value(&group) {
                Some((group, number)) => {
                    groups.insert(*number, group.clone());
                    numbers.insert((network, policy), *number);
                }
                None => new.push(((network, policy), Arc::new(group))),
            }
        }
        let mut free = (0..u16::MAX).filter(|number| !present.groups.contains_key(number));
        for (key, group) in new {
            let number = free.by_ref().find(|number| !groups.contains_key(number)).ok_or(PlanError::TooManyGroups)?;
            groups.insert(number, group);
            numbers.insert(key, number);
        }
        Ok((groups, numbers))
    }
}

/// Walks two sorted tables side by side.
struct Differ<'a> {
    old: &'a Roster,
    new: &'a Table,
    numbers: &'a HashMap<(u16, u16), u16>,
    removed: Vec<u32>,
    forgotten: Vec<Key>,
    changed: Vec<Assignment>,
    added: Vec<(u32, u16)>,
    slots: Vec<u32>,
    unchanged: u64,
}

impl<'a> Differ<'a> {
    fn new(old: &'a Roster, new: &'a Table, numbers: &'a HashMap<(u16, u16), u16>) -> Self {
        Differ {
            old,
            new,
            numbers,
            removed: vec![],
            forgotten: vec![],
            changed: vec![],
            added: vec![],
            slots: vec![VACANT; new.len()],
            unchanged: 0,
        }
    }

    fn run(&mut self, present: &HashMap<Arc<Group>, u16>) {
        let old_numbers: HashMap<(u16, u16), u16> = self.old_numbers(present);
        let (old, new) = (self.old.table.records(), self.new.records());
        let (mut i, mut j) = (0, 0);
        while i < old.len() || j < new.len() {
            let order = match (old.get(i), new.get(j)) {
                (Some(a), Some(b)) => self.old.key(a).cmp(&(self.new.network(b.network()), b.octets())),
                (Some(_), None) => Ordering::Less,
                (None, _) => Ordering::Greater,
            };
            match order {
                Ordering::Less => {
                    self.remove(i);
                    i += 1;
                }
                Ordering::Greater => {
                    self.add(j);
                    j += 1;
                }
                Ordering::Equal => {
                    self.compare(i, j, &old_numbers);
                    (i, j) = (i + 1, j + 1);
                }
            }
        }
    }

    fn old_numbers(&self, present: &HashMap<Arc<Group>, u16>) -> HashMap<(u16, u16), u16> {
        let by_name: HashMap<(&str, &Policy), u16> =
            present.iter().map(|(group, number)| ((group.network.as_str(), &group.policy), *number)).collect();
        let table = &self.old.table;
        let pairs: HashSet<(u16, u16)> = table.records().iter().map(|record| (record.network(), record.policy())).collect();
        pairs
            .into_iter()
            .filter_map(|(network, policy)| {
                by_name.get(&(table.network(network), &table.policies()[usize::from(policy)])).map(|number| ((network, policy), *number))
            })
            .collect()
    }

    fn remove(&mut self, old: usize) {
        let record = &self.old.table.records()[old];
        self.removed.push(self.old.slots[old]);
        self.forgotten.push(Key { network: self.old.table.network(record.network()).to_owned(), address: record.address() });
    }

    fn add(&mut self, new: usize) {
        let record = &self.new.records()[new];
        self.added.push((new as u32, self.numbers[&(record.network(), record.policy())]));
    }

    /// The same address in both. Under another host id it is another machine: nothing is carried over.
    fn compare(&mut self, i: usize, j: usize, old_numbers: &HashMap<(u16, u16), u16>) {
        let (a, b) = (&self.old.table.records()[i], &self.new.records()[j]);
        if self.old.table.host(a.host()).id() != self.new.host(b.host()).id() {
            self.remove(i);
            self.add(j);
            return;
        }
        let slot = self.old.slots[i];
        self.slots[j] = slot;
        let group = self.numbers[&(b.network(), b.policy())];
        if a.mac() == b.mac() && old_numbers.get(&(a.network(), a.policy())) == Some(&group) {
            self.unchanged += 1;
        } else {
            self.changed.push(Assignment { slot, record: j as u32, group, restored: None });
        }
    }
}

#[cfg(test)]
mod tests;
