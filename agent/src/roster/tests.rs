use super::*;
use crate::policy::Method;
use crate::table::Writer;
use crate::unit::Mac;

const START: Mono = Mono::from_nanos(1_000_000_000_000);

fn policy(name: &str, interval_ms: u64) -> Policy {
    Policy {
        name: name.into(),
        interval: Duration::from_millis(interval_ms),
        timeout: Duration::from_millis(100),
        confirm_interval: Duration::from_millis(100),
        down_after: 3,
        up_after: 1,
        method: Method::Arp,
        alarm: vec![],
    }
}

/// Rows of (host, network, last octet, policy).
fn table(rows: &[(&str, &str, u8, &Policy)]) -> Arc<Table> {
    let mut writer = Writer::new();
    let mut policies = HashMap::new();
    for (host, network, octet, policy) in rows {
        let policy = *policies.entry((*policy).clone()).or_insert_with(|| writer.policy((*policy).clone()));
        let host = writer.host(host, host, "project", []);
        let mac = Mac([2, 0, 0, 0, 0, *octet]);
        writer.address(host, network, IpAddr::from([10, 0, 0, *octet]), Some(mac), policy);
    }
    Arc::new(writer.finish().unwrap())
}

fn plan(keeper: &mut Keeper, present: &Roster, table: Arc<Table>, now: Mono) -> Plan {
    keeper.plan(present, table, present.generation + 1, &HashMap::new(), now).unwrap()
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
    assert_eq!(next.roster.slots[0], first.roster.slots[0]);
    assert_eq!(next.changed.len(), 1, "h2 has another policy");
    assert_eq!(next.changed[0].slot, first.roster.slots[1]);
    assert_eq!(next.removed, [first.roster.slots[2]], "h3's address is now another host's: nothing is carried over");
    assert_eq!(next.forgotten, [Key { network: "b".into(), address: IpAddr::from([10, 0, 0, 1]) }]);
    assert_eq!(next.added.len(), 2);
    let record = next.roster.record(next.added[1].slot).unwrap();
    assert_eq!(next.roster.network(record), None, "the agent is not attached to network c");
    assert!(next.roster.record(first.roster.slots[2]).is_none(), "the freed slot means nobody");
}

#[test]
fn freed_slot_rests_before_it_is_given_away() {
    let gold = policy("gold", 1000);
    let mut keeper = Keeper::new(["a"]);
    let first = plan(&mut keeper, &Roster::default(), table(&[("h1", "a", 1, &gold)]), START);
    let empty = plan(&mut keeper, &first.roster, table(&[]), START);
    let soon = keeper.clone().plan(&empty.roster, table(&[("h2", "a", 2, &gold)]), 3, &HashMap::new(), START + QUARANTINE / 2).unwrap();
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
        let mut slots = next.roster.slots.clone();
        slots.sort_unstable();
        slots.dedup();
        assert_eq!(slots.len(), rows.len(), "two addresses in one slot");
        for (record, slot) in next.roster.table.records().iter().zip(&next.roster.slots) {
            assert_eq!(next.roster.record(*slot).unwrap().address(), record.address());
        }
        present = next.roster;
        now = now + Duration::from_secs(1);
    }
}
