//! The pure core: which addresses have an alarm that fires, and what a change does to that.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use super::change::{Change, Key};
use super::matter::What;
use super::notice::{Alarm, representable};

/// The alarms that fire, one of each kind for each address at most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alarms {
    firing: BTreeMap<Key, Arc<Alarm>>,
}

/// What a change did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing: the change said what was known.
    Nothing,
    /// A new alarm.
    Fired(Arc<Alarm>),
    /// The alarm ended because the address answers again.
    Resolved {
        /// Which alarm.
        alarm: Arc<Alarm>,
        /// When; never before it began.
        at: SystemTime,
    },
    /// Nothing is to be said of the address any more, whether its alarm fired or not.
    Forgotten {
        /// Which address.
        key: Key,
        /// Whether any alarm was dropped.
        fired: bool,
        /// When.
        at: SystemTime,
    },
}

impl Alarms {
    /// Takes one change. Idempotent by key: a second `Down` of a firing address and an `Up` of one that is not
    /// firing do nothing. Times after `now` count as `now`: they come from a clock that was set back meanwhile.
    pub fn apply(&mut self, change: Change, now: SystemTime) -> Effect {
        let now = representable(now);
        match change {
            Change::Down(mut down) => {
                let key = down.subject.key();
                if self.firing.contains_key(&key) {
                    return Effect::Nothing;
                }
                down.at = down.at.min(now);
                down.since = down.since.min(down.at);
                let alarm = Arc::new(Alarm::from(down));
                self.fire(alarm.clone());
                Effect::Fired(alarm)
            }
            Change::Up { key, at } => match self.firing.remove(&key) {
                Some(alarm) => Effect::Resolved { at: representable(at).min(now).max(alarm.at), alarm },
                None => Effect::Nothing,
            },
            Change::Forgotten { key, at } => {
                let fired = of_address(&key).filter(|key| self.firing.remove(key).is_some()).count() > 0;
                Effect::Forgotten { at: representable(at).min(now), key, fired }
            }
        }
    }

    /// The alarms that fire, by (network, address).
    pub fn firing(&self) -> impl ExactSizeIterator<Item = (&Key, &Arc<Alarm>)> {
        self.firing.iter()
    }

    /// The alarm of this address, if one fires.
    pub fn of(&self, key: &Key) -> Option<&Arc<Alarm>> {
        self.firing.get(key)
    }

    /// Takes an alarm as it was journaled.
    pub(super) fn fire(&mut self, alarm: Arc<Alarm>) {
        self.firing.insert(alarm.subject.key(), alarm);
    }

    /// Takes an end as it was journaled.
    pub(super) fn end(&mut self, key: &Key) {
        self.firing.remove(key);
    }
}

/// All keys that a forgotten one stands for.
pub(super) fn of_address(key: &Key) -> impl Iterator<Item = Key> + '_ {
    What::OF_ADDRESS.into_iter().filter(|_| key.what.is_of_address()).map(|what| key.with(what))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::alarm::sample;

    #[test]
    fn a_second_down_and_a_second_up_do_nothing() {
        let mut alarms = Alarms::default();
        let now = sample::at(5_000);
        let Effect::Fired(alarm) = alarms.apply(Change::Down(sample::down("10.0.0.1", 1_000)), now) else { panic!() };
        assert_eq!(alarms.apply(Change::Down(sample::down("10.0.0.1", 1_010)), now), Effect::Nothing);
        assert_eq!(alarms.firing().len(), 1);
        let up = Change::Up { key: sample::key("10.0.0.1"), at: sample::at(1_020) };
        assert_eq!(alarms.apply(up.clone(), now), Effect::Resolved { alarm, at: sample::at(1_020) });
        assert_eq!(alarms.apply(up, now), Effect::Nothing);
        assert_eq!(alarms.firing().len(), 0);
    }

    #[test]
    fn the_same_address_in_two_networks_is_two_alarms() {
        let mut alarms = Alarms::default();
        let other = sample::down_in("net-b", "10.0.0.1", 1_000);
        alarms.apply(Change::Down(sample::down("10.0.0.1", 1_000)), sample::at(5_000));
        assert!(matches!(alarms.apply(Change::Down(other), sample::at(5_000)), Effect::Fired(_)));
        assert_eq!(alarms.firing().len(), 2);
    }

    #[test]
    fn an_address_without_routes_fires_all_the_same() {
        let mut alarms = Alarms::default();
        let mut down = sample::down("10.0.0.1", 1_000);
        Arc::make_mut(&mut down.subject).routes.clear();
        alarms.apply(Change::Down(down), sample::at(5_000));
        assert!(alarms.of(&sample::key("10.0.0.1")).is_some());
    }

    #[test]
    fn an_alarm_never_ends_before_it_began_even_when_the_clock_was_set_back() {
        let mut alarms = Alarms::default();
        alarms.apply(Change::Down(sample::down("10.0.0.1", 1_000)), sample::at(1_000));
        let effect = alarms.apply(Change::Up { key: sample::key("10.0.0.1"), at: sample::at(400) }, sample::at(500));
        assert!(matches!(effect, Effect::Resolved { at, .. } if at == sample::at(1_000)), "{effect:?}");
        let Effect::Fired(alarm) = alarms.apply(Change::Down(sample::down("10.0.0.1", 9_000)), sample::at(600)) else { panic!() };
        assert_eq!(alarm.at, sample::at(600));
        assert!(alarm.since <= alarm.at && alarm.since > alarm.at - Duration::from_secs(5));
    }
}
