//! Which MACs the agent must learn itself, and when it asks: gateways, and addresses whose MAC no list gives. Pure.
//!
//! A question goes out by broadcast, at most [`BROADCASTS_PER_SECOND`] for each network, and again with growing
//! pauses until it is answered. A gateway that is known is asked again by unicast from time to time, and at once when
//! somebody behind it seems silent: when the gateway itself is silent, what lies behind it is unknown, not down.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::Ipv4Addr;
use std::time::Duration;

use crate::clock::Mono;
use crate::unit::Mac;

/// Broadcasts that one network bears each second.
pub const BROADCASTS_PER_SECOND: u32 = 100;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Between two checks of a known gateway.
const CHECK: Duration = Duration::from_secs(2);
/// Between two checks when the last one has no answer yet.
const CHECK_FAST: Duration = Duration::from_millis(100);
/// Checks in a row without an answer after which the gateway counts as gone.
const CHECKS_MISSED: u8 = 3;

/// Who needs an address resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// The network itself: it is its gateway.
    Gateway,
    /// The address of a slot.
    Slot(u32),
}

#[derive(Debug)]
struct Question {
    asker: Asker,
    mac: Option<Mac>,
    pause: Duration,
    unanswered: u8,
    /// When to ask next; entries of the queue with another time are outdated.
    due: Mono,
}

/// A question to put on the wire: to that MAC, or to everybody.
pub type Ask = (Ipv4Addr, Option<Mac>);

/// What an answer or a silence changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The MAC of the asker's address is now known, or another one than before.
    Mac(Asker, Mac),
    /// The gateway no longer answers.
    GatewayLost,
}

/// The open questions of one network.
#[derive(Debug, Default)]
pub struct Resolver {
    questions: HashMap<Ipv4Addr, Question>,
    /// When to ask (again), the earliest first. An address that is no longer asked for is passed over.
    queue: BinaryHeap<Reverse<(Mono, Ipv4Addr)>>,
    last_broadcast: Mono,
}

impl Resolver {
    /// Begins to ask for an address. The gateway outranks a slot with the same address.
    pub fn want(&mut self, address: Ipv4Addr, asker: Asker, now: Mono) {
        match self.questions.get_mut(&address) {
            Some(question) if asker == Asker::Gateway => question.asker = asker,
            Some(_) => {}
            None => {
                self.questions.insert(address, Question { asker, mac: None, pause: FIRST_PAUSE, unanswered: 0, due: now });
                self.queue.push(Reverse((now, address)));
            }
        }
    }

    /// Stops asking for the address of a slot.
    pub fn forget(&mut self, address: Ipv4Addr, slot: u32) {
        if self.questions.get(&address).is_some_and(|question| question.asker == Asker::Slot(slot)) {
            self.questions.remove(&address);
        }
    }

    /// Addresses that are asked for and not known.
    pub fn open(&self) -> usize {
        self.questions.values().filter(|question| question.mac.is_none()).count()
    }

    /// What to ask now, and what silence has shown.
    pub fn advance(&mut self, now: Mono, asks: &mut Vec<Ask>) -> Option<Found> {
        let mut lost = None;
        let spacing = Duration::from_secs(1) / BROADCASTS_PER_SECOND;
        while let Some(&Reverse((at, address))) = self.queue.peek() {
            if at > now {
                break;
            }
            self.queue.pop();
            let Some(question) = self.questions.get_mut(&address).filter(|question| question.due == at) else { continue };
            if let Some(mac) = question.mac {
                if question.asker != Asker::Gateway {
                    self.questions.remove(&address);
                    continue;
                }
                question.unanswered += 1;
                if question.unanswered > CHECKS_MISSED {
                    (question.mac, question.pause) = (None, FIRST_PAUSE);
                    lost = Some(Found::GatewayLost);
                } else {
                    asks.push((address, Some(mac)));
                    question.due = now + CHECK_FAST;
                    self.queue.push(Reverse((question.due, address)));
                    continue;
                }
            }
            if now.since(self.last_broadcast) < spacing && self.last_broadcast != Mono::default() {
                self.queue.push(Reverse((at, address)));
                break;
            }
            self.last_broadcast = now;
            asks.push((address, None));
            question.due = now + question.pause;
            self.queue.push(Reverse((question.due, address)));
            question.pause = (question.pause * 2).min(LONGEST_PAUSE);
        }
        lost
    }

    /// Checks a known gateway at once rather than after its pause, unless a check is under way.
    pub fn check(&mut self, address: Ipv4Addr, now: Mono) {
        if let Some(question) = self.questions.get_mut(&address)
            && question.mac.is_some()
            && question.unanswered == 0
            && question.due > now
        {
            question.due = now;
            self.queue.push(Reverse((now, address)));
        }
    }

    /// Takes an answer from the wire; one that nobody asked for changes nothing.
    pub fn answered(&mut self, address: Ipv4Addr, mac: Mac, now: Mono) -> Option<Found> {
        let question = self.questions.get_mut(&address)?;
        if question.mac == Some(mac) && question.unanswered > 0 {
            (question.unanswered, question.due) = (0, now + CHECK);
            self.queue.push(Reverse((question.due, address)));
        }
        let news = question.mac != Some(mac);
        // A known gateway is only believed by the MAC it had: another one must first win a fresh broadcast.
        if news && question.mac.is_some() {
            return None;
        }
        (question.mac, question.unanswered) = (Some(mac), 0);
        news.then_some(Found::Mac(question.asker, mac))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Mono = Mono::from_nanos(5_000_000_000);
    const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
    const MAC: Mac = Mac([2, 0, 0, 0, 0, 2]);

    fn asks(resolver: &mut Resolver, now: Mono) -> (Vec<Ask>, Option<Found>) {
        let mut asks = Vec::new();
        let found = resolver.advance(now, &mut asks);
        (asks, found)
    }

    #[test]
    fn gateway_is_found_by_broadcast_then_checked_by_unicast_then_lost() {
        let mut resolver = Resolver::default();
        resolver.want(GATEWAY, Asker::Gateway, START);
        assert_eq!(asks(&mut resolver, START).0, [(GATEWAY, None)]);
        assert_eq!(resolver.answered(GATEWAY, MAC, START), Some(Found::Mac(Asker::Gateway, MAC)));
        assert_eq!(resolver.answered(GATEWAY, Mac([2, 0, 0, 0, 0, 66]), START), None, "a second MAC is not believed");
        let mut now = START + FIRST_PAUSE;
        for _ in 0..3 {
            assert_eq!(asks(&mut resolver, now), (vec![(GATEWAY, Some(MAC))], None));
            assert_eq!(resolver.answered(GATEWAY, MAC, now), None, "known already, and it answers: nothing new");
            assert_eq!(asks(&mut resolver, now + CHECK / 2), (vec![], None));
            now = now + CHECK;
        }
        for _ in 0..3 {
            assert_eq!(asks(&mut resolver, now), (vec![(GATEWAY, Some(MAC))], None));
            now = now + CHECK_FAST;
        }
        assert_eq!(asks(&mut resolver, now), (vec![(GATEWAY, None)], Some(Found::GatewayLost)));
        assert_eq!(resolver.answered(GATEWAY, MAC, now), Some(Found::Mac(Asker::Gateway, MAC)));
    }

    #[test]
    fn check_on_demand_comes_at_once_and_only_once_however_often_it_is_wanted() {
        let mut resolver = Resolver::default();
        resolver.want(GATEWAY, Asker::Gateway, START);
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
    fn broadcasts_are_rate_limited_and_pauses_grow() {
        let mut resolver = Resolver::default();
        for i in 0..1000u32 {
            resolver.want(Ipv4Addr::from(0x0a00_0100 + i), Asker::Slot(i), START);
        }
        let count: usize = (0..10_000).map(|ms| asks(&mut resolver, START + Duration::from_millis(ms)).0.len()).sum();
        assert!((990..=1001).contains(&count), "{count} broadcasts in ten seconds");
        let mut one = Resolver::default();
        one.want(GATEWAY, Asker::Slot(1), START);
        let count: usize = (0..60_000).map(|ms| asks(&mut one, START + Duration::from_millis(ms)).0.len()).sum();
        assert_eq!(count, 7, "0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5 s");
    }

    #[test]
    fn stopped_slot_is_asked_for_no_more_and_unasked_answers_change_nothing() {
        let mut resolver = Resolver::default();
        resolver.want(GATEWAY, Asker::Slot(4), START);
        resolver.forget(GATEWAY, 4);
        assert_eq!(asks(&mut resolver, START), (vec![], None));
        assert_eq!(resolver.answered(GATEWAY, MAC, START), None);
    }
}
