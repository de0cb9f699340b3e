//! The fleet's XDP program, by PROG_TEST_RUN: frames in, XDP action and frames out.

use rollcall_agent_ebpf::checksum::{add, finish};
use rollcall_agent_ebpf::fleet::{AGENT, Behaviour, Cloud, GATEWAY, Outcome, mac, wrong_mac};
use rollcall_tests::fleet::{Fleet, Program};
use rollcall_tests::population;

const DROP: u32 = 1;
const PASS: u32 = 2;
const TX: u32 = 3;

const AGENT_MAC: [u8; 6] = mac(AGENT);
const CLOUD: Cloud = Cloud { on_link: 300, routed: 20 };
const HOST: [u8; 4] = [10, 128, 1, 44];
const ROUTED: [u8; 4] = [10, 64, 1, 5];

/// What requests look like: the fleet answers those of the agent on a way of their own.
#[derive(Clone, Copy, Debug)]
enum Shape {
    /// As the agent sends them: 12 bytes of payload, padded to the shortest frame.
    Agent,
    /// As others may: another payload, no padding.
    Other,
}

struct Bench {
    program: Program,
    fleet: Fleet,
    shape: Shape,
}

impl Bench {
    /// One for each shape of requests; none, said aloud, where this machine cannot load programs.
    fn each(test: &str) -> Vec<Self> {
        if !nix::unistd::geteuid().is_root() {
            println!("SKIPPED: {test}: loading an XDP program needs root");
            return vec![];
        }
        let bench = |shape| {
            let mut program = Program::load(CLOUD).unwrap();
            let fleet = program.fleet().unwrap();
            Self { program, fleet, shape }
        };
        [Shape::Agent, Shape::Other].map(bench).into()
    }

    fn change(&self, address: [u8; 4], change: impl Fn(Behaviour) -> Behaviour) {
        let station = population::station(CLOUD, &std::net::Ipv4Addr::from(address).to_string()).unwrap();
        self.fleet.change(station, change);
    }

    #[track_caller]
    fn answers(&self, frame: &[u8], reply: &[u8]) {
        let (action, out) = self.program.test(frame).unwrap();
        assert_eq!((action, &out[..]), (TX, reply), "{:?}", self.shape);
    }

    #[track_caller]
    fn leaves(&self, frame: &[u8], expected: u32) {
        let (action, out) = self.program.test(frame).unwrap();
        assert_eq!((action, &out[..]), (expected, frame), "{:?}", self.shape);
    }

    fn arp_request(&self, to: [u8; 6], address: [u8; 4]) -> Vec<u8> {
        self.padded(ethernet(to, AGENT_MAC, 0x0806, &arp(1, (AGENT_MAC, AGENT), ([0; 6], address))))
    }

    fn arp_reply(&self, from: [u8; 6], address: [u8; 4]) -> Vec<u8> {
        self.padded(ethernet(AGENT_MAC, from, 0x0806, &arp(2, (from, address), (AGENT_MAC, AGENT))))
    }

    fn echo_request(&self, to: [u8; 6], address: [u8; 4]) -> Vec<u8> {
        self.padded(ethernet(to, AGENT_MAC, 0x0800, &ip_icmp(8, 64, AGENT, address, &[], self.payload())))
    }

    fn echo_reply(&self, from: [u8; 6], address: [u8; 4], ttl: u8) -> Vec<u8> {
        self.padded(ethernet(AGENT_MAC, from, 0x0800, &ip_icmp(0, ttl, address, AGENT, &[], self.payload())))
    }

    fn payload(&self) -> &'static [u8] {
        match self.shape {
            Shape::Agent => b"rclr\0\0\0\x09\xfe\xdc\xba\x98",
            Shape::Other => b"rollcall's payload, odd",
        }
    }

    /// Padded with something that must come back as it is.
    fn padded(&self, mut frame: Vec<u8>) -> Vec<u8> {
        if let Shape::Agent = self.shape {
            frame.resize(60, 0xa5);
        }
        frame
    }
}

fn ethernet(to: [u8; 6], from: [u8; 6], kind: u16, payload: &[u8]) -> Vec<u8> {
    [&to[..], &from, &kind.to_be_bytes(), payload].concat()
}

fn arp(operation: u16, sender: ([u8; 6], [u8; 4]), target: ([u8; 6], [u8; 4])) -> Vec<u8> {
    [&[0, 1, 8, 0, 6, 4], &operation.to_be_bytes()[..], &sender.0, &sender.1, &target.0, &target.1].concat()
}

/// An ICMP message in an IPv4 packet, both checksums computed from scratch.
fn ip_icmp(kind: u8, ttl: u8, from: [u8; 4], to: [u8; 4], options: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut icmp = [&[kind, 0, 0, 0, 0x12, 0x34, 0, 7], payload].concat();
    let length = icmp.len();
    icmp.push(0);
    let sum = finish(add(0, &icmp[..length + length % 2]));
    icmp.truncate(length);
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());

    let header = 20 + options.len();
    let total = u16::try_from(header + icmp.len()).unwrap().to_be_bytes();
    let version = 0x40 | u8::try_from(header / 4).unwrap();
    let mut ip = [&[version, 0, total[0], total[1], 0xbe, 0xef, 0x40, 0, ttl, 1, 0, 0], &from[..], &to, options].concat();
    let sum = finish(add(0, &ip));
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    [ip, icmp].concat()
}

#[test]
fn arp_requests_are_answered_unicast_and_broadcast() {
    for bench in Bench::each("arp_requests_are_answered_unicast_and_broadcast") {
        for address in [HOST, GATEWAY, [10, 128, 1, 1], [10, 128, 2, 44]] {
            for to in [mac(address), [0xff; 6]] {
                bench.answers(&bench.arp_request(to, address), &bench.arp_reply(mac(address), address));
            }
        }
    }
}

#[test]
fn echo_requests_are_answered_with_checksums_computed_from_scratch() {
    for bench in Bench::each("echo_requests_are_answered_with_checksums_computed_from_scratch") {
        bench.answers(&bench.echo_request(mac(HOST), HOST), &bench.echo_reply(mac(HOST), HOST, 64));
        bench.answers(&bench.echo_request(mac(GATEWAY), GATEWAY), &bench.echo_reply(mac(GATEWAY), GATEWAY, 64));
        bench.answers(&bench.echo_request(mac(GATEWAY), ROUTED), &bench.echo_reply(mac(GATEWAY), ROUTED, 63));
    }
}

#[test]
fn every_length_of_payload_and_options_is_answered() {
    for bench in Bench::each("every_length_of_payload_and_options_is_answered") {
        let payload: Vec<u8> = (0..1472u16).map(|i| (i * 7) as u8).collect();
        for length in (0..130).chain([1000, 1431, 1432]) {
            for options in [0, 4, 40] {
                // Router alert (RFC 2113), then the end of options.
                let options = &[&[0x94, 4, 0, 0][..], &[0; 36]].concat()[..options];
                let request = ip_icmp(8, 200, AGENT, HOST, options, &payload[..length]);
                let reply = ip_icmp(0, 64, HOST, AGENT, options, &payload[..length]);
                let mut request = ethernet(mac(HOST), AGENT_MAC, 0x0800, &request);
                let mut reply = ethernet(AGENT_MAC, mac(HOST), 0x0800, &reply);
                for frame in [&mut request, &mut reply] {
                    let padded = frame.len().max(60);
                    frame.resize(padded, 0xa5);
                }
                bench.answers(&request, &reply);
            }
        }
        let longest = ip_icmp(8, 64, AGENT, HOST, &[], &payload);
        bench.answers(
            &ethernet(mac(HOST), AGENT_MAC, 0x0800, &longest),
            &ethernet(AGENT_MAC, mac(HOST), 0x0800, &ip_icmp(0, 64, HOST, AGENT, &[], &payload)),
        );
    }
}

#[test]
fn a_dead_host_swallows_both_and_a_revived_one_answers_again() {
    for bench in Bench::each("a_dead_host_swallows_both_and_a_revived_one_answers_again") {
        bench.change(HOST, |behaviour| behaviour.with(Behaviour::DEAD, true));
        bench.leaves(&bench.arp_request(mac(HOST), HOST), DROP);
        bench.leaves(&bench.echo_request(mac(HOST), HOST), DROP);
        bench.answers(&bench.arp_request([0xff; 6], [10, 128, 1, 45]), &bench.arp_reply(mac([10, 128, 1, 45]), [10, 128, 1, 45]));
        bench.change(HOST, |behaviour| behaviour.with(Behaviour::DEAD, false));
        bench.answers(&bench.arp_request(mac(HOST), HOST), &bench.arp_reply(mac(HOST), HOST));
        let counters = bench.fleet.counters().unwrap();
        assert_eq!((counters[Outcome::Dead.label()], counters[Outcome::ArpAnswered.label()]), (2, 2));
    }
}

#[test]
fn a_security_group_drops_icmp_and_never_arp() {
    for bench in Bench::each("a_security_group_drops_icmp_and_never_arp") {
        bench.change(HOST, |behaviour| behaviour.with(Behaviour::ICMP_FILTERED, true));
        bench.leaves(&bench.echo_request(mac(HOST), HOST), DROP);
        bench.answers(&bench.arp_request(mac(HOST), HOST), &bench.arp_reply(mac(HOST), HOST));
    }
}

#[test]
fn who_answers_no_question_for_its_mac_answers_pings_all_the_same() {
    for bench in Bench::each("who_answers_no_question_for_its_mac_answers_pings_all_the_same") {
        bench.change(HOST, |behaviour| behaviour.with(Behaviour::NEIGHBOUR_FILTERED, true));
        bench.leaves(&bench.arp_request(mac(HOST), HOST), DROP);
        bench.leaves(&bench.arp_request([0xff; 6], HOST), DROP);
        bench.answers(&bench.echo_request(mac(HOST), HOST), &bench.echo_reply(mac(HOST), HOST, 64));
    }
}

#[test]
fn the_gateway_passes_pings_on_to_a_host_on_the_link() {
    for bench in Bench::each("the_gateway_passes_pings_on_to_a_host_on_the_link") {
        bench.answers(&bench.echo_request(mac(GATEWAY), HOST), &bench.echo_reply(mac(GATEWAY), HOST, 63));
        bench.answers(&bench.echo_request(mac(GATEWAY), GATEWAY), &bench.echo_reply(mac(GATEWAY), GATEWAY, 64));
        bench.change(GATEWAY, |behaviour| behaviour.with(Behaviour::DEAD, true));
        bench.leaves(&bench.echo_request(mac(GATEWAY), HOST), DROP);
        bench.answers(&bench.echo_request(mac(HOST), HOST), &bench.echo_reply(mac(HOST), HOST, 64));
    }
}

#[test]
fn a_second_station_answers_from_its_own_mac() {
    for bench in Bench::each("a_second_station_answers_from_its_own_mac") {
        bench.change(HOST, |behaviour| behaviour.with(Behaviour::WRONG_MAC, true));
        bench.answers(&bench.arp_request(mac(HOST), HOST), &bench.arp_reply(wrong_mac(HOST), HOST));
        bench.answers(&bench.echo_request(mac(HOST), HOST), &bench.echo_reply(wrong_mac(HOST), HOST, 64));
    }
}

#[test]
fn loss_takes_its_share_and_no_more() {
    for bench in Bench::each("loss_takes_its_share_and_no_more") {
        let lost = |per_mille| {
            bench.change(HOST, |behaviour| behaviour.with_loss_per_mille(per_mille));
            let frame = bench.arp_request(mac(HOST), HOST);
            (0..4000).filter(|_| bench.program.test(&frame).unwrap().0 == DROP).count()
        };
        assert_eq!(lost(0), 0);
        assert_eq!(lost(1000), 4000);
        // Expected 1000, standard deviation 27: twelve deviations to either side.
        let quarter = lost(250);
        assert!((670..1330).contains(&quarter), "{quarter}");
    }
}

#[test]
fn what_is_no_request_to_a_station_passes_untouched() {
    for bench in Bench::each("what_is_no_request_to_a_station_passes_untouched") {
        let other = mac([10, 128, 1, 45]);
        let arp_with = |at: usize, byte: u8| {
            let mut frame = bench.arp_request(mac(HOST), HOST);
            frame[at] = byte;
            frame
        };
        let icmp = |packet: Vec<u8>| bench.padded(ethernet(mac(HOST), AGENT_MAC, 0x0800, &packet));
        let mut fragment = ip_icmp(8, 64, AGENT, HOST, &[], bench.payload());
        fragment[6] = 0x20;
        let strangers = [
            ("ARP to another station's MAC", bench.arp_request(other, HOST)),
            ("ARP for an address beyond the cloud", bench.arp_request([0xff; 6], [10, 128, 2, 45])),
            ("ARP for a routed host", bench.arp_request([0xff; 6], ROUTED)),
            ("ARP for the agent itself", bench.arp_request([0xff; 6], AGENT)),
            ("ARP reply", arp_with(21, 2)),
            ("ARP of another hardware", arp_with(15, 6)),
            ("ARP announcement", {
                let mut frame = bench.arp_request([0xff; 6], HOST);
                frame[28..32].copy_from_slice(&HOST);
                frame
            }),
            ("ARP from a group MAC", arp_with(6, 3)),
            ("echo request to another station's MAC", bench.echo_request(other, HOST)),
            ("echo request for a routed host to the host's own MAC", bench.echo_request(mac(ROUTED), ROUTED)),
            ("echo request to all", bench.echo_request([0xff; 6], HOST)),
            ("echo reply", icmp(ip_icmp(0, 64, AGENT, HOST, &[], bench.payload()))),
            ("timestamp request", icmp(ip_icmp(13, 64, AGENT, HOST, &[], bench.payload()))),
            ("fragment", icmp(fragment)),
            ("from no address", icmp(ip_icmp(8, 64, [0; 4], HOST, &[], bench.payload()))),
            ("from a group", icmp(ip_icmp(8, 64, [224, 0, 0, 1], HOST, &[], bench.payload()))),
            ("UDP", {
                let mut packet = ip_icmp(8, 64, AGENT, HOST, &[], bench.payload());
                packet[9] = 17;
                icmp(packet)
            }),
            ("IPv6", ethernet(mac(HOST), AGENT_MAC, 0x86dd, &[0x60; 40])),
            (
                "routed, with no hop left",
                bench.padded(ethernet(mac(GATEWAY), AGENT_MAC, 0x0800, &ip_icmp(8, 1, AGENT, ROUTED, &[], bench.payload()))),
            ),
        ];
        for (what, frame) in &strangers {
            let (action, out) = bench.program.test(frame).unwrap();
            assert_eq!((action, &out), (PASS, frame), "{what}");
        }
        assert_eq!(bench.fleet.counters().unwrap()[Outcome::Ignored.label()], strangers.len() as u64);
    }
}

#[test]
fn a_request_cut_short_anywhere_passes_untouched() {
    for bench in Bench::each("a_request_cut_short_anywhere_passes_untouched") {
        // The kernel takes no test frame shorter than an Ethernet header.
        let arp = bench.arp_request(mac(HOST), HOST);
        for length in 14..42 {
            bench.leaves(&arp[..length], PASS);
        }
        let echo = bench.echo_request(mac(HOST), HOST);
        for length in 14..42 + bench.payload().len() {
            bench.leaves(&echo[..length], PASS);
        }
    }
}

#[test]
fn a_wrong_checksum_is_never_answered() {
    for bench in Bench::each("a_wrong_checksum_is_never_answered") {
        let good = bench.echo_request(mac(HOST), HOST);
        for at in [24, 25, 36, 37, 38, 42, 53] {
            let mut frame = good.clone();
            frame[at] ^= 0x10;
            bench.leaves(&frame, DROP);
        }
        assert_eq!(bench.fleet.counters().unwrap()[Outcome::BadChecksum.label()], 7);
    }
}
