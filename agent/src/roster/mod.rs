//! Roster: who sits in which slot, and what a new table changes. Pure; one owner, [`Keeper`], makes the plans that the
//! engine carries out.
//!
//! An address that did not change keeps its slot, and with it phase and state. A freed slot rests for
//! [`QUARANTINE`] before it is given away, so nothing that was said about its old host is taken for the new one.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rollcall_agent_ebpf::SLOTS_MAX;

use crate::alarm::Key;
use crate::clock::Mono;
use crate::policy::Policy;
use crate::state::{Before, Restored};
use crate::table::{Digest, Edition, Record};

mod differ;
mod seats;

use self::differ::Differ;
use self::seats::{Seats, VACANT};

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
#[derive(Default)]
pub struct Roster {
    /// The table.
    pub table: Edition,
    /// Its digest.
    pub digest: Digest,
    /// The generation in force; 0 before the first table.
    pub generation: u64,
    /// The agent's number of each network of the table.
    pub networks: Vec<Option<u16>>,
    /// Groups in use, by their number.
    pub groups: HashMap<u16, Arc<Group>>,
    /// Group number by network and policy of the table.
    numbers: BTreeMap<(u16, u16), u16>,
    /// Of the records of the table's base.
    base: Arc<Seats>,
    /// Of the records of its patch.
    patch: Seats,
}

impl Roster {
    fn new(
        table: Edition,
        seats: (Arc<Seats>, Seats),
        networks: Vec<Option<u16>>,
        groups: HashMap<u16, Arc<Group>>,
        numbers: BTreeMap<(u16, u16), u16>,
    ) -> Roster {
        let (base, patch) = seats;
        Roster { digest: table.digest(), generation: table.generation(), table, networks, groups, numbers, base, patch }
    }

    /// The slot of an address by its number in the table.
    pub fn slot(&self, id: u32) -> Option<u32> {
        match id.checked_sub(self.first_of_patch()) {
            Some(at) => self.patch.slot(at),
            None => self.table.record(id).and_then(|_| self.base.slot(id)),
        }
    }

    /// The number in the table of the address in a slot, when one of this table sits there.
    pub fn id(&self, slot: u32) -> Option<u32> {
        match self.patch.record(slot) {
            Some(at) => Some(self.first_of_patch() + at),
            None => self.base.record(slot).filter(|id| self.table.record(*id).is_some()),
        }
    }

    /// The record of a slot, when an address of this table sits there.
    pub fn record(&self, slot: u32) -> Option<Record> {
        self.id(slot).and_then(|id| self.table.record(id))
    }

    /// The agent's number of the network of a record.
    pub fn network(&self, record: &Record) -> Option<u16> {
        self.networks.get(usize::from(record.network())).copied().flatten()
    }

    /// Number of each group, and how many addresses of the table it has.
    pub fn sizes(&self) -> impl Iterator<Item = (u16, usize)> + '_ {
        self.table.counts().iter().filter_map(|(pair, count)| Some((*self.numbers.get(pair)?, *count as usize)))
    }

    /// All addresses, sorted by (network name, address): number in the table, record, slot.
    pub fn iter(&self) -> impl Iterator<Item = (u32, Record, u32)> + '_ {
        let first = self.first_of_patch();
        let mut base = self.base.in_order();
        self.table.iter().filter_map(move |(id, record)| {
            let slot = if id < first { base(id) } else { self.patch.slot(id - first) };
            slot.map(|slot| (id, record, slot))
        })
    }

    /// The same table, of the same generation, told in another way: everybody stays in the slot.
    ///
    /// # Panics
    /// If it is not the same table.
    pub fn retold(&self, table: Edition) -> Roster {
        assert_eq!((table.digest(), table.len()), (self.digest, self.table.len()), "another table is pushed, not retold");
        let mut slots = Draft::of(&table);
        for ((id, _), (_, _, slot)) in table.iter().zip(self.iter()) {
            slots.set(id, slot);
        }
        let network = |name: &str| self.table.networks().position(|known| known == name);
        let places: Vec<Option<usize>> = table.networks().map(network).collect();
        let networks = places.iter().map(|place| place.and_then(|place| self.networks[place])).collect();
        let policy = |name: &str| self.table.policies().iter().position(|known| known.name == name);
        let number = |(network, policy_of): (u16, u16)| {
            let policy = policy(&table.policies()[usize::from(policy_of)].name)? as u16;
            self.numbers.get(&(places[usize::from(network)]? as u16, policy)).copied()
        };
        let numbers = table.counts().keys().filter_map(|pair| Some((*pair, number(*pair)?))).collect();
        let (base, patch) = slots.seats();
        Roster::new(table.with_generation(self.generation), (Arc::new(base), patch), networks, self.groups.clone(), numbers)
    }

    fn first_of_patch(&self) -> u32 {
        self.table.base().len() as u32
    }
}

/// Slots that are given, by the number of the address.
struct Draft {
    base: Vec<u32>,
    patch: Vec<u32>,
}

impl Draft {
    fn of(table: &Edition) -> Draft {
        let base = table.base().len();
        Draft { base: vec![VACANT; base], patch: vec![VACANT; table.end() as usize - base] }
    }

    /// Only the patch is given anew.
    fn of_patch(table: &Edition) -> Draft {
        Draft { base: vec![], patch: vec![VACANT; table.end() as usize - table.base().len()] }
    }

    fn set(&mut self, id: u32, slot: u32) {
        let at = id as usize;
        match self.base.get_mut(at) {
            Some(seat) => *seat = slot,
            None => self.patch[at - self.base.len()] = slot,
        }
    }

    fn seats(self) -> (Seats, Seats) {
        (Seats::of(self.base), Seats::of(self.patch))
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
    /// What was known of it before a restart.
    pub restored: Option<Before>,
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
    /// Of those that are removed and added: the same address of the same host, to be judged anew under another policy.
    pub anew: u64,
    /// Addresses that stay as they are.
    pub unchanged: u64,
    /// Slots needed in all.
    pub capacity: u32,
}

impl Plan {
    /// The same table told in another way: nothing to do, but everybody must know.
    pub fn retold(roster: Arc<Roster>, capacity: u32) -> Plan {
        let unchanged = roster.table.len() as u64;
        Plan { roster, removed: vec![], forgotten: vec![], changed: vec![], added: vec![], anew: 0, unchanged, capacity }
    }
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
    pub fn plan(&mut self, present: &Roster, table: Edition, restored: &Restored, now: Mono) -> Result<Plan, PlanError> {
        let networks: Vec<_> = table.networks().map(|name| self.networks.get(name).copied()).collect();
        let (groups, numbers) = self.group_numbers(present, &table, &networks)?;
        // What neither table changed of one base has the slot and the group that it had.
        let small = present.table.same_base(&table) && same_groups(present, &table, &numbers);
        let differ = Differ::new(present, &table, &numbers);
        let Differ { mut removed, forgotten, changed, added, anew, kept, .. } = if small { differ.small() } else { differ.whole() };
        removed.sort_unstable();

        let resting = self.free.iter().take_while(|(at, _)| now.since(*at) >= QUARANTINE).count();
        let fresh = added.len().saturating_sub(resting) as u64;
        if u64::from(self.next) + fresh > u64::from(SLOTS_MAX) {
            return Err(PlanError::TooManyAddresses(table.len()));
        }
        let mut slots = if small { Draft::of_patch(&table) } else { Draft::of(&table) };
        let first = if small { table.base().len() as u32 } else { 0 };
        for (id, slot) in kept.into_iter().chain(changed.iter().map(|assignment| (assignment.record, assignment.slot))) {
            slots.set(id - first, slot);
        }
        let known: Vec<_> = table.networks().map(|name| restored.network(name)).collect();
        let added: Vec<Assignment> = added
            .into_iter()
            .map(|(record, group)| {
                let slot = self.slot(now);
                slots.set(record - first, slot);
                let restored = (!restored.is_empty())
                    .then(|| table.record(record).and_then(|found| Restored::find(known[usize::from(found.network())], found.octets())))
                    .flatten();
                Assignment { slot, record, group, restored }
            })
            .collect();
        self.free.extend(removed.iter().map(|slot| (now, *slot)));
        self.groups = groups.iter().map(|(number, group)| (group.clone(), *number)).collect();

        let unchanged = (table.len() - added.len() - changed.len()) as u64;
        let (base, patch) = slots.seats();
        let base = if small { present.base.clone() } else { Arc::new(base) };
        let roster = Arc::new(Roster::new(table, (base, patch), networks, groups, numbers));
        Ok(Plan { roster, removed, forgotten, changed, added, anew, unchanged, capacity: self.next })
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
        table: &Edition,
        networks: &[Option<u16>],
    ) -> Result<(HashMap<u16, Arc<Group>>, BTreeMap<(u16, u16), u16>), PlanError> {
        let mut groups = HashMap::new();
        let mut numbers = BTreeMap::new();
        let mut new = Vec::new();
        for &(network, policy) in table.counts().keys() {
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

/// Whether every network and policy that both tables have goes by the same group number in both.
fn same_groups(present: &Roster, table: &Edition, numbers: &BTreeMap<(u16, u16), u16>) -> bool {
    let by_name: HashMap<(&str, &str), u16> = numbers
        .iter()
        .map(|((network, policy), number)| ((table.network(*network), table.policies()[usize::from(*policy)].name.as_str()), *number))
        .collect();
    present.numbers.iter().all(|((network, policy), number)| {
        let name = (present.table.network(*network), present.table.policies()[usize::from(*policy)].name.as_str());
        by_name.get(&name).is_none_or(|now| now == number)
    })
}

#[cfg(test)]
mod tests;
