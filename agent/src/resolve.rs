//! Which MACs the agent must learn itself, and when it asks: gateways, and addresses whose MAC no list gives. Pure.
//!
//! A question goes out by broadcast, at most [`BROADCASTS_PER_SECOND`] for each network, and again with growing
//! pauses until it is answered. A gateway that is known is asked again by unicast from time to time: when it falls
//! silent, what lies behind it is unknown, not down.

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
                self.questions.insert(address, Question { asker, mac: None, pause: FIRST_PAUSE, unanswered: 0 });
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
            let Some(question) = self.questions.get_mut(&address) else { continue };
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
                    self.queue.push(Reverse((now + CHECK, address)));
                    continue;
                }
            }
            if now.since(self.last_broadcast) < spacing && self.last_broadcast != Mono::default() {
                self.queue.push(Reverse((at, address)));
                break;
            }
            self.last_broadcast = now;
            asks.push((address, None));
            self.queue.push(Reverse((now + question.pause, address)));
            question.pause = (question.pause * 2).min(LONGEST_PAUSE);
        }
        lost
    }

    /// Takes an answer from the wire; one that nobody asked for changes nothing.
    pub fn answered(&mut self, address: Ipv4Addr, mac: Mac) -> Option<Found> {
        let question = self.questions.get_mut(&address)?;
        question.unanswered = 0;
        let news = question.mac != Some(mac);
        // A known gateway is only believed by the MAC it had: another one must first win a fresh broadcast.
        if news && question.mac.is_some() {
            return None;
        }
        question.mac = Some(mac);
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
        assert_eq!(resolver.answered(GATEWAY, MAC), Some(Found::Mac(Asker::Gateway, MAC)));
        assert_eq!(resolver.answered(GATEWAY, Mac([2, 0, 0, 0, 0, 66])), None, "a second MAC is not believed");
        let mut now = START + FIRST_PAUSE;
        for _ in 0..3 {
            assert_eq!(asks(&mut resolver, now), (vec![(GATEWAY, Some(MAC))], None));
            now = now + CHECK;
        }
        assert_eq!(resolver.answered(GATEWAY, MAC), None, "known already, and it answers: nothing new");
        for _ in 0..3 {
            assert_eq!(asks(&mut resolver, now), (vec![(GATEWAY, Some(MAC))], None));
            now = now + CHECK;
        }
        assert_eq!(asks(&mut resolver, now), (vec![(GATEWAY, None)], Some(Found::GatewayLost)));
        assert_eq!(resolver.answered(GATEWAY, MAC), Some(Found::Mac(Asker::Gateway, MAC)));
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
        assert_eq!(resolver.answered(GATEWAY, MAC), None);
    }
}
