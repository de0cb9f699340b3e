//! The frames as they are prepared: all that stays, zero where a probe fills something in.

use std::net::Ipv4Addr;

use pnet::packet::arp::{ArpHardwareTypes, ArpOperations, MutableArpPacket};
use pnet::packet::ethernet::{EtherType, EtherTypes, MutableEthernetPacket};
use pnet::packet::icmp::IcmpTypes;
use pnet::packet::icmp::echo_request::MutableEchoRequestPacket;
use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::ipv4::{Ipv4Flags, MutableIpv4Packet};
use pnet::packet::ipv6::MutableIpv6Packet;
use pnet::util::MacAddr;
use rollcall_agent_ebpf::frame::{arp as arp_header, eth, icmp, icmpv6, ipv4, ipv6};
use rollcall_agent_ebpf::probe;

use super::{ECHO, ECHO_V6, IP, Sender};

/// Default TTL (RFC 1122, 3.2.1.7, as IANA recommends), and hop limit.
const TTL: u8 = 64;

/// An ARP request; its sender is 0.0.0.0 where the agent has no address (RFC 5227, 2.1.1).
pub(super) fn arp(sender: Sender) -> [u8; probe::LEN] {
    let mut frame = [0; probe::LEN];
    fill_ethernet(&mut frame, sender, EtherTypes::Arp);
    if let Some(mut packet) = MutableArpPacket::new(&mut frame[IP..IP + arp_header::LEN]) {
        packet.set_hardware_type(ArpHardwareTypes::Ethernet);
        packet.set_protocol_type(EtherTypes::Ipv4);
        packet.set_hw_addr_len(6);
        packet.set_proto_addr_len(4);
        packet.set_operation(ArpOperations::Request);
        packet.set_sender_hw_addr(MacAddr::from(sender.mac.0));
        packet.set_sender_proto_addr(sender.v4.unwrap_or(Ipv4Addr::UNSPECIFIED));
    }
    frame
}

/// An ICMP echo request.
pub(super) fn echo(sender: Sender) -> [u8; probe::LEN] {
    let mut frame = [0; probe::LEN];
    fill_ethernet(&mut frame, sender, EtherTypes::Ipv4);
    if let Some(mut packet) = MutableIpv4Packet::new(&mut frame[IP..]) {
        packet.set_version(4);
        packet.set_header_length((ipv4::LEN / 4) as u8);
        packet.set_total_length((ipv4::LEN + icmp::LEN) as u16);
        packet.set_flags(Ipv4Flags::DontFragment);
        packet.set_ttl(TTL);
        packet.set_next_level_protocol(IpNextHeaderProtocols::Icmp);
        packet.set_source(sender.v4.unwrap_or(Ipv4Addr::UNSPECIFIED));
    }
    if let Some(mut packet) = MutableEchoRequestPacket::new(&mut frame[ECHO..ECHO + icmp::LEN]) {
        packet.set_icmp_type(IcmpTypes::EchoRequest);
        packet.set_payload(&icmp::MARK_VALUE);
    }
    frame
}

/// A neighbour solicitation with our MAC as its option.
pub(super) fn solicitation(sender: Sender) -> [u8; probe::LEN_V6] {
    let mut frame = [0; probe::LEN_V6];
    fill_v6(&mut frame, sender, ipv6::NEIGHBOUR_HOPS);
    let packet = &mut frame[ECHO_V6..];
    packet[0] = icmpv6::SOLICITATION;
    packet[icmpv6::OPTIONS..icmpv6::OPTIONS + 2].copy_from_slice(&icmpv6::SOURCE_MAC);
    packet[icmpv6::OPTIONS + 2..icmpv6::OPTIONS + 8].copy_from_slice(&sender.mac.0);
    frame
}

/// An ICMPv6 echo request.
pub(super) fn echo_v6(sender: Sender) -> [u8; probe::LEN_V6] {
    let mut frame = [0; probe::LEN_V6];
    fill_v6(&mut frame, sender, TTL);
    let packet = &mut frame[ECHO_V6..];
    packet[0] = icmpv6::ECHO_REQUEST;
    packet[icmp::MARK].copy_from_slice(&icmp::MARK_VALUE);
    frame
}

fn fill_v6(frame: &mut [u8], sender: Sender, hops: u8) {
    fill_ethernet(frame, sender, EtherTypes::Ipv6);
    if let Some(mut packet) = MutableIpv6Packet::new(&mut frame[eth::LEN..]) {
        packet.set_version(6);
        packet.set_payload_length(icmpv6::LEN as u16);
        packet.set_next_header(IpNextHeaderProtocols::Icmpv6);
        packet.set_hop_limit(hops);
    }
}

fn fill_ethernet(frame: &mut [u8], sender: Sender, kind: EtherType) {
    if let Some(mut ethernet) = MutableEthernetPacket::new(frame) {
        ethernet.set_source(MacAddr::from(sender.mac.0));
        ethernet.set_ethertype(kind);
    }
}
