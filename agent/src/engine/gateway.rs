//! The gateways of a network, one for each family: found or lost, and all that lies behind one follows, a piece in each turn.

use std::net::IpAddr;

use tracing::{info, warn};

use super::Engine;
use super::cell::Mark;
use super::network::GRACE;
use crate::clock::Mono;
use crate::unit::{Blind, Family, Mac};

/// Slots that one turn looks at: a few tenths of a millisecond.
const PIECE: u32 = 4096;

/// A gateway of a network.
#[derive(Debug, Default)]
pub(super) struct Gateway {
    pub(super) address: Option<IpAddr>,
    pub(super) mac: Option<Mac>,
    passage: Option<Passage>,
    /// When it answered last.
    pub(super) seen: Mono,
    /// From when to when it was last lost.
    pub(super) gone: Option<(Mono, Mono)>,
    /// Slots behind it whose miss counts only once it has shown that it is there.
    pub(super) doubtful: Vec<u32>,
}

impl Gateway {
    pub(super) fn at(address: Option<IpAddr>) -> Self {
        Gateway { address, ..Gateway::default() }
    }

    /// Whether somebody behind it is still to be told that it came or went.
    pub(super) fn is_passing(&self) -> bool {
        self.passage.is_some()
    }
}

/// What the addresses behind a gateway are being told.
#[derive(Clone, Copy, Debug)]
struct Passage {
    /// The gateway's MAC; `None`: it is lost.
    mac: Option<Mac>,
    /// The next slot to be told.
    next: u32,
}

impl Engine {
    fn gateway_of(&mut self, number: u16, family: Family) -> Option<&mut Gateway> {
        self.networks.get_mut(usize::from(number)).map(|network| &mut network.gateways[family as usize])
    }

    /// The MAC that probes behind a gateway of a network go to, now or as soon as all of them know it.
    pub(super) fn gateway_mac(&self, number: u16, family: Family) -> Option<Mac> {
        let gateway = &self.networks.get(usize::from(number))?.gateways[family as usize];
        gateway.mac.or(gateway.passage.and_then(|passage| passage.mac))
    }

    /// A gateway of a network was found or lost. While it is lost nothing is sent to it; when it is found, only after every
    /// target has its MAC.
    pub(super) fn gateway(&mut self, number: u16, family: Family, mac: Option<Mac>, now: Mono) {
        let Some(network) = self.networks.get_mut(usize::from(number)) else { return };
        let (name, gateway) = (&network.name, &mut network.gateways[family as usize]);
        gateway.mac = None;
        gateway.passage = Some(Passage { mac, next: 0 });
        match mac {
            Some(mac) => {
                info!(target: "wire", network = %name, gateway = ?gateway.address, %mac, "gateway found");
            }
            None => {
                warn!(target: "wire", network = %name, gateway = ?gateway.address, "the gateway does not answer: what lies behind it is unknown until it does, and what is silent on the link as well while nobody there answers");
                gateway.gone = Some((gateway.seen, now));
            }
        }
        let mut doubtful = std::mem::take(&mut gateway.doubtful);
        doubtful.append(&mut network.unheard);
        self.settle_doubtful(doubtful, now);
        self.pass(number, family, now);
    }

    /// Tells the next piece of those behind each gateway.
    pub(super) fn gateways(&mut self, now: Mono) {
        for number in 0..self.networks.len() {
            Family::ALL.into_iter().for_each(|family| self.pass(number as u16, family, now));
        }
    }

    fn pass(&mut self, number: u16, family: Family, now: Mono) {
        let Some(Passage { mac, next }) = self.gateway_of(number, family).and_then(|gateway| gateway.passage) else { return };
        let all = self.cells.len() as u32;
        let end = next.saturating_add(PIECE).min(all);
        for slot in next..end {
            let cell = self.cells[slot as usize];
            let behind = cell.is_live() && cell.has(Mark::Routed) && cell.family() == family;
            if behind && self.classes.get(cell.group).is_some_and(|class| class.network == Some(number)) {
                if let Some(mac) = mac {
                    self.arrays.change(slot, |target| target.mac = mac.0);
                }
                self.set_blind(slot, if mac.is_some() { None } else { Some(Blind::NoGateway) });
            }
        }
        let Some(gateway) = self.gateway_of(number, family) else { return };
        gateway.passage = (end < all).then_some(Passage { mac, next: end });
        if gateway.passage.is_none() && mac.is_some() {
            gateway.mac = mac;
            // Also before it was found for the first time nothing reached it.
            gateway.gone = Some((gateway.gone.map_or(Mono::default(), |(from, _)| from), now + GRACE));
        }
    }
}
