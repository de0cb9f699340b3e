//! The worst cases: anything at any time, and a million at once.

use super::*;

#[test]
fn whatever_happens_every_host_that_is_down_is_told_by_itself_or_by_an_outage() {
    use rand::{Rng, SeedableRng};
    for seed in 0..60 {
        let mut random = rand::rngs::StdRng::seed_from_u64(seed);
        let size = random.random_range(20..300);
        let mut cloud = Cloud::new(size, Duration::from_millis(random.random_range(500..8_000)));
        let mut gone = BTreeSet::new();
        for _ in 0..40 {
            let (from, to) = (random.random_range(0..size), random.random_range(0..size));
            let some = (from.min(to)..=from.max(to)).filter(|who| !gone.contains(who)).collect::<Vec<_>>();
            match random.random_range(0..11) {
                10 => cloud.sight(random.random_bool(0.5)),
                0..4 => {
                    let alive = |who: &u32| cloud.hosts[*who as usize].verdict == Verdict::Up;
                    let alive: Vec<u32> = some.into_iter().filter(alive).collect();
                    cloud.revive(alive.clone());
                    cloud.turns.retain(|(_, who, _)| !alive.contains(who));
                    cloud.kill(alive);
                }
                4..8 => cloud.revive(some),
                8 => {
                    let unknown: Vec<u32> = some.into_iter().take(20).collect();
                    cloud.blind(unknown);
                }
                _ => {
                    if let Some(who) = some.first() {
                        cloud.turns.retain(|(_, other, _)| other != who);
                        cloud.filter.forget(*who);
                        gone.insert(*who);
                    }
                }
            }
            cloud.run(random.random_range(100..20_000));
        }
        // Whoever is unknown is seen again; then all is given time.
        cloud.sight(true);
        for who in 0..size {
            if cloud.hosts[who as usize].verdict == Verdict::Unknown && !gone.contains(&who) {
                cloud.turn(who, Verdict::Up);
            }
        }
        cloud.run_s(1_300);
        let down: BTreeSet<u32> =
            (0..size).filter(|who| cloud.hosts[*who as usize].verdict == Verdict::Down && !gone.contains(who)).collect();
        let firing: BTreeSet<u32> = cloud.firing().difference(&gone).copied().collect();
        assert!(firing.is_subset(&down), "seed {seed}: alarms of hosts that are up: {:?}", firing.difference(&down).collect::<Vec<_>>());
        let lasting = cloud.outages().len() - cloud.over();
        for who in down.difference(&firing) {
            assert!(lasting > 0 && cloud.filter.storm.is_covered(*who), "seed {seed}: nobody hears of {who}");
        }
        // All answer: nothing fires, nothing is held.
        cloud.revive(down);
        cloud.run_s(1_300);
        let firing: BTreeSet<u32> = cloud.firing().difference(&gone).copied().collect();
        assert!(firing.is_empty(), "seed {seed}: {firing:?}");
        assert_eq!(cloud.outages().len(), cloud.over(), "seed {seed}");
        assert!(cloud.filter.is_idle(), "seed {seed}: {} are remembered", cloud.filter.len());
    }
}

#[test]
fn a_million_addresses_that_go_down_at_once_are_one_alarm_in_seconds_of_work() {
    let mut cloud = Cloud::new(1_000_000, SECOND);
    cloud.kill(0..1_000_000);
    let began = Instant::now();
    cloud.run_s(3);
    let took = began.elapsed();
    println!("a million down: {took:?}");
    assert_eq!((cloud.outages().len(), cloud.downs().len()), (1, 0));
    assert!(took < Duration::from_secs(60), "{took:?}");
    let asked = *cloud.census.asked.borrow();
    assert!(asked < 150_000, "each group's size is asked once: {asked}");
}
