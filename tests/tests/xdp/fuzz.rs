//! Random frames, and real replies with random bytes changed: a frame is consumed only if all that proves it ours is intact.

use std::time::{Duration, Instant};

use aya::TestRun as _;
use aya::programs::TestRunOptions;
use rand::rngs::StdRng;
use rand::{Rng, RngCore as _, SeedableRng as _};
use rollcall_agent_ebpf::checksum::{add, finish};
use rollcall_tests::kernel;

use super::six::{self, ASKED, PINGED, advertisement, echo_reply, own_mac};
use super::{
    ARP_HOST, ARP_SLOT, Bench, DROP, ECHO_6, Echo, HOST, HOST_MAC, ICMP_SLOT, ID, MS, NEIGHBOUR_6, NONCE, OUR_MAC, PASS, arp_reply,
};

const FRAMES: u32 = 1_000_000;
/// Before Linux 5.18 as many must do as this leaves time for: there each test run waits for an RCU grace period.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn nothing_that_is_not_ours_is_ever_dropped() {
    let Some(mut bench) = Bench::new("nothing_that_is_not_ours_is_ever_dropped") else { return };
    six::watch(&bench);
    bench.be_patient();
    let whole = kernel::has_live_frames();
    let seed = std::env::var("ROLLCALL_FUZZ_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| rand::rng().next_u64());
    println!("seed {seed} (again with ROLLCALL_FUZZ_SEED={seed})");
    let mut random = StdRng::seed_from_u64(seed);
    let (mut taken, mut passed) = (0, 0);
    let mut out = vec![0; 1024];
    let began = Instant::now();
    while taken + passed < FRAMES && (whole || began.elapsed() < PATIENCE) {
        let (sequence, sequence_6) = (bench.probe(ICMP_SLOT, MS), bench.probe(ECHO_6, MS));
        bench.probe(ARP_SLOT, MS);
        bench.probe(NEIGHBOUR_6, MS);
        let frame = mutated(&mut random, sequence, sequence_6);
        let ours = provably_ours(&frame);
        let options = TestRunOptions { data_in: Some(&frame), data_out: Some(&mut out), ..TestRunOptions::new() };
        let result = bench.program.xdp().unwrap().test_run(options).unwrap();
        assert_eq!(out[..result.data_size_out as usize], frame[..], "seed {seed}: a byte was changed");
        match result.return_value {
            DROP => {
                assert!(ours, "seed {seed}: consumed a frame that is not ours: {frame:02x?}");
                taken += 1;
            }
            PASS => {
                assert!(!ours, "seed {seed}: did not recognise our own reply: {frame:02x?}");
                passed += 1;
            }
            action => panic!("seed {seed}: action {action}"),
        }
    }
    println!("{taken} of our own taken, {passed} others passed");
    let frames = (taken + passed).max(1000);
    assert!(taken > frames / 10 && passed > frames / 10, "{taken} taken, {passed} passed: the frames test too little");
}

fn mutated(random: &mut StdRng, sequence: u16, sequence_6: u16) -> Vec<u8> {
    let mut frame = match random.random_range(0..8) {
        0 => {
            let mut frame = vec![0; random.random_range(14..200)];
            random.fill_bytes(&mut frame);
            let kinds = [[8, 0], [8, 6], [0x86, 0xdd], [0x81, 0], [0x88, 0xa8]];
            frame[12..14].copy_from_slice(&kinds[random.random_range(0..kinds.len())]);
            frame
        }
        1 | 2 => arp_reply(HOST_MAC, ARP_HOST),
        3 => advertisement(ASKED, if random.random() { &[] } else { &HOST_OPTION }),
        4 => {
            let padding = |units: usize| [vec![units as u8, 1, 4, 0, 0, 0, 0], vec![0; units * 8]].concat();
            let count = random.random_range(0..3);
            let extensions: Vec<_> =
                (0..count).map(|_| ([0, 43, 60][random.random_range(0..3)], padding(random.random_range(0..3)))).collect();
            echo_reply(sequence_6, &extensions)
        }
        5 => echo_reply(sequence_6, &[]),
        _ => Echo { options: vec![1; random.random_range(0..=10) * 4], ..Echo::to(sequence) }.frame(),
    };
    if random.random_range(0..16) == 0 {
        let tag = [[0x81, 0, 0, 0], [0x81, 0, 0xe0, 0], [0x81, 0, 0, 9], [0x88, 0xa8, 0, 0]][random.random_range(0..4)];
        frame = [&frame[..12], &tag, &frame[12..]].concat();
    }
    for _ in 0..random.random_range(0..4) {
        let at = random.random_range(0..frame.len());
        frame[at] = random.random();
    }
    if random.random_range(0..16) == 0 {
        frame.truncate(random.random_range(14..=frame.len()));
    }
    frame
}

const HOST_OPTION: [u8; 8] = [2, 1, HOST_MAC[0], HOST_MAC[1], HOST_MAC[2], HOST_MAC[3], HOST_MAC[4], HOST_MAC[5]];

/// The same question asked a second way, in plain slices: is this an intact reply to the probe under way?
fn provably_ours(frame: &[u8]) -> bool {
    // The MAC that a frame was sent to says, with the interface, which network it is of.
    if !frame.starts_with(&OUR_MAC) {
        return false;
    }
    let word = |at: usize| frame.get(at..at + 2).map(|b| u16::from_be_bytes([b[0], b[1]]));
    // A tag with identifier 0 gives a priority only; two tags, or another identifier, are another network.
    if matches!(word(12), Some(0x8100 | 0x88a8)) {
        let inner = word(16);
        let priority_only = word(14).is_some_and(|tag| tag & 0xfff == 0) && inner != Some(0x8100) && inner != Some(0x88a8);
        return priority_only && provably_ours(&[&frame[..12], &frame[16..]].concat());
    }
    match word(12) {
        Some(0x0806) => {
            let packet = frame.get(14..42);
            packet.is_some_and(|p| {
                p[..8] == [0, 1, 8, 0, 6, 4, 0, 2] && p[8..14] == HOST_MAC && p[14..18] == ARP_HOST && p[18..24] == OUR_MAC
            })
        }
        Some(0x0800) => {
            let Some(first) = frame.get(14) else { return false };
            let header = usize::from(first & 15) * 4;
            let Some(icmp) = frame.get(14 + header..14 + header + 20) else { return false };
            first >> 4 == 4
                && header >= 20
                && word(16) == Some(header as u16 + 20)
                && word(20).is_some_and(|fragment| fragment & 0x3fff == 0)
                && frame[23] == 1
                && frame[26..30] == HOST
                && is_our_echo(icmp, 0, ICMP_SLOT)
                // Any sequence with the right nonce is ours: an answer, a duplicate or late.
                && finish(add(0, icmp)) == 0
        }
        Some(0x86dd) => frame.get(14..).is_some_and(ours_of_ipv6) && is_from_host(frame),
        _ => false,
    }
}

fn is_our_echo(icmp: &[u8], kind: u8, slot: u32) -> bool {
    icmp[..2] == [kind, 0]
        && [ID, ID - 1].contains(&u16::from_be_bytes([icmp[4], icmp[5]]))
        && icmp[8..12] == *b"rclr"
        && icmp[12..16] == slot.to_be_bytes()
        && icmp[16..20] == NONCE.to_be_bytes()
}

fn ours_of_ipv6(packet: &[u8]) -> bool {
    let Some((ip, mut rest)) = packet.split_at_checked(40) else { return false };
    let (mut next, mut length) = (ip[6], usize::from(u16::from_be_bytes([ip[4], ip[5]])));
    let mut extensions = 0;
    while next != 58 {
        let Some(head) = rest.get(..4) else { return false };
        let size = match next {
            0 | 43 | 60 if head[1] <= 15 => 8 + usize::from(head[1]) * 8,
            44 if u16::from_be_bytes([head[2], head[3]]) & 0xfff9 == 0 => 8,
            _ => return false,
        };
        extensions += 1;
        if extensions > 4 || rest.len() < size || length < size {
            return false;
        }
        next = head[0];
        rest = &rest[size..];
        length -= size;
    }
    let Some(icmp) = rest.get(..length) else { return false };
    let sum = add(add(add(length as u32 + 58, &ip[8..40]), icmp), &[]);
    if ip[0] >> 4 != 6 || length < 24 || length % 8 != 0 || finish(sum) != 0 {
        return false;
    }
    match icmp[0] {
        129 => length == 32 && ip[8..24] == PINGED && is_our_echo(icmp, 129, ECHO_6),
        136 => {
            let mut options = &icmp[24..];
            while !options.is_empty() {
                let size = usize::from(options[1]) * 8;
                if size == 0 {
                    return false;
                }
                options = options.get(size..).unwrap_or_default();
            }
            extensions == 0 && ip[7] == 255 && icmp[1] == 0 && icmp[4] & 0x40 != 0 && icmp[8..24] == ASKED && length <= 56
        }
        _ => false,
    }
}

/// Whether an advertisement tells us, and names the host's MAC; any other frame passes here.
fn is_from_host(frame: &[u8]) -> bool {
    let Some(icmp) = frame.get(54..).filter(|icmp| frame[20] == 58 && icmp.first() == Some(&136)) else { return true };
    let length = usize::from(u16::from_be_bytes([frame[18], frame[19]]));
    let mut options = icmp.get(24..length).unwrap_or_default();
    let mut mac = &frame[6..12];
    while options.len() >= 8 {
        if options[..2] == [2, 1] {
            mac = &options[2..8];
        }
        options = options.get(usize::from(options[1]).max(1) * 8..).unwrap_or_default();
    }
    frame[..6] == OUR_MAC && mac == HOST_MAC
}

#[test]
fn options_of_the_host_are_what_the_other_tests_use() {
    assert_eq!(HOST_OPTION.to_vec(), own_mac(HOST_MAC));
}
