//! The way to an address: straight to its MAC or through the gateway, and the MACs that must be learned for it.

use std::net::IpAddr;

use super::Engine;
use crate::clock::Mono;
use crate::resolve::{Asker, Found};
use crate::unit::{Mac, unmapped};

/// Where the probes of an address go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Straight to its MAC; `None` while that is not known.
    Direct(Option<Mac>),
    /// Through the gateway; `None` while its MAC is not known.
    Gateway(Option<Mac>),
}

impl Engine {
    /// How an address of a network is reached: ARP is asked on the link only, ICMP may have to pass the gateway.
    pub(super) fn way(&self, number: u16, address: IpAddr, arp: bool, mac: Option<Mac>) -> Way {
        let (Some(network), IpAddr::V4(v4)) = (self.networks.get(usize::from(number)), address) else { return Way::Direct(mac) };
        if arp || network.is_on_link(v4) { Way::Direct(mac) } else { Way::Gateway(self.gateway_mac(number)) }
    }

    /// Begins to ask for the MAC of a slot's address.
    pub(super) fn learn(&mut self, network: u16, address: IpAddr, slot: u32, now: Mono) {
        if let (Some(network), IpAddr::V4(v4)) = (self.networks.get_mut(usize::from(network)), address) {
            network.resolver.want(v4, Asker::Slot(slot), now);
        }
    }

    /// Stops asking for it.
    pub(super) fn unlearn(&mut self, network: u16, address: IpAddr, slot: u32) {
        if let (Some(network), IpAddr::V4(v4)) = (self.networks.get_mut(usize::from(network)), address) {
            network.resolver.forget(v4, slot);
        }
    }

    pub(super) fn found(&mut self, number: u16, found: Found, now: Mono) {
        match found {
            Found::Mac(Asker::Slot(slot), mac) => self.point(slot, mac),
            Found::Mac(Asker::Gateway, mac) => self.gateway(number, Some(mac), now),
            Found::GatewayLost => self.gateway(number, None, now),
        }
    }

    /// Points the probes of a slot at a MAC that was learned.
    fn point(&mut self, slot: u32, mac: Mac) {
        self.arrays.change(slot, |target| target.mac = mac.0);
        self.set_blind(slot, None);
    }

    /// The address of a slot, from `TARGET`; also of one that was silenced.
    pub(super) fn address(&self, slot: u32) -> Option<IpAddr> {
        self.arrays.address(slot).map(unmapped)
    }
}
