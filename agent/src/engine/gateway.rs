//! The gateway of a network: found or lost, and all that lies behind it follows, a piece in each turn.

use tracing::{info, warn};

use super::Engine;
use super::cell::Mark;
use super::network::GRACE;
use crate::clock::Mono;
use crate::unit::{Blind, Mac};

/// Slots that one turn looks at: a few tenths of a millisecond.
const PIECE: u32 = 4096;

/// What the addresses behind a gateway are being told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passage {
    /// The gateway's MAC; `None`: it is lost.
    mac: Option<Mac>,
    /// The next slot to be told.
    next: u32,
}

impl Engine {
    /// The MAC that probes behind the gateway of a network go to, now or as soon as all of them know it.
    pub(super) fn gateway_mac(&self, number: u16) -> Option<Mac> {
        let network = self.networks.get(usize::from(number))?;
        network.gateway_mac.or(network.passage.and_then(|passage| passage.mac))
    }

    /// The gateway of a network was found or lost. While it is lost nothing is sent to it; when it is found, only after every
    /// target has its MAC.
    pub(super) fn gateway(&mut self, number: u16, mac: Option<Mac>, now: Mono) {
        let Some(network) = self.networks.get_mut(usize::from(number)) else { return };
        network.gateway_mac = None;
        network.passage = Some(Passage { mac, next: 0 });
        let (name, address) = (&network.name, network.gateway);
        match mac {
            Some(mac) => {
                info!(target: "wire", network = %name, gateway = ?address, %mac, "gateway found");
            }
            None => {
                warn!(target: "wire", network = %name, gateway = ?address, "the gateway does not answer: what lies behind it is unknown until it does");
                network.gateway_gone = Some((network.gateway_seen, now));
            }
        }
        let doubtful = std::mem::take(&mut network.doubtful);
        self.settle_doubtful(doubtful, now);
        self.pass(number, now);
    }

    /// Tells the next piece of those behind each gateway.
    pub(super) fn gateways(&mut self, now: Mono) {
        for number in 0..self.networks.len() {
            self.pass(number as u16, now);
        }
    }

    fn pass(&mut self, number: u16, now: Mono) {
        let Some(Passage { mac, next }) = self.networks.get(usize::from(number)).and_then(|network| network.passage) else { return };
        let all = self.cells.len() as u32;
        let end = next.saturating_add(PIECE).min(all);
        for slot in next..end {
            let cell = self.cells[slot as usize];
            let behind = cell.is_live() && cell.has(Mark::Routed);
            if behind && self.classes.get(cell.group).is_some_and(|class| class.network == Some(number)) {
                if let Some(mac) = mac {
                    self.arrays.change(slot, |target| target.mac = mac.0);
                }
                self.set_blind(slot, if mac.is_some() { None } else { Some(Blind::NoGateway) });
            }
        }
        let Some(network) = self.networks.get_mut(usize::from(number)) else { return };
        network.passage = (end < all).then_some(Passage { mac, next: end });
        if network.passage.is_none() && mac.is_some() {
            network.gateway_mac = mac;
            network.gateway_gone = network.gateway_gone.map(|(from, _)| (from, now + GRACE));
        }
    }
}
