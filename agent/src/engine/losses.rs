//! Losses: when the driver did not take frames of ours, or the engine stood still. Which frames that cost is not known, so of everything
//! that was sent then only the answers count. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Mono;

/// Losses that lie closer together are one.
const JOIN: Duration = Duration::from_millis(10);
/// How far the clock that the XDP program reads may be from ours (kernel/time/timekeeping.c, `ktime_get_mono_fast_ns`).
const CLOCKS: Duration = Duration::from_millis(1);
/// Windows that are remembered one by one.
const MOST: usize = 64;
/// How long: longer than any probe's deadline.
const KEPT: Duration = Duration::from_secs(120);

/// The windows in which frames were lost, in order.
#[derive(Debug, Default)]
pub(super) struct Losses(VecDeque<(Mono, Mono)>);

impl Losses {
    /// Frames were lost somewhere between two moments.
    pub(super) fn note(&mut self, from: Mono, to: Mono) {
        let (from, to) = (from - CLOCKS, to + CLOCKS);
        while self.0.front().is_some_and(|(_, end)| from.since(*end) > KEPT) {
            self.0.pop_front();
        }
        match self.0.back_mut() {
            Some((_, end)) if from.since(*end) <= JOIN => *end = to,
            _ => self.0.push_back((from, to)),
        }
        if self.0.len() > MOST
            && let (Some((from, _)), Some((_, to))) = (self.0.pop_front(), self.0.pop_front())
        {
            // Rather believe too little than blame a host.
            self.0.push_front((from, to));
        }
    }

    /// Whether any of them lies between two moments.
    pub(super) fn overlap(&self, from: Mono, to: Mono) -> bool {
        self.0.iter().rev().any(|(first, last)| from <= *last && to >= *first)
    }

    /// Whether a probe sent at that moment may be one of those that were lost.
    pub(super) fn cover(&self, sent: Mono) -> bool {
        self.0.iter().rev().any(|(from, to)| (*from..=*to).contains(&sent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Mono {
        Mono::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn probe_of_a_lossy_moment_is_covered_and_its_neighbours_are_not() {
        let mut losses = Losses::default();
        losses.note(at(100), at(101));
        losses.note(at(200), at(201));
        assert!(losses.cover(at(100)) && losses.cover(at(201)));
        assert!(losses.cover(at(99)), "the two clocks differ a little");
        assert!(!losses.cover(at(98)) && !losses.cover(at(150)) && !losses.cover(at(203)));
    }

    #[test]
    fn losses_close_together_are_one_window() {
        let mut losses = Losses::default();
        (0..1000).for_each(|turn| losses.note(at(100 + turn), at(100 + turn)));
        assert_eq!(losses.0.len(), 1);
        assert!(losses.cover(at(555)));
    }

    #[test]
    fn too_many_windows_grow_together_and_none_is_forgotten_before_its_time() {
        let mut losses = Losses::default();
        (0..500).for_each(|turn| losses.note(at(1000 + turn * 100), at(1001 + turn * 100)));
        assert!(losses.0.len() <= MOST);
        assert!((0..500).all(|turn| losses.cover(at(1000 + turn * 100))));
        losses.note(at(1_000_000), at(1_000_000));
        assert_eq!(losses.0.len(), 1, "what is older than any deadline is forgotten");
    }
}
