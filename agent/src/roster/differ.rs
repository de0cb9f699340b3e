//! Walks two sorted tables side by side.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::{Assignment, Roster};
use crate::alarm::Key;
use crate::policy::Policy;
use crate::table::{Edition, Record};

/// What turns one table into another.
pub(super) struct Differ<'a> {
    old: &'a Roster,
    new: &'a Edition,
    numbers: &'a BTreeMap<(u16, u16), u16>,
    /// Networks under numbers that both share.
    old_networks: Vec<usize>,
    new_networks: Vec<usize>,
    pub(super) removed: Vec<u32>,
    pub(super) forgotten: Vec<Key>,
    pub(super) changed: Vec<Assignment>,
    /// Number in the new table, and group.
    pub(super) added: Vec<(u32, u16)>,
    /// Of what is removed and added: what is the same address of the same host, to be judged anew.
    pub(super) anew: u64,
    /// Number in the new table, and slot, of what was looked at and stays as it is.
    pub(super) kept: Vec<(u32, u32)>,
}

impl<'a> Differ<'a> {
    pub(super) fn new(old: &'a Roster, new: &'a Edition, numbers: &'a BTreeMap<(u16, u16), u16>) -> Self {
        let mut names: Vec<&str> = old.table.networks().chain(new.networks()).collect();
        names.sort_unstable();
        names.dedup();
        let shared = |table: &Edition| table.networks().map(|name| names.partition_point(|&known| known < name)).collect();
        Differ {
            old,
            new,
            numbers,
            old_networks: shared(&old.table),
            new_networks: shared(new),
            removed: vec![],
            forgotten: vec![],
            changed: vec![],
            added: vec![],
            anew: 0,
            kept: vec![],
        }
    }

    /// Looks at everything.
    pub(super) fn whole(mut self) -> Self {
        let (old, new) = (self.old, self.new);
        if old.table.is_empty() {
            self.added.reserve_exact(new.len());
        }
        self.run(old.iter(), new.iter());
        self
    }

    /// Looks only at what stands in a patch or was hidden: both tables are changes of one base.
    pub(super) fn small(mut self) -> Self {
        let (old, new) = (self.old, self.new);
        let hidden = new.hidden_since(&old.table);
        let ids = hidden.chain(old.table.patch_iter().map(|(id, _)| id));
        let mut before: Vec<(u32, Record, u32)> = ids.filter_map(|id| Some((id, old.table.record(id)?, old.slot(id)?))).collect();
        before.sort_unstable_by_key(|(_, record, _)| self.old_key(record));
        self.run(before.into_iter(), new.patch_iter());
        self
    }

    fn run(&mut self, old: impl Iterator<Item = (u32, Record, u32)>, new: impl Iterator<Item = (u32, Record)>) {
        let (mut old, mut new) = (old.peekable(), new.peekable());
        loop {
            let order = match (old.peek(), new.peek()) {
                (Some((_, a, _)), Some((_, b))) => self.old_key(a).cmp(&self.new_key(b)),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return,
            };
            let gone = if order.is_le() { old.next() } else { None };
            let come = if order.is_ge() { new.next() } else { None };
            match (gone, come) {
                (Some((_, a, slot)), Some((id, b))) => self.compare(&a, slot, id, &b),
                (Some((_, a, slot)), None) => self.remove(&a, slot),
                (None, Some((id, b))) => self.add(id, &b),
                (None, None) => return,
            }
        }
    }

    fn old_key(&self, record: &Record) -> (usize, [u8; 16]) {
        (self.old_networks[usize::from(record.network())], record.octets())
    }

    fn new_key(&self, record: &Record) -> (usize, [u8; 16]) {
        (self.new_networks[usize::from(record.network())], record.octets())
    }

    fn remove(&mut self, record: &Record, slot: u32) {
        self.removed.push(slot);
        self.forgotten.push(Key::new(self.old.table.network(record.network()), record.address()));
    }

    fn add(&mut self, id: u32, record: &Record) {
        self.added.push((id, self.group(record)));
    }

    fn group(&self, record: &Record) -> u16 {
        self.numbers[&(record.network(), record.policy())]
    }

    /// The same address in both. Under another host id it is another machine: nothing is carried over. Nor is it where its silence began
    /// or ceased to be somebody's concern: a host that is expected to be silent closes its alarm, and one that should answer again is
    /// judged anew, so that one which does not is told.
    fn compare(&mut self, a: &Record, slot: u32, id: u32, b: &Record) {
        let concerns = |policies: &[Policy], policy: u16| policies.get(usize::from(policy)).is_some_and(|policy| !policy.alarm.is_empty());
        let turns = concerns(self.old.table.policies(), a.policy()) != concerns(self.new.policies(), b.policy());
        let same = self.old.table.host_id(a.host()) == self.new.host_id(b.host());
        if turns || !same {
            self.anew += u64::from(same);
            self.remove(a, slot);
            self.add(id, b);
            return;
        }
        let group = self.group(b);
        if a.mac() == b.mac() && self.old.numbers.get(&(a.network(), a.policy())) == Some(&group) {
            self.kept.push((id, slot));
        } else {
            self.changed.push(Assignment { slot, record: id, group, restored: None });
        }
    }
}
