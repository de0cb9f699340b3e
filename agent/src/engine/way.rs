//! The way to an address: straight to its MAC or through the gateway, and the MACs that must be learned for it.

use std::net::IpAddr;

use rollcall_agent_ebpf::target;
use tracing::{info, warn};

use super::Engine;
use super::cell::Mark;
use crate::clock::Mono;
use crate::policy::Method;
use crate::resolve::{Asker, Found};
use crate::unit::{Blind, Family, Mac, Verdict, unmapped};
use crate::verdict::Turn;

/// Where the probes of an address go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Straight to its MAC; `None` while that is not known.
    Direct(Option<Mac>),
    /// Through the gateway; `None` while its MAC is not known.
    Gateway(Option<Mac>),
}

impl Engine {
    /// How an address is probed, as the flags of its target: asked for on the link, pinged, or both in turn; or why it cannot be. An
    /// address whose MAC the list gives is on the link, whatever prefixes the agent has there. Of `both` what can be done is done:
    /// an address without a MAC that is not on the link is only pinged, and without a source, or a gateway on the way to it, only
    /// asked for.
    pub(super) fn probing(&self, number: u16, address: IpAddr, method: Method, mac: Option<Mac>) -> Result<u8, Blind> {
        let network = self.networks.get(usize::from(number)).ok_or(Blind::NoNetwork)?;
        let near = network.is_on_link(address);
        let asks = match method {
            Method::Arp => true,
            Method::Icmp => false,
            Method::Auto | Method::Both => mac.is_some() || near,
        };
        let can_echo = network.sender.can_echo(address, near);
        let has_way = near || network.gateways[Family::of(address) as usize].address.is_some();
        match (asks, method) {
            (true, Method::Both) if can_echo && has_way => Ok(target::ARP | target::BOTH | if near { 0 } else { target::FAR }),
            (true, _) => Ok(target::ARP),
            (false, _) if can_echo => Ok(0),
            (false, _) => Err(Blind::NoSource),
        }
    }

    /// How an address of a network is reached: neighbours are asked on the link only, ICMP may have to pass the gateway.
    pub(super) fn way(&self, number: u16, address: IpAddr, on_link: bool, mac: Option<Mac>) -> Way {
        let Some(network) = self.networks.get(usize::from(number)) else { return Way::Direct(mac) };
        if on_link || network.is_on_link(address) { Way::Direct(mac) } else { Way::Gateway(self.gateway_mac(number, Family::of(address))) }
    }

    /// Begins to ask for the MAC of a slot's address.
    pub(super) fn learn(&mut self, network: u16, address: IpAddr, slot: u32, now: Mono) {
        if let Some(network) = self.networks.get_mut(usize::from(network)) {
            network.resolver.want(address, Asker::Slot(slot), now);
        }
    }

    /// Stops asking for it.
    pub(super) fn unlearn(&mut self, network: u16, address: IpAddr, slot: u32) {
        if let Some(network) = self.networks.get_mut(usize::from(network)) {
            network.resolver.forget(address, slot);
        }
    }

    pub(super) fn found(&mut self, number: u16, found: Found, now: Mono) {
        match found {
            Found::Mac(Asker::Slot(slot), mac) => self.point(number, slot, mac, now),
            Found::Mac(Asker::Gateway(family), mac) => self.gateway(number, family, Some(mac), now),
            Found::Lost(Asker::Gateway(family)) => self.gateway(number, family, None, now),
            Found::Mac(Asker::Canary(canary), mac) => self.canary(number, canary, Some(mac), now),
            Found::Lost(Asker::Canary(canary)) => self.canary(number, canary, None, now),
            Found::Lost(Asker::Slot(_)) => {}
        }
    }

    fn canary(&mut self, number: u16, canary: u8, mac: Option<Mac>, now: Mono) {
        let Some(network) = self.networks.get_mut(usize::from(number)) else { return };
        if mac.is_none() {
            let address = network.canaries.get(usize::from(canary)).and_then(|canary| canary.address);
            warn!(target: "wire", network = %network.name, ?address, "the canary does not answer: what is silent on the link is unknown while nobody there answers");
        }
        let doubtful = network.canary(canary, mac);
        self.settle_doubtful(doubtful, now);
    }

    /// Points the probes of a slot at a MAC that was learned.
    fn point(&mut self, number: u16, slot: u32, mac: Mac, now: Mono) {
        let (Some(target), Some(address)) = (self.arrays.target(slot), self.address(slot)) else { return };
        let Some(cell) = self.cells.get(slot as usize).copied() else { return };
        let before = Mac(target.mac);
        if before == mac {
            // The same as before, and it is silent all the same. A switch may have answered for it: the question stays open.
            if let Some(network) = self.networks.get_mut(usize::from(number)) {
                network.resolver.again(address, slot, now);
            }
            return;
        }
        if before.is_unicast() {
            info!(target: "wire", %address, %before, %mac, "a silent address has another MAC now: probes go there");
        }
        self.arrays.change(slot, |target| (target.mac, target.flags) = (mac.0, target.flags | target::LEARNED));
        if cell.judgement.blind() == Some(Blind::NoMac) {
            self.set_blind(slot, None);
        }
    }

    /// A verdict turned: the MAC of an address that fell silent is learned anew, where it was learned before.
    pub(super) fn doubt_mac(&mut self, slot: u32, turn: Turn) {
        let learned = self.arrays.target(slot).is_some_and(|target| target.flags & target::LEARNED != 0);
        let Some(cell) = self.cells.get(slot as usize).filter(|cell| learned && !cell.has(Mark::Routed)) else { return };
        let (Some(network), Some(address)) = (self.classes.get(cell.group).and_then(|class| class.network), self.address(slot)) else {
            return;
        };
        match (turn.from, turn.to) {
            (_, Verdict::Down) => self.learn(network, address, slot, self.last),
            (_, Verdict::Up) => self.unlearn(network, address, slot),
            _ => {}
        }
    }

    /// The address of a slot, from `TARGET`; also of one that was silenced.
    pub(super) fn address(&self, slot: u32) -> Option<IpAddr> {
        self.arrays.address(slot).map(unmapped)
    }
}
