//! ICMP errors that quote a probe of ours: kept as the reason, never an answer, always passed on.

use rollcall_agent::reply::{Evidence, Program};
use rollcall_agent_ebpf::reason::Reason;
use rollcall_agent_ebpf::target::mapped;

use super::six::{OURS as OURS_6, PINGED, watch};
use super::{Bench, ECHO_6, HOST, HOST_MAC, ICMP_SLOT, ID, MS, NONCE, OUR_MAC, OURS};

const ROUTER: [u8; 4] = [10, 0, 0, 254];

/// What a probe looks like to a router, from its echo on.
pub(crate) fn echo(kind: u8, id: u16, sequence: u16, slot: u32, nonce: u32) -> Vec<u8> {
    let mut echo = vec![kind, 0, 0xab, 0xcd];
    echo.extend(id.to_be_bytes().into_iter().chain(sequence.to_be_bytes()).chain(*b"rclr"));
    echo.extend(slot.to_be_bytes().into_iter().chain(nonce.to_be_bytes()));
    echo
}

pub(crate) fn error_v4(kind: u8, code: u8, address: [u8; 4], echo: &[u8]) -> Vec<u8> {
    let quoted = [&[0x45, 0, 0, 40, 0, 0, 0x40, 0, 63, 1, 0, 0][..], &OURS, &address, echo].concat();
    let mut frame = [&OUR_MAC[..], &HOST_MAC, &[8, 0, 0x45, 0xc0, 0, 68, 0, 0, 0, 0, 64, 1, 0, 0]].concat();
    frame.extend(ROUTER.into_iter().chain(OURS).chain([kind, code, 0, 0, 0, 0, 0, 0]).chain(quoted));
    frame
}

fn error_v6(kind: u8, code: u8, from: [u8; 16], address: [u8; 16], echo: &[u8]) -> Vec<u8> {
    let quoted = [&[0x60, 0, 0, 0, 0, 32, 58, 63][..], &OURS_6, &address, echo].concat();
    let mut frame = [&OUR_MAC[..], &HOST_MAC, &[0x86, 0xdd, 0x60, 0, 0, 0, 0, 80, 58, 64]].concat();
    frame.extend(from.into_iter().chain(OURS_6).chain([kind, code, 0, 0, 0, 0, 0, 0]).chain(quoted));
    frame
}

#[test]
fn quoted_probe_is_kept_with_who_said_what() {
    let Some(mut bench) = Bench::new("quoted_probe_is_kept") else { return };
    watch(&bench);
    let (sequence, sequence_6) = (bench.probe(ICMP_SLOT, MS), bench.probe(ECHO_6, MS));
    assert_eq!(bench.arrays.evidence(ICMP_SLOT), None);
    for (kind, code) in [(3, 1), (3, 13), (11, 0), (12, 0)] {
        bench.expect(&error_v4(kind, code, HOST, &echo(8, ID, sequence, ICMP_SLOT, NONCE)), Reason::Quoted);
        let evidence = bench.arrays.evidence(ICMP_SLOT).unwrap();
        assert_eq!(evidence, Evidence { kind, code, from: mapped(ROUTER), at_ms: evidence.at_ms });
    }
    let router = [0xfe; 16];
    bench.expect(&error_v6(1, 3, router, PINGED, &echo(128, ID, sequence_6, ECHO_6, NONCE)), Reason::Quoted);
    let evidence = bench.arrays.evidence(ECHO_6).unwrap();
    assert_eq!((evidence.kind, evidence.code, evidence.from), (1, 3, router));
    assert!(!bench.answered(ICMP_SLOT, sequence) && !bench.answered(ECHO_6, sequence_6));
    bench.arrays.vacate(ICMP_SLOT);
    assert_eq!(bench.arrays.evidence(ICMP_SLOT), None, "nothing is said of the next host in the slot");
}

#[test]
fn evidence_is_kept_when_the_arrays_grow() {
    let Some(mut bench) = Bench::new("evidence_is_kept_when_the_arrays_grow") else { return };
    let sequence = bench.probe(ICMP_SLOT, MS);
    bench.expect(&error_v4(3, 1, HOST, &echo(8, ID, sequence, ICMP_SLOT, NONCE)), Reason::Quoted);
    let before = bench.arrays.evidence(ICMP_SLOT);
    let larger = Program::prepare(1 << 15, &bench.arrays).unwrap();
    let mut old = std::mem::replace(&mut bench.program, larger);
    assert!(bench.program.take_over(&mut old).is_empty());
    assert!(before.is_some());
    assert_eq!(bench.program.arrays().evidence(ICMP_SLOT), before);
}

#[test]
fn short_quote_is_known_by_identifier_and_sequence() {
    let Some(mut bench) = Bench::new("short_quote") else { return };
    let sequence = bench.probe(ICMP_SLOT, MS);
    // Eight bytes of what was sent, as RFC 792 demands at least.
    bench.expect(&error_v4(3, 1, HOST, &echo(8, ID, sequence, 0, 0)[..8]), Reason::Quoted);
    bench.expect(&error_v4(3, 1, HOST, &echo(8, ID, sequence.wrapping_add(1), 0, 0)[..8]), Reason::BadQuote);
    bench.expect(&error_v4(3, 1, HOST, &echo(8, ID + 1, sequence, 0, 0)[..8]), Reason::Foreign);
}

#[test]
fn quotes_of_what_we_never_sent_say_nothing() {
    let Some(mut bench) = Bench::new("quotes_of_what_we_never_sent") else { return };
    let sequence = bench.probe(ICMP_SLOT, MS);
    for (reason, frame) in [
        (Reason::BadQuote, error_v4(3, 1, HOST, &echo(8, ID, sequence, ICMP_SLOT, NONCE ^ 1))),
        (Reason::BadQuote, error_v4(3, 1, HOST, &echo(8, ID, sequence, ICMP_SLOT + 1, NONCE))),
        (Reason::BadQuote, error_v4(3, 1, HOST, &echo(8, ID, sequence.wrapping_add(1), ICMP_SLOT, NONCE))),
        (Reason::BadQuote, error_v4(3, 1, super::ARP_HOST, &echo(8, ID, sequence, super::ARP_SLOT, NONCE))),
        (Reason::Foreign, error_v4(3, 1, [10, 0, 0, 10], &echo(8, ID, sequence, ICMP_SLOT, NONCE))),
        (Reason::Foreign, error_v4(3, 1, HOST, &echo(0, ID, sequence, ICMP_SLOT, NONCE))),
        (Reason::Foreign, error_v4(5, 1, HOST, &echo(8, ID, sequence, ICMP_SLOT, NONCE))),
    ] {
        bench.expect(&frame, reason);
    }
    let frame = error_v4(3, 1, HOST, &echo(8, ID, sequence, ICMP_SLOT, NONCE));
    for length in 14..70 {
        bench.expect(&frame[..length], Reason::Foreign);
    }
    assert_eq!(bench.arrays.evidence(ICMP_SLOT), None);
}
