//! Frames as real stacks send them (`tests/line/real.rs` has a living Linux), rebuilt by hand from what is published of them (RFC 791, 792, 826, 4861 leave them the choice of all that differs here; TTLs and identifiers as nmap's and p0f's
//! fingerprint files and the vendors' documents list them).

use rollcall_agent_ebpf::checksum::{add, finish};
use rollcall_agent_ebpf::reason::Reason;

use super::six::{ASKED, advertisement, own_mac, watch};
use super::{ARP_HOST, ARP_SLOT, Bench, Echo, HOST_MAC, ICMP_SLOT, MS, NEIGHBOUR_6, OUR_MAC, arp_reply};

/// How a stack fills in the IPv4 header of an echo reply: type of service, identifier, flags, TTL.
const ECHOES: [(&str, u8, u16, u16, u8); 7] = [
    ("Linux 6", 0, 0x8c21, 0x0000, 64),
    ("Linux 2.4, identifier 0 with DF; FreeBSD 13, DF as asked", 0, 0x0000, 0x4000, 64),
    ("OpenBSD 7, random identifier", 0, 0xd1f3, 0x4000, 255),
    ("macOS", 0, 0x5a0e, 0x0000, 64),
    ("Windows 10 and Server 2019", 0, 0x3a07, 0x0000, 128),
    ("Cisco IOS, the asker's identifier", 0, 0x0001, 0x0000, 255),
    ("a router that marks its own traffic CS6", 0xc0, 0x77aa, 0x0000, 253),
];

/// An echo reply with this header.
fn echo(sequence: u16, tos: u8, id: u16, flags: u16, ttl: u8) -> Vec<u8> {
    let mut frame = Echo::to(sequence).frame();
    frame[15] = tos;
    frame[18..20].copy_from_slice(&id.to_be_bytes());
    frame[20..22].copy_from_slice(&flags.to_be_bytes());
    frame[22] = ttl;
    frame[24..26].fill(0);
    let sum = finish(add(0, &frame[14..34]));
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame
}

#[test]
fn echo_replies_of_every_stack_are_answers() {
    let Some(mut bench) = Bench::new("echo_replies_of_every_stack_are_answers") else { return };
    for (stack, tos, id, flags, ttl) in ECHOES {
        let sequence = bench.probe(ICMP_SLOT, MS);
        let (_, reason) = bench.run(&echo(sequence, tos, id, flags, ttl));
        assert_eq!(reason, Reason::Answer, "{stack}");
        assert!(bench.answered(ICMP_SLOT, sequence), "{stack}");
    }
}

#[test]
fn arp_replies_of_every_stack_are_answers() {
    let Some(mut bench) = Bench::new("arp_replies_of_every_stack_are_answers") else { return };
    // (stack, bytes behind the packet: none, zeros, or what stood in the buffer before)
    let paddings: [(&str, &[u8]); 5] = [
        ("Linux over virtio, no padding", &[]),
        ("Windows, zeros to 60 bytes", &[0; 18]),
        ("FreeBSD em(4), zeros to 60 bytes", &[0; 18]),
        ("an old driver that pads with what lay there", b"\x45\x00\x00\x54GET / HTTP/1.1"),
        ("a switch that keeps four bytes of a tag it took out", &[0; 22]),
    ];
    for (stack, padding) in paddings {
        bench.probe(ARP_SLOT, MS);
        let frame = [&arp_reply(HOST_MAC, ARP_HOST)[..42], padding].concat();
        assert_eq!(bench.run(&frame).1, Reason::Answer, "{stack}");
    }
}

#[test]
fn neighbour_advertisements_of_every_stack_are_answers() {
    let Some(mut bench) = Bench::new("neighbour_advertisements_of_every_stack_are_answers") else { return };
    watch(&bench);
    let set_flags = |frame: &mut [u8], flags: u8| {
        // The checksum follows (RFC 1624): the flags are the high byte of their word.
        let before = u16::from_be_bytes([frame[58], 0]);
        frame[58] = flags;
        let sum = !u16::from_be_bytes([frame[56], frame[57]]);
        let patched = u32::from(sum) + u32::from(!before) + u32::from(u16::from(flags) << 8);
        let folded = (patched & 0xffff) + (patched >> 16);
        let folded = ((folded & 0xffff) + (folded >> 16)) as u16;
        frame[56..58].copy_from_slice(&(!folded).to_be_bytes());
    };
    let mac = own_mac(HOST_MAC);
    let stacks: [(&str, u8, &[u8]); 5] = [
        ("Linux: solicited, overriding, its MAC", 0x60, &mac),
        ("Windows: the same", 0x60, &mac),
        ("FreeBSD to a unicast question: no option", 0x40, &[]),
        ("a router: router, solicited, overriding", 0xe0, &mac),
        ("a proxy: solicited, not overriding", 0x40, &mac),
    ];
    for (stack, flags, option) in stacks {
        let sequence = bench.probe(NEIGHBOUR_6, MS);
        let mut frame = advertisement(ASKED, option);
        set_flags(&mut frame, flags);
        assert_eq!(bench.run(&frame).1, Reason::Answer, "{stack}");
        assert!(bench.answered(NEIGHBOUR_6, sequence), "{stack}");
    }
}

#[test]
fn what_else_stacks_say_on_a_link_passes() {
    let Some(mut bench) = Bench::new("what_else_stacks_say_on_a_link_passes") else { return };
    watch(&bench);
    bench.probe(ICMP_SLOT, MS);
    bench.probe(ARP_SLOT, MS);
    bench.probe(NEIGHBOUR_6, MS);
    let ethernet = |to: [u8; 6], kind: [u8; 2], body: &[u8]| {
        let mut frame = [&to[..], &HOST_MAC, &kind, body].concat();
        frame.resize(frame.len().max(60), 0);
        frame
    };
    let arp = |to: [u8; 6], operation: u8, sender: [u8; 4], target_mac: [u8; 6], target: [u8; 4]| {
        ethernet(to, [8, 6], &[&[0, 1, 8, 0, 6, 4, 0, operation], &HOST_MAC[..], &sender, &target_mac, &target].concat())
    };
    let udp = |to: [u8; 6], address: [u8; 4], port: [u8; 2]| {
        let ip = [&[0x45, 0, 0, 36, 0, 1, 0, 0, 1, 17, 0, 0][..], &ARP_HOST, &address].concat();
        ethernet(to, [8, 0], &[&ip[..], &port, &port, &[0, 16, 0, 0], &[0; 8]].concat())
    };
    let everybody = [0xff; 6];
    let frames: [(&str, Vec<u8>); 13] = [
        ("Windows announces its address (gratuitous ARP request)", arp(everybody, 1, ARP_HOST, [0; 6], ARP_HOST)),
        ("a router announces its address (gratuitous ARP reply)", arp(everybody, 2, ARP_HOST, everybody, ARP_HOST)),
        ("a host asks for us", arp(OUR_MAC, 1, ARP_HOST, [0; 6], [10, 0, 0, 1])),
        ("address conflict detection (RFC 5227 probe)", arp(everybody, 1, [0; 4], [0; 6], ARP_HOST)),
        ("mDNS of macOS", udp([1, 0, 0x5e, 0, 0, 0xfb], [224, 0, 0, 251], [0x14, 0xe9])),
        ("LLMNR of Windows", udp([1, 0, 0x5e, 0, 0, 0xfc], [224, 0, 0, 252], [0x14, 0xeb])),
        ("NetBIOS of Windows", udp(everybody, [10, 0, 0, 255], [0, 137])),
        ("DHCP", udp(everybody, [255; 4], [0, 68])),
        (
            "VRRP (RFC 5798)",
            ethernet([1, 0, 0x5e, 0, 0, 18], [8, 0], &[0x45, 0, 0, 40, 0, 1, 0, 0, 255, 112, 0, 0, 10, 0, 0, 19, 224, 0, 0, 18]),
        ),
        ("LLDP", ethernet([1, 0x80, 0xc2, 0, 0, 0xe], [0x88, 0xcc], &[2, 7, 4, 2, 0x52, 10, 0, 0, 9])),
        ("spanning tree (802.3 length, LLC)", ethernet([1, 0x80, 0xc2, 0, 0, 0], [0, 38], &[0x42, 0x42, 3, 0, 0, 0, 0])),
        ("router advertisement", ethernet([0x33, 0x33, 0, 0, 0, 1], [0x86, 0xdd], &[0x60, 0, 0, 0, 0, 16, 58, 255, 0xfe, 0x80])),
        ("a frame that is cut off in its header", [&OUR_MAC[..], &HOST_MAC, &[8, 0]].concat()),
    ];
    for (what, frame) in frames {
        assert_eq!(bench.run(&frame).1, Reason::Foreign, "{what}");
    }
}
