//! Addresses that ports may use besides their own (Neutron's `allowed_address_pairs`), and so which other MACs may answer for a host. Pure.

use std::net::IpAddr;

use rollcall_agent::unit::Mac;

use super::super::{Entry, Spot};
use super::join::{Map, Rules};
use super::model::Port;
use crate::hosts;

/// So many prefixes of one network that ports may use besides are looked through for each address.
const PREFIXES: usize = 64;
/// So many other MACs may answer for a host.
const OTHERS: usize = 16;

/// A prefix that a port may use besides its own addresses.
struct Pair {
    address: IpAddr,
    length: u32,
    mac: Mac,
}

impl Pair {
    fn holds(&self, address: IpAddr) -> bool {
        let same =
            |one: u128, other: u128, bits: u32| self.length == 0 || self.length <= bits && (one ^ other) >> (bits - self.length) == 0;
        match (self.address, address) {
            (IpAddr::V4(one), IpAddr::V4(other)) => same(u32::from(one).into(), u32::from(other).into(), 32),
            (IpAddr::V6(one), IpAddr::V6(other)) => same(one.into(), other.into(), 128),
            _ => false,
        }
    }
}

/// Addresses that other ports may use as well (`allowed_address_pairs`: VRRP, keepalived) are answered by their MACs: no conflict.
pub(super) fn allow(ports: &[&Port], rules: &Rules, hosts: &mut [Entry]) {
    let mut exact: Map<(&str, IpAddr), Vec<Mac>> = Map::default();
    let mut wide: Map<&str, Vec<Pair>> = Map::default();
    for port in ports {
        let network = rules.networks.get(&port.network_id).unwrap_or(&port.network_id);
        for pair in &port.allowed_address_pairs {
            let mac = if pair.mac_address.is_empty() { &port.mac_address } else { &pair.mac_address };
            let (address, length) = pair.ip_address.split_once('/').unwrap_or((&pair.ip_address, ""));
            let (Ok(address), Ok(Some(mac))) = (address.parse::<IpAddr>(), hosts::mac(mac)) else { continue };
            let bits = if address.is_ipv4() { 32 } else { 128 };
            let length = length.parse().unwrap_or(bits);
            if length >= bits {
                exact.entry((network, address)).or_default().push(mac);
            } else {
                let pairs = wide.entry(network).or_default();
                if pairs.len() < PREFIXES {
                    pairs.push(Pair { address, length, mac });
                }
            }
        }
    }
    if exact.is_empty() && wide.is_empty() {
        return;
    }
    for host in hosts {
        let mut others: Vec<Mac> = Vec::new();
        for Spot { network, address, mac } in &host.addresses {
            let single = exact.get(&(network.as_str(), *address)).into_iter().flatten().copied();
            let ranges = wide.get(network.as_str()).into_iter().flatten().filter(|pair| pair.holds(*address)).map(|pair| pair.mac);
            others.extend(single.chain(ranges).filter(|other| Some(*other) != *mac));
        }
        others.sort_unstable();
        others.dedup();
        host.tags.extend(others.iter().take(OTHERS).map(|mac| format!("allowed-mac={mac}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_hold_what_they_hold() {
        let holds = |prefix: &str, length, address: &str| {
            Pair { address: prefix.parse().unwrap(), length, mac: Mac([0; 6]) }.holds(address.parse().unwrap())
        };
        assert!(holds("10.0.0.0", 8, "10.9.9.9") && !holds("10.0.0.0", 8, "11.0.0.0") && holds("0.0.0.0", 0, "1.2.3.4"));
        assert!(holds("2001:db8::", 32, "2001:db8:1::") && !holds("2001:db8::", 64, "2001:db8:0:1::") && holds("::", 0, "::1"));
        assert!(!holds("10.0.0.0", 8, "::a00:0") && !holds("10.0.0.0", 99, "10.0.0.0"));
    }
}
