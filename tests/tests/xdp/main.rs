//! The agent's XDP program, by PROG_TEST_RUN: only what is provably an answer to one of our own probes ends there.

mod both;
mod fuzz;
mod quote;
mod six;
mod stacks;

use std::sync::Arc;

use aya::TestRun as _;
use aya::programs::TestRunOptions;
use rollcall_agent::clock;
use rollcall_agent::link::Interface;
use rollcall_agent::namespace::Namespace;
use rollcall_agent::packet::{LEN_MAX, Sender, Templates};
use rollcall_agent::reply::{Arrays, Program, Receive};
use rollcall_agent::unit::Mac;
use rollcall_agent_ebpf::checksum::{add, finish};
use rollcall_agent_ebpf::config::Tags;
use rollcall_agent_ebpf::reason::Reason;
use rollcall_agent_ebpf::target::{ARP, LIVE, Target, mapped};

const DROP: u32 = 1;
const PASS: u32 = 2;

const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const OURS: [u8; 4] = [10, 0, 0, 1];
const HOST_MAC: [u8; 6] = [2, 0x52, 10, 0, 0, 9];
const HOST: [u8; 4] = [10, 0, 0, 9];
/// Another host, which is probed by ARP.
const ARP_HOST: [u8; 4] = [10, 0, 0, 19];
const NONCE: u32 = 0x1234_5678;
const ID: u16 = 4711;
const NETWORK: u16 = 3;
/// A test run comes in from the namespace's `lo`.
const LO: u32 = 1;
const ICMP_SLOT: u32 = 5;
const ARP_SLOT: u32 = 6;
/// Of an IPv6 host that is pinged, and of one that is asked for on the link.
const ECHO_6: u32 = 7;
const NEIGHBOUR_6: u32 = 8;
const MS: u64 = 1_000_000;

struct Bench {
    program: Program,
    arrays: Arc<Arrays>,
}

impl Bench {
    /// `None`, said aloud, where this machine cannot load programs.
    fn new(test: &str) -> Option<Self> {
        Self::of(test, 64)
    }

    fn of(test: &str, slots: u32) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            println!("SKIPPED: {test}: loading an XDP program needs root");
            return None;
        }
        let program = Program::load(slots).unwrap();
        let arrays = program.arrays().clone();
        arrays.set_ids(ID, ID - 1);
        arrays.set_network(LO, Tags::default(), NETWORK, Mac(OUR_MAC)).unwrap();
        let bench = Bench { program, arrays };
        bench.arrays.occupy(ICMP_SLOT, &target(LIVE), 100).unwrap();
        bench.arrays.occupy(ARP_SLOT, &Target { address: mapped(ARP_HOST), ..target(LIVE | ARP) }, 0xffff).unwrap();
        Some(bench)
    }

    /// A probe that left so long ago; its sequence.
    fn probe(&self, slot: u32, ago_ns: u64) -> u16 {
        self.arrays.note_sent(slot, clock::now().nanos() - ago_ns).unwrap().0
    }

    fn run(&mut self, frame: &[u8]) -> (u32, Reason) {
        let before = self.program.counters();
        let mut out = vec![0; frame.len() + 256];
        let options = TestRunOptions { data_in: Some(frame), data_out: Some(&mut out), ..TestRunOptions::new() };
        let result = self.program.xdp().unwrap().test_run(options).unwrap();
        assert_eq!(&out[..result.data_size_out as usize], frame, "the program changes no byte");
        let after = self.program.counters();
        let counted: Vec<Reason> =
            Reason::ALL.iter().copied().filter(|reason| after[*reason as usize] != before[*reason as usize]).collect();
        assert_eq!(counted.len(), 1, "each frame is counted once");
        assert_eq!(result.return_value, if counted[0].consumed() { DROP } else { PASS });
        (result.return_value, counted[0])
    }

    #[track_caller]
    fn expect(&mut self, frame: &[u8], reason: Reason) {
        assert_eq!(self.run(frame).1, reason);
    }

    /// Lets answers come in after however long it takes to load another program, or to run this one often: kernels there are that wait
    /// for an RCU grace period at each test run.
    fn be_patient(&self) {
        for slot in [ICMP_SLOT, ARP_SLOT, ECHO_6, NEIGHBOUR_6] {
            self.arrays.change(slot, |target| target.timeout_ms = 60_000);
        }
    }

    fn answered(&self, slot: u32, sequence: u16) -> bool {
        self.arrays.traces(slot).unwrap().answered(sequence)
    }
}

#[test]
fn loopback_interface_is_refused_for_test_runs_come_in_from_there() {
    let Some(mut bench) = Bench::new("loopback") else { return };
    let (name, mac) = ("lo".to_owned(), Mac([0; 6]));
    let namespace = Arc::new(Namespace::current().unwrap());
    let interface = Interface { name, index: LO, namespace, mac, running: true, addresses: vec![], gateways: [None; 2], xdp_program: None };
    let error = bench.program.attach(0, &interface, Sender::new(mac), Receive::Auto).unwrap_err().to_string();
    assert!(error.contains("lo:") && error.contains("loopback"), "{error}");
}

fn target(flags: u8) -> Target {
    Target { address: mapped(HOST), mac: HOST_MAC, network: NETWORK, nonce: NONCE, timeout_ms: 300, flags }
}

/// What changes in an echo reply from case to case.
#[derive(Clone)]
struct Echo {
    source: [u8; 4],
    id: u16,
    sequence: u16,
    slot: u32,
    nonce: u32,
    options: Vec<u8>,
}

impl Echo {
    fn to(sequence: u16) -> Self {
        Echo { source: HOST, id: ID, sequence, slot: ICMP_SLOT, nonce: NONCE, options: vec![] }
    }

    fn frame(&self) -> Vec<u8> {
        let header = 20 + self.options.len();
        let mut icmp = vec![0, 0, 0, 0];
        icmp.extend(self.id.to_be_bytes());
        icmp.extend(self.sequence.to_be_bytes());
        icmp.extend(b"rclr");
        icmp.extend(self.slot.to_be_bytes());
        icmp.extend(self.nonce.to_be_bytes());
        let sum = finish(add(0, &icmp));
        icmp[2..4].copy_from_slice(&sum.to_be_bytes());
        let mut ip = vec![0x40 | (header / 4) as u8, 0];
        ip.extend(((header + icmp.len()) as u16).to_be_bytes());
        ip.extend([0x12, 0x34, 0, 0, 64, 1, 0, 0]);
        ip.extend(self.source);
        ip.extend(OURS);
        ip.extend(&self.options);
        let sum = finish(add(0, &ip));
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        let mut frame = [&OUR_MAC[..], &HOST_MAC, &[8, 0], &ip, &icmp].concat();
        frame.resize(frame.len().max(60), 0);
        frame
    }
}

fn arp_reply(mac: [u8; 6], address: [u8; 4]) -> Vec<u8> {
    let mut frame = [&OUR_MAC[..], &mac, &[8, 6], &[0, 1, 8, 0, 6, 4, 0, 2], &mac, &address, &OUR_MAC, &OURS].concat();
    frame.resize(60, 0);
    frame
}

#[test]
fn echo_reply_in_time_is_taken_once_and_its_rtt_is_ours() {
    let Some(mut bench) = Bench::new("echo_reply_in_time_is_taken_once_and_its_rtt_is_ours") else { return };
    let sequence = bench.probe(ICMP_SLOT, 2 * MS);
    assert_eq!(sequence, 101);
    bench.expect(&Echo::to(sequence).frame(), Reason::Answer);
    assert!(bench.answered(ICMP_SLOT, sequence));
    let rtt = bench.arrays.rtt(ICMP_SLOT).unwrap();
    assert!(rtt >= 2 * MS, "RTT {rtt} ns is less than the time since the probe left");
    bench.expect(&Echo::to(sequence).frame(), Reason::Duplicate);
}

#[test]
fn late_echo_reply_is_counted_and_marks_nothing() {
    let Some(mut bench) = Bench::new("late_echo_reply_is_counted_and_marks_nothing") else { return };
    let sequence = bench.probe(ICMP_SLOT, 301 * MS);
    bench.expect(&Echo::to(sequence).frame(), Reason::Late);
    assert!(!bench.answered(ICMP_SLOT, sequence));
    let newer = bench.probe(ICMP_SLOT, 200 * MS);
    let newest = bench.probe(ICMP_SLOT, MS);
    bench.expect(&Echo::to(sequence).frame(), Reason::Late);
    bench.expect(&Echo::to(newer).frame(), Reason::Answer);
    assert!(bench.answered(ICMP_SLOT, newer) && !bench.answered(ICMP_SLOT, newest));
}

#[test]
fn miss_of_an_older_probe_takes_nothing_from_the_answer_to_the_newer_one() {
    let Some(mut bench) = Bench::new("miss_of_an_older_probe_takes_nothing") else { return };
    let (older, newer) = (bench.probe(ICMP_SLOT, 301 * MS), bench.probe(ICMP_SLOT, MS));
    bench.expect(&Echo::to(newer).frame(), Reason::Answer);
    bench.arrays.age(ICMP_SLOT, older);
    assert!(bench.answered(ICMP_SLOT, newer) && !bench.answered(ICMP_SLOT, older));
}

#[test]
fn forged_or_foreign_echo_replies_pass_and_mark_nothing() {
    let Some(mut bench) = Bench::new("forged_or_foreign_echo_replies_pass_and_mark_nothing") else { return };
    bench.be_patient();
    let sequence = bench.probe(ICMP_SLOT, MS);
    let good = Echo::to(sequence);
    bench.expect(&Echo { nonce: NONCE ^ 1, ..good.clone() }.frame(), Reason::BadNonce);
    bench.expect(&Echo { source: [10, 0, 0, 10], ..good.clone() }.frame(), Reason::BadSource);
    bench.expect(&Echo { slot: 9, ..good.clone() }.frame(), Reason::NoSlot);
    bench.expect(&Echo { slot: u32::MAX, ..good.clone() }.frame(), Reason::NoSlot);
    bench.expect(&Echo { id: ID + 1, ..good.clone() }.frame(), Reason::Foreign);
    let mut wrong_sum = good.frame();
    wrong_sum[36] ^= 1;
    bench.expect(&wrong_sum, Reason::BadChecksum);
    for (offset, value) in [(12, 0x86), (14, 0x55), (14, 0x44), (20, 0x20), (21, 1), (23, 17), (34, 8), (35, 1), (42, b'R'), (17, 41)] {
        let mut frame = good.frame();
        frame[offset] = value;
        bench.expect(&frame, Reason::Foreign);
    }
    bench.arrays.change(ICMP_SLOT, |target| target.network = NETWORK + 1);
    bench.expect(&good.frame(), Reason::BadNetwork);
    bench.arrays.change(ICMP_SLOT, |target| target.network = NETWORK);
    assert!(!bench.answered(ICMP_SLOT, sequence));
    bench.expect(&good.frame(), Reason::Answer);
}

#[test]
fn answers_may_carry_the_identifier_before_the_last_rotation() {
    let Some(mut bench) = Bench::new("answers_may_carry_the_identifier_before_the_last_rotation") else { return };
    let sequence = bench.probe(ICMP_SLOT, MS);
    bench.expect(&Echo { id: ID - 1, ..Echo::to(sequence) }.frame(), Reason::Answer);
}

#[test]
fn ip_options_of_every_length_are_stepped_over() {
    let Some(mut bench) = Bench::new("ip_options_of_every_length_are_stepped_over") else { return };
    for words in 1..=10 {
        let sequence = bench.probe(ICMP_SLOT, MS);
        bench.expect(&Echo { options: vec![1; words * 4], ..Echo::to(sequence) }.frame(), Reason::Answer);
    }
}

#[test]
fn frames_cut_at_every_length_pass() {
    let Some(mut bench) = Bench::new("frames_cut_at_every_length_pass") else { return };
    bench.be_patient();
    let sequence = bench.probe(ICMP_SLOT, MS);
    bench.probe(ARP_SLOT, MS);
    let echo = Echo { options: vec![1; 8], ..Echo::to(sequence) }.frame();
    let echo_len = 14 + 28 + 20;
    // The kernel takes no test frame shorter than an Ethernet header.
    for length in 14..echo_len {
        bench.expect(&echo[..length], Reason::Foreign);
    }
    let arp = arp_reply(HOST_MAC, ARP_HOST);
    for length in 14..42 {
        bench.expect(&arp[..length], Reason::Foreign);
    }
    bench.expect(&echo[..echo_len], Reason::Answer);
    bench.expect(&arp[..42], Reason::Answer);
}

#[test]
fn arp_reply_is_taken_once_for_each_probe_and_every_further_one_passes() {
    let Some(mut bench) = Bench::new("arp_reply_is_taken_once_for_each_probe_and_every_further_one_passes") else { return };
    let frame = arp_reply(HOST_MAC, ARP_HOST);
    bench.expect(&frame, Reason::ArpUnasked);
    let sequence = bench.probe(ARP_SLOT, MS);
    assert_eq!(sequence, 0, "the sequence wraps");
    bench.expect(&frame, Reason::Answer);
    bench.expect(&frame, Reason::ArpUnasked);
    let (old, new) = (bench.probe(ARP_SLOT, 250 * MS), bench.probe(ARP_SLOT, 50 * MS));
    bench.expect(&frame, Reason::Answer);
    let traces = bench.arrays.traces(ARP_SLOT).unwrap();
    assert!(traces.answered(new) && !traces.answered(old) && traces.excused(old));
    bench.expect(&frame, Reason::ArpUnasked);
    bench.probe(ARP_SLOT, 301 * MS);
    bench.expect(&frame, Reason::ArpLate);
}

#[test]
fn arp_from_another_mac_passes_and_is_remembered() {
    let Some(mut bench) = Bench::new("arp_from_another_mac_passes_and_is_remembered") else { return };
    let sequence = bench.probe(ARP_SLOT, MS);
    let other = [2, 0x66, 0, 0, 0, 1];
    bench.expect(&arp_reply(other, ARP_HOST), Reason::OtherMac);
    bench.expect(&arp_reply(other, ARP_HOST), Reason::OtherMac);
    assert_eq!(bench.arrays.other_mac(ARP_SLOT), Some((other, 2)));
    assert!(!bench.answered(ARP_SLOT, sequence));
    bench.arrays.vacate(ARP_SLOT);
    assert_eq!(bench.arrays.other_mac(ARP_SLOT), None);
}

#[test]
fn other_mac_is_counted_where_there_is_no_room_to_keep_it_and_kept_once_there_is() {
    let Some(mut bench) = Bench::of("other_mac_is_counted_where_there_is_no_room_to_keep_it", 1 << 15) else { return };
    let crowd: Vec<u32> = (1..=9).map(|k| ARP_SLOT + k * rollcall_agent_ebpf::others::entries(1 << 15)).collect();
    let other = |slot: u32| [2, 0x66, 0, 0, 0, (slot >> 11) as u8];
    let address = |slot: u32| [10, 9, (slot >> 8) as u8, slot as u8];
    for &slot in &crowd {
        bench.arrays.occupy(slot, &Target { address: mapped(address(slot)), ..target(LIVE | ARP) }, 0).unwrap();
        bench.expect(&arp_reply(other(slot), address(slot)), Reason::OtherMac);
    }
    let (last, kept) = crowd.split_last().unwrap();
    assert!(kept.iter().all(|slot| bench.arrays.other_mac(*slot) == Some((other(*slot), 1))));
    assert_eq!(bench.arrays.other_mac(*last), None);
    bench.arrays.vacate(kept[3]);
    bench.expect(&arp_reply(other(*last), address(*last)), Reason::OtherMac);
    assert_eq!(bench.arrays.other_mac(*last), Some((other(*last), 1)));
}

#[test]
fn arp_of_others_and_requests_pass() {
    let Some(mut bench) = Bench::new("arp_of_others_and_requests_pass") else { return };
    bench.probe(ARP_SLOT, MS);
    bench.expect(&arp_reply(HOST_MAC, [10, 0, 0, 10]), Reason::Foreign);
    // The last two: a reply that goes to another station.
    for (offset, value) in [(15, 6), (16, 0x86), (18, 8), (19, 16), (21, 1), (21, 3), (32, 3), (37, 2)] {
        let mut frame = arp_reply(HOST_MAC, ARP_HOST);
        frame[offset] = value;
        bench.expect(&frame, Reason::Foreign);
    }
    bench.arrays.unset_network(NETWORK);
    bench.arrays.set_network(LO, Tags::default(), NETWORK + 1, Mac(OUR_MAC)).unwrap();
    bench.expect(&arp_reply(HOST_MAC, ARP_HOST), Reason::Foreign);
}

#[test]
fn old_reply_never_fits_the_new_host_of_a_slot() {
    let Some(mut bench) = Bench::new("old_reply_never_fits_the_new_host_of_a_slot") else { return };
    let sequence = bench.probe(ICMP_SLOT, MS);
    let old = Echo::to(sequence).frame();
    bench.arrays.vacate(ICMP_SLOT);
    bench.expect(&old, Reason::NoSlot);
    bench.arrays.occupy(ICMP_SLOT, &Target { nonce: NONCE + 1, ..target(LIVE) }, 100).unwrap();
    assert_eq!(bench.probe(ICMP_SLOT, MS), sequence, "even with the same sequence");
    bench.expect(&old, Reason::BadNonce);
    assert!(!bench.answered(ICMP_SLOT, sequence));
    bench.probe(ARP_SLOT, MS);
    bench.arrays.vacate(ARP_SLOT);
    bench.expect(&arp_reply(HOST_MAC, ARP_HOST), Reason::Foreign);
}

#[test]
fn probes_themselves_and_echo_requests_to_us_pass() {
    let Some(mut bench) = Bench::new("probes_themselves_and_echo_requests_to_us_pass") else { return };
    let templates = Templates::new(Sender { v4: Some(OURS.into()), ..Sender::new(Mac(OUR_MAC)) }, ID);
    for flags in [LIVE, LIVE | ARP] {
        let mut frame = [0; LEN_MAX];
        let length = templates.write(&mut frame, &target(flags), ICMP_SLOT, 1);
        bench.expect(&frame[..length], Reason::Foreign);
    }
}

#[test]
fn what_changes_while_a_larger_program_is_prepared_is_not_lost() {
    let Some(bench) = Bench::new("what_changes_while_a_larger_program_is_prepared_is_not_lost") else { return };
    bench.be_patient();
    let mut old = bench.program;
    let mut new = Program::prepare(4096, &bench.arrays).unwrap();
    // A MAC is learned, the identifier rotates, the interface gets another number.
    bench.arrays.change(ARP_SLOT, |target| target.mac = [2, 0x77, 0, 0, 0, 1]);
    bench.arrays.set_ids(ID + 9, ID);
    let sequence = bench.arrays.note_sent(ICMP_SLOT, clock::now().nanos() - MS).unwrap().0;
    bench.arrays.note_sent(ARP_SLOT, clock::now().nanos() - MS).unwrap();
    assert!(new.take_over(&mut old).is_empty());
    let mut bench = Bench { arrays: new.arrays().clone(), program: new };
    bench.expect(&Echo { id: ID + 9, ..Echo::to(sequence) }.frame(), Reason::Answer);
    bench.expect(&arp_reply([2, 0x77, 0, 0, 0, 1], ARP_HOST), Reason::Answer);
}

#[test]
fn growing_keeps_targets_index_send_times_and_answers() {
    let Some(mut bench) = Bench::new("growing_keeps_targets_index_send_times_and_answers") else { return };
    bench.be_patient();
    let sequence = bench.arrays.note_sent(ICMP_SLOT, clock::now().nanos() - MS).unwrap().0;
    let arp_sequence = bench.arrays.note_sent(ARP_SLOT, clock::now().nanos() - MS).unwrap().0;
    let (words, other) = (bench.arrays.clone(), [2, 0x66, 0, 0, 0, 1]);
    bench.expect(&arp_reply(other, ARP_HOST), Reason::OtherMac);
    let mut old = std::mem::replace(&mut bench.program, Program::prepare(4096, &words).unwrap());
    assert!(bench.program.take_over(&mut old).is_empty());
    bench.arrays = bench.program.arrays().clone();
    assert_eq!(bench.arrays.capacity(), 4096);
    bench.expect(&Echo::to(sequence).frame(), Reason::Answer);
    bench.expect(&arp_reply(HOST_MAC, ARP_HOST), Reason::Answer);
    assert!(bench.answered(ICMP_SLOT, sequence) && bench.answered(ARP_SLOT, arp_sequence));
    assert_eq!(bench.arrays.other_mac(ARP_SLOT), Some((other, 1)));
}
