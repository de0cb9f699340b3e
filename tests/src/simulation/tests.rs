use rollcall_agent::policy::{Method, Policy};
use rollcall_agent::table::{Table, Writer};
use rollcall_agent::unit::{Blind, Verdict};
use rollcall_agent::view::Series;
use rollcall_agent_ebpf::fleet::Behaviour;

use super::*;
use crate::population;

fn policy(method: Method) -> Policy {
    Policy {
        name: method.name().into(),
        interval: Duration::from_secs(1),
        timeout: Duration::from_millis(300),
        confirm_interval: Duration::from_millis(200),
        down_after: 3,
        down_of: 3,
        up_after: 2,
        up_of: 2,
        method,
        alarm: vec![],
    }
}

/// Hosts on the link and behind the gateway, each with both families.
fn simulation(on_link: u32, routed: u32) -> Simulation {
    simulation_by(Cloud { on_link, routed }, policy)
}

fn simulation_by(cloud: Cloud, policy: impl Fn(Method) -> Policy) -> Simulation {
    let addresses = 2 * (cloud.on_link + cloud.routed) as usize;
    let mut simulation = Simulation::new(1, &[("lab".to_owned(), cloud)], addresses, Pps::new(1_000_000).unwrap()).unwrap();
    simulation.push(table(cloud, policy)).unwrap();
    simulation
}

fn table(cloud: Cloud, policy: impl Fn(Method) -> Policy) -> Table {
    let mut writer = Writer::new();
    let (near, far) = (writer.policy(policy(Method::Arp)), writer.policy(policy(Method::Icmp)));
    for host in population::hosts(cloud) {
        let row = writer.host(&host.id, &host.name, host.project, host.tags);
        let policy = if host.station.is_multiple_of(2) && host.mac.is_some() { near } else { far };
        writer.address(row, "lab", host.address.into(), host.mac, policy);
        writer.address(row, "lab", host.v6().into(), host.mac.filter(|_| host.station != 1), policy);
    }
    writer.finish().unwrap()
}

/// One miss is enough.
fn impatient(method: Method) -> Policy {
    Policy { down_after: 1, down_of: 1, ..policy(method) }
}

fn verdicts(simulation: &Simulation, verdict: Verdict) -> usize {
    let roster = simulation.ledger.roster();
    roster.iter().filter(|(_, record, slot)| simulation.view().shown(*slot, roster.network(record)).verdict == verdict).count()
}

#[test]
fn everybody_answers_by_every_kind_of_probe() {
    let mut simulation = simulation(40, 20);
    simulation.run_until(Duration::from_secs(5));
    assert_eq!(verdicts(&simulation, Verdict::Up), 120);
    assert_eq!((simulation.view().totals.misses.value(), simulation.ledger.told.len()), (0, 0));
}

#[test]
fn every_reply_is_counted_once_and_for_its_own_policy() {
    let mut simulation = simulation(400, 200);
    // Sent, answered, and RTTs, which are shown once a second: at that moment there are as many as replies.
    let counts = |simulation: &Simulation| {
        let series = simulation.view().series.read().unwrap();
        let counts = |series: &Series| (series.sent.value(), series.replies.value(), series.rtt.lock().unwrap().len());
        series.values().map(|series| counts(series)).collect::<Vec<_>>()
    };
    let moment = (29_000..31_000).find(|ms| {
        simulation.run_until(Duration::from_millis(*ms));
        counts(&simulation).iter().all(|(_, replies, measured)| replies == measured)
    });
    let counts = counts(&simulation);
    assert!(moment.is_some() && counts.len() == 2, "sent, answered, RTTs: {counts:?}");
    // Under way is what left in this step and, not yet looked at, in the one before: of 1,200 addresses twenty milliseconds each.
    let open: Vec<u64> = counts.iter().map(|(sent, replies, _)| sent - replies).collect();
    assert!(counts.iter().all(|(sent, ..)| *sent > 5_000) && (1..=50).contains(&open.iter().sum::<u64>()), "{counts:?}");
    assert_eq!(counts.iter().map(|(_, replies, _)| replies).sum::<u64>(), simulation.view().totals.replies.value());
    let roster = simulation.ledger.roster();
    let last = |slot| simulation.view().last_reply_ms(slot, simulation.now(), moment.unwrap());
    assert!(roster.iter().all(|(_, _, slot)| last(slot).is_some_and(|at| at > 27_500)), "somebody's last reply is not known");
}

#[test]
fn host_that_dies_is_told_once_and_resolved_when_it_is_back() {
    let mut simulation = simulation(40, 20);
    simulation.run_until(Duration::from_secs(5));
    let kill = |simulation: &mut Simulation, dead| {
        for station in [3, 4, 50] {
            let health = &mut lock(&simulation.air).nets[0].health[station];
            health.behaviour = health.behaviour.with(Behaviour::DEAD, dead);
        }
    };
    kill(&mut simulation, true);
    simulation.run_until(Duration::from_secs(8));
    assert_eq!(verdicts(&simulation, Verdict::Down), 6);
    kill(&mut simulation, false);
    simulation.run_until(Duration::from_secs(12));
    let told: Vec<_> = simulation.ledger.told.iter().map(|told| told.what.as_str()).collect();
    assert_eq!(told, [["down"; 6], ["down-over"; 6]].concat());
}

#[test]
fn network_that_takes_no_probe_is_one_alarm_of_the_agent_and_shown_as_blind_until_one_leaves() {
    let mut simulation = simulation(40, 20);
    simulation.run_until(Duration::from_secs(5));
    simulation.cloud(|air| air.nets[0].refuses = true);
    simulation.run_until(Duration::from_millis(5_100));
    for ms in (5_100..65_000).step_by(10) {
        simulation.run_until(Duration::from_millis(ms));
        assert_eq!(simulation.view().networks[0].blind(), Some(Blind::SendError), "at {ms} ms");
    }
    let told = |simulation: &Simulation| simulation.ledger.told.iter().map(|told| told.what.clone()).collect::<Vec<_>>();
    assert_eq!(told(&simulation), ["agent-blind"]);
    simulation.cloud(|air| air.nets[0].refuses = false);
    simulation.run_until(Duration::from_secs(120));
    assert_eq!(told(&simulation), ["agent-blind", "agent-blind-over"]);
    assert_eq!(verdicts(&simulation, Verdict::Up), 120);
}

#[test]
fn network_that_was_silent_before_the_start_stays_so_until_somebody_answers_and_nobody_is_down_there() {
    let mut simulation = simulation(40, 20);
    simulation.engine.resume_silence(&["lab"]);
    simulation.cloud(|air| air.nets[0].silent = true);
    simulation.run_until(Duration::from_secs(60));
    assert_eq!((verdicts(&simulation, Verdict::Down), simulation.ledger.fell.len()), (0, 0));
    assert!(simulation.ledger.told.is_empty(), "it was told: {:?}", simulation.ledger.told);
    simulation.cloud(|air| air.nets[0].silent = false);
    simulation.run_until(Duration::from_secs(90));
    assert_eq!((verdicts(&simulation, Verdict::Up), simulation.ledger.told.len()), (120, 0));
    // From then on it is a network like any other.
    let dead = |health: &mut Health| health.behaviour = health.behaviour.with(Behaviour::DEAD, true);
    simulation.cloud(|air| dead(&mut air.nets[0].health[4]));
    simulation.run_until(Duration::from_secs(95));
    assert_eq!(verdicts(&simulation, Verdict::Down), 2);
}

#[test]
fn what_waits_after_a_standstill_leaves_in_several_turns_and_nothing_of_it_is_lost() {
    let mut simulation = simulation(30_000, 0);
    simulation.run_until(Duration::from_secs(3));
    let sent = |simulation: &Simulation| simulation.view().totals.sent.value();
    let before = sent(&simulation);
    simulation.stall(Duration::from_millis(90));
    assert_eq!(sent(&simulation) - before, 4096, "of some 5,400 that were due");
    let until = simulation.elapsed() + simulation.engine.tick();
    simulation.run_until(until);
    assert!(sent(&simulation) - before >= 5_400, "the rest with the next turn");
    simulation.run_until(until + Duration::from_secs(1));
    assert_eq!((simulation.view().skipped.value(), simulation.view().totals.misses.value()), (0, 0));
    assert_eq!(verdicts(&simulation, Verdict::Up), 60_000);
}

#[test]
fn cap_a_little_above_what_is_asked_for_lets_all_of_it_leave() {
    let cloud = Cloud { on_link: 40, routed: 0 };
    // A step of twenty milliseconds has two probes at times, and room for two less a fiftieth.
    let mut simulation = Simulation::new(1, &[("lab".to_owned(), cloud)], 80, Pps::new(99).unwrap()).unwrap();
    simulation.push(table(cloud, policy)).unwrap();
    simulation.run_until(Duration::from_secs(60));
    assert_eq!((simulation.view().skipped.value(), verdicts(&simulation, Verdict::Up)), (0, 80));
}

#[test]
fn miss_that_waits_for_its_gateway_says_nothing_once_the_link_is_down() {
    let mut simulation = simulation_by(Cloud { on_link: 0, routed: 400 }, impatient);
    simulation.run_until(Duration::from_secs(5));
    // The cable is pulled; the kernel tells of it when the first deadlines have passed, before the gateway counts as lost.
    simulation.cloud(|air| air.nets[0].silent = true);
    simulation.run_until(Duration::from_millis(5_360));
    assert!(simulation.view().networks[0].blind().is_none() && simulation.ledger.fell.is_empty());
    simulation.link(0, false);
    simulation.run_until(Duration::from_secs(15));
    simulation.cloud(|air| air.nets[0].silent = false);
    simulation.link(0, true);
    simulation.run_until(Duration::from_secs(20));
    assert_eq!((verdicts(&simulation, Verdict::Up), simulation.ledger.fell.len()), (800, 0));
}

#[test]
fn shorter_timeout_holds_for_the_probes_under_way() {
    let cloud = Cloud { on_link: 40, routed: 0 };
    let long = |method| Policy { timeout: Duration::from_secs(1), confirm_interval: Duration::from_secs(1), ..impatient(method) };
    let short = |method| Policy { timeout: Duration::from_millis(100), ..impatient(method) };
    let mut simulation = simulation_by(cloud, long);
    simulation.run_until(Duration::from_secs(5));
    simulation.cloud(|air| {
        air.nets[0].health[2..=20].iter_mut().for_each(|health| health.behaviour = health.behaviour.with(Behaviour::DEAD, true));
    });
    // All were asked since; the first deadlines come now.
    simulation.run_until(Duration::from_millis(6_050));
    let before = verdicts(&simulation, Verdict::Down);
    simulation.push(table(cloud, short)).unwrap();
    simulation.run_until(Duration::from_millis(6_120));
    let after = verdicts(&simulation, Verdict::Down);
    assert!(before <= 8 && (30..=38).contains(&after), "down: {before}, then {after} of 38");
}
