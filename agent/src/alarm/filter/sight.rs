//! Sight: the networks that the agent cannot see. Several that go blind at once for one reason are one alarm.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Mono;
use crate::unit::Blind;

/// How long networks whose alarm fired before a restart may take to say that they are still blind: the engine finds out at once
/// whether there is a carrier, and within seconds whether anything can be sent.
const RESUMED: Duration = Duration::from_secs(10);

/// What the agent sees, by the names of its networks; the empty name is the agent as a whole.
#[derive(Debug, Default)]
pub struct Sights {
    hold: Duration,
    places: BTreeMap<String, Place>,
    /// Alarms that fire: their networks, and why.
    firing: Vec<Blindness>,
}

#[derive(Debug)]
struct Place {
    blind: Option<Blind>,
    /// When its blindness began. A moment of sight that is too short to end it is a part of it.
    since: Mono,
    since_ms: u64,
    /// What it says counts from then on.
    settled: Mono,
}

/// One alarm about blindness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blindness {
    /// Which networks; none: the agent as a whole.
    pub networks: Vec<String>,
    /// Why.
    pub reason: Blind,
    /// Since when, in milliseconds since the Unix epoch.
    pub since_ms: u64,
}

/// What is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// An alarm begins.
    Blind(Blindness),
    /// It is over.
    Sees(Blindness),
}

impl Sights {
    /// Blindness must last so long, and must be over for so long.
    pub fn new(hold: Duration) -> Sights {
        Sights { hold, ..Sights::default() }
    }

    /// The agent cannot see a network, or can again.
    pub fn sight(&mut self, network: &str, blind: Option<Blind>, at_ms: u64, now: Mono) {
        match self.places.get_mut(network) {
            Some(place) if place.blind.is_some() == blind.is_some() => {
                place.blind = blind;
                place.settled = place.settled.min(now + self.hold);
            }
            Some(place) => {
                // Whoever saw for as long as it takes goes blind anew; else an error of each second would never last.
                if blind.is_some() && place.settled <= now {
                    (place.since, place.since_ms) = (now, at_ms);
                }
                place.blind = blind;
                place.settled = if blind.is_some() { place.since } else { now } + self.hold;
            }
            None if blind.is_none() => {}
            None => drop(self.places.insert(network.to_owned(), Place { blind, since: now, since_ms: at_ms, settled: now + self.hold })),
        }
    }

    /// An alarm that fired before a restart: it ends unless its networks are still blind. Silence ends only when somebody is heard: an
    /// agent that has just started cannot tell a deaf one from a network without answers.
    pub fn resume(&mut self, blindness: Blindness, now: Mono) {
        let blind = (blindness.reason == Blind::Silent).then_some(Blind::Silent);
        for name in names(&blindness) {
            let place = Place { blind, since: now, since_ms: blindness.since_ms, settled: now + RESUMED };
            self.places.entry(name.to_owned()).or_insert(place);
        }
        self.firing.push(blindness);
    }

    /// Whether the agent cannot see a network now.
    pub fn is_blind(&self, network: &str) -> bool {
        [network, ""].into_iter().any(|name| self.places.get(name).is_some_and(|place| place.blind.is_some()))
    }

    /// What there is to tell by now. A network in which nobody is watched is nobody's trouble.
    pub fn tick(&mut self, now: Mono, is_watched: impl Fn(&str) -> bool) -> Vec<Seen> {
        if self.places.is_empty() {
            return vec![];
        }
        let mut told = Vec::new();
        let (places, firing) = (&mut self.places, &mut self.firing);
        firing.retain(|alarm| {
            let sees = |name: &str| places.get(name).is_none_or(|place| place.blind.is_none() && place.settled <= now);
            let over = names(alarm).all(|name| sees(name) || !is_watched(name));
            if over {
                told.push(Seen::Sees(alarm.clone()));
            }
            !over
        });
        let is_told = |name: &str, firing: &[Blindness]| firing.iter().any(|alarm| names(alarm).any(|known| known == name));
        // While the agent as a whole is told, its networks are no cases of their own.
        let is_case = |name: &str, firing: &[Blindness]| !is_told(name, firing) && !is_told("", firing) && is_watched(name);
        while let Some(reason) = places.iter().find_map(|(name, place)| {
            let due = place.settled <= now && is_case(name, firing);
            place.blind.filter(|_| due)
        }) {
            // Whoever went blind for the same reason meanwhile is the same case.
            let is_same = |(name, place): &(&String, &Place)| place.blind == Some(reason) && is_case(name, firing);
            let same: Vec<(&String, &Place)> = places.iter().filter(is_same).collect();
            let whole = same.iter().any(|(name, _)| name.is_empty());
            let since_ms = same.iter().map(|(_, place)| place.since_ms).min().unwrap_or_default();
            let networks = if whole { vec![] } else { same.into_iter().map(|(name, _)| name.clone()).collect() };
            let alarm = Blindness { networks, reason, since_ms };
            firing.push(alarm.clone());
            told.push(Seen::Blind(alarm));
        }
        places.retain(|name, place| place.blind.is_some() || place.settled > now || is_told(name, firing));
        told
    }

    /// Whether there is nothing that time could change.
    pub fn is_idle(&self) -> bool {
        self.places.is_empty()
    }
}

/// The names under which an alarm's networks stand among the places.
fn names(alarm: &Blindness) -> impl Iterator<Item = &str> {
    let whole = alarm.networks.is_empty().then_some("");
    alarm.networks.iter().map(String::as_str).chain(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Sights {
        /// All networks have somebody.
        fn tick_all(&mut self, now: Mono) -> Vec<Seen> {
            self.tick(now, |_| true)
        }
    }

    const HOLD: Duration = Duration::from_secs(3);
    const DOWN: Option<Blind> = Some(Blind::LinkDown);

    fn at(ms: u64) -> Mono {
        Mono::from_nanos((1_000_000 + ms) * 1_000_000)
    }

    fn blindness(networks: &[&str], reason: Blind, since_ms: u64) -> Blindness {
        Blindness { networks: networks.iter().map(|name| (*name).to_owned()).collect(), reason, since_ms }
    }

    #[test]
    fn a_flicker_wakes_nobody_and_what_lasts_is_told_once_and_ends_once() {
        let mut sights = Sights::new(HOLD);
        sights.sight("a", DOWN, 0, at(0));
        sights.sight("a", None, 2_900, at(2_900));
        assert!(sights.tick_all(at(4_000)).is_empty());
        assert!(sights.tick_all(at(6_000)).is_empty() && sights.is_idle(), "and is forgotten");
        sights.sight("a", DOWN, 10_000, at(10_000));
        assert!(sights.tick_all(at(12_999)).is_empty());
        let alarm = blindness(&["a"], Blind::LinkDown, 10_000);
        assert_eq!(sights.tick_all(at(13_000)), [Seen::Blind(alarm.clone())]);
        // Another reason is the same blindness, and a moment of sight is none.
        sights.sight("a", Some(Blind::SendError), 14_000, at(14_000));
        sights.sight("a", None, 15_000, at(15_000));
        sights.sight("a", DOWN, 16_000, at(16_000));
        assert!(sights.tick_all(at(30_000)).is_empty());
        sights.sight("a", None, 40_000, at(40_000));
        assert!(sights.tick_all(at(42_999)).is_empty());
        assert_eq!(sights.tick_all(at(43_000)), [Seen::Sees(alarm)]);
        assert!(sights.is_idle());
    }

    #[test]
    fn blindness_with_moments_of_sight_is_told_as_soon_as_one_without_and_ends_with_a_long_one() {
        // Sight a millisecond before each second's end, as by a send error that is tried again; and a link that flaps.
        for (blind_ms, sight_ms) in [(999, 1), (2_000, 2_000), (100, 2_900)] {
            let mut sights = Sights::new(HOLD);
            let (mut ms, mut told) = (0, vec![]);
            while ms < 60_000 {
                sights.sight("a", DOWN, ms, at(ms));
                told.extend(sights.tick_all(at(ms)));
                sights.sight("a", None, ms + blind_ms, at(ms + blind_ms));
                told.extend(sights.tick_all(at(ms + blind_ms)));
                ms += blind_ms + sight_ms;
                assert!(ms < 3_000 + 4_000 || told.len() == 1, "{told:?}");
            }
            let alarm = blindness(&["a"], Blind::LinkDown, 0);
            assert_eq!(told, [Seen::Blind(alarm.clone())], "{blind_ms} ms of {sight_ms}");
            assert_eq!(sights.tick_all(at(ms + 3_000)), [Seen::Sees(alarm)]);
            assert!(sights.is_idle());
        }
    }

    #[test]
    fn many_networks_that_go_blind_together_are_one_alarm_that_ends_with_the_last() {
        let mut sights = Sights::new(HOLD);
        ["c", "a", "b"].into_iter().zip([0, 500, 1_000]).for_each(|(name, ms)| sights.sight(name, DOWN, ms, at(ms)));
        sights.sight("d", Some(Blind::Silent), 0, at(0));
        let (three, other) = (blindness(&["a", "b", "c"], Blind::LinkDown, 0), blindness(&["d"], Blind::Silent, 0));
        assert_eq!(sights.tick_all(at(3_000)), [Seen::Blind(three.clone()), Seen::Blind(other)]);
        // One more, later, is a case of its own: the first alarm does not name it.
        sights.sight("e", DOWN, 60_000, at(60_000));
        assert_eq!(sights.tick_all(at(63_000)), [Seen::Blind(blindness(&["e"], Blind::LinkDown, 60_000))]);
        ["a", "b"].into_iter().for_each(|name| sights.sight(name, None, 70_000, at(70_000)));
        assert!(sights.tick_all(at(80_000)).is_empty());
        sights.sight("c", None, 80_000, at(80_000));
        assert_eq!(sights.tick_all(at(83_000)), [Seen::Sees(three)]);
    }

    #[test]
    fn an_agent_that_is_overloaded_is_one_alarm_without_its_networks() {
        let mut sights = Sights::new(HOLD);
        sights.sight("", Some(Blind::Overload), 0, at(0));
        ["a", "b"].into_iter().for_each(|name| sights.sight(name, Some(Blind::Overload), 0, at(0)));
        let whole = blindness(&[], Blind::Overload, 0);
        assert_eq!(sights.tick_all(at(3_000)), [Seen::Blind(whole.clone())]);
        assert!(sights.tick_all(at(9_000)).is_empty());
        ["", "a", "b"].into_iter().for_each(|name| sights.sight(name, None, 10_000, at(10_000)));
        assert_eq!(sights.tick_all(at(13_000)), [Seen::Sees(whole)]);
    }

    #[test]
    fn blindness_of_before_a_restart_ends_when_the_agent_sees_and_is_not_told_again_when_it_does_not() {
        let mut sights = Sights::new(HOLD);
        let (a, b) = (blindness(&["a"], Blind::LinkDown, 7), blindness(&["b"], Blind::LinkDown, 8));
        sights.resume(a.clone(), at(0));
        sights.resume(b.clone(), at(0));
        sights.sight("a", DOWN, 500, at(500));
        assert!(sights.tick_all(at(9_999)).is_empty());
        assert_eq!(sights.tick_all(at(10_000)), [Seen::Sees(b)]);
        sights.sight("a", None, 20_000, at(20_000));
        assert_eq!(sights.tick_all(at(23_000)), [Seen::Sees(a)]);
    }

    #[test]
    fn silence_of_before_a_restart_ends_only_when_somebody_is_heard() {
        let mut sights = Sights::new(HOLD);
        let alarm = blindness(&["a", "b"], Blind::Silent, 7);
        sights.resume(alarm.clone(), at(0));
        assert!(sights.tick_all(at(3_600_000)).is_empty() && !sights.is_idle());
        sights.sight("a", None, 3_600_000, at(3_600_000));
        assert!(sights.tick_all(at(3_700_000)).is_empty(), "one of two");
        sights.sight("b", None, 3_700_000, at(3_700_000));
        assert!(sights.tick_all(at(3_702_999)).is_empty());
        assert_eq!(sights.tick_all(at(3_703_000)), [Seen::Sees(alarm)]);
        assert!(sights.is_idle());
    }

    #[test]
    fn a_network_in_which_nobody_is_watched_is_no_alarm_until_somebody_is() {
        let mut sights = Sights::new(HOLD);
        let alarm = blindness(&["a"], Blind::LinkDown, 0);
        sights.sight("a", DOWN, 0, at(0));
        assert!(sights.tick(at(60_000), |_| false).is_empty());
        assert!(sights.is_blind("a") && !sights.is_blind("b"));
        assert_eq!(sights.tick(at(61_000), |_| true), [Seen::Blind(alarm.clone())]);
        // Its last host is deleted.
        assert_eq!(sights.tick(at(62_000), |_| false), [Seen::Sees(alarm.clone())]);
        assert_eq!(sights.tick(at(63_000), |_| true), [Seen::Blind(alarm)]);
    }
}
