use std::collections::HashSet;

use super::*;

const START: Mono = Mono::from_nanos(1_000_000_000_000);
const MS: Duration = Duration::from_millis(1);

fn timing(interval_ms: u64) -> Timing {
    Timing {
        interval: Duration::from_millis(interval_ms),
        timeout: Duration::from_millis(interval_ms.min(300)),
        confirm_interval: Duration::from_millis(200.min(interval_ms)),
    }
}

fn send_all(schedule: &mut Schedule, now: Mono) -> Vec<u32> {
    schedule.advance(now, MS, |slot| panic!("slot {slot} was skipped"));
    let mut sent = Vec::new();
    while let Some((slot, _)) = schedule.next_due(now, |slot| panic!("slot {slot} was skipped")) {
        sent.push(slot);
    }
    sent
}

#[test]
fn ten_thousand_addresses_leave_evenly_and_once_an_interval() {
    let mut schedule = Schedule::default();
    schedule.expect(&HashMap::from([(timing(1000), 10_000)]), START);
    for slot in 0..10_000 {
        schedule.add(slot, timing(1000), START);
    }
    assert_eq!(schedule.spread().collect::<Vec<_>>(), [(timing(1000), 10, 10)]);
    let mut seen = vec![0; 10_000];
    for tick in 0..3000 {
        let sent = send_all(&mut schedule, START + MS * tick);
        assert_eq!(sent.len(), 10, "tick {tick}");
        sent.into_iter().for_each(|slot| seen[slot as usize] += 1);
    }
    assert!(seen.iter().all(|times| *times == 3));
}

#[test]
fn few_addresses_lie_far_apart() {
    let mut schedule = Schedule::default();
    (0..10).for_each(|slot| schedule.add(slot, timing(1000), START));
    let ticks: Vec<u32> = (0..1000).filter(|tick| !send_all(&mut schedule, START + MS * *tick).is_empty()).collect();
    assert_eq!(ticks.len(), 10);
    let nearest = ticks.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap();
    assert!(nearest >= 38, "two probes only {nearest} ms apart: {ticks:?}");
}

#[test]
fn spread_stays_even_while_addresses_come_and_go() {
    let mut schedule = Schedule::default();
    let mut alive: HashSet<u32> = (0..20_000).collect();
    alive.iter().for_each(|slot| schedule.add(*slot, timing(1000), START));
    let mut random = 12345u64;
    for round in 0..50_000u32 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let slot = (random >> 33) as u32 % 20_000;
        if alive.remove(&slot) {
            schedule.remove(slot);
        } else {
            alive.insert(slot);
            schedule.add(slot, timing(1000), START + MS * round);
        }
    }
    let mean = alive.len() / 1000;
    for (_, most, _) in schedule.spread() {
        assert!(most <= 2 * mean, "fullest bucket {most}, mean {mean}");
    }
    // What was removed in one sweep of the circle does not pile up when as many come back.
    schedule.expect(&HashMap::from([(timing(1000), 20_000)]), START);
    (0..20_000).for_each(|slot| schedule.remove(slot));
    (0..20_000).for_each(|slot| schedule.add(slot, timing(1000), START));
    assert_eq!(schedule.spread().collect::<Vec<_>>(), [(timing(1000), 20, 20)]);
}

/// How many runs of neighbours these slots are.
fn runs(slots: &[u32]) -> usize {
    let all: HashSet<u32> = slots.iter().copied().collect();
    all.iter().filter(|slot| **slot == 0 || !all.contains(&(**slot - 1))).count()
}

#[test]
fn addresses_that_were_expected_lie_evenly_in_long_runs_of_neighbours() {
    for (addresses, longest) in [(50_000u32, 4), (200_000, 4), (700_000, 4), (700_001, 5), (700_999, 5), (2_000_000, 8)] {
        let mut schedule = Schedule::default();
        schedule.expect(&HashMap::from([(timing(1000), addresses as usize)]), START);
        (0..addresses).for_each(|slot| schedule.add(slot, timing(1000), START));
        let (_, most, least) = schedule.spread().next().unwrap();
        assert!(most - least <= 1, "{addresses}: {least} to {most}");
        let rows: Vec<Vec<u32>> = (0..1000).map(|tick| send_all(&mut schedule, START + MS * tick)).collect();
        let most = rows.iter().map(|row| runs(row)).max();
        assert!(most <= Some(longest), "{addresses}: {most:?} runs in a bucket");
        // Those of a long step are neighbours too.
        let most = rows.chunks(20).map(|rows| runs(&rows.concat())).max();
        assert!(most <= Some(longest), "{addresses}: {most:?} runs in twenty buckets");
    }
}

#[test]
fn dial_that_nobody_is_expected_on_any_more_is_used_for_another_timing() {
    let mut schedule = Schedule::default();
    for interval in 500..600 {
        schedule.expect(&HashMap::from([(timing(interval), 100), (timing(interval + 1000), 5)]), START);
        assert!([timing(interval), timing(interval + 1000)].iter().all(|timing| schedule.by_timing.contains_key(timing)));
        (0..100).for_each(|slot| schedule.add(slot, timing(interval), START));
        (100..105).for_each(|slot| schedule.add(slot, timing(interval + 1000), START));
        assert!(schedule.dials.len() <= 4, "{} dials", schedule.dials.len());
        (0..105).for_each(|slot| schedule.remove(slot));
    }
}

#[test]
fn what_is_due_within_a_step_leaves_at_its_beginning_but_no_confirmation() {
    let mut schedule = Schedule::default();
    (0..1000).for_each(|slot| schedule.add(slot, timing(1000), START));
    schedule.advance(START, MS * 5, |slot| panic!("slot {slot} was skipped"));
    let mut due = Vec::new();
    while let Some((slot, at)) = schedule.next_due(START, |slot| panic!("slot {slot} was skipped")) {
        due.push((slot, at));
    }
    assert_eq!(due.iter().map(|(_, at)| *at).collect::<Vec<_>>(), [START; 5]);
    let slot = due[0].0;
    schedule.confirm(slot, START);
    schedule.advance(START, MS * 5, |_| {});
    assert_eq!(schedule.next_due(START, |_| {}), Some((slot, START)), "the first at once");
    let early = START + timing(1000).confirm_interval - MS;
    schedule.advance(early, MS * 5, |_| {});
    while let Some((next, _)) = schedule.next_due(early, |_| {}) {
        assert_ne!(next, slot, "its next one waits for its time");
    }
}

#[test]
fn address_is_probed_at_one_moment_of_each_interval_however_the_turns_come() {
    let mut schedule = Schedule::default();
    let start = START + MS * 13 + MS / 3;
    schedule.expect(&HashMap::from([(timing(1000), 5000)]), start);
    (0..5000).for_each(|slot| schedule.add(slot, timing(1000), start));
    let mut left: Vec<Vec<Mono>> = vec![Vec::new(); 5000];
    let mut now = start;
    for turn in 0..5000u32 {
        schedule.advance(now, STEP_MAX, |slot| panic!("slot {slot} was skipped"));
        while let Some((slot, at)) = schedule.next_due(now, |slot| panic!("slot {slot} was skipped")) {
            assert!(at <= now && now.since(at) < MS, "slot {slot} {:?} late", now.since(at));
            left[slot as usize].push(at);
        }
        // Turns of one, five or twenty milliseconds by what is under way, each up to half of one late.
        let next = [1, 5, 20][(turn / 100 % 3) as usize];
        now = now.floor(MS * next) + MS * next + MS / 100 * (turn * 7 % 50);
    }
    for (slot, left) in left.iter().enumerate() {
        assert!(left.len() >= 40, "slot {slot}: {}", left.len());
        // The first may come in the middle of a step, for the dial began there.
        assert!(left[1..].windows(2).all(|pair| pair[1].since(pair[0]) == MS * 1000), "slot {slot}: {left:?}");
    }
}

#[test]
fn each_deadline_is_handed_out_once_and_at_its_time_in_whatever_order_they_are_made() {
    let mut schedule = Schedule::default();
    (0..1000).for_each(|slot| schedule.add(slot, timing(1000), START));
    // In order, but for some that come long before what was asked for until then, and one that is on no dial.
    let early = |slot: u32| if slot % 50 == 7 { MS * 50 } else { Duration::ZERO };
    let asked: Vec<(u32, Mono)> = (0..1001).map(|slot| (slot, START + MS * 50 + MS / 2 * slot - early(slot))).collect();
    asked.iter().for_each(|(slot, at)| schedule.deadline(*slot, *at));
    assert_eq!(schedule.deadlines.len(), 21, "only these are searched for");
    let mut came = HashMap::new();
    for tick in 0..4000 {
        let now = START + MS / 4 * tick;
        schedule.deadlines(now, |slot| assert!(came.insert(slot, now).is_none(), "slot {slot} twice"));
    }
    for (slot, at) in asked {
        assert_eq!(came[&slot], at, "slot {slot}");
    }
}

#[test]
fn confirmation_probes_start_at_once_then_keep_their_interval_and_replace_the_turn_on_the_dial() {
    let mut schedule = Schedule::default();
    schedule.add(3, timing(1000), START);
    schedule.confirm(3, START);
    schedule.confirm(3, START);
    let ticks: Vec<u32> = (0..1000).flat_map(|tick| vec![tick; send_all(&mut schedule, START + MS * tick).len()]).collect();
    assert_eq!(ticks, [0, 200, 400, 600, 800]);
    schedule.settle(3);
    // Confirmed again before the old entry came up: the old entry does not double the rate.
    schedule.confirm(3, START + MS * 1000);
    let ticks: Vec<u32> = (1000..1500).flat_map(|tick| vec![tick; send_all(&mut schedule, START + MS * tick).len()]).collect();
    assert_eq!(ticks, [1000, 1200, 1400]);
    schedule.settle(3);
    let ticks: Vec<u32> = (1500..3500).flat_map(|tick| vec![tick; send_all(&mut schedule, START + MS * tick).len()]).collect();
    assert_eq!(ticks.len(), 2, "back on the dial, once an interval: {ticks:?}");
}

#[test]
fn removed_slot_is_not_sent_though_it_was_due() {
    let mut schedule = Schedule::default();
    (0..100).for_each(|slot| schedule.add(slot, timing(100), START));
    schedule.confirm(5, START);
    schedule.advance(START + MS * 50, MS, |_| {});
    schedule.remove(5);
    let mut sent = Vec::new();
    while let Some((slot, _)) = schedule.next_due(START + MS * 50, |_| {}) {
        sent.push(slot);
    }
    assert!(sent.len() > 40 && !sent.contains(&5));
}

#[test]
fn hand_that_fell_behind_skips_and_counts_and_never_bursts() {
    let mut schedule = Schedule::default();
    (0..10_000).for_each(|slot| schedule.add(slot, timing(1000), START));
    send_all(&mut schedule, START);
    let mut skipped = 0;
    schedule.advance(START + MS * 1500, MS, |_| skipped += 1);
    assert!(schedule.waiting() <= 1010, "{} probes at once", schedule.waiting());
    assert!((9_900..=10_000).contains(&skipped), "{skipped} skipped: each address at most once");
}

#[test]
fn probe_that_waits_too_long_for_the_cap_is_skipped() {
    let mut schedule = Schedule::default();
    (0..1000).for_each(|slot| schedule.add(slot, timing(100), START));
    let mut throttle = Throttle::new(Pps::new(1000).unwrap(), START);
    let (mut sent, mut skipped) = (0, 0);
    for tick in 1..=2000 {
        let now = START + MS * tick;
        schedule.advance(now, MS, |_| skipped += 1);
        let allowed = throttle.allowance(now);
        let mut left = 0;
        while left < allowed && schedule.next_due(now, |_| skipped += 1).is_some() {
            left += 1;
        }
        throttle.spend(left);
        sent += left;
    }
    assert!((1990..=2005).contains(&sent), "{sent} sent in two seconds under a cap of 1000 pps");
    assert!(skipped > 15_000, "{skipped} of 20,000 skipped");
    assert!(schedule.waiting() <= 1100, "the queue is bounded by the lag, found {}", schedule.waiting());
}

#[test]
fn throttle_of_one_packet_a_second_lets_one_pass_and_keeps_no_burst() {
    let mut throttle = Throttle::new(Pps::new(1).unwrap(), START);
    let mut sent = 0;
    for tick in 1..=10_000 {
        let allowed = throttle.allowance(START + MS * tick);
        assert!(allowed <= 1);
        throttle.spend(allowed);
        sent += allowed;
    }
    assert_eq!(sent, 10);
    assert_eq!(throttle.allowance(START + Duration::from_secs(3600)), 1);
}

#[test]
fn intervals_from_a_tenth_of_a_second_to_a_day_come_round_once() {
    for interval in [100, 101, 999, 60_000, 3_600_000, 86_400_000] {
        let mut schedule = Schedule::default();
        (0..50).for_each(|slot| schedule.add(slot, timing(interval), START));
        let step = Duration::from_millis((interval / 2000).clamp(1, 50));
        let mut seen = [0; 50];
        let mut now = START;
        while now < START + Duration::from_millis(2 * interval) {
            send_all(&mut schedule, now).into_iter().for_each(|slot| seen[slot as usize] += 1);
            now = now + step;
        }
        assert!(seen.iter().all(|times| *times == 2), "interval {interval} ms: {seen:?}");
    }
}

#[test]
fn same_timing_keeps_the_phase_and_another_timing_moves_the_slot() {
    let mut schedule = Schedule::default();
    (0..5).for_each(|slot| schedule.add(slot, timing(1000), START));
    let before: Vec<_> = (0..1000).map(|tick| send_all(&mut schedule, START + MS * tick)).collect();
    schedule.add(2, timing(1000), START + MS * 1000);
    let after: Vec<_> = (1000..2000).map(|tick| send_all(&mut schedule, START + MS * tick)).collect();
    assert_eq!(before, after);
    schedule.add(2, timing(200), START + MS * 2000);
    let sent: Vec<u32> = (2000..3000).flat_map(|tick| send_all(&mut schedule, START + MS * tick)).collect();
    assert_eq!(sent.iter().filter(|slot| **slot == 2).count(), 5);
}

#[test]
fn turn_that_waits_is_left_out_once_the_address_is_suspected() {
    let mut schedule = Schedule::default();
    (0..100).for_each(|slot| schedule.add(slot, timing(100), START));
    schedule.advance(START + MS * 50, MS, |_| {});
    let waiting = schedule.ahead(7).unwrap();
    schedule.confirm(waiting, START + MS * 50);
    let mut sent = Vec::new();
    while let Some((slot, _)) = schedule.next_due(START + MS * 50, |_| {}) {
        sent.push(slot);
    }
    assert!(
        sent.len() > 40 && !sent.contains(&waiting),
        "its re-probe is due in the next turn, and both at once would say one thing twice"
    );
    schedule.advance(START + MS * 50, MS, |_| {});
    assert_eq!(schedule.next_due(START + MS * 50, |_| {}), Some((waiting, START + MS * 50)));
}
