//! An outage that fires, and when it is over.

use std::time::Duration;

use crate::clock::Mono;
use crate::policy::Policy;

/// An outage that fires.
#[derive(Debug)]
pub(super) struct Outage {
    pub(super) group: u32,
    pub(super) wave: u32,
    /// Addresses of its group when it began.
    pub(super) watched: u32,
    pub(super) routes: Vec<String>,
    /// Members that it tells of.
    pub(super) left: u32,
    /// After a restart: who of its members still is silent shows until then.
    pub(super) settles: Option<Mono>,
    /// Since when so few are silent that it may be over. Those that come back do so one interval after the other.
    pub(super) calm: Option<Mono>,
    /// How long that must last while anybody is silent.
    pub(super) patience: Duration,
}

impl Outage {
    /// Whether all who would hear of an address of this policy heard of the outage.
    pub(super) fn covers(&self, policy: &Policy) -> bool {
        policy.alarm.iter().all(|route| self.routes.contains(route))
    }

    /// Whether so few of those that it began with are left that it is over. Hosts that come to the group or leave it do not end it.
    pub(super) fn is_calm(&self, share: f64) -> bool {
        self.left == 0 || f64::from(self.left) < share / 2.0 * f64::from(self.watched)
    }
}
