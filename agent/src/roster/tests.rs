use std::collections::BTreeSet;
use std::net::IpAddr;

use super::*;
use crate::policy::Method;
use crate::table::{Cloud, Delta, Random, Table, Writer};
use crate::unit::Mac;

const START: Mono = Mono::from_nanos(1_000_000_000_000);

fn policy(name: &str, interval_ms: u64) -> Policy {
    Policy {
        name: name.into(),
        interval: Duration::from_millis(interval_ms),
        timeout: Duration::from_millis(100),
        confirm_interval: Duration::from_millis(100),
        down_after: 3,
        down_of: 3,
        up_after: 1,
        up_of: 1,
        method: Method::Arp,
        alarm: vec![],
    }
}

/// Rows of (host, network, last octet, policy).
fn table(rows: &[(&str, &str, u8, &Policy)]) -> Edition {
    let mut writer = Writer::new();
    let mut policies = HashMap::new();
    for (host, network, octet, policy) in rows {
        let policy = *policies.entry((*policy).clone()).or_insert_with(|| writer.policy((*policy).clone()));
        let host = writer.host(host, host, "project", []);
        let mac = Mac([2, 0, 0, 0, 0, *octet]);
        writer.address(host, network, IpAddr::from([10, 0, 0, *octet]), Some(mac), policy);
    }
    Edition::of(Arc::new(writer.finish().unwrap()))
}

fn plan(keeper: &mut Keeper, present: &Roster, table: Edition, now: Mono) -> Plan {
    keeper.plan(present, table.with_generation(present.generation + 1), &Restored::new(), now).unwrap()
}

#[test]
fn unchanged_addresses_keep_their_slots_and_everything_else_is_told() {
    let (gold, iron) = (policy("gold", 1000), policy("iron", 5000));
    let mut keeper = Keeper::new(["a", "b"]);
    let first = plan(&mut keeper, &Roster::default(), table(&[("h1", "a", 1, &gold), ("h2", "a", 2, &gold), ("h3", "b", 1, &gold)]), START);
    assert_eq!((first.added.len(), first.capacity), (3, 3));
    let second = table(&[("h1", "a", 1, &gold), ("h2", "a", 2, &iron), ("h4", "b", 1, &gold), ("h5", "c", 9, &gold)]);
    let next = plan(&mut keeper, &first.roster, second, START);
    assert_eq!(next.unchanged, 1);
    assert_eq!(next.roster.slot(0), first.roster.slot(0));
    assert_eq!(next.changed.len(), 1, "h2 has another policy");
    assert_eq!(Some(next.changed[0].slot), first.roster.slot(1));
    assert_eq!(next.removed, [first.roster.slot(2).unwrap()], "h3's address is now another host's: nothing is carried over");
    assert_eq!(next.forgotten, [Key::new("b", IpAddr::from([10, 0, 0, 1]))]);
    assert_eq!(next.added.len(), 2);
    let record = next.roster.record(next.added[1].slot).unwrap();
    assert_eq!(next.roster.network(&record), None, "the agent is not attached to network c");
    assert!(next.roster.record(first.roster.slot(2).unwrap()).is_none(), "the freed slot means nobody");
}

#[test]
fn address_whose_silence_becomes_or_ceases_to_be_somebodys_concern_is_judged_anew() {
    let quiet = policy("gold+expected-silent", 60_000);
    let loud = Policy { alarm: vec!["oncall".into()], ..policy("gold", 1000) };
    let other = Policy { alarm: vec!["mail".into()], ..policy("iron", 5000) };
    let mut keeper = Keeper::new(["a"]);
    let mut next = |present: &Roster, policy: &Policy| plan(&mut keeper, present, table(&[("h1", "a", 1, policy)]), START);
    let first = next(&Roster::default(), &loud);
    let still = next(&first.roster, &other);
    assert_eq!((still.changed.len(), still.forgotten.len()), (1, 0), "somebody hears of it all the same");
    let stopped = next(&still.roster, &quiet);
    assert_eq!((stopped.removed.len(), stopped.added.len(), stopped.anew), (1, 1, 1));
    assert_eq!(stopped.forgotten, [Key::new("a", IpAddr::from([10, 0, 0, 1]))], "an alarm that fires is closed");
    let again = next(&stopped.roster, &loud);
    assert_eq!((again.removed.len(), again.added.len(), again.changed.len()), (1, 1, 0));
}

#[test]
fn freed_slot_rests_before_it_is_given_away() {
    let gold = policy("gold", 1000);
    let mut keeper = Keeper::new(["a"]);
    let first = plan(&mut keeper, &Roster::default(), table(&[("h1", "a", 1, &gold)]), START);
    let empty = plan(&mut keeper, &first.roster, table(&[]), START);
    let soon = keeper.clone().plan(&empty.roster, table(&[("h2", "a", 2, &gold)]), &Restored::new(), START + QUARANTINE / 2).unwrap();
    assert_ne!(soon.added[0].slot, first.added[0].slot);
    let later = plan(&mut keeper, &empty.roster, table(&[("h2", "a", 2, &gold)]), START + QUARANTINE);
    assert_eq!(later.added[0].slot, first.added[0].slot);
    assert_eq!(later.capacity, 1);
}

#[test]
fn groups_keep_their_numbers_and_a_changed_policy_gets_one_that_nobody_uses() {
    let (gold, slower) = (policy("gold", 1000), policy("gold", 2000));
    let mut keeper = Keeper::new(["a"]);
    let first = plan(&mut keeper, &Roster::default(), table(&[("h1", "a", 1, &gold), ("h2", "a", 2, &gold)]), START);
    let number = first.added[0].group;
    let second = plan(&mut keeper, &first.roster, table(&[("h1", "a", 1, &slower), ("h2", "a", 2, &slower)]), START);
    assert_eq!(second.changed.len(), 2);
    assert_ne!(second.changed[0].group, number, "cells that were not changed yet still name the old group");
    let third = plan(&mut keeper, &second.roster, table(&[("h1", "a", 1, &gold)]), START);
    assert_eq!(third.changed[0].group, number, "free again");
    assert_eq!(third.roster.groups.len(), 1);
}

#[test]
fn every_slot_has_one_address_through_a_long_churn() {
    let gold = policy("gold", 1000);
    let mut keeper = Keeper::new(["a"]);
    let mut present = Arc::new(Roster::default());
    let mut random = 7u64;
    let mut now = START;
    for _ in 0..200 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let octets = (1..=60u8).filter(|octet| random >> (octet % 60) & 1 == 1);
        let hosts: Vec<(String, u8)> = octets.map(|octet| (format!("h{octet}"), octet)).collect();
        let rows: Vec<_> = hosts.iter().map(|(host, octet)| (host.as_str(), "a", *octet, &gold)).collect();
        let next = plan(&mut keeper, &present, table(&rows), now);
        assert_eq!(next.added.len() as u64 + next.unchanged, rows.len() as u64);
        let mut slots: Vec<u32> = next.roster.iter().map(|(_, _, slot)| slot).collect();
        slots.sort_unstable();
        slots.dedup();
        assert_eq!(slots.len(), rows.len(), "two addresses in one slot");
        for (_, record, slot) in next.roster.iter() {
            assert_eq!(next.roster.record(slot).unwrap().address(), record.address());
        }
        present = next.roster;
        now = now + Duration::from_secs(1);
    }
}

/// What a plan says, with nothing in it that may differ between two ways to the same.
fn said(plan: &Plan) -> impl PartialEq + std::fmt::Debug {
    let roster = &plan.roster;
    let seat = |id: u32| {
        let record = roster.table.record(id).unwrap();
        (roster.table.network(record.network()).to_owned(), record.address())
    };
    let assignments = |list: &[Assignment]| list.iter().map(|a| (seat(a.record), a.slot)).collect::<BTreeSet<_>>();
    let groups = |list: &[Assignment]| list.iter().map(|a| (a.slot, roster.groups[&a.group].clone())).collect::<HashMap<_, _>>();
    let seats: Vec<_> = roster.iter().map(|(id, _, slot)| (seat(id), slot)).collect();
    let forgotten: BTreeSet<String> = plan.forgotten.iter().map(|key| format!("{key:?}")).collect();
    let plain = (plan.removed.clone(), forgotten, plan.unchanged, plan.capacity, roster.groups.len());
    (plain, assignments(&plan.changed), groups(&plan.changed), assignments(&plan.added), groups(&plan.added), seats)
}

#[test]
fn a_plan_by_delta_is_the_plan_by_comparing_everything() {
    for seed in 0..6 {
        let mut random = Random(100 + seed);
        let mut cloud = Cloud::default();
        let (mut by_delta, mut by_whole) = (Keeper::new(["net-0", "net-1"]), Keeper::new(["net-0", "net-1"]));
        let (mut left, mut right) = (Arc::new(Roster::default()), Arc::new(Roster::default()));
        let mut present = Arc::new(Table::empty());
        let mut now = START;
        for turn in 1..80 {
            for _ in 0..=random.below(10) {
                cloud.step(&mut random);
            }
            let next = Arc::new(cloud.table().with_generation(turn));
            let edition = left.table.amended(&Delta::between(&present, &next)).unwrap();
            let small = by_delta.plan(&left, edition, &Restored::new(), now).unwrap();
            let whole = by_whole.plan(&right, Edition::of(next.clone()), &Restored::new(), now).unwrap();
            assert_eq!(said(&small), said(&whole), "seed {seed}, turn {turn}");
            for (id, record, slot) in small.roster.iter() {
                assert_eq!((small.roster.slot(id), small.roster.id(slot)), (Some(slot), Some(id)));
                assert_eq!(small.roster.record(slot), Some(record));
            }
            for slot in &small.removed {
                assert!(small.roster.record(*slot).is_none() || small.added.iter().any(|added| added.slot == *slot));
            }
            (left, right, present) = (small.roster, whole.roster, next);
            if random.below(6) == 0 {
                left = Arc::new(left.retold(Edition::of(Arc::new(left.table.flat()))));
            }
            now = now + Duration::from_secs(random.below(8));
        }
    }
}

#[test]
fn a_table_that_comes_as_one_piece_takes_one_run_of_slots() {
    let gold = policy("gold", 1000);
    let mut keeper = Keeper::new(["a"]);
    let rows: Vec<(String, u8)> = (1..=200u8).map(|octet| (format!("h{octet}"), octet)).collect();
    let rows: Vec<_> = rows.iter().map(|(host, octet)| (host.as_str(), "a", *octet, &gold)).collect();
    let first = plan(&mut keeper, &Roster::default(), table(&rows), START);
    assert!(first.added.iter().enumerate().all(|(at, added)| (added.slot, added.record) == (at as u32, at as u32)));
}
