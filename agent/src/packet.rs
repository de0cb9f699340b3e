//! Packet: probes as bytes. A frame is prepared once for each network; for each probe a few bytes are patched.
//!
//! ARP request (RFC 826), unicast to the known MAC, and ICMP echo request (RFC 792) in IPv4 without options, do not
//! fragment, identification 0 (RFC 6864). Both are 60 bytes, the shortest Ethernet frame, so all frames have one length.

use std::net::Ipv4Addr;

use pnet::packet::arp::{ArpHardwareTypes, ArpOperations, MutableArpPacket};
use pnet::packet::ethernet::{EtherTypes, MutableEthernetPacket};
use pnet::packet::icmp::IcmpTypes;
use pnet::packet::icmp::echo_request::MutableEchoRequestPacket;
use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::ipv4::MutableIpv4Packet;
use pnet::util::MacAddr;
use rollcall_agent_ebpf::checksum;
use rollcall_agent_ebpf::frame::{arp, eth, icmp, ipv4};
use rollcall_agent_ebpf::probe;
use rollcall_agent_ebpf::target::{self, Target};

use crate::unit::Mac;

/// Length of every probe.
pub const LEN: usize = eth::SHORTEST;
/// One probe.
pub type Frame = [u8; LEN];

const IP: usize = eth::LEN;
const ECHO: usize = eth::LEN + ipv4::LEN;
/// Default TTL (RFC 1122, 3.2.1.7, as IANA recommends).
const TTL: u8 = 64;

/// Who the probes of a network come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// MAC of the interface.
    pub mac: Mac,
    /// Source address.
    pub address: Ipv4Addr,
}

/// The prepared frames as words (`rollcall_agent_ebpf::probe`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words {
    /// ARP request.
    pub arp: [u64; probe::WORDS],
    /// ICMP echo request, with its identifier.
    pub echo: [u64; probe::WORDS],
    /// Sums of the echo's IP header (low half) and ICMP header (high half).
    pub sums: u64,
}

/// The prepared frames of one network.
#[derive(Clone, Debug)]
pub struct Templates {
    arp: Frame,
    echo: Frame,
    /// Sums of the parts that stay, for the two checksums of an echo.
    ip_sum: u32,
    echo_sum: u32,
}

impl Templates {
    /// Prepares both frames.
    pub fn new(sender: Sender) -> Self {
        let echo = echo(sender);
        Templates {
            arp: arp(sender),
            ip_sum: checksum::add(0, &echo[IP..ECHO]),
            echo_sum: checksum::add(0, &echo[ECHO..ECHO + icmp::LEN]),
            echo,
        }
    }

    /// Writes the probe of a target; `id` and `sequence` are used by ICMP only.
    pub fn write(&self, frame: &mut Frame, target: &Target, slot: u32, id: u16, sequence: u16) {
        if target.flags & target::ARP != 0 {
            self.write_arp(frame, target.mac, target.v4());
        } else {
            self.write_echo(frame, target, slot, id, sequence);
        }
    }

    /// Writes an ARP request for an address, to a MAC (the broadcast MAC when it is to be learned).
    pub fn write_arp(&self, frame: &mut Frame, mac: [u8; 6], address: [u8; 4]) {
        *frame = self.arp;
        frame[eth::DESTINATION].copy_from_slice(&mac);
        frame[IP..][arp::TARGET].copy_from_slice(&address);
    }

    /// The two frames as the in-kernel transmitter takes them, and the sums of the echo's IP and ICMP headers.
    pub fn words(&self, id: u16) -> Words {
        let mut echo = self.echo;
        echo[ECHO..][icmp::ID].copy_from_slice(&id.to_be_bytes());
        let (ip, icmp) = (probe::sum(&echo[IP..ECHO]), probe::sum(&echo[ECHO..ECHO + icmp::LEN]));
        Words { arp: probe::words(&self.arp), echo: probe::words(&echo), sums: u64::from(ip) | u64::from(icmp) << 32 }
    }

    fn write_echo(&self, frame: &mut Frame, target: &Target, slot: u32, id: u16, sequence: u16) {
        *frame = self.echo;
        frame[eth::DESTINATION].copy_from_slice(&target.mac);
        let ip = &mut frame[IP..];
        let address = target.v4();
        ip[ipv4::DESTINATION].copy_from_slice(&address);
        ip[ipv4::CHECKSUM].copy_from_slice(&checksum::finish(checksum::add(self.ip_sum, &address)).to_be_bytes());
        let echo = &mut frame[ECHO..];
        echo[icmp::ID].copy_from_slice(&id.to_be_bytes());
        echo[icmp::SEQUENCE].copy_from_slice(&sequence.to_be_bytes());
        echo[icmp::SLOT].copy_from_slice(&slot.to_be_bytes());
        echo[icmp::NONCE].copy_from_slice(&target.nonce.to_be_bytes());
        let sum =
            [&echo[icmp::ID], &echo[icmp::SEQUENCE], &echo[icmp::SLOT], &echo[icmp::NONCE]].into_iter().fold(self.echo_sum, checksum::add);
        let sum = checksum::finish(sum).to_be_bytes();
        echo[icmp::CHECKSUM].copy_from_slice(&sum);
    }
}

fn arp(sender: Sender) -> Frame {
    let mut frame = [0; LEN];
    fill_ethernet(&mut frame, sender, EtherTypes::Arp);
    if let Some(mut packet) = MutableArpPacket::new(&mut frame[IP..IP + arp::LEN]) {
        packet.set_hardware_type(ArpHardwareTypes::Ethernet);
        packet.set_protocol_type(EtherTypes::Ipv4);
        packet.set_hw_addr_len(6);
        packet.set_proto_addr_len(4);
        packet.set_operation(ArpOperations::Request);
        packet.set_sender_hw_addr(MacAddr::from(sender.mac.0));
        packet.set_sender_proto_addr(sender.address);
    }
    frame
}

/// All that stays of an echo request; the fields that change are zero, so that the sums can be completed.
fn echo(sender: Sender) -> Frame {
    let mut frame = [0; LEN];
    fill_ethernet(&mut frame, sender, EtherTypes::Ipv4);
    if let Some(mut packet) = MutableIpv4Packet::new(&mut frame[IP..]) {
        packet.set_version(4);
        packet.set_header_length((ipv4::LEN / 4) as u8);
        packet.set_total_length((ipv4::LEN + icmp::LEN) as u16);
        packet.set_flags(pnet::packet::ipv4::Ipv4Flags::DontFragment);
        packet.set_ttl(TTL);
        packet.set_next_level_protocol(IpNextHeaderProtocols::Icmp);
        packet.set_source(sender.address);
    }
    if let Some(mut packet) = MutableEchoRequestPacket::new(&mut frame[ECHO..ECHO + icmp::LEN]) {
        packet.set_icmp_type(IcmpTypes::EchoRequest);
        packet.set_payload(&icmp::MARK_VALUE);
    }
    frame
}

fn fill_ethernet(frame: &mut Frame, sender: Sender, kind: pnet::packet::ethernet::EtherType) {
    if let Some(mut ethernet) = MutableEthernetPacket::new(frame) {
        ethernet.set_source(MacAddr::from(sender.mac.0));
        ethernet.set_ethertype(kind);
    }
}

#[cfg(test)]
mod tests {
    use pnet::packet::Packet;
    use pnet::packet::arp::ArpPacket;
    use pnet::packet::icmp::IcmpPacket;
    use pnet::packet::icmp::echo_request::EchoRequestPacket;
    use pnet::packet::ipv4::Ipv4Packet;

    use super::*;

    const SENDER: Sender = Sender { mac: Mac([2, 0, 0, 0, 0, 1]), address: Ipv4Addr::new(10, 0, 0, 1) };

    fn target(flags: u8) -> Target {
        Target {
            address: target::mapped([10, 0, 3, 7]),
            mac: [2, 0x52, 10, 0, 3, 7],
            network: 4,
            nonce: 0xfedc_ba98,
            timeout_ms: 300,
            flags,
        }
    }

    #[test]
    fn arp_request_is_unicast_and_every_byte_is_known() {
        let mut frame = [0xa5; LEN];
        Templates::new(SENDER).write(&mut frame, &target(target::LIVE | target::ARP), 9, 1, 1);
        let mut expected = vec![2, 0x52, 10, 0, 3, 7, 2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1];
        expected.extend([2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 3, 7]);
        expected.resize(LEN, 0);
        assert_eq!(frame.to_vec(), expected);
        let packet = ArpPacket::new(&frame[IP..]).unwrap();
        assert_eq!(packet.get_operation(), ArpOperations::Request);
    }

    #[test]
    fn echo_request_has_the_checksums_that_another_implementation_computes() {
        let templates = Templates::new(SENDER);
        for (slot, id, sequence) in [(0, 0, 0), (0x00ab_cdef, 0xffff, 0xffff), (77, 0x1234, 9)] {
            let mut frame = [0xa5; LEN];
            templates.write(&mut frame, &target(target::LIVE), slot, id, sequence);
            let ip = Ipv4Packet::new(&frame[IP..]).unwrap();
            assert_eq!(ip.get_checksum(), pnet::packet::ipv4::checksum(&ip));
            assert_eq!((ip.get_destination(), ip.get_ttl()), (Ipv4Addr::new(10, 0, 3, 7), 64));
            let bytes = &frame[ECHO..ECHO + icmp::LEN];
            assert_eq!(u16::from_be_bytes([bytes[2], bytes[3]]), pnet::packet::icmp::checksum(&IcmpPacket::new(bytes).unwrap()));
            let echo = EchoRequestPacket::new(bytes).unwrap();
            assert_eq!((echo.get_identifier(), echo.get_sequence_number()), (id, sequence));
            assert_eq!(echo.payload()[..8], [&icmp::MARK_VALUE[..], &slot.to_be_bytes()].concat()[..]);
            assert_eq!(echo.payload()[8..], 0xfedc_ba98_u32.to_be_bytes());
            assert_eq!(frame[ECHO + icmp::LEN..], [0; LEN - ECHO - icmp::LEN], "no stale byte in the padding");
        }
    }
    #[test]
    fn kernel_builds_the_same_frames_byte_for_byte() {
        let templates = Templates::new(SENDER);
        for (slot, id, sequence, nonce) in [(0, 0, 0, 0), (0x00ab_cdef, 0xffff, 0xffff, u32::MAX), (77, 0x1234, 9, 0xfedc_ba98)] {
            let words = templates.words(id);
            for flags in [target::LIVE, target::LIVE | target::ARP] {
                let target = Target { nonce, ..target(flags) };
                let mut frame = [0xa5; LEN];
                templates.write(&mut frame, &target, slot, id, sequence);
                let (ip, icmp) = (words.sums as u32, (words.sums >> 32) as u32);
                let made = match flags & target::ARP {
                    0 => probe::echo(&words.echo, &target.words(), slot, sequence, ip, icmp),
                    _ => probe::arp(&words.arp, &target.words()),
                };
                assert_eq!(made, probe::words(&frame), "slot {slot}, flags {flags}");
            }
        }
    }
}
