//! Questions of the resolver: who has an address? To the known MAC, or to all who may have it.

use std::net::{IpAddr, Ipv6Addr};

use rollcall_agent_ebpf::frame::{eth, icmpv6, ipv6};
use rollcall_agent_ebpf::probe;
use rollcall_agent_ebpf::target::{self, Target};

use super::{ECHO_V6, Frame, Templates};
use crate::unit::{Mac, mapped};

/// The first 13 bytes of a solicited-node multicast address (RFC 4291, 2.7.1).
const SOLICITED_NODE: [u8; 13] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff];

impl Templates {
    /// Writes the question who has an address, and says how long it is.
    pub fn ask(&self, frame: &mut Frame, address: IpAddr, mac: Option<Mac>) -> usize {
        let flags = target::LIVE | target::ARP | if address.is_ipv6() { target::V6 } else { 0 };
        let target = |mac: Mac| Target { address: mapped(address), mac: mac.0, network: 0, nonce: 0, timeout_ms: 0, flags };
        match (address, mac) {
            (_, Some(mac)) => self.write(frame, &target(mac), 0, 0),
            (IpAddr::V4(_), None) => self.write(frame, &target(Mac::BROADCAST), 0, 0),
            (IpAddr::V6(v6), None) => {
                let (mac, group) = solicited_node(v6);
                let mut words = [0; probe::LEN_V6];
                let length = Templates { tags: 0, ..*self }.write(frame, &target(mac), 0, 0);
                words.copy_from_slice(&frame[..length]);
                words[eth::LEN..][ipv6::DESTINATION].copy_from_slice(&group.octets());
                // The destination is under the checksum, and another one now.
                words[ECHO_V6 + 2..ECHO_V6 + 4].fill(0);
                let pseudo = [(icmpv6::LEN as u16).to_be_bytes(), u16::from(ipv6::ICMP).to_be_bytes()].concat();
                let sum = probe::sum(&pseudo) + probe::sum(&words[eth::LEN + ipv6::SOURCE.start..]);
                words[ECHO_V6 + 2..ECHO_V6 + 4].copy_from_slice(&(probe::checksum(u64::from(sum)) as u16).to_ne_bytes());
                self.put_v6(frame, &probe::words(&words))
            }
        }
    }
}

/// The group that every owner of an address listens to, and the MAC of that group (RFC 2464, 7).
fn solicited_node(address: Ipv6Addr) -> (Mac, Ipv6Addr) {
    let octets = address.octets();
    let mut group = [0; 16];
    group[..13].copy_from_slice(&SOLICITED_NODE);
    group[13..].copy_from_slice(&octets[13..]);
    let [_, _, _, _, _, _, _, _, _, _, _, _, a, b, c, d] = group;
    (Mac([0x33, 0x33, a, b, c, d]), Ipv6Addr::from(group))
}
