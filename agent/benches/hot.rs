//! Micro-benchmarks of what is done for each probe, and of opening a table: `cargo bench -p rollcall-agent`.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use rollcall_agent::clock::Mono;
use rollcall_agent::packet::{LEN_MAX, Sender, Templates};
use rollcall_agent::policy::{Method, Policy};
use rollcall_agent::recent::Recent;
use rollcall_agent::schedule::{Schedule, Timing};
use rollcall_agent::table::{Table, Writer};
use rollcall_agent::unit::Mac;
use rollcall_agent::verdict::{Judgement, Outcome, Thresholds};
use rollcall_agent_ebpf::board;
use rollcall_agent_ebpf::target::{self, Target};

const START: Mono = Mono::from_nanos(1_000_000_000_000);
const TICK: Duration = Duration::from_millis(1);

fn main() {
    divan::main();
}

fn policy() -> Policy {
    Policy {
        name: "bench".into(),
        interval: Duration::from_secs(1),
        timeout: Duration::from_millis(300),
        confirm_interval: Duration::from_millis(200),
        down_after: 3,
        down_of: 3,
        up_after: 2,
        up_of: 2,
        method: Method::Arp,
        alarm: vec![],
    }
}

/// One turn of a millisecond with a million addresses at one second: a thousand are due, a thousand are looked at.
#[divan::bench]
fn schedule_tick(bencher: Bencher) {
    const ADDRESSES: u32 = 1_000_000;
    let mut schedule = Schedule::default();
    let timing = Timing::from(&policy());
    (0..ADDRESSES).for_each(|slot| schedule.add(slot, timing, START));
    let mut now = START;
    let mut sent = Vec::new();
    let mut tick = || {
        now = now + TICK;
        let mut seen = 0u32;
        schedule.advance(now, TICK, |slot| panic!("slot {slot} was skipped"));
        while let Some((slot, _)) = schedule.next_due(now, |slot| panic!("slot {slot} was skipped")) {
            seen = seen.wrapping_add(black_box(slot));
            sent.push(slot);
        }
        schedule.left(&sent, now);
        sent.clear();
        schedule.look(now - 10 * TICK, |slots| slots.iter().for_each(|slot| seen = seen.wrapping_add(*slot)));
        seen
    };
    // Until the hand has gone round.
    for _ in 0..2_000 {
        tick();
    }
    bencher.counter(ItemsCount::new(ADDRESSES / 1_000)).bench_local(tick);
}

/// What `BOARD` says of a thousand probes, all answered, and what the verdicts are then.
#[divan::bench]
fn judge(bencher: Bencher) {
    const SLOTS: usize = 1_000;
    let thresholds = Thresholds::from(&policy());
    let words: Vec<u64> = (0..SLOTS as u64).map(|slot| board::answer(board::fresh(6), 7, 12_000 + slot)).collect();
    let mut judgements = vec![Judgement::NEW; SLOTS];
    bencher.counter(ItemsCount::new(SLOTS)).bench_local(|| {
        let mut rtt = 0;
        for (word, judgement) in words.iter().zip(&mut judgements) {
            let word = black_box(*word);
            let outcome = if board::answered(word, 7) { Outcome::Reply } else { Outcome::Miss };
            if board::newest(word) == 7 {
                rtt += board::rtt(word);
            }
            black_box(judgement.judge(outcome, thresholds, Recent::default()));
        }
        rtt
    });
}

/// One probe as bytes, in the socket transmitter.
#[divan::bench(args = ["arp", "icmp"])]
fn packet_patch(bencher: Bencher, method: &str) {
    let sender = Sender { v4: Some(Ipv4Addr::new(10, 0, 0, 1)), ..Sender::new(Mac([2, 0, 0, 0, 0, 1])) };
    let templates = Templates::new(sender, 0x1234);
    let flags = target::LIVE | if method == "arp" { target::ARP } else { 0 };
    let address = target::mapped([10, 0, 3, 7]);
    let target = Target { address, mac: [2, 0x52, 10, 0, 3, 7], network: 4, nonce: 0xfedc_ba98, timeout_ms: 300, flags };
    let mut frame = [0; LEN_MAX];
    let mut sequence = 0;
    bencher.counter(ItemsCount::new(1u32)).bench_local(|| {
        sequence = u16::wrapping_add(sequence, 1);
        templates.write(black_box(&mut frame), black_box(&target), 9, sequence);
    });
}

/// A table of 100,000 addresses: checked whole.
#[divan::bench]
fn table_open(bencher: Bencher) {
    const ADDRESSES: u32 = 100_000;
    let mut writer = Writer::new();
    let policy = writer.policy(policy());
    for number in 0..ADDRESSES {
        let host = writer.host(&format!("vm-{number:06}"), &format!("web-{number}"), "shop", ["web", "onlink"]);
        let address = Ipv4Addr::from(0x0a80_0100 + number);
        let [_, b, c, d] = address.octets();
        writer.address(host, "lab", IpAddr::V4(address), Some(Mac([2, 0x52, 10, b, c, d])), policy);
    }
    let bytes = writer.finish().expect("the table keeps every limit").bytes().to_vec();
    bencher
        .counter(ItemsCount::new(ADDRESSES))
        .with_inputs(|| bytes.clone())
        .bench_local_values(|bytes| Table::from_bytes(bytes).expect("it was written by the writer"));
}
