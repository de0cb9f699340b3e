//! Which MACs the agent must learn itself, and when it asks: gateways, and addresses whose MAC no list gives. Pure.
//!
//! A question goes out by broadcast, at most [`BROADCASTS_PER_SECOND`] for each network, and again with growing
//! pauses until it is answered. A gateway that is known is asked again by unicast from time to time, and at once when
//! somebody behind it seems silent: when the gateway itself is silent, what lies behind it is unknown, not down.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use crate::clock::Mono;
use crate::unit::{Family, Mac};

/// Broadcasts that one network bears each second.
pub const BROADCASTS_PER_SECOND: u32 = 100;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A gateway that is gone is asked for more often: much depends on it.
const LONGEST_GATEWAY_PAUSE: Duration = Duration::from_secs(2);
/// Between two checks of a known gateway.
const CHECK: Duration = Duration::from_secs(2);
/// Between two checks when the last one has no answer yet.
const CHECK_FAST: Duration = Duration::from_millis(100);
/// Checks in a row without an answer after which the gateway counts as gone.
const CHECKS_MISSED: u8 = 3;

/// Who needs an address resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// The network itself: it is its gateway of that family.
    Gateway(Family),
    /// The network itself: it is the canary of that number, whose answers show that the agent hears.
    Canary(u8),
    /// The address of a slot.
    Slot(u32),
}

#[derive(Debug)]
struct Question {
    slot: Option<u32>,
    /// Asked for by the network itself, which gateway or canary it is.
    steady: Option<Asker>,
    mac: Option<Mac>,
    pause: Duration,
    unanswered: u8,
    /// When to ask next; entries of the queue with another time are outdated.
    due: Mono,
}

/// A question to put on the wire: to that MAC, or to everybody.
pub type Ask = (IpAddr, Option<Mac>);

/// What an answer or a silence changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The MAC of the asker's address is now known, or another one than before.
    Mac(Asker, Mac),
    /// That gateway or canary no longer answers.
    Lost(Asker),
}

/// The open questions of one network.
#[derive(Debug, Default)]
pub struct Resolver {
    questions: HashMap<IpAddr, Question>,
    /// When to ask for slots (again), the earliest first.
    queue: BinaryHeap<Reverse<(Mono, IpAddr)>>,
    /// Gateways and canaries. Asked for before all others, and outside the limit: all that lies behind them depends on them.
    steady: Vec<IpAddr>,
    last_broadcast: Mono,
    /// Questions without an answer.
    open: usize,
}

impl Resolver {
    /// Begins to ask for an address.
    pub fn want(&mut self, address: IpAddr, asker: Asker, now: Mono) {
        let question = self.questions.entry(address).or_insert_with(|| {
            self.open += 1;
            self.queue.push(Reverse((now, address)));
            Question { slot: None, steady: None, mac: None, pause: FIRST_PAUSE, unanswered: 0, due: now }
        });
        match asker {
            Asker::Gateway(_) | Asker::Canary(_) => {
                // An address that is both is the gateway.
                if !matches!(question.steady, Some(Asker::Gateway(_))) {
                    question.steady = Some(asker);
                }
                if !self.steady.contains(&address) {
                    self.steady.push(address);
                }
            }
            Asker::Slot(slot) => question.slot = Some(slot),
        }
    }

    /// Asks for the address of a slot again after the longest pause: what was answered changed nothing.
    pub fn again(&mut self, address: IpAddr, slot: u32, now: Mono) {
        self.want(address, Asker::Slot(slot), now);
        if let Some(question) = self.questions.get_mut(&address).filter(|question| question.steady.is_none()) {
            (question.due, question.pause) = (now + LONGEST_PAUSE, LONGEST_PAUSE);
            self.queue.push(Reverse((question.due, address)));
        }
    }

    /// Stops asking for the address of a slot.
    pub fn forget(&mut self, address: IpAddr, slot: u32) {
        let Some(question) = self.questions.get_mut(&address).filter(|question| question.slot == Some(slot)) else { return };
        question.slot = None;
        if question.steady.is_none() {
            self.open -= usize::from(question.mac.is_none());
            self.questions.remove(&address);
        }
    }

    /// Asks for a gateway or canary no more.
    pub fn release(&mut self, address: IpAddr) {
        self.steady.retain(|steady| *steady != address);
        let Some(question) = self.questions.get_mut(&address) else { return };
        question.steady = None;
        if question.slot.is_none() {
            self.open -= usize::from(question.mac.is_none());
            self.questions.remove(&address);
        }
    }

    /// Addresses that are asked for and not known.
    pub fn open(&self) -> usize {
        self.open
    }

    /// What to ask now, and what silence has shown.
    pub fn advance(&mut self, now: Mono, asks: &mut Vec<Ask>) -> Vec<Found> {
        let lost = (0..self.steady.len()).filter_map(|at| self.ask_steady(self.steady[at], now, asks)).collect();
        let spacing = Duration::from_secs(1) / BROADCASTS_PER_SECOND;
        while let Some(&Reverse((at, address))) = self.queue.peek() {
            if at > now {
                break;
            }
            let Some(question) = self.questions.get_mut(&address).filter(|question| question.due == at && question.steady.is_none()) else {
                self.queue.pop();
                continue;
            };
            if now.since(self.last_broadcast) < spacing && self.last_broadcast != Mono::default() {
                break;
            }
            self.queue.pop();
            // From when it was due: turns that come a little early or late must not add up.
            self.last_broadcast = if now.since(self.last_broadcast) < 3 * spacing { self.last_broadcast + spacing } else { now };
            asks.push((address, None));
            question.due = now + question.pause;
            question.pause = (question.pause * 2).min(LONGEST_PAUSE);
            self.queue.push(Reverse((question.due, address)));
        }
        lost
    }

    fn ask_steady(&mut self, address: IpAddr, now: Mono, asks: &mut Vec<Ask>) -> Option<Found> {
        let question = self.questions.get_mut(&address).filter(|question| question.due <= now)?;
        let mut lost = None;
        if question.mac.is_some() {
            question.unanswered += 1;
            if question.unanswered > CHECKS_MISSED {
                (question.mac, question.pause) = (None, FIRST_PAUSE);
                self.open += 1;
                lost = question.steady.map(Found::Lost);
            }
        }
        asks.push((address, question.mac));
        if question.mac.is_some() {
            question.due = now + CHECK_FAST;
        } else {
            question.due = now + question.pause;
            question.pause = (question.pause * 2).min(LONGEST_GATEWAY_PAUSE);
        }
        lost
    }

    /// Checks a known gateway or canary at once rather than after its pause, unless a check is under way.
    pub fn check(&mut self, address: IpAddr, now: Mono) {
        if let Some(question) = self.questions.get_mut(&address).filter(|question| question.mac.is_some() && question.unanswered == 0) {
            question.due = question.due.min(now);
        }
    }

    /// Takes an answer from the wire; one that nobody asked for changes nothing.
    pub fn answered(&mut self, address: IpAddr, mac: Mac, now: Mono) -> Vec<Found> {
        let Some(question) = self.questions.get_mut(&address) else { return vec![] };
        // A known gateway is only believed by the MAC it had: another one must first win a fresh broadcast.
        if question.mac.is_some_and(|known| known != mac) {
            return vec![];
        }
        let news = question.mac.is_none();
        self.open -= usize::from(news);
        let slot = question.slot.take().map(|slot| Found::Mac(Asker::Slot(slot), mac));
        let Some(steady) = question.steady else {
            self.questions.remove(&address);
            return slot.into_iter().collect();
        };
        (question.mac, question.unanswered, question.due) = (Some(mac), 0, now + CHECK);
        let steady = news.then_some(Found::Mac(steady, mac));
        steady.into_iter().chain(slot).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const START: Mono = Mono::from_nanos(5_000_000_000);
    const GATEWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
    const ROUTER: Asker = Asker::Gateway(Family::V4);
    const MAC: Mac = Mac([2, 0, 0, 0, 0, 2]);

    fn v4(bits: u32) -> IpAddr {
        Ipv4Addr::from(bits).into()
    }

    fn asks(resolver: &mut Resolver, now: Mono) -> (Vec<Ask>, Vec<Found>) {
        let mut asks = Vec::new();
        let found = resolver.advance(now, &mut asks);
        (asks, found)
    }

    #[test]
    fn gateway_is_found_by_broadcast_then_checked_by_unicast_then_lost() {
        let mut resolver = Resolver::default();
        resolver.want(GATEWAY, ROUTER, START);
        assert_eq!(asks(&mut resolver, START).0, [(GATEWAY, None)]);
        assert_eq!(resolver.answered(GATEWAY, MAC, START), [Found::Mac(ROUTER, MAC)]);
        assert_eq!(resolver.answered(GATEWAY, Mac([2, 0, 0, 0, 0, 66]), START), [], "a second MAC is not believed");
        let mut now = START + CHECK;
        for _ in 0..3 {
            assert_eq!(asks(&mut resolver, now), (vec![(GATEWAY, Some(MAC))], vec![]));
            assert_eq!(resolver.answered(GATEWAY, MAC, now), [], "known already, and it answers: nothing new");
            assert_eq!(asks(&mut resolver, now + CHECK / 2), (vec![], vec![]));
            now = now + CHECK;
        }
        for _ in 0..3 {
            assert_eq!(asks(&mut resolver, now), (vec![(GATEWAY, Some(MAC))], vec![]));
            now = now + CHECK_FAST;
        }
        assert_eq!(asks(&mut resolver, now), (vec![(GATEWAY, None)], vec![Found::Lost(Asker::Gateway(Family::V4))]));
        assert_eq!(resolver.open(), 1);
        assert_eq!(resolver.answered(GATEWAY, MAC, now), [Found::Mac(ROUTER, MAC)]);
        assert_eq!(resolver.open(), 0);
    }

    #[test]
    fn check_on_demand_comes_at_once_and_only_once_however_often_it_is_wanted() {
        let mut resolver = Resolver::default();
        resolver.want(GATEWAY, ROUTER, START);
        asks(&mut resolver, START);
        resolver.check(GATEWAY, START);
        assert_eq!(asks(&mut resolver, START).0, [], "nobody is known yet that could be checked");
        resolver.answered(GATEWAY, MAC, START);
        let now = START + Duration::from_millis(10);
        (0..5).for_each(|_| resolver.check(GATEWAY, now));
        assert_eq!(asks(&mut resolver, now).0, [(GATEWAY, Some(MAC))]);
        resolver.check(GATEWAY, now);
        assert_eq!(asks(&mut resolver, now).0, [], "one is under way");
        resolver.answered(GATEWAY, MAC, now);
        let count: usize = (1..=2000).map(|ms| asks(&mut resolver, now + Duration::from_millis(ms)).0.len()).sum();
        assert_eq!(count, 1, "back to its pause");
    }

    #[test]
    fn gateway_is_checked_in_time_among_ten_thousand_open_questions() {
        let mut resolver = Resolver::default();
        (0..10_000u32).for_each(|i| resolver.want(v4(0x0a01_0000 + i), Asker::Slot(i), START));
        resolver.want(GATEWAY, ROUTER, START);
        assert_eq!(asks(&mut resolver, START).0[0], (GATEWAY, None));
        resolver.answered(GATEWAY, MAC, START);
        let now = START + Duration::from_secs(20);
        resolver.check(GATEWAY, now);
        assert!(asks(&mut resolver, now).0.contains(&(GATEWAY, Some(MAC))));
        assert_eq!(resolver.open(), 10_000);
    }

    #[test]
    fn slot_with_the_gateways_address_learns_its_mac_too() {
        let mut resolver = Resolver::default();
        resolver.want(GATEWAY, ROUTER, START);
        resolver.want(GATEWAY, Asker::Slot(3), START);
        let found = resolver.answered(GATEWAY, MAC, START);
        assert_eq!(found, [Found::Mac(ROUTER, MAC), Found::Mac(Asker::Slot(3), MAC)]);
        resolver.want(GATEWAY, Asker::Slot(4), START);
        assert_eq!(resolver.answered(GATEWAY, MAC, START), [Found::Mac(Asker::Slot(4), MAC)], "with its next check");
    }

    #[test]
    fn broadcasts_are_rate_limited_and_pauses_grow() {
        let mut resolver = Resolver::default();
        for i in 0..1000u32 {
            resolver.want(v4(0x0a00_0100 + i), Asker::Slot(i), START);
        }
        let count: usize = (0..10_000).map(|ms| asks(&mut resolver, START + Duration::from_millis(ms)).0.len()).sum();
        assert!((990..=1001).contains(&count), "{count} broadcasts in ten seconds");
        let mut one = Resolver::default();
        one.want(GATEWAY, Asker::Slot(1), START);
        let count: usize = (0..60_000).map(|ms| asks(&mut one, START + Duration::from_millis(ms)).0.len()).sum();
        assert_eq!(count, 7, "0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5 s");
    }

    #[test]
    fn answer_that_changes_nothing_is_asked_for_again_a_minute_later() {
        let mut resolver = Resolver::default();
        resolver.want(GATEWAY, Asker::Slot(4), START);
        asks(&mut resolver, START);
        assert_eq!(resolver.answered(GATEWAY, MAC, START), [Found::Mac(Asker::Slot(4), MAC)]);
        resolver.again(GATEWAY, 4, START);
        let count = |resolver: &mut Resolver, seconds: u64| {
            (0..seconds * 100).map(|cs| asks(resolver, START + Duration::from_millis(cs * 10)).0.len()).sum::<usize>()
        };
        assert_eq!(count(&mut resolver, 59), 0);
        assert_eq!(count(&mut resolver, 61), 1);
        resolver.forget(GATEWAY, 4);
        assert_eq!(count(&mut resolver, 600), 0);
    }

    #[test]
    fn stopped_slot_is_asked_for_no_more_and_unasked_answers_change_nothing() {
        let mut resolver = Resolver::default();
        resolver.want(GATEWAY, Asker::Slot(4), START);
        resolver.forget(GATEWAY, 4);
        assert_eq!(asks(&mut resolver, START), (vec![], vec![]));
        assert_eq!(resolver.answered(GATEWAY, MAC, START), []);
        assert_eq!(resolver.open(), 0);
    }

    #[test]
    fn turns_that_come_a_little_early_or_late_ask_as_often_as_the_network_bears() {
        for (ms, most) in [(10, 1), (20, 2)] {
            let mut resolver = Resolver::default();
            (0..1000).for_each(|slot| resolver.want(v4(0x0a00_0100 + slot), Asker::Slot(slot), START));
            let asked = (0..5000 / ms).map(|turn| {
                let late = Duration::from_micros(u64::from(turn * 7 % 5) * 100);
                let asked = asks(&mut resolver, START + Duration::from_millis(ms.into()) * turn + late).0.len();
                assert!(asked <= most, "{asked} at once");
                asked
            });
            let asked: usize = asked.sum();
            assert!((490..=500).contains(&asked), "{asked} in five seconds of turns of {ms} milliseconds");
        }
    }
}
