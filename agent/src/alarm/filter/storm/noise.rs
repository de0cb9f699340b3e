//! How loud a group is: who of it is silent, how many fell silent lately, and whether that is more than chance.

use std::time::Duration;

use super::super::group::{Census, Group, Size};
use super::super::settings::StormConfig;
use crate::clock::Mono;

/// What is held of a group in which somebody is silent.
#[derive(Debug)]
pub(super) struct Noise {
    pub(super) group: Group,
    /// Who of it is silent, or waits for something: the numbers of members, in no order.
    pub(super) members: Vec<u32>,
    /// Of these, suspects and those that fell within the window, as far as they belong to no other group's outage.
    pub(super) silent: u32,
    /// Of these, those that are down.
    pub(super) fallen: u32,
    /// Of these, those of which no outage tells.
    pub(super) alone: u32,
    /// How many these were at the last look, and since when they are no more.
    grown: (u32, Mono),
    /// Outages of it that fire.
    pub(super) outages: u32,
    /// Those of them that take in whoever falls now.
    pub(super) raging: Vec<u32>,
    /// It is a network that the agent cannot see: nothing of it is told.
    pub(super) blind: bool,
    size: Option<(u64, Option<Size>)>,
    /// New silences of the present second and of the one before, and when the present one began.
    new: [u32; 2],
    second: Mono,
}

const SECOND: Duration = Duration::from_secs(1);
/// So short a time says nothing of a rate: neighbours are probed together.
const MOMENT: f64 = 0.1;
/// A part of what makes an outage already smells of one.
const PART: f64 = 0.25;

impl Noise {
    pub(super) fn of(group: Group, blind: bool) -> Noise {
        let (members, silent, fallen, alone, grown) = Default::default();
        let (outages, raging, size, new, second) = Default::default();
        Noise { group, members, silent, fallen, alone, grown, outages, raging, blind, size, new, second }
    }

    /// Somebody fell silent.
    pub(super) fn hear(&mut self, now: Mono) {
        self.roll(now);
        self.new[0] += 1;
    }

    fn roll(&mut self, now: Mono) {
        if now.since(self.second) >= 2 * SECOND {
            (self.new, self.second) = ([0, 0], now);
        } else if now.since(self.second) >= SECOND {
            (self.new, self.second) = ([0, self.new[0]], self.second + SECOND);
        }
    }

    /// Its size; asked anew only when it may have changed.
    pub(super) fn size(&mut self, census: &mut impl Census) -> Option<Size> {
        let epoch = census.epoch();
        match self.size {
            Some((known, size)) if known == epoch => size,
            _ => {
                let size = census.size(&self.group);
                self.size = Some((epoch, size));
                size
            }
        }
    }

    /// Whether so many of it are silent that an outage may be coming: a quarter of what makes one, of all its members or of those
    /// that were probed in the last seconds. A group whose size is not known yet may be small.
    pub(super) fn smells(&mut self, config: &StormConfig, census: &mut impl Census, now: Mono) -> bool {
        let least = floor(config);
        if self.silent < least {
            return false;
        }
        let Some(size) = self.size(census) else { return true };
        if size.members < config.at_least || config.share >= 1.0 {
            return false;
        }
        let loud = |silent: u32, of: f64| f64::from(silent) >= f64::from(least).max(of * config.share * PART);
        if loud(self.silent, f64::from(size.members)) {
            return true;
        }
        self.roll(now);
        let before = if self.new[1] > 0 { 1.0 } else { 0.0 };
        let elapsed = (now.since(self.second).as_secs_f64() + before).max(MOMENT);
        loud(self.new[0] + self.new[1], f64::from(size.members).min(size.per_second * elapsed))
    }

    /// Whether so many of it are down that it is an outage; or another one, where those that rage stand for others alone.
    pub(super) fn breaks(&mut self, config: &StormConfig, census: &mut impl Census) -> bool {
        if self.alone < config.at_least || self.blind {
            return false;
        }
        let (fallen, share) = (f64::from(self.fallen), config.share);
        self.size(census).is_some_and(|size| fallen > share * f64::from(size.members))
    }

    /// It is no outage, or became one: the next begins to grow from nothing.
    pub(super) fn settle(&mut self) {
        self.grown.0 = 0;
    }

    /// Whether it has stopped growing: who an outage is about, and how many they are, is said once.
    pub(super) fn stands(&mut self, now: Mono) -> bool {
        if self.alone > self.grown.0 {
            self.grown = (self.alone, now);
        }
        now.since(self.grown.1) >= SECOND
    }

    /// Whether nothing of it is worth keeping.
    pub(super) fn is_quiet(&self) -> bool {
        self.members.is_empty() && self.outages == 0
    }
}

/// Fewer than so many silent ones are never more than chance.
pub(super) fn floor(config: &StormConfig) -> u32 {
    (config.at_least / 4).max(1)
}
