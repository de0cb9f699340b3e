//! The trail: slots whose probes left, in that order, until it is looked whether they were answered.

use std::collections::VecDeque;

use super::BACKLOG;
use crate::clock::Mono;

/// What left, and how many at a time.
#[derive(Debug, Default)]
pub(super) struct Trail {
    slots: VecDeque<u32>,
    /// When, and how many: in order of time.
    steps: VecDeque<(Mono, usize)>,
}

impl Trail {
    /// Probes of these slots left.
    pub(super) fn left(&mut self, slots: &[u32], now: Mono) {
        self.slots.extend(slots);
        match self.steps.back_mut() {
            Some((at, count)) if *at >= now => *count += slots.len(),
            _ => self.steps.push_back((now, slots.len())),
        }
    }

    /// Hands out, once, what had left by then.
    pub(super) fn look(&mut self, until: Mono, mut due: impl FnMut(&[u32])) {
        let mut count = 0;
        while let Some(&(_, more)) = self.steps.front().filter(|(at, _)| *at <= until) {
            count += more;
            self.steps.pop_front();
        }
        let (first, second) = self.slots.as_slices();
        let within = count.min(first.len());
        due(&first[..within]);
        due(&second[..count - within]);
        self.slots.drain(..count);
    }

    /// Gives back what many at a time took.
    pub(super) fn slim(&mut self) {
        if self.slots.len() < BACKLOG / 2 {
            self.slots.shrink_to(BACKLOG);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_left_is_handed_out_once_in_its_order_and_not_before() {
        let at = |ms: u64| Mono::from_nanos(ms * 1_000_000);
        let mut trail = Trail::default();
        let look = |trail: &mut Trail, until| {
            let mut seen = Vec::new();
            trail.look(at(until), |slots| seen.extend_from_slice(slots));
            seen
        };
        let mut seen = Vec::new();
        for turn in 0..1000u32 {
            let slots: Vec<u32> = (turn * 100..turn * 100 + turn % 100).collect();
            let (first, second) = slots.split_at(slots.len() / 2);
            trail.left(first, at(turn.into()));
            trail.left(second, at(turn.into()));
            if turn >= 10 {
                seen.extend(look(&mut trail, u64::from(turn) - 10));
                assert!(seen.last().is_none_or(|slot| slot / 100 <= turn - 10), "turn {turn}: {:?}", seen.last());
            }
        }
        seen.extend(look(&mut trail, 1000));
        let all: Vec<u32> = (0..1000).flat_map(|turn| turn * 100..turn * 100 + turn % 100).collect();
        assert_eq!(seen, all);
        assert!(look(&mut trail, 2000).is_empty() && trail.steps.is_empty());
        trail.slim();
        assert!(trail.slots.capacity() <= BACKLOG);
    }
}
