//! Conflicts: another MAC than the expected one answers for an address. The verdict goes on from the expected MAC.
//!
//! Answers that no probe waits for come up to the resolver's socket whoever sent them, so each of them is compared with the MAC that
//! probes of that address go to. A unicast question is heard by its one station alone, so a second owner may never get to answer;
//! therefore a network can have a *census*, in which everybody is asked for each address in turn, slowly.

use std::net::IpAddr;
use std::time::Duration;

use rollcall_agent_ebpf::target;
use tracing::warn;

use super::cell::Mark;
use super::{Conditioned, Engine, Note, TICK};
use crate::clock::Mono;
use crate::unit::{Condition, Mac, Verdict};

/// A conflict of which nothing was heard for so long is over, or for three rounds of the census.
const HOLD: Duration = Duration::from_secs(60);
/// Between two questions of a census: it leaves room for MACs that must be learned.
const SPACING: Duration = Duration::from_millis(20);
/// Slots that one turn looks through for the next to be asked for.
const PIECE: usize = 4096;

/// Tags that begin like this name a MAC that may answer for the host's addresses as well: a shared address (VRRP, CARP).
const ALLOWED: &str = "allowed-mac=";

/// Whether a host's tags allow that this MAC answers for its addresses.
pub(crate) fn is_allowed<'a>(mut tags: impl Iterator<Item = &'a str>, mac: Mac) -> bool {
    tags.any(|tag| tag.strip_prefix(ALLOWED).and_then(|text| text.parse().ok()) == Some(mac))
}

/// A conflict that goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conflict {
    expected: Mac,
    other: Mac,
    /// When the other one answered last.
    seen: Mono,
}

/// Asks everybody for each address of a network once in a period.
#[derive(Debug)]
pub(super) struct Census {
    period: Duration,
    /// The next slot to be looked at.
    next: usize,
    due: Mono,
    /// Addresses asked for in this round, and in the last one.
    asked: u32,
    all: u32,
}

impl Census {
    pub(super) fn new(period: Duration) -> Self {
        Census { period, next: 0, due: Mono::default(), asked: 0, all: 0 }
    }

    /// How long a conflict is remembered after its last answer: three rounds, which take longer than the period where there are many.
    fn hold(&self) -> Duration {
        HOLD.max(3 * self.period.max(SPACING * self.all))
    }

    /// A question goes out: when the next may.
    fn asked(&mut self, now: Mono) {
        self.asked += 1;
        let spacing = (self.period / self.all.max(self.asked).max(1)).max(SPACING);
        // From when it was due: turns that come a little late must not add up.
        self.due = if now.since(self.due) < spacing { self.due + spacing } else { now + spacing };
    }

    /// A round is over; an early one waits for its time.
    fn round(&mut self) {
        (self.all, self.asked, self.next) = (self.asked, 0, 0);
    }
}

impl Engine {
    /// Compares who answered for an address with whom its probes go to.
    pub(super) fn compare(&mut self, number: u16, address: IpAddr, mac: Mac, now: Mono) {
        let Some(slot) = self.arrays.slot_of(number, address) else { return };
        let (Some(target), Some(cell)) = (self.arrays.target(slot), self.cells.get(slot as usize)) else { return };
        let expected = Mac(target.mac);
        // A silent address whose MAC was learned may simply have moved: the resolver sees to that.
        let moves = target.flags & target::LEARNED != 0 && cell.judgement.frozen() == Verdict::Down;
        if mac == expected || !expected.is_unicast() || cell.has(Mark::Routed) || moves || self.is_allowed(slot, mac) {
            return;
        }
        let before = self.conflicts.insert(slot, Conflict { expected, other: mac, seen: now });
        // Told once: whoever sends answers with ever new MACs must not keep the agent busy with them.
        if before.is_none() {
            warn!(target: "wire", %address, %expected, other = %mac, "another station answers for this address: its verdict goes on from the expected MAC");
            self.tell_conflict(slot, true, expected, mac);
        }
    }

    fn is_allowed(&self, slot: u32, mac: Mac) -> bool {
        let Some(record) = self.roster.record(slot) else { return false };
        is_allowed(self.roster.table.host(record.host()).tags(), mac)
    }

    fn tell_conflict(&self, slot: u32, holds: bool, expected: Mac, other: Mac) {
        let condition = Condition::Conflict;
        self.tell(Note::Condition(Conditioned { slot, condition, holds, macs: Some((expected, other)), at_ms: self.wall_ms }));
    }

    /// Ends conflicts of which nothing is heard any more, and those whose expected MAC is another one now.
    pub(super) fn end_conflicts(&mut self, now: Mono) {
        if self.conflicts.is_empty() {
            return;
        }
        let mut over = Vec::new();
        for (slot, conflict) in &mut self.conflicts {
            let class = self.cells.get(*slot as usize).and_then(|cell| self.classes.get(cell.group));
            let network = class.and_then(|class| self.networks.get(usize::from(class.network?)));
            if network.is_some_and(|network| network.blind.is_some()) {
                // Nobody is heard there, and so neither is the other one.
                conflict.seen = now;
            }
            let hold = network.and_then(|network| network.census.as_ref()).map_or(HOLD, Census::hold);
            let target = self.arrays.target(*slot);
            if now.since(conflict.seen) > hold || target.is_none_or(|target| Mac(target.mac) != conflict.expected) {
                over.push(*slot);
            }
        }
        for slot in over {
            if let Some(Conflict { expected, other, .. }) = self.conflicts.remove(&slot) {
                self.tell_conflict(slot, false, expected, other);
            }
        }
    }

    /// The next questions of each network's census.
    pub(super) fn take_census(&mut self, now: Mono) {
        let now = now.floor(TICK);
        for number in 0..self.networks.len() {
            let network = &mut self.networks[number];
            let (Some(census), Some(tap), None) = (&mut network.census, &mut network.tap, network.blind) else { continue };
            if now < census.due {
                continue;
            }
            if census.all == 0 {
                // Of the first round nobody knows how many there are; so many at most.
                census.all = self.cells.len() as u32;
            }
            let end = (census.next + PIECE).min(self.cells.len());
            while census.next < end {
                let slot = census.next;
                census.next += 1;
                let cell = &self.cells[slot];
                let here = self.classes.get(cell.group).is_some_and(|class| class.network == Some(number as u16));
                if !here || !cell.is_live() || cell.has(Mark::Routed) {
                    continue;
                }
                if let Some(octets) = self.arrays.address(slot as u32) {
                    // One that could not be sent is asked in the next round.
                    let _ = tap.neighbours.ask(crate::unit::unmapped(octets), None);
                    census.asked(now);
                    break;
                }
            }
            if census.next >= self.cells.len() {
                let early = if census.asked == 0 { census.period } else { Duration::ZERO };
                census.round();
                census.due = census.due.max(now + early);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn census_spreads_its_questions_over_the_period_once_it_knows_how_many_there_are() {
        let mut census = Census::new(Duration::from_secs(100));
        let mut now = Mono::from_nanos(1);
        for _ in 0..100 {
            census.asked(now);
            now = census.due;
        }
        census.round();
        census.asked(now);
        assert_eq!(census.due.since(now), Duration::from_secs(1));
        let late = Duration::from_millis(15);
        let due = census.due;
        census.asked(due + late);
        assert_eq!(census.due.since(due), Duration::from_secs(1), "a turn that comes late delays nobody after it");
        let mut quick = Census::new(Duration::from_secs(1));
        for _ in 0..10_000 {
            now = quick.due.max(now);
            quick.asked(now);
        }
        assert_eq!(quick.due.since(now), SPACING, "a storm is no census");
    }
}
