//! Schedule: which addresses are probed now, and whose deadline has passed. Pure: time is an argument.
//!
//! One dial (`dial.rs`) for each timing; a queue of what is due and waits for its turn under the packets-per-second
//! cap; a short queue of re-probes for addresses that are being confirmed. What left is looked at some milliseconds later (`trail.rs`);
//! only what was not answered by then gets a deadline. Adding an address is O(1); removing one searches its bucket.

mod dial;
mod order;
mod throttle;
mod trail;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::num::NonZeroU16;
use std::time::Duration;

use dial::Dial;
pub use throttle::{Pps, Throttle};
use trail::Trail;

use crate::clock::{Mono, nanos};
use crate::policy::Policy;
use crate::reply::prefetch;

/// A probe that could not leave within this time after it was due is skipped and counted: the hands never burst to
/// catch up. It is also the shortest interval that a policy may ask for.
pub const LAG_MAX: Duration = Duration::from_millis(100);

/// The longest step of the hands. All steps divide it.
pub const STEP_MAX: Duration = Duration::from_millis(20);

/// The times of a policy. Policies with the same times share a dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timing {
    /// Between two probes of one address.
    pub interval: Duration,
    /// From a probe to its deadline.
    pub timeout: Duration,
    /// Between two probes of an address that is being confirmed.
    pub confirm_interval: Duration,
}

impl From<&Policy> for Timing {
    fn from(policy: &Policy) -> Self {
        Timing { interval: policy.interval, timeout: policy.timeout, confirm_interval: policy.confirm_interval }
    }
}

impl Timing {
    /// The same with two probes an interval.
    pub fn twice_as_often(self) -> Self {
        Timing { interval: self.interval / 2, ..self }
    }
}

/// Where a slot sits: dial number plus one, so that 4 bytes say `None` too, and bucket.
#[derive(Clone, Copy, Debug)]
struct Place {
    dial: Option<NonZeroU16>,
    bucket: u16,
}

/// Waiting probes for which room is kept: some milliseconds of the largest agents.
const BACKLOG: usize = 1 << 14;
const NOWHERE: Place = Place { dial: None, bucket: 0 };
const CONFIRMING: u8 = 1;

/// A probe that waits for its turn under the cap.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    at: Mono,
    slot: u32,
    /// Its turn on the dial: left out while the address is being confirmed.
    regular: bool,
}

/// The schedule of one agent.
#[derive(Debug, Default)]
pub struct Schedule {
    dials: Vec<Dial>,
    by_timing: HashMap<Timing, u16>,
    places: Vec<Place>,
    /// Lowest bit: being confirmed; the others count its confirmations, so that an old entry of the queue is known.
    confirmations: Vec<u8>,
    backlog: VecDeque<Waiting>,
    trail: Trail,
    /// Deadlines that are not in the order of their making, the earliest first.
    deadlines: BinaryHeap<Reverse<(Mono, u32)>>,
}

impl Schedule {
    /// Makes room for that many slots.
    pub fn reserve(&mut self, slots: u32) {
        let more = (slots as usize).saturating_sub(self.places.len());
        self.places.reserve_exact(more);
        self.confirmations.reserve_exact(more);
    }

    /// How many addresses of each timing there are going to be: those that are added are then laid out for that many.
    pub fn expect(&mut self, addresses: &HashMap<Timing, usize>, now: Mono) {
        for dial in &mut self.dials {
            dial.expect(addresses.get(&dial.timing).copied().unwrap_or_default());
        }
        for (timing, addresses) in addresses {
            let dial = self.dial(*timing, now);
            self.dials[usize::from(dial)].expect(*addresses);
        }
    }

    /// Puts a slot on the dial of its timing, where that is emptiest. A slot that has a place on that dial already keeps it.
    pub fn add(&mut self, slot: u32, timing: Timing, now: Mono) {
        let number = self.dial(timing, now);
        let index = slot as usize;
        if index >= self.places.len() {
            self.places.resize(index + 1, NOWHERE);
            self.confirmations.resize(index + 1, 0);
        }
        let tag = NonZeroU16::new(number + 1);
        if self.places[index].dial == tag {
            return;
        }
        self.remove(slot);
        let bucket = self.dials[usize::from(number)].insert(slot);
        self.places[index] = Place { dial: tag, bucket };
    }

    /// Takes a slot off its dial; from now on it is not sent.
    pub fn remove(&mut self, slot: u32) {
        let Some(place) = self.places.get_mut(slot as usize) else { return };
        let Place { dial: Some(tag), bucket } = std::mem::replace(place, NOWHERE) else { return };
        self.settle(slot);
        self.dials[usize::from(tag.get() - 1)].remove(slot, bucket);
    }

    /// Whether the slot is on a dial.
    pub fn holds(&self, slot: u32) -> bool {
        self.places.get(slot as usize).is_some_and(|place| place.dial.is_some())
    }

    /// Starts fast re-probes of a slot, the first at once; its turns on the dial are left out until [`Schedule::settle`].
    pub fn confirm(&mut self, slot: u32, now: Mono) {
        let Some(dial) = self.dial_of(slot) else { return };
        let mark = &mut self.confirmations[slot as usize];
        if *mark & CONFIRMING != 0 {
            return;
        }
        *mark = mark.wrapping_add(2) | CONFIRMING;
        let mark = *mark;
        // In front: the queue is ordered by time, and this one is due now.
        self.dials[dial].confirm.push_front((now, slot, mark));
    }

    /// Ends the re-probes of a slot: its turns on the dial count again.
    pub fn settle(&mut self, slot: u32) {
        if let Some(mark) = self.confirmations.get_mut(slot as usize) {
            *mark &= !CONFIRMING;
        }
    }

    /// Moves the hands in steps that begin at multiples of their length on the clock: what is due within the present one joins the queue
    /// that [`Schedule::next_due`] hands out, and should have left at its beginning. So where the interval is a multiple of the step an
    /// address is probed at the same moment of each, however often this is called. Re-probes are never early. `skipped` gets the
    /// slots whose turn is lost because the hands stood still for longer than [`LAG_MAX`].
    pub fn advance(&mut self, now: Mono, step: Duration, mut skipped: impl FnMut(u32)) {
        let (backlog, marks) = (&mut self.backlog, &self.confirmations);
        for dial in &mut self.dials {
            while let Some(&(at, slot, mark)) = dial.confirm.front()
                && at <= now
            {
                dial.confirm.pop_front();
                if marks[slot as usize] == mark {
                    backlog.push_back(Waiting { at, slot, regular: false });
                    // From when it was due, not from now: turns that come a little late must not add up.
                    let next = at + dial.timing.confirm_interval;
                    dial.confirm.push_back((if next > now { next } else { now + dial.timing.confirm_interval }, slot, mark));
                }
            }
            let due = |slots: &[u32], at| backlog.extend(slots.iter().map(|&slot| Waiting { at, slot, regular: true }));
            dial.send(now, step, LAG_MAX, due, &mut skipped);
        }
    }

    /// The next slot to probe and when it should have left. Slots that waited for longer than [`LAG_MAX`] go to `skipped`.
    pub fn next_due(&mut self, now: Mono, mut skipped: impl FnMut(u32)) -> Option<(u32, Mono)> {
        while let Some(Waiting { at, slot, regular }) = self.backlog.pop_front() {
            if !self.holds(slot) || (regular && self.is_confirming(slot)) {
                continue;
            }
            if now.since(at) > LAG_MAX {
                skipped(slot);
                continue;
            }
            return Some((slot, at));
        }
        None
    }

    /// Begins to fetch what [`Schedule::advance`] will come to.
    pub fn prefetch_hands(&self, now: Mono, step: Duration) {
        self.dials.iter().for_each(|dial| dial.prefetch(now.floor(step) + step));
    }

    /// Begins to fetch what sending asks about a slot.
    pub fn prefetch(&self, slot: u32) {
        if let (Some(place), Some(mark)) = (self.places.get(slot as usize), self.confirmations.get(slot as usize)) {
            prefetch(place);
            prefetch(mark);
        }
    }

    /// The slot that stands so far behind the next one in the queue of [`Schedule::next_due`].
    pub fn ahead(&self, by: usize) -> Option<u32> {
        self.backlog.get(by).map(|due| due.slot)
    }

    /// Gives back what a backlog took that is no more: after a moment in which the machine stood still it holds a tenth of a second, and so
    /// do the deadlines of what was not answered then.
    pub fn slim(&mut self) {
        self.trail.slim();
        if self.backlog.len() < BACKLOG / 2 {
            self.backlog.shrink_to(BACKLOG);
        }
        if self.deadlines.len() < BACKLOG / 2 {
            self.deadlines.shrink_to(BACKLOG);
        }
        for queue in self.dials.iter_mut().map(|dial| &mut dial.deadlines).filter(|queue| queue.len() < queue.capacity() / 4) {
            queue.shrink_to(BACKLOG.max(2 * queue.len()));
        }
    }

    /// Probes that are due and wait for their turn.
    pub fn waiting(&self) -> usize {
        self.backlog.len()
    }

    /// Asks for a judgement of the slot at that moment. The caller sees to it that a slot has one such deadline at a time.
    pub fn deadline(&mut self, slot: u32, at: Mono) {
        // Probes of one timing that left one after the other have their deadlines in that order: no search is needed.
        match self.dial_of(slot).map(|dial| &mut self.dials[dial].deadlines) {
            Some(queue) if queue.back().is_none_or(|(last, _)| *last <= at) => queue.push_back((at, slot)),
            _ => self.deadlines.push(Reverse((at, slot))),
        }
    }

    /// Hands out every slot whose deadline has come.
    pub fn deadlines(&mut self, now: Mono, mut due: impl FnMut(u32)) {
        for dial in &mut self.dials {
            while let Some(&(at, slot)) = dial.deadlines.front()
                && at <= now
            {
                dial.deadlines.pop_front();
                due(slot);
            }
        }
        while let Some(&Reverse((at, slot))) = self.deadlines.peek()
            && at <= now
        {
            self.deadlines.pop();
            due(slot);
        }
    }

    /// Probes a second, without confirmations.
    pub fn rate(&self) -> u64 {
        self.dials.iter().map(Dial::rate).sum()
    }

    /// Whether every interval is a multiple of the step, so that no address's moment wanders.
    pub fn keeps(&self, step: Duration) -> bool {
        self.dials.iter().filter(|dial| !dial.is_empty()).all(|dial| nanos(dial.timing.interval).is_multiple_of(nanos(step)))
    }

    /// Whether any slot is being confirmed, or was a moment ago.
    pub fn confirms(&self) -> bool {
        self.dials.iter().any(|dial| !dial.confirm.is_empty())
    }

    /// Whether the slot is being confirmed.
    pub fn is_confirming(&self, slot: u32) -> bool {
        self.confirmations.get(slot as usize).is_some_and(|mark| mark & CONFIRMING != 0)
    }

    /// Probes of these slots left: [`Schedule::look`] hands them out.
    pub fn left(&mut self, slots: &[u32], now: Mono) {
        self.trail.left(slots, now);
    }

    /// Hands out, once and in order, every slot whose probe had left by then; also one that was removed since.
    pub fn look(&mut self, until: Mono, due: impl FnMut(&[u32])) {
        self.trail.look(until, due);
    }

    /// For each timing: addresses in the fullest and in the emptiest bucket of its dial.
    pub fn spread(&self) -> impl Iterator<Item = (Timing, usize, usize)> + '_ {
        self.dials.iter().map(|dial| {
            let (most, least) = dial.spread();
            (dial.timing, most, least)
        })
    }

    fn dial_of(&self, slot: u32) -> Option<usize> {
        self.places.get(slot as usize)?.dial.map(|tag| usize::from(tag.get() - 1))
    }

    /// The dial of a timing; one that stands empty is set anew rather than kept for a timing that nobody uses.
    fn dial(&mut self, timing: Timing, now: Mono) -> u16 {
        if let Some(&number) = self.by_timing.get(&timing) {
            return number;
        }
        let free = self.dials.iter().position(Dial::is_unused);
        let number = match free {
            Some(number) => {
                self.by_timing.remove(&self.dials[number].timing);
                self.dials[number] = Dial::new(timing, now);
                number
            }
            None => {
                self.dials.push(Dial::new(timing, now));
                self.dials.len() - 1
            }
        };
        self.by_timing.insert(timing, number as u16);
        number as u16
    }
}

#[cfg(test)]
mod tests;
