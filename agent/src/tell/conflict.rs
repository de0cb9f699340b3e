//! Conflicts: how many of them are alarms of their own, and those of before a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use crate::alarm::StormConfig;
use crate::clock::Mono;

/// A conflict is over when nobody saw it for so long, or for three rounds of the census where these take longer.
const HOLD: Duration = Duration::from_secs(300);
/// So many rounds.
const ROUNDS: u32 = 3;

/// What was told of conflicts.
pub(super) struct Conflicts {
    /// After a restart a conflict that is not seen again for so long is over.
    hold: Duration,
    /// One station that answers for everybody is no thousand alarms: so many of one network fire at once.
    most: usize,
    /// Whose alarms fire, by network.
    firing: BTreeMap<Arc<str>, BTreeSet<u32>>,
    /// Networks of which it was said that there are more.
    swamped: BTreeSet<Arc<str>>,
    /// Those of before the start, by slot, and until when they must be seen again.
    resumed: BTreeMap<u32, Mono>,
}

impl Conflicts {
    /// `census`: the longest period in which everybody is asked for each address.
    pub(super) fn new(storm: &StormConfig, census: Option<Duration>) -> Conflicts {
        let most = if storm.share >= 1.0 { usize::MAX } else { storm.at_least as usize };
        let hold = census.map_or(HOLD, |period| HOLD.max(ROUNDS * period));
        let (firing, swamped, resumed) = Default::default();
        Conflicts { hold, most, firing, swamped, resumed }
    }

    /// One began. Whether it is told.
    pub(super) fn begin(&mut self, network: &Arc<str>, slot: u32) -> bool {
        let firing = self.firing.entry(network.clone()).or_default();
        let told = firing.len() < self.most && firing.insert(slot) || firing.contains(&slot);
        if !told && self.swamped.insert(network.clone()) {
            warn!(target: "alarm", %network, firing = firing.len(), "another MAC answers for many addresses of this network: further ones are no alarms of their own; see `rollcall hosts --condition conflict`; a router that answers for others (proxy ARP) does that");
        }
        told
    }

    /// One is over. Whether it had been told.
    pub(super) fn end(&mut self, network: &Arc<str>, slot: u32) -> bool {
        let Some(firing) = self.firing.get_mut(network) else { return false };
        let told = firing.remove(&slot);
        if firing.is_empty() {
            self.firing.remove(network);
            if self.swamped.remove(network) {
                info!(target: "alarm", %network, "conflicts are alarms of their own again");
            }
        }
        told
    }

    /// Its address is no longer watched.
    pub(super) fn forget(&mut self, slot: u32) {
        self.resumed.remove(&slot);
        let of: Vec<Arc<str>> =
            self.firing.iter().filter(|(_, firing)| firing.contains(&slot)).map(|(network, _)| network.clone()).collect();
        for network in of {
            self.end(&network, slot);
        }
    }

    /// One fired before the start.
    pub(super) fn resume(&mut self, network: &Arc<str>, slot: u32, now: Mono) {
        self.firing.entry(network.clone()).or_default().insert(slot);
        self.resumed.insert(slot, now + self.hold);
    }

    /// One was seen again, or is said to be over. Whether it is one of before the start.
    pub(super) fn seen(&mut self, slot: u32) -> bool {
        self.resumed.remove(&slot).is_some()
    }

    /// Whether none of before the start is left.
    pub(super) fn is_idle(&self) -> bool {
        self.resumed.is_empty()
    }

    /// Those of before the start that nobody saw in time. Time in which their network cannot be seen does not count.
    pub(super) fn over(&mut self, now: Mono, is_blind: impl Fn(u32) -> bool) -> Vec<u32> {
        let mut over = Vec::new();
        for (slot, until) in &mut self.resumed {
            if is_blind(*slot) {
                *until = now + self.hold;
            } else if *until <= now {
                over.push(*slot);
            }
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Mono {
        Mono::from_nanos((1_000_000 + seconds) * 1_000_000_000)
    }

    #[test]
    fn a_station_that_answers_for_everybody_is_as_many_alarms_as_a_storm_needs_and_no_more() {
        let mut conflicts = Conflicts::new(&StormConfig::default(), None);
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let most = StormConfig::default().at_least;
        let told = (0..1_000).filter(|slot| conflicts.begin(&a, *slot)).count();
        assert_eq!(told, most as usize);
        assert!(conflicts.begin(&a, 0), "one that fires may say more");
        assert!(conflicts.begin(&b, 2_000), "another network is another case");
        assert_eq!((0..1_000).filter(|slot| conflicts.end(&a, *slot)).count(), told, "only what was told ends");
        assert!(conflicts.begin(&a, 999), "and it is over");
        conflicts.forget(999);
        assert!(!conflicts.end(&a, 999));
        // Whoever wants no storms held back gets all.
        let mut all = Conflicts::new(&StormConfig { share: 1.0, ..StormConfig::default() }, None);
        assert!((0..1_000).all(|slot| all.begin(&a, slot)));
    }

    #[test]
    fn a_conflict_of_before_a_restart_lasts_as_long_as_the_census_may_take_and_while_nobody_can_look() {
        let a: Arc<str> = "a".into();
        for (census, hold) in [(None, 300), (Some(Duration::from_secs(10)), 300), (Some(Duration::from_secs(3_600)), 10_800)] {
            let mut conflicts = Conflicts::new(&StormConfig::default(), census);
            conflicts.resume(&a, 7, at(0));
            assert!(conflicts.over(at(hold - 1), |_| false).is_empty());
            assert_eq!(conflicts.over(at(hold), |_| false), [7]);
            assert!(conflicts.over(at(hold), |slot| slot == 7).is_empty(), "blind");
            assert!(conflicts.over(at(2 * hold - 1), |_| false).is_empty());
            assert_eq!(conflicts.over(at(2 * hold), |_| false), [7]);
            assert!(conflicts.seen(7) && !conflicts.seen(7) && conflicts.is_idle());
            assert!(conflicts.end(&a, 7), "its end is told");
        }
    }
}
