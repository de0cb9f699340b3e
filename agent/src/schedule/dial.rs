//! The dial: a circle of time buckets for all addresses of one timing, with a hand that goes round in steps.
//!
//! Bucket k of the circle is due at `start + k * width`, again one interval later, and so on.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::time::Duration;

use super::order::Order;
use super::{STEP_MAX, Timing};
use crate::clock::{Mono, nanos};
use crate::reply::prefetch;

/// Longest circle. An interval of 65 s and less has buckets of one millisecond, a day's are 1.3 s wide.
const BUCKETS_MAX: u64 = 1 << 16;
/// Shortest bucket.
const WIDTH_MIN: u64 = 1_000_000;
/// Longest run of neighbours in a bucket: each run touches other pages of every array, and their translations are not in the
/// processor's buffer. So many share two pages of `TARGET` and one of `SENT`.
const GRAIN_MAX: usize = 256;
/// Addresses of a bucket in a cache line.
const LINE: usize = 16;
/// Buckets that are fetched early at most: those of a step.
const PREFETCHED: u64 = STEP_MAX.as_millis() as u64;

#[derive(Debug)]
pub(super) struct Dial {
    pub(super) timing: Timing,
    start: Mono,
    width: u64,
    buckets: Vec<Vec<u32>>,
    /// Next bucket that the hand will come to, counted from the start, not modulo the circle.
    hand: u64,
    /// When it was moved last.
    moved: Mono,
    count: usize,
    expected: usize,
    filling: Filling,
    /// Re-probes of addresses that are being confirmed: all wait the same time, so the queue is in order of time.
    pub(super) confirm: VecDeque<(Mono, u32, u8)>,
    /// Deadlines of probes that were not answered at once, in order of time.
    pub(super) deadlines: VecDeque<(Mono, u32)>,
}

/// Finds a bucket among the emptiest in O(1): passes go round the circle in an order of their own, each raising every
/// bucket to `level`; buckets that lost an address are remembered and filled first.
///
/// A pass raises buckets by several at once (see [`Filling::grain`]): slots that were given one after the other then
/// sit in one bucket, are probed together, and share cache lines in every array.
#[derive(Debug)]
struct Filling {
    level: usize,
    /// Addresses that a bucket is going to have, as far as the table says.
    expected: usize,
    cursor: usize,
    order: Order,
    visited: usize,
    holes: Vec<u16>,
}

impl Dial {
    pub(super) fn new(timing: Timing, now: Mono) -> Self {
        let interval = nanos(timing.interval);
        let width = WIDTH_MIN.max(interval.div_ceil(BUCKETS_MAX));
        let circle = (interval / width).max(1) as usize;
        // The width is stretched so that the circle is exactly one interval.
        let width = interval / circle as u64;
        // So that a group of buckets leaves in one step, whatever its length.
        let start = now.floor(STEP_MAX);
        let hand = nanos(now.since(start)) / width;
        let cursor = hand as usize % circle;
        Dial {
            timing,
            start,
            width,
            buckets: vec![Vec::new(); circle],
            hand,
            moved: now,
            count: 0,
            expected: 0,
            filling: Filling { level: 1, expected: 0, cursor, order: Order::scattered(circle), visited: 0, holes: Vec::new() },
            confirm: VecDeque::new(),
            deadlines: VecDeque::new(),
        }
    }

    /// Whether nobody sits on it, nor is going to, and nothing of those who did is under way.
    pub(super) fn is_unused(&self) -> bool {
        self.is_empty() && self.expected == 0 && self.confirm.is_empty() && self.deadlines.is_empty()
    }

    /// Whether nobody sits on it.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Probes a second.
    pub(super) fn rate(&self) -> u64 {
        self.count as u64 * 1_000_000_000 / (self.width * self.buckets.len() as u64)
    }

    /// How many addresses the dial is going to have: buckets that will be full are filled by long runs from the first.
    pub(super) fn expect(&mut self, addresses: usize) {
        self.expected = addresses;
        self.filling.expected = addresses / self.buckets.len();
        if self.is_empty() {
            let circle = self.buckets.len();
            self.filling.order = if addresses < circle { Order::scattered(circle) } else { Order::grouped(circle) };
            // The first ones need not wait for an interval.
            (self.filling.cursor, self.filling.visited) = (self.hand as usize % circle, 0);
            self.filling.level = 1;
            self.filling.level = self.filling.grain();
        }
    }

    /// Puts a slot into a bucket; returns which.
    pub(super) fn insert(&mut self, slot: u32) -> u16 {
        let bucket = self.emptiest();
        let seats = &mut self.buckets[bucket];
        if seats.len() == seats.capacity() {
            // Once and exactly: a million addresses would leave megabytes of outgrown buckets behind.
            seats.reserve_exact(self.filling.room(seats.len()));
        }
        seats.push(slot);
        self.count += 1;
        bucket as u16
    }

    /// Takes a slot out of its bucket. It is searched there, some thousand at most in a row of memory: cheaper than four
    /// bytes for each address that would say where.
    pub(super) fn remove(&mut self, slot: u32, bucket: u16) {
        let seats = &mut self.buckets[usize::from(bucket)];
        let Some(position) = seats.iter().position(|seat| *seat == slot) else { return };
        seats.swap_remove(position);
        if seats.len() < seats.capacity() / 4 {
            seats.shrink_to(seats.capacity() / 2);
        }
        self.count -= 1;
        let circle = self.buckets.len();
        if self.count + 2 * self.filling.grain() * circle < self.filling.level * circle {
            // Far fewer than the level says: start the passes again from what there is.
            self.filling.level = self.count / circle + 1;
            self.filling.visited = 0;
            self.filling.holes.clear();
        } else {
            self.filling.holes.push(bucket);
        }
    }

    fn emptiest(&mut self) -> usize {
        let filling = &mut self.filling;
        while let Some(hole) = filling.holes.pop() {
            if self.buckets[usize::from(hole)].len() < filling.level {
                return usize::from(hole);
            }
        }
        let circle = self.buckets.len();
        while self.buckets[filling.cursor].len() >= filling.level {
            filling.cursor = filling.order.after(filling.cursor);
            filling.visited += 1;
            if filling.visited == circle {
                filling.visited = 0;
                filling.level = filling.next_level();
            }
        }
        filling.cursor
    }

    /// Moves the hand to the end of the present step. `due` gets the addresses of each bucket with the moment they should leave at; those of
    /// buckets that lie further back from now than `lag` go to `skipped` instead, each once.
    pub(super) fn send(
        &mut self,
        now: Mono,
        step: Duration,
        lag: Duration,
        mut due: impl FnMut(&[u32], Mono),
        mut skipped: impl FnMut(u32),
    ) {
        let reached = self.before(now.floor(step) + step);
        let moved = std::mem::replace(&mut self.moved, now);
        let circle = self.buckets.len() as u64;
        let keep = (nanos(now.since(self.start)) / self.width + 1).saturating_sub((nanos(lag) / self.width).max(1));
        if self.hand < keep {
            for k in self.hand.max(keep.saturating_sub(circle))..keep {
                self.buckets[(k % circle) as usize].iter().copied().for_each(&mut skipped);
            }
            self.hand = keep;
        }
        while self.hand < reached {
            let at = Mono::from_nanos(self.start.nanos() + self.hand * self.width);
            // Later than its step begins where that has become longer, or the dial is new.
            let at = at.floor(step).max(moved);
            due(&self.buckets[(self.hand % circle) as usize], at);
            self.hand += 1;
        }
    }

    /// Buckets that are due before then, counted from the start.
    fn before(&self, until: Mono) -> u64 {
        nanos(until.since(self.start)).div_ceil(self.width)
    }

    /// Begins to fetch the buckets that [`Dial::send`] will come to. Some thousand addresses are 64 cache lines.
    pub(super) fn prefetch(&self, until: Mono) {
        let reached = self.before(until);
        let circle = self.buckets.len() as u64;
        for k in self.hand..reached.min(self.hand + PREFETCHED) {
            self.buckets[(k % circle) as usize].iter().step_by(LINE).for_each(prefetch);
        }
    }

    /// Addresses in the fullest and in the emptiest bucket.
    pub(super) fn spread(&self) -> (usize, usize) {
        let sizes = || self.buckets.iter().map(Vec::len);
        (sizes().max().unwrap_or(0), sizes().min().unwrap_or(0))
    }
}

impl Filling {
    /// By how much a pass raises buckets: a quarter of what they have or are going to have, so that they stay even, or less where
    /// that is a long run anyway.
    fn grain(&self) -> usize {
        let seats = self.level.max(self.expected);
        seats.div_ceil(seats.div_ceil(GRAIN_MAX).max(4))
    }

    /// How far the next pass raises buckets. One ends at what was expected for each; what is left over then is less than one for each.
    fn next_level(&self) -> usize {
        match self.level.cmp(&self.expected) {
            Ordering::Less => self.expected.min(self.level + self.grain()),
            Ordering::Equal => self.level + 1,
            Ordering::Greater => self.level + self.grain(),
        }
    }

    /// For how many more a full bucket makes room.
    fn room(&self, seats: usize) -> usize {
        match (self.expected + 1).saturating_sub(seats) {
            0 => seats / 8 + 1,
            room => room,
        }
    }
}
