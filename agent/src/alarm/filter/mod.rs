//! Filter: of all that turns, what is told. Many that fall silent together are one alarm (`storm`), one that turns again and
//! again is one alarm (`flap`), and whoever is alone with its silence is told at once.
//!
//! Pure: time is an argument, and sizes of groups come from a [`Census`]. Feed it every turn of a verdict, and [`Filter::tick`] some
//! ten times a second while it is not idle; it says what to tell. Blindness of the agent has a stage of its own, [`Sights`].

mod flap;
mod group;
mod settings;
mod sight;
mod storm;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

pub use self::group::{Census, Group, Place, Size};
pub use self::settings::{AgentAlarmConfig, FlapConfig, StormConfig};
pub use self::sight::{Blindness, Seen, Sights};

use self::flap::Flap;
use self::storm::{Down, Fate, Storm};
use crate::clock::Mono;
use crate::unit::Verdict;

/// How an address went down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fall {
    /// When the agent came to the verdict, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// When the first missed probe was sent, likewise.
    pub since_ms: u64,
    /// When it answered last, likewise.
    pub last_reply_ms: Option<u64>,
    /// Misses in a row.
    pub misses: u8,
}

/// A verdict that turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Whose: a number that stands for one address as long as it is not forgotten.
    pub who: u32,
    /// The verdict before.
    pub from: Verdict,
    /// The verdict now.
    pub to: Verdict,
    /// When; and if it is down, how.
    pub fall: Fall,
}

/// What is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// An address is down.
    Down {
        /// Which.
        who: u32,
        /// How.
        fall: Fall,
    },
    /// It answers again. Said also where nothing was told of it since the start: it may have been before.
    Up {
        /// Which.
        who: u32,
        /// When, in milliseconds since the Unix epoch.
        at_ms: u64,
    },
    /// It flaps from now on, and nothing more is told of it until it is stable.
    Flapping {
        /// Which.
        who: u32,
        /// How often it turned.
        changes: u32,
        /// When, in milliseconds since the Unix epoch.
        at_ms: u64,
    },
    /// It is stable. If it is down, that is told next.
    Stable {
        /// Which.
        who: u32,
        /// When, likewise.
        at_ms: u64,
    },
    /// Many fell silent together, and are not told one by one.
    Outage {
        /// What is known of it.
        outbreak: Outbreak,
        /// Whom it stands for so far.
        covered: Vec<u32>,
    },
    /// Few of an outage's addresses are silent any more. Those that are, are told next.
    Over {
        /// Which group.
        group: Group,
        /// Which of its outages.
        wave: u32,
        /// When, likewise.
        at_ms: u64,
    },
}

/// An outage that began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outbreak {
    /// What they have in common.
    pub group: Group,
    /// 1, or more where an earlier outage of the same group still lasts.
    pub wave: u32,
    /// How many are silent.
    pub silent: u32,
    /// Of how many.
    pub watched: u32,
    /// The first of them, at most [`super::NAMED`].
    pub hosts: Vec<u32>,
    /// Who is to hear of it: whoever would have heard of one of those that it stands for when it begins.
    pub routes: Vec<String>,
    /// Since when the first of them is silent, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// When it was found, likewise.
    pub at_ms: u64,
}

/// The stage. See the module.
#[derive(Debug, Default)]
pub struct Filter {
    storm: Storm,
    flap: Flap,
    /// Addresses that flap and are down now, where each of them is.
    quiet: HashMap<u32, (Fall, Place)>,
}

impl Filter {
    /// A filter that knows of nobody.
    pub fn new(storm: StormConfig, flap: FlapConfig) -> Filter {
        Filter { storm: Storm::new(storm), flap: Flap::new(flap), quiet: HashMap::new() }
    }

    /// Takes a turn; what is to be told at once is appended. `place` is asked only of addresses that are, or become, silent.
    pub fn turn(&mut self, turn: Turn, place: impl Fn() -> Place, census: &mut impl Census, now: Mono, told: &mut Vec<Told>) {
        let Turn { who, to, .. } = turn;
        match to {
            Verdict::Suspect => self.storm.suspect(who, place, now),
            Verdict::Down => self.down(turn, place, census, now, told),
            Verdict::Up => self.up(turn, now, told),
            Verdict::Unknown => {
                self.quiet.remove(&who);
                self.storm.unknown(who, place, now);
            }
            Verdict::Pending => self.storm.forget(who),
        }
    }

    fn down(&mut self, turn: Turn, place: impl Fn() -> Place, census: &mut impl Census, now: Mono, told: &mut Vec<Told>) {
        let Turn { who, from, fall, .. } = turn;
        let flapped = self.flap.flaps(who);
        let begins = self.flap.turn(who, true, now);
        let muted = flapped || begins.is_some();
        let down = Down { fall, muted, seen: from != Verdict::Unknown };
        let fate = self.storm.down(who, down, &place, census, now);
        if fate == Fate::Covered {
            self.flap.pardon(who);
        }
        if muted {
            self.quiet.insert(who, (fall, place()));
        }
        told.extend(begins.map(|changes| Told::Flapping { who, changes, at_ms: fall.at_ms }));
        if fate == Fate::Passes && !muted {
            told.push(Told::Down { who, fall });
        }
    }

    fn up(&mut self, turn: Turn, now: Mono, told: &mut Vec<Told>) {
        let Turn { who, fall, .. } = turn;
        let covered = self.storm.is_covered(who);
        self.quiet.remove(&who);
        if self.storm.up(who) {
            told.push(Told::Up { who, at_ms: fall.at_ms });
        }
        if covered && !self.flap.flaps(who) {
            self.flap.note(who, false);
        } else if let Some(changes) = self.flap.turn(who, false, now) {
            told.push(Told::Flapping { who, changes, at_ms: fall.at_ms });
        }
    }

    /// What time brings. `wall_ms` is the wall clock, for what is told.
    pub fn tick(&mut self, census: &mut impl Census, now: Mono, wall_ms: u64, told: &mut Vec<Told>) {
        for who in self.flap.tick(now) {
            told.push(Told::Stable { who, at_ms: wall_ms });
            if let Some((fall, place)) = self.quiet.remove(&who)
                && self.storm.unmute(who, fall, || place, census, now) == Fate::Passes
            {
                told.push(Told::Down { who, fall });
            }
        }
        let from = told.len();
        self.storm.tick(census, now, wall_ms, told);
        for one in &told[from..] {
            if let Told::Outage { covered, .. } = one {
                covered.iter().for_each(|who| self.flap.pardon(*who));
            }
        }
    }

    /// The agent cannot see a network, or can again; the empty name stands for all of them. Meanwhile nothing of it is told.
    pub fn sight(&mut self, network: &str, sees: bool, now: Mono) {
        self.storm.sight(network, sees, now);
    }

    /// The host is gone: nothing is told of it any more.
    pub fn forget(&mut self, who: u32) {
        self.storm.forget(who);
        self.flap.forget(who);
        self.quiet.remove(&who);
    }

    /// An outage that fired before a restart goes on until its members answer; who they are shows by `until`.
    pub fn resume_outage(&mut self, group: Group, wave: u32, watched: u32, routes: Vec<String>, until: Mono) {
        self.storm.resume(group, wave, watched, routes, until);
    }

    /// An address that flapped before a restart is quiet until it shows whether it still does.
    pub fn resume_flapping(&mut self, who: u32, now: Mono) {
        self.flap.resume(who, now);
    }

    /// Whether there is nothing that time could change.
    pub fn is_idle(&self) -> bool {
        self.storm.is_idle() && self.flap.len() == 0
    }

    /// Addresses that are remembered: silent ones, and those that turned lately.
    pub fn len(&self) -> usize {
        self.storm.len().max(self.flap.len())
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
