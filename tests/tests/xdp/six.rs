//! Neighbour discovery and ICMPv6 echo, and VLAN tags around them.

use rollcall_agent::unit::Mac;
use rollcall_agent_ebpf::config::Tags;
use rollcall_agent_ebpf::probe;
use rollcall_agent_ebpf::reason::Reason;
use rollcall_agent_ebpf::target::{ARP, LIVE, Target, V6};

use super::{Bench, ECHO_6, HOST_MAC, ID, LO, MS, NEIGHBOUR_6, NETWORK, NONCE, OUR_MAC, arp_reply, target};

pub(crate) const OURS: [u8; 16] = [0xfd, 0x52, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 10, 128, 0, 1];
/// Pinged.
pub(crate) const PINGED: [u8; 16] = [0xfd, 0x52, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 10, 0, 0, 9];
/// Asked for on the link.
pub(crate) const ASKED: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 19];

/// Watches both hosts.
pub(crate) fn watch(bench: &Bench) {
    bench.arrays.occupy(ECHO_6, &Target { address: PINGED, ..target(LIVE | V6) }, 100).unwrap();
    bench.arrays.occupy(NEIGHBOUR_6, &Target { address: ASKED, ..target(LIVE | V6 | ARP) }, 100).unwrap();
}

/// A frame from a host to us, its ICMPv6 part behind so many bytes of extension headers; the checksum is put in.
fn frame(source: [u8; 16], next: u8, extensions: &[u8], hops: u8, icmp: &[u8]) -> Vec<u8> {
    let mut frame = [&OUR_MAC[..], &HOST_MAC, &[0x86, 0xdd, 0x60, 0, 0, 0]].concat();
    frame.extend(((extensions.len() + icmp.len()) as u16).to_be_bytes());
    frame.extend([next, hops]);
    frame.extend(source.into_iter().chain(OURS));
    let sum = probe::sum(&frame[22..54]) + probe::sum(&(icmp.len() as u16).to_be_bytes()) + probe::sum(&[0, 58]) + probe::sum(icmp);
    frame.extend(extensions);
    let at = frame.len();
    frame.extend(icmp);
    frame[at + 2..at + 4].copy_from_slice(&(probe::checksum(u64::from(sum)) as u16).to_ne_bytes());
    frame
}

pub(crate) fn advertisement(address: [u8; 16], option: &[u8]) -> Vec<u8> {
    let icmp = [&[136, 0, 0, 0, 0x60, 0, 0, 0][..], &address, option].concat();
    frame(address, 58, &[], 255, &icmp)
}

pub(crate) fn own_mac(mac: [u8; 6]) -> Vec<u8> {
    [&[2, 1][..], &mac].concat()
}

pub(crate) fn echo_reply(sequence: u16, extensions: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut icmp = vec![129, 0, 0, 0];
    icmp.extend(ID.to_be_bytes().into_iter().chain(sequence.to_be_bytes()).chain(*b"rclr"));
    icmp.extend(ECHO_6.to_be_bytes().into_iter().chain(NONCE.to_be_bytes()).chain([0; 12]));
    let mut bytes = Vec::new();
    for (n, (_, body)) in extensions.iter().enumerate() {
        bytes.push(extensions.get(n + 1).map_or(58, |(kind, _)| *kind));
        bytes.extend(body);
    }
    frame(PINGED, extensions.first().map_or(58, |(kind, _)| *kind), &bytes, 64, &icmp)
}

fn tagged(tags: &[u8], frame: &[u8]) -> Vec<u8> {
    [&frame[..12], tags, &frame[12..]].concat()
}

#[test]
fn advertisement_is_taken_once_for_each_probe_with_its_mac_or_without() {
    let Some(mut bench) = Bench::new("advertisement_is_taken_once") else { return };
    watch(&bench);
    for option in [own_mac(HOST_MAC), vec![], [vec![14, 1, 0, 0, 0, 0, 0, 0], own_mac(HOST_MAC)].concat()] {
        let sequence = bench.probe(NEIGHBOUR_6, MS);
        let frame = advertisement(ASKED, &option);
        bench.expect(&frame, Reason::Answer);
        assert!(bench.answered(NEIGHBOUR_6, sequence));
        bench.expect(&frame, Reason::ArpUnasked);
    }
    bench.probe(NEIGHBOUR_6, 301 * MS);
    bench.expect(&advertisement(ASKED, &own_mac(HOST_MAC)), Reason::ArpLate);
}

#[test]
fn advertisement_of_another_mac_is_remembered_and_a_wrong_one_passes() {
    let Some(mut bench) = Bench::new("advertisement_of_another_mac") else { return };
    watch(&bench);
    bench.be_patient();
    let sequence = bench.probe(NEIGHBOUR_6, MS);
    let other = [2, 0x66, 0, 0, 0, 1];
    bench.expect(&advertisement(ASKED, &own_mac(other)), Reason::OtherMac);
    assert_eq!(bench.arrays.other_mac(NEIGHBOUR_6), Some((other, 1)));
    let good = advertisement(ASKED, &own_mac(HOST_MAC));
    // Version, next header, hops, target, flags, code, checksum, an option without length, another station's MAC in front.
    for (offset, value) in [(14, 0x40), (20, 17), (21, 254), (70, 9), (58, 0x20), (55, 1), (56, 0xee), (79, 0), (5, 9)] {
        let mut frame = good.clone();
        frame[offset] = value;
        bench.expect(&frame, Reason::Foreign);
    }
    // One that is pinged, and one that nobody watches.
    bench.expect(&advertisement(PINGED, &own_mac(HOST_MAC)), Reason::Foreign);
    bench.expect(&advertisement([7; 16], &own_mac(HOST_MAC)), Reason::Foreign);
    assert!(!bench.answered(NEIGHBOUR_6, sequence));
    bench.expect(&good, Reason::Answer);
}

#[test]
fn echo_reply_is_taken_once_also_behind_extension_headers() {
    let Some(mut bench) = Bench::new("echo_reply_behind_extension_headers") else { return };
    watch(&bench);
    let padding = |units: usize| [vec![units as u8, 1, 4, 0, 0, 0, 0], vec![0; units * 8]].concat();
    let fragment = vec![0, 0, 0, 1, 2, 3, 4];
    for extensions in [
        vec![],
        vec![(0, padding(0))],
        vec![(0, padding(2)), (60, padding(15))],
        vec![(43, padding(1)), (44, fragment.clone()), (60, padding(0)), (0, padding(3))],
    ] {
        let sequence = bench.probe(ECHO_6, MS);
        let frame = echo_reply(sequence, &extensions);
        bench.expect(&frame, Reason::Answer);
        bench.expect(&frame, Reason::Duplicate);
    }
    let sequence = bench.probe(ECHO_6, MS);
    let mut second = fragment;
    second[2] = 8;
    for extensions in [vec![(44, second)], vec![(0, padding(16))], vec![(0, padding(0)); 5], vec![(51, padding(0))]] {
        bench.expect(&echo_reply(sequence, &extensions), Reason::Foreign);
    }
    assert!(!bench.answered(ECHO_6, sequence));
}

#[test]
fn forged_echo_replies_pass_and_mark_nothing() {
    let Some(mut bench) = Bench::new("forged_echo_replies_v6") else { return };
    watch(&bench);
    bench.be_patient();
    let sequence = bench.probe(ECHO_6, MS);
    let good = echo_reply(sequence, &[]);
    for (offset, reason) in [
        (73, Reason::BadNonce),
        (37, Reason::BadSource),
        (53, Reason::BadChecksum),
        (85, Reason::BadChecksum),
        (62, Reason::Foreign),
        (55, Reason::Foreign),
        (19, Reason::Foreign),
    ] {
        let mut frame = good.clone();
        frame[offset] ^= 1;
        bench.expect(&frame, reason);
    }
    for length in 14..good.len() {
        bench.expect(&good[..length], Reason::Foreign);
    }
    bench.expect(&good, Reason::Answer);
}

#[test]
fn frames_count_only_in_the_network_of_their_tags() {
    let Some(mut bench) = Bench::new("frames_count_only_in_the_network_of_their_tags") else { return };
    watch(&bench);
    const RED: u16 = NETWORK + 1;
    const BLUE: u16 = NETWORK + 2;
    bench.arrays.set_network(LO, Tags { outer: 5, inner: 0, service: false }, RED, Mac(OUR_MAC)).unwrap();
    bench.arrays.set_network(LO, Tags { outer: 5, inner: 6, service: true }, BLUE, Mac(OUR_MAC)).unwrap();
    let (one, two): (&[u8], &[u8]) = (&[0x81, 0, 0, 5], &[0x88, 0xa8, 0, 5, 0x81, 0, 0, 6]);
    let (red, blue) = (30, 31);
    bench.arrays.occupy(red, &Target { network: RED, address: ASKED, ..target(LIVE | V6 | ARP) }, 100).unwrap();
    bench.arrays.occupy(blue, &Target { network: BLUE, address: ASKED, ..target(LIVE | V6 | ARP) }, 100).unwrap();
    let frame = advertisement(ASKED, &own_mac(HOST_MAC));
    let slots = [NEIGHBOUR_6, red, blue];
    for (tags, slot) in [(&[][..], NEIGHBOUR_6), (one, red), (two, blue)] {
        let sequences = slots.map(|slot| bench.probe(slot, MS));
        bench.expect(&tagged(tags, &frame), Reason::Answer);
        for (other, sequence) in slots.into_iter().zip(sequences) {
            assert_eq!(bench.answered(other, sequence), other == slot, "{tags:02x?}");
        }
    }
    // Priority and drop eligibility are no part of the identity, and identifier 0 is no VLAN.
    for slot in slots {
        bench.probe(slot, MS);
    }
    bench.expect(&tagged(&[0x81, 0, 0xf0, 5], &frame), Reason::Answer);
    bench.expect(&tagged(&[0x81, 0, 0x60, 0], &frame), Reason::Answer);
    // Another VLAN, another protocol of the outer tag, three tags, ARP in a VLAN that does not watch it.
    for tags in [&[0x81, 0, 0, 7][..], &[0x81, 0, 0, 5, 0x81, 0, 0, 6], &[0x88, 0xa8, 0, 5, 0x81, 0, 0, 6, 0x81, 0, 0, 6]] {
        bench.expect(&tagged(tags, &frame), Reason::Foreign);
    }
    bench.expect(&tagged(one, &arp_reply(HOST_MAC, super::ARP_HOST)), Reason::Foreign);
    bench.arrays.unset_network(RED);
    bench.expect(&tagged(one, &frame), Reason::Foreign);
}
