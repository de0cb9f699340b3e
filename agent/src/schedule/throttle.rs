//! The packets-per-second cap.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use crate::clock::Mono;

/// Packets per second. Never zero: a cap fails closed, it does not turn into "no cap".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pps(NonZeroU32);

impl Pps {
    /// `None` for zero.
    pub fn new(pps: u32) -> Option<Self> {
        NonZeroU32::new(pps).map(Pps)
    }

    /// As a number.
    pub fn number(self) -> u32 {
        self.0.get()
    }
}

/// How much unused allowance is kept, in nanoseconds of it: no burst. That is half of the longest step: where the cap is so near, the rest
/// of the step's probes follow by the millisecond.
const KEPT_NANOS: u64 = 10_000_000;

/// Says how many packets may leave now. Counts in packet-nanoseconds, so that no fraction is lost.
#[derive(Debug)]
pub struct Throttle {
    pps: Pps,
    last: Mono,
    credit: u64,
}

impl Throttle {
    /// A throttle that starts empty.
    pub fn new(pps: Pps, now: Mono) -> Self {
        Throttle { pps, last: now, credit: 0 }
    }

    /// Packets that may leave now.
    pub fn allowance(&mut self, now: Mono) -> usize {
        let rate = u64::from(self.pps.number());
        let elapsed = (now.since(self.last).as_nanos() as u64).min(KEPT_NANOS.max(2_000_000_000 / rate));
        self.last = self.last.max(now);
        let most = (rate * KEPT_NANOS).max(1_000_000_000);
        self.credit = (self.credit + elapsed * rate).min(most);
        (self.credit / 1_000_000_000) as usize
    }

    /// Packets that left.
    pub fn spend(&mut self, packets: usize) {
        self.credit = self.credit.saturating_sub(packets as u64 * 1_000_000_000);
    }
}
