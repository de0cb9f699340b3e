//! Flap: an address that goes down and comes back again and again is told once, and then not until it is stable.
//!
//! The rule: it flaps from the moment at which it turned `changes` times between up and down within the last `window`, and is stable again
//! once it turned less than twice within the last `window`. The two thresholds lie apart, so that it cannot flap between flapping and stable.
//!
//! Only addresses that turned within the window are remembered, with their last `changes` turns at most.

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::settings::FlapConfig;
use crate::clock::Mono;

/// Fewer turns than this within the window are stable.
const STABLE: usize = 2;

#[derive(Debug, Default)]
pub(super) struct Flap {
    config: FlapConfig,
    turns: HashMap<u32, Turns>,
    /// When to look at an address again.
    due: BTreeSet<(Mono, u32)>,
}

/// The turns of one address.
#[derive(Debug, Default)]
struct Turns {
    /// Whether it is down; `None`: not known since a restart.
    down: Option<bool>,
    flaps: bool,
    at: VecDeque<Mono>,
    due: Option<Mono>,
}

impl Flap {
    pub(super) fn new(config: FlapConfig) -> Flap {
        Flap { config, ..Flap::default() }
    }

    /// An address went down (or up). `Some`: it flaps from now on, and so often did it turn.
    pub(super) fn turn(&mut self, who: u32, down: bool, now: Mono) -> Option<u32> {
        if self.config.changes == 0 {
            return None;
        }
        // The first that is heard of an address is a turn only where it went down: up is how they all are.
        let turns = match self.turns.get_mut(&who) {
            Some(turns) => turns,
            None if down => self.turns.entry(who).or_default(),
            None => return None,
        };
        if turns.down.replace(down) == Some(down) {
            return None;
        }
        let window = self.config.window;
        turns.at.push_back(now);
        while turns.at.len() > self.config.changes as usize || turns.at.front().is_some_and(|at| now.since(*at) >= window) {
            turns.at.pop_front();
        }
        let begins = !turns.flaps && turns.at.len() >= self.config.changes as usize;
        turns.flaps |= begins;
        let count = turns.at.len() as u32;
        self.look(who);
        begins.then_some(count)
    }

    /// The last turn was not its own: many turned at once.
    pub(super) fn pardon(&mut self, who: u32) {
        let Some(turns) = self.turns.get_mut(&who).filter(|turns| !turns.flaps) else { return };
        turns.at.pop_back();
        self.look(who);
    }

    /// It turned, with many others.
    pub(super) fn note(&mut self, who: u32, down: bool) {
        if let Some(turns) = self.turns.get_mut(&who) {
            turns.down = Some(down);
        }
    }

    pub(super) fn flaps(&self, who: u32) -> bool {
        self.turns.get(&who).is_some_and(|turns| turns.flaps)
    }

    /// It flapped before a restart: it is quiet until a window has shown whether it still does.
    pub(super) fn resume(&mut self, who: u32, now: Mono) {
        self.turns.insert(who, Turns { down: None, flaps: true, at: [now, now].into(), due: None });
        self.look(who);
    }

    /// The host is gone.
    pub(super) fn forget(&mut self, who: u32) {
        if let Some(Turns { due: Some(due), .. }) = self.turns.remove(&who) {
            self.due.remove(&(due, who));
        }
    }

    /// The addresses that are stable again.
    pub(super) fn tick(&mut self, now: Mono) -> Vec<u32> {
        let mut stable = Vec::new();
        while let Some(&(due, who)) = self.due.first().filter(|(due, _)| *due <= now) {
            self.due.remove(&(due, who));
            let Some(turns) = self.turns.get_mut(&who) else { continue };
            turns.due = None;
            while turns.at.front().is_some_and(|at| now.since(*at) >= self.config.window) {
                turns.at.pop_front();
            }
            if turns.flaps && turns.at.len() < STABLE {
                turns.flaps = false;
                stable.push(who);
            }
            self.look(who);
        }
        stable
    }

    pub(super) fn len(&self) -> usize {
        self.turns.len()
    }

    /// Looks at an address again when the turn that matters leaves the window; forgets one of which nothing is left.
    fn look(&mut self, who: u32) {
        let Some(turns) = self.turns.get_mut(&who) else { return };
        let matters = match turns.flaps {
            true => turns.at.iter().rev().nth(STABLE - 1).or(turns.at.front()),
            false => turns.at.back(),
        };
        let due = matters.map(|at| *at + self.config.window);
        if let Some(before) = turns.due.take() {
            self.due.remove(&(before, who));
        }
        match due {
            Some(due) => {
                turns.due = Some(due);
                self.due.insert((due, who));
            }
            None => drop(self.turns.remove(&who)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> Mono {
        Mono::from_nanos((1_000_000 + seconds) * 1_000_000_000)
    }

    #[test]
    fn six_turns_within_ten_minutes_flap_and_five_do_not() {
        let mut flap = Flap::new(FlapConfig::default());
        let begun: Vec<_> = (0..8).map(|turn| flap.turn(1, turn % 2 == 0, at(turn * 100))).collect();
        assert_eq!(begun, [None, None, None, None, None, Some(6), None, None], "told once");
        let slow: Vec<_> = (0..40).map(|turn| flap.turn(2, turn % 2 == 0, at(turn * 121))).collect();
        assert!(slow.iter().all(Option::is_none) && !flap.flaps(2), "five within any ten minutes");
    }

    #[test]
    fn it_is_stable_once_less_than_two_turns_are_left_in_the_window_and_not_before() {
        let mut flap = Flap::new(FlapConfig::default());
        (0..6).for_each(|turn| assert_eq!(flap.turn(1, turn % 2 == 0, at(turn * 10)).is_some(), turn == 5));
        // Turns at 50 and 60: the next to last leaves the window at 650.
        flap.turn(1, true, at(60));
        assert!(flap.tick(at(649)).is_empty() && flap.flaps(1));
        assert_eq!(flap.tick(at(650)), [1]);
        assert!(!flap.flaps(1));
        assert!(flap.tick(at(700)).is_empty());
        assert_eq!((flap.len(), flap.due.len()), (0, 0), "nothing is remembered of who is stable");
    }

    #[test]
    fn one_that_goes_on_flaps_on_and_needs_no_second_alarm() {
        let mut flap = Flap::new(FlapConfig::default());
        let mut begun = 0;
        for turn in 0..200 {
            begun += u32::from(flap.turn(1, turn % 2 == 0, at(turn * 250)).is_some() as u8);
            assert!(flap.tick(at(turn * 250)).is_empty());
        }
        assert_eq!(begun, 0, "a turn every 250 s is three in ten minutes");
        for turn in 0..200 {
            begun += u32::from(flap.turn(1, turn % 2 == 0, at(60_000 + turn * 50)).is_some() as u8);
            assert!(flap.tick(at(60_000 + turn * 50)).is_empty());
        }
        for turn in 0..200 {
            begun += u32::from(flap.turn(1, turn % 2 == 0, at(70_000 + turn * 250)).is_some() as u8);
            assert!(flap.tick(at(70_000 + turn * 250)).is_empty(), "between the thresholds it stays as it is");
        }
        assert_eq!(begun, 1);
        assert!(flap.turns[&1].at.len() <= 6);
    }

    #[test]
    fn the_same_verdict_again_and_turns_with_many_others_do_not_count() {
        let mut flap = Flap::new(FlapConfig::default());
        (0..20).for_each(|turn| assert_eq!(flap.turn(1, true, at(turn)), None));
        assert_eq!(flap.turns[&1].at.len(), 1);
        flap.turn(2, false, at(0));
        assert_eq!(flap.turns.get(&2).map(|turns| turns.at.len()), None, "up for the first time is no turn");
        for round in 0..20 {
            assert_eq!(flap.turn(3, true, at(round)), None);
            flap.pardon(3);
            flap.note(3, false);
        }
        assert!(!flap.flaps(3));
    }

    #[test]
    fn who_flapped_before_a_restart_is_quiet_for_a_window_and_then_stable_or_not() {
        let mut flap = Flap::new(FlapConfig { changes: 6, window: Duration::from_secs(600) });
        flap.resume(1, at(0));
        flap.resume(2, at(0));
        assert!(flap.flaps(1) && flap.tick(at(599)).is_empty());
        flap.turn(2, true, at(300));
        flap.turn(2, false, at(400));
        assert_eq!(flap.tick(at(600)), [1]);
        assert!(flap.flaps(2));
        assert_eq!(flap.tick(at(900)), [2]);
    }

    #[test]
    fn a_host_that_is_gone_leaves_nothing_behind() {
        let mut flap = Flap::new(FlapConfig::default());
        (0..6).for_each(|turn| assert_eq!(flap.turn(1, turn % 2 == 0, at(turn)).is_some(), turn == 5));
        flap.forget(1);
        assert_eq!((flap.len(), flap.due.len()), (0, 0));
    }
}
