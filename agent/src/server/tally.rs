//! Addresses by network, policy and verdict: one walk over all of them, for a scrape and for the status.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use crate::roster::Roster;
use crate::unit::{Condition, Verdict};
use crate::view::{NetworkView, Shown, View};

/// How many addresses of each verdict, in the order of [`Verdict::ALL`].
pub(super) type Counts = [u64; Verdict::ALL.len()];

/// The place of a verdict in [`Counts`].
const fn place(verdict: Verdict) -> usize {
    match verdict {
        Verdict::Down => 0,
        Verdict::Suspect => 1,
        Verdict::Unknown => 2,
        Verdict::Pending => 3,
        Verdict::Up => 4,
    }
}

/// What the walk found.
pub(super) struct Tally {
    /// By network and policy of the table.
    pub(super) by_group: BTreeMap<(u16, u16), Counts>,
    /// The agent's number of each network of the table.
    networks: Vec<Option<u16>>,
    /// The first records that are not up.
    pub(super) abnormal: Vec<u32>,
    /// How many are not up, in all.
    pub(super) abnormal_count: u64,
}

impl Tally {
    /// Walks over the roster; remembers at most so many records that are not up.
    ///
    /// Records lie in the order of their networks, so what an address shares with the ones beside it is looked up only
    /// where it changes; of an address that is up only its policy and its word are read.
    pub(super) fn of(view: &View, roster: &Roster, most: usize) -> Tally {
        let mut tally = Tally { by_group: BTreeMap::new(), networks: roster.networks.clone(), abnormal: vec![], abnormal_count: 0 };
        let mut run: Option<((u16, u16), bool)> = None;
        let mut counts: Counts = [0; Verdict::ALL.len()];
        for (index, record, slot) in roster.iter() {
            let group = (record.network(), record.policy());
            let blind = match run {
                Some((same, blind)) if same == group => blind,
                _ => {
                    tally.add(run, &mut counts);
                    let network = roster.network(&record).and_then(|number| view.networks.get(usize::from(number)));
                    let blind = network.is_none_or(|network| NetworkView::blind(network).is_some());
                    run = Some((group, blind));
                    blind
                }
            };
            let verdict = match blind {
                true => Verdict::Unknown,
                false => Shown::from_word(view.verdicts.at(slot).load(Ordering::Relaxed)).verdict,
            };
            counts[place(verdict)] += 1;
            if verdict != Verdict::Up {
                tally.abnormal_count += 1;
                if tally.abnormal.len() < most {
                    tally.abnormal.push(index);
                }
            }
        }
        tally.add(run, &mut counts);
        tally
    }

    fn add(&mut self, run: Option<((u16, u16), bool)>, counts: &mut Counts) {
        let Some((group, _)) = run else { return };
        let sums = self.by_group.entry(group).or_default();
        sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += std::mem::take(count));
    }

    /// Addresses of each verdict.
    pub(super) fn verdicts(&self) -> BTreeMap<String, u64> {
        let sum = |at: usize| self.by_group.values().map(|counts| counts[at]).sum();
        Verdict::ALL.iter().enumerate().map(|(at, verdict)| (verdict.name().to_owned(), sum(at))).collect()
    }

    /// Addresses in a network of the agent.
    pub(super) fn in_network(&self, number: u16) -> u64 {
        let here = |network: &u16| self.networks.get(usize::from(*network)).copied().flatten() == Some(number);
        self.by_group.iter().filter(|((network, _), _)| here(network)).map(|(_, counts)| counts.iter().sum::<u64>()).sum()
    }
}

/// Addresses by network of the table and condition, where any has it.
pub(super) fn conditions(view: &View, roster: &Roster) -> BTreeMap<(u16, Condition), u64> {
    let mut counts = BTreeMap::new();
    for (slot, conditions) in view.marks.all() {
        let Some(record) = roster.record(slot) else { continue };
        for condition in conditions.iter() {
            *counts.entry((record.network(), condition)).or_default() += 1;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_verdict_is_its_place_among_all() {
        for (at, verdict) in Verdict::ALL.into_iter().enumerate() {
            assert_eq!(place(verdict), at, "{verdict}");
        }
    }
}
