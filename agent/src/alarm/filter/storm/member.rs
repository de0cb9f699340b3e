//! What is held of one silent address.

use std::sync::Arc;
use std::time::Duration;

use super::super::Fall;
use super::super::settings::StormConfig;
use crate::clock::Mono;
use crate::policy::Policy;

/// No group.
pub(super) const NONE: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct Member {
    /// Numbers of its groups, the widest first.
    pub(super) groups: [u32; 3],
    /// Its place in the list of each.
    pub(super) places: [u32; 3],
    pub(super) policy: Arc<Policy>,
    pub(super) state: Silence,
    /// Until when its fall counts as one of those of now.
    pub(super) fresh: Option<Mono>,
    /// Until when its alarm waits at most.
    pub(super) held: Option<Mono>,
    /// Its own alarm was told, or must not be.
    pub(super) told: bool,
    /// Its own alarm may fire, of now or of before the agent went blind: then its end is to be told.
    pub(super) fires: bool,
    /// The outage that tells of it.
    pub(super) outage: Option<u32>,
    pub(super) fall: Fall,
}

/// How an address is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// It missed a probe.
    Suspect,
    /// It is down.
    Down,
    /// It was down when the agent went blind.
    Frozen,
}

impl Member {
    /// Whether it counts as silent, and whether as fallen.
    pub(super) fn counts(&self) -> (bool, bool) {
        let fallen = self.state == Silence::Down && self.fresh.is_some();
        (fallen || self.state == Silence::Suspect, fallen)
    }

    /// Whether there is no more reason to remember it.
    pub(super) fn is_spent(&self) -> bool {
        self.state != Silence::Suspect && self.fresh.is_none() && self.held.is_none() && self.outage.is_none()
    }

    /// How long its fall counts. Where probes are rare, those that fall together are noticed one interval after the other.
    pub(super) fn linger(&self, config: &StormConfig) -> Duration {
        config.window.max(self.policy.detection_bound())
    }

    /// How long its alarm may wait: likewise, for where probes are rare a share of all is noticed only in that share of the interval.
    pub(super) fn patience(&self, config: &StormConfig) -> Duration {
        config.hold.max(self.policy.interval / 2)
    }
}
