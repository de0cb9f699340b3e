//! Whether a miss says something: of a time in which the agent could not see it says nothing, and where nobody shows that the agent
//! hears it waits.

use std::time::Duration;

use super::Engine;
use super::cell::Mark;
use crate::clock::Mono;
use crate::unit::{Blind, Family, Verdict};

/// A gateway or a canary that is asked mostly answers within this time.
const ANSWER: Duration = Duration::from_millis(20);

impl Engine {
    /// Judges again what waited for a gateway, or for anybody, to be heard.
    pub(super) fn settle_doubtful(&mut self, slots: Vec<u32>, now: Mono) {
        for slot in slots {
            if let Some(cell) = self.cells.get_mut(slot as usize) {
                cell.mark(Mark::Doubted, false);
                self.settle(slot, now);
            }
        }
    }

    /// From now on nothing of a network can be believed, and what waited there for somebody to be heard says nothing.
    pub(super) fn go_blind(&mut self, number: u16, reason: Blind, now: Mono) {
        let Some(network) = self.networks.get_mut(usize::from(number)) else { return };
        network.blind(reason, now);
        let mut doubtful = std::mem::take(&mut network.unheard);
        doubtful.extend(network.gateways.iter_mut().flat_map(|gateway| std::mem::take(&mut gateway.doubtful)));
        self.settle_doubtful(doubtful, now);
    }

    /// Misses on the link that were doubted count once somebody is heard.
    pub(super) fn settle_heard(&mut self, now: Mono) {
        for number in 0..self.networks.len() {
            let network = &mut self.networks[number];
            if network.unheard.is_empty() || network.heard <= network.looked {
                continue;
            }
            network.looked = network.heard;
            let slots = std::mem::take(&mut network.unheard);
            self.settle_doubtful(slots, now);
        }
    }

    /// Whether a miss must wait until a gateway has shown that it is there, after the probe's deadline. If so it is asked at once.
    /// Behind a gateway that is the one; on the link any, unless somebody answered a probe that left no earlier: the gateway is
    /// then the canary that shows whether the agent still hears.
    pub(super) fn doubts(
        &mut self,
        number: Option<u16>,
        routed: Option<Family>,
        slot: u32,
        sent: Mono,
        timeout: Duration,
        now: Mono,
    ) -> bool {
        let Some(network) = number.and_then(|number| self.networks.get_mut(usize::from(number))) else { return false };
        let deadline = sent + timeout;
        let witness = match routed {
            Some(family) => Some(&network.gateways[family as usize]),
            None if network.heard >= sent || network.witnesses().any(|witness| witness.mac.is_some() && witness.seen >= deadline) => None,
            None => network.witnesses().find(|witness| witness.mac.is_some()),
        };
        let waits = witness.filter(|witness| witness.mac.is_some() && witness.seen < deadline);
        let Some(address) = waits.and_then(|witness| witness.address) else { return false };
        network.resolver.check(address, now);
        let cell = &mut self.cells[slot as usize];
        if cell.judgement.verdict() != Verdict::Down {
            self.awaiting = self.awaiting.max(now + ANSWER);
        }
        if !cell.mark(Mark::Doubted, true) {
            match routed {
                Some(family) => network.gateways[family as usize].doubtful.push(slot),
                None => network.unheard.push(slot),
            }
        }
        true
    }

    /// Why a probe that was sent then and not answered says nothing; `None`: it does say something. `routed`: by which family's
    /// gateway it went.
    pub(super) fn blindness(
        &self,
        network: Option<u16>,
        routed: Option<Family>,
        sent: Option<Mono>,
        timeout: Duration,
        now: Mono,
    ) -> Option<Blind> {
        let Some(sent) = sent else { return Some(Blind::Overload) };
        let overlaps = |from: Mono, to: Mono| sent <= to && sent + timeout >= from;
        if self.stalls.overlap(sent, sent + timeout) {
            return Some(Blind::Overload);
        }
        let Some(network) = self.networks.get(usize::from(network?)) else { return Some(Blind::NoNetwork) };
        match network.blind {
            Some(blind) => Some(blind),
            None if network.ear().is_some_and(|ear| ear.was_deaf(sent, sent + timeout, now)) => Some(Blind::Deaf),
            None if network.losses.cover(sent) => Some(Blind::SendError),
            None if network.blind_to > Mono::default() && overlaps(network.blind_from, network.blind_to) => Some(Blind::LinkDown),
            None => match routed {
                Some(family) => {
                    let gateway = &network.gateways[family as usize];
                    let gone = gateway.mac.is_none() || gateway.gone.is_some_and(|(from, to)| overlaps(from, to));
                    gone.then_some(Blind::NoGateway)
                }
                None => network.is_silent_since(sent).then_some(Blind::Silent),
            },
        }
    }
}
