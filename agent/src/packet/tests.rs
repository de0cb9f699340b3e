use pnet::packet::Packet;
use pnet::packet::icmp::IcmpPacket;
use pnet::packet::icmp::echo_request::EchoRequestPacket;
use pnet::packet::icmpv6::ndp::NeighborSolicitPacket;
use pnet::packet::icmpv6::{self, Icmpv6Packet};
use pnet::packet::ipv4::Ipv4Packet;
use pnet::packet::ipv6::Ipv6Packet;

use super::*;
use crate::unit::mapped;

const HOST_MAC: [u8; 6] = [2, 0x52, 10, 0, 3, 7];

fn sender() -> Sender {
    let v6 = Some("fd52::1".parse().unwrap());
    Sender { v4: Some(Ipv4Addr::new(10, 0, 0, 1)), v6, ..Sender::new(Mac([2, 0, 0, 0, 0, 1])) }
}

fn target(address: &str, flags: u8) -> Target {
    let address: IpAddr = address.parse().unwrap();
    let v6 = if address.is_ipv6() { target::V6 } else { 0 };
    let flags = target::LIVE | flags | v6;
    Target { address: mapped(address), mac: HOST_MAC, network: 4, nonce: 0xfedc_ba98, timeout_ms: 300, flags }
}

fn probe(sender: Sender, target: &Target, slot: u32, id: u16, sequence: u16) -> Vec<u8> {
    let mut frame = [0xa5; LEN_MAX];
    let length = Templates::new(sender, id).write(&mut frame, target, slot, sequence);
    assert_eq!(length, sender.length(target.flags & target::V6 != 0));
    frame[..length].to_vec()
}

#[test]
fn arp_request_is_unicast_and_every_byte_is_known() {
    let frame = probe(sender(), &target("10.0.3.7", target::ARP), 9, 1, 1);
    let mut expected = vec![2, 0x52, 10, 0, 3, 7, 2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1];
    expected.extend([2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 3, 7]);
    expected.resize(60, 0);
    assert_eq!(frame, expected);
}

#[test]
fn agent_without_an_address_asks_from_0_0_0_0_and_sends_no_echo() {
    let sender = Sender::new(Mac([2, 0, 0, 0, 0, 1]));
    let frame = probe(sender, &target("10.0.3.7", target::ARP), 9, 1, 1);
    assert_eq!(frame[28..32], [0; 4]);
    assert!(!sender.can_echo("10.0.3.7".parse().unwrap(), true) && !sender.can_echo("fe80::7".parse().unwrap(), true));
    assert_eq!(sender.link_local, "fe80::ff:fe00:1".parse::<Ipv6Addr>().unwrap());
}

#[test]
fn link_local_source_pings_nobody_behind_a_router() {
    let local = Sender { owns_link_local: true, ..Sender::new(Mac([2, 0, 0, 0, 0, 1])) };
    let global = Sender { v6: Some("fd00::1".parse().unwrap()), ..local };
    let pings = |sender: Sender, to: &str, near| sender.can_echo(to.parse().unwrap(), near);
    assert!(pings(local, "fe80::7", true) && pings(local, "fd00::7", true) && !pings(local, "fd00:1::7", false));
    assert!(pings(global, "fd00:1::7", false));
}

#[test]
fn echo_request_has_the_checksums_that_another_implementation_computes() {
    for (slot, id, sequence) in [(0, 0, 0), (0x00ab_cdef, 0xffff, 0xffff), (77, 0x1234, 9)] {
        let frame = probe(sender(), &target("10.0.3.7", 0), slot, id, sequence);
        let ip = Ipv4Packet::new(&frame[IP..]).unwrap();
        assert_eq!(ip.get_checksum(), pnet::packet::ipv4::checksum(&ip));
        assert_eq!((ip.get_destination(), ip.get_ttl()), (Ipv4Addr::new(10, 0, 3, 7), 64));
        let bytes = &frame[ECHO..ECHO + icmp::LEN];
        assert_eq!(u16::from_be_bytes([bytes[2], bytes[3]]), pnet::packet::icmp::checksum(&IcmpPacket::new(bytes).unwrap()));
        let echo = EchoRequestPacket::new(bytes).unwrap();
        assert_eq!((echo.get_identifier(), echo.get_sequence_number()), (id, sequence));
        assert_eq!(echo.payload()[..8], [&icmp::MARK_VALUE[..], &slot.to_be_bytes()].concat()[..]);
        assert_eq!(echo.payload()[8..], 0xfedc_ba98_u32.to_be_bytes());
        assert_eq!(frame[ECHO + icmp::LEN..], [0; 60 - ECHO - icmp::LEN], "no stale byte in the padding");
    }
}

fn checked_v6(frame: &[u8]) -> Ipv6Packet<'_> {
    let ip = Ipv6Packet::new(&frame[IP..]).unwrap();
    assert_eq!((ip.get_version(), usize::from(ip.get_payload_length())), (6, frame.len() - ECHO_V6));
    let packet = Icmpv6Packet::new(&frame[ECHO_V6..]).unwrap();
    assert_eq!(packet.get_checksum(), icmpv6::checksum(&packet, &ip.get_source(), &ip.get_destination()));
    ip
}

#[test]
fn solicitation_is_unicast_from_the_right_source_with_our_mac() {
    for (address, source) in [("fe80::9", "fe80::ff:fe00:1"), ("fd52::ffff:9", "fd52::1")] {
        let frame = probe(sender(), &target(address, target::ARP), 9, 1, 1);
        assert_eq!(frame[..14], [&HOST_MAC[..], &[2, 0, 0, 0, 0, 1, 0x86, 0xdd]].concat());
        let ip = checked_v6(&frame);
        assert_eq!((ip.get_source(), ip.get_destination()), (source.parse().unwrap(), address.parse().unwrap()));
        assert_eq!(ip.get_hop_limit(), 255);
        let packet = NeighborSolicitPacket::new(&frame[ECHO_V6..]).unwrap();
        assert_eq!((packet.get_icmpv6_type().0, packet.get_target_addr()), (135, address.parse().unwrap()));
        assert_eq!(frame[78..], [1, 1, 2, 0, 0, 0, 0, 1]);
    }
}

#[test]
fn icmpv6_echo_names_slot_and_nonce_and_has_the_right_checksum() {
    for (slot, id, sequence) in [(0, 0, 0), (0x00ab_cdef, 0xffff, 0xffff), (77, 0x1234, 9)] {
        let frame = probe(sender(), &target("2001:db8:1:2:3:4:5:6", 0), slot, id, sequence);
        let ip = checked_v6(&frame);
        assert_eq!((ip.get_source(), ip.get_hop_limit()), ("fd52::1".parse().unwrap(), 64));
        let mut expected = vec![128, 0, frame[56], frame[57]];
        expected.extend(id.to_be_bytes().into_iter().chain(sequence.to_be_bytes()).chain(icmp::MARK_VALUE));
        expected.extend(slot.to_be_bytes().into_iter().chain(0xfedc_ba98_u32.to_be_bytes()).chain([0; 12]));
        assert_eq!(frame[ECHO_V6..], expected);
    }
}

#[test]
fn address_of_both_is_asked_with_even_sequences_and_pinged_with_odd_ones() {
    for address in ["10.0.3.7", "fd52::9"] {
        let of = |flags, sequence| probe(sender(), &target(address, flags), 9, 1, sequence);
        for sequence in [0, 2, 0xfffe] {
            assert_eq!(of(target::ARP | target::BOTH, sequence), of(target::ARP, sequence), "{address} {sequence}");
            assert_eq!(of(target::ARP | target::BOTH, sequence + 1), of(0, sequence + 1), "{address} {sequence} + 1");
        }
    }
}

#[test]
fn pings_of_a_far_address_go_to_the_gateway_of_its_family_and_nowhere_without_one() {
    let far = target::ARP | target::BOTH | target::FAR;
    let (v4, v6) = (Mac([2, 0, 0, 0, 0, 4]), Mac([2, 0, 0, 0, 0, 6]));
    let mut templates = Templates::new(sender(), 1);
    let mut frame = [0xa5; LEN_MAX];
    for (address, gateway) in [("10.0.3.7", v4), ("fd52::9", v6)] {
        let target = target(address, far);
        assert_eq!(templates.write(&mut frame, &target, 9, 1), 0);
        assert!(templates.write(&mut frame, &target, 9, 2) > 0 && frame[..6] == HOST_MAC, "questions go to the host");
        templates.set_gateway(Family::V4, Some(v4));
        templates.set_gateway(Family::V6, Some(v6));
        let length = templates.with_id(sender(), 7).write(&mut frame, &target, 9, 1);
        let mut straight = probe(sender(), &super::tests::target(address, 0), 9, 7, 1);
        straight[..6].copy_from_slice(&gateway.0);
        assert_eq!(frame[..length], straight, "{address}");
        templates.set_gateway(Family::V4, None);
        templates.set_gateway(Family::V6, None);
    }
}

#[test]
fn question_to_all_goes_to_the_solicited_node_group() {
    let mut frame = [0xa5; LEN_MAX];
    let length = Templates::new(sender(), 1).ask(&mut frame, "fd52::12:3456".parse().unwrap(), None);
    assert_eq!(frame[..6], [0x33, 0x33, 0xff, 0x12, 0x34, 0x56]);
    let ip = checked_v6(&frame[..length]);
    assert_eq!(ip.get_destination(), "ff02::1:ff12:3456".parse::<Ipv6Addr>().unwrap());
    let packet = NeighborSolicitPacket::new(&frame[ECHO_V6..length]).unwrap();
    assert_eq!(packet.get_target_addr(), "fd52::12:3456".parse::<Ipv6Addr>().unwrap());
    let length = Templates::new(sender(), 1).ask(&mut frame, "10.0.0.9".parse().unwrap(), None);
    assert_eq!((length, &frame[..6], &frame[38..42]), (60, &[0xff; 6][..], &[10, 0, 0, 9][..]));
}

#[test]
fn tagged_probes_are_the_same_with_their_tags() {
    for (address, flags) in [("10.0.3.7", target::ARP), ("10.0.3.7", 0), ("fd52::9", target::ARP), ("fd52::9", 0)] {
        let plain = probe(sender(), &target(address, flags), 9, 1, 1);
        for (tags, bytes) in [
            (Tags { outer: 5, inner: 0, service: false }, &[0x81, 0, 0, 5][..]),
            (Tags { outer: 0xabc, inner: 7, service: true }, &[0x88, 0xa8, 0x0a, 0xbc, 0x81, 0, 0, 7]),
        ] {
            let tagged = probe(Sender { tags, ..sender() }, &target(address, flags), 9, 1, 1);
            assert_eq!(tagged, [&plain[..12], bytes, &plain[12..]].concat(), "{address} {flags}");
        }
    }
}
