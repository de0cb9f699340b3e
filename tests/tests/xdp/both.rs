//! Addresses that are asked and pinged in turn: even sequences ask, odd ones ping, and each answer finds its own.

use rollcall_agent_ebpf::reason::Reason;
use rollcall_agent_ebpf::target::{ARP, BOTH, LIVE, Target, V6};

use super::quote::{echo, error_v4};
use super::six::{PINGED, advertisement, echo_reply, own_mac};
use super::{Bench, ECHO_6, Echo, HOST, HOST_MAC, ICMP_SLOT, ID, MS, NONCE, arp_reply, target};

/// The pinged hosts of the other tests, asked as well. The next probe of each is a ping with the sequence 101.
fn watch(bench: &Bench) {
    bench.arrays.change(ICMP_SLOT, |target| target.flags |= ARP | BOTH);
    bench.arrays.occupy(ECHO_6, &Target { address: PINGED, ..target(LIVE | V6 | ARP | BOTH) }, 100).unwrap();
}

/// Slot of a host, its answer to a question, and its answer to the ping with a sequence.
type Host = (u32, Vec<u8>, fn(u16) -> Vec<u8>);

fn hosts() -> [Host; 2] {
    [
        (ICMP_SLOT, arp_reply(HOST_MAC, HOST), |sequence| Echo::to(sequence).frame()),
        (ECHO_6, advertisement(PINGED, &own_mac(HOST_MAC)), |sequence| echo_reply(sequence, &[])),
    ]
}

#[test]
fn each_answer_finds_the_probe_of_its_kind_while_both_are_under_way() {
    let Some(mut bench) = Bench::new("each_answer_finds_the_probe_of_its_kind") else { return };
    watch(&bench);
    for (slot, told, pong) in hosts() {
        for newest_is_ping in [false, true] {
            let older = bench.probe(slot, 150 * MS);
            let newer = bench.probe(slot, MS);
            let (ping, ask) = if older & 1 == 1 { (older, newer) } else { (newer, older) };
            assert_eq!(newest_is_ping, ping == newer);
            bench.expect(&told, Reason::Answer);
            let traces = bench.arrays.traces(slot).unwrap();
            assert!(traces.answered(ask) && !traces.answered(ping) && !traces.excused(ping), "{slot} {ask}");
            bench.expect(&told, Reason::ArpUnasked);
            bench.expect(&pong(ping), Reason::Answer);
            assert!(bench.answered(slot, ping) && bench.answered(slot, ask));
            bench.expect(&pong(ping), Reason::Duplicate);
            bench.expect(&told, Reason::ArpUnasked);
            // A third, so that the next round begins with the other kind.
            bench.probe(slot, MS);
        }
    }
}

#[test]
fn question_that_was_not_answered_in_time_stays_so_while_a_ping_waits() {
    let Some(mut bench) = Bench::new("question_that_was_not_answered_in_time") else { return };
    watch(&bench);
    for (slot, told, pong) in hosts() {
        bench.probe(slot, 500 * MS);
        let (ask, ping) = (bench.probe(slot, 301 * MS), bench.probe(slot, MS));
        bench.expect(&told, Reason::ArpLate);
        assert!(!bench.answered(slot, ask) && !bench.answered(slot, ping));
        bench.expect(&pong(ping), Reason::Answer);
        assert!(!bench.answered(slot, ask));
    }
}

#[test]
fn pong_to_a_question_is_none_of_ours() {
    let Some(mut bench) = Bench::new("pong_to_a_question_is_none_of_ours") else { return };
    watch(&bench);
    for (slot, _, pong) in hosts() {
        let (ping, ask) = (bench.probe(slot, 2 * MS), bench.probe(slot, MS));
        bench.expect(&pong(ask), Reason::Foreign);
        assert!(!bench.answered(slot, ask));
        bench.expect(&pong(ping), Reason::Answer);
    }
}

#[test]
fn router_that_quotes_a_ping_is_heard_and_one_that_quotes_a_question_is_not() {
    let Some(mut bench) = Bench::new("router_that_quotes_a_ping_is_heard") else { return };
    watch(&bench);
    let (ping, ask) = (bench.probe(ICMP_SLOT, 2 * MS), bench.probe(ICMP_SLOT, MS));
    bench.expect(&error_v4(3, 1, HOST, &echo(8, ID, ask, ICMP_SLOT, NONCE)), Reason::BadQuote);
    assert_eq!(bench.arrays.evidence(ICMP_SLOT), None);
    bench.expect(&error_v4(3, 1, HOST, &echo(8, ID, ping, ICMP_SLOT, NONCE)), Reason::Quoted);
    assert!(bench.arrays.evidence(ICMP_SLOT).is_some());
    assert!(!bench.answered(ICMP_SLOT, ping) && !bench.answered(ICMP_SLOT, ask));
}

#[test]
fn another_mac_that_answers_the_question_is_remembered_and_says_nothing_of_the_ping() {
    let Some(mut bench) = Bench::new("another_mac_that_answers_the_question") else { return };
    watch(&bench);
    let (ping, ask) = (bench.probe(ICMP_SLOT, 2 * MS), bench.probe(ICMP_SLOT, MS));
    let other = [2, 0x66, 0, 0, 0, 1];
    bench.expect(&arp_reply(other, HOST), Reason::OtherMac);
    assert_eq!(bench.arrays.other_mac(ICMP_SLOT), Some((other, 1)));
    assert!(!bench.answered(ICMP_SLOT, ask));
    bench.expect(&Echo::to(ping).frame(), Reason::Answer);
}
