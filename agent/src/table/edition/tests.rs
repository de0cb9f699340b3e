use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::policy::Method;
use crate::table::{Delta, TableError, Writer};
use crate::unit::Mac;

/// A fixed generator (PCG's multiplier): the same tables in every run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// A small cloud that lives: hosts come, go, are renamed, get and lose addresses, policies and MACs.
#[derive(Clone, Default)]
pub(crate) struct Cloud {
    /// By id: name, project, tag.
    hosts: BTreeMap<String, (u64, u64)>,
    /// By network and last octets: host, MAC, policy.
    addresses: BTreeMap<(u64, u64), (String, u8, u64)>,
    slow: bool,
}

impl Cloud {
    /// One more thing happens.
    pub(crate) fn step(&mut self, random: &mut Random) {
        let host = format!("vm-{}", random.below(24));
        let place = (random.below(4), random.below(40));
        let fields = (random.below(3), random.below(3));
        match random.below(8) {
            0 => {
                self.hosts.insert(host, fields);
            }
            1 => {
                self.addresses.remove(&place);
            }
            2 => self.addresses.retain(|_, (owner, ..)| *owner != host),
            3 if random.below(6) == 0 => self.slow = !self.slow,
            _ => {
                self.hosts.entry(host.clone()).or_insert(fields);
                self.addresses.insert(place, (host, random.below(4) as u8, random.below(3)));
            }
        }
    }

    /// Only those addresses that a table has.
    #[cfg(feature = "dataplane")]
    pub(crate) fn without(mut self, table: &Edition) -> Cloud {
        let known = |network: u64, at: u64| table.find(&format!("net-{network}"), IpAddr::from([10, 0, 0, at as u8])).is_some();
        self.addresses.retain(|(network, at), _| known(*network, *at));
        self
    }

    /// Its table.
    pub(crate) fn table(&self) -> Table {
        let mut writer = Writer::new();
        let policies = [0u64, 1, 2].map(|at| {
            let interval = Duration::from_secs(if self.slow && at == 1 { 9 } else { 1 });
            writer.policy(Policy {
                name: format!("policy-{at}"),
                interval,
                timeout: Duration::from_millis(300),
                confirm_interval: Duration::from_millis(200),
                down_after: 3,
                down_of: 3,
                up_after: 2,
                up_of: 2,
                method: Method::Arp,
                alarm: vec!["log".into()],
            })
        });
        for ((network, at), (owner, mac, policy)) in &self.addresses {
            let (name, project) = self.hosts[owner];
            let tags = (project == 1).then_some("web");
            let host = writer.host(owner, &format!("name-{name}"), &format!("project-{project}"), tags);
            let mac = (*mac > 0).then_some(Mac([2, 0, 0, 0, 0, *mac]));
            writer.address(host, &format!("net-{network}"), IpAddr::from([10, 0, 0, *at as u8]), mac, policies[*policy as usize]);
        }
        writer.finish().unwrap()
    }
}

/// Asks an edition everything that a flat table is asked, and compares.
fn assert_same(edition: &Edition, flat: &Table) {
    assert_eq!((edition.len(), edition.hosts(), edition.digest()), (flat.len(), flat.hosts(), flat.digest()));
    assert_eq!(edition.policies(), flat.policies());
    let row = |network: &str, record: &Record, host: HostView<'_>, policy: &Policy| {
        let tags: Vec<&str> = host.tags().collect();
        format!("{network} {} {:?} {} {} {} {tags:?} {policy:?}", record.address(), record.mac(), host.id(), host.name(), host.project())
    };
    let said: Vec<String> = edition
        .iter()
        .map(|(id, record)| {
            assert_eq!(edition.record(id), Some(record));
            let network = edition.network(record.network());
            assert_eq!(edition.find(network, record.address()), Some(id));
            let host = edition.host(record.host());
            assert_eq!(edition.find_host(host.id()), Some(record.host()));
            assert!(edition.addresses_of(record.host()).any(|at| at == id));
            assert_eq!(edition.host_id(record.host()), host.id().as_bytes());
            row(network, &record, host, &edition.policies()[usize::from(record.policy())])
        })
        .collect();
    let wanted: Vec<String> = flat
        .records()
        .iter()
        .map(|record| row(flat.network(record.network()), record, flat.host(record.host()), &flat.policies()[usize::from(record.policy())]))
        .collect();
    assert_eq!(said, wanted);
    let counted: u32 = edition.counts().values().sum();
    assert_eq!(counted as usize, flat.len());
    for number in 0..24 {
        let id = format!("vm-{number}");
        assert_eq!(edition.find_host(&id).is_some(), flat.find_host(&id).is_some(), "{id}");
    }
    assert_eq!((0..edition.end()).filter_map(|id| edition.record(id)).count(), flat.len());
}

#[test]
fn an_edition_says_what_the_compiled_table_says_through_a_long_life() {
    for seed in 0..6 {
        let mut random = Random(seed);
        let mut cloud = Cloud::default();
        let mut present = Arc::new(Table::empty());
        let mut edition = Edition::of(present.clone());
        for turn in 0..60 {
            for _ in 0..=random.below(12) {
                cloud.step(&mut random);
            }
            let next = Arc::new(cloud.table().with_generation(turn + 1));
            let delta = Delta::between(&present, &next);
            edition = edition.amended(&Delta::from_bytes(delta.bytes()).unwrap()).unwrap();
            assert_same(&edition, &next);
            assert_eq!(edition.flat().bytes(), next.bytes(), "seed {seed}, turn {turn}");
            if random.below(9) == 0 {
                edition = Edition::of(Arc::new(edition.flat()));
                assert_same(&edition, &next);
            }
            present = next;
        }
        assert!(edition.len() > 10, "the cloud lives");
    }
}

#[test]
fn stopped_hosts_are_gone_as_if_they_had_never_been() {
    let mut random = Random(11);
    let mut cloud = Cloud::default();
    (0..300).for_each(|_| cloud.step(&mut random));
    let mut edition = Edition::of(Arc::new(cloud.table()));
    for number in [3, 9, 5, 3, 20, 1] {
        let id = format!("vm-{number}");
        let known = cloud.addresses.values().any(|(owner, ..)| *owner == id);
        cloud.addresses.retain(|_, (owner, ..)| *owner != id);
        let stopped = edition.without_hosts(&[&id, "nobody", "nobody"], 7);
        assert_eq!((stopped.addresses > 0, stopped.unknown.len()), (known, if known { 1 } else { 2 }));
        edition = stopped.edition;
        assert_eq!(edition.generation(), 7);
        assert_same(&edition, &cloud.table());
    }
}

#[test]
fn a_delta_that_promises_another_result_or_another_base_changes_nothing() {
    let mut random = Random(5);
    let mut cloud = Cloud::default();
    (0..200).for_each(|_| cloud.step(&mut random));
    let first = Arc::new(cloud.table());
    (0..20).for_each(|_| cloud.step(&mut random));
    let second = Arc::new(cloud.table());
    let edition = Edition::of(first.clone());
    let good = Delta::between(&first, &second);
    assert!(matches!(Edition::of(second.clone()).amended(&good), Err(TableError::WrongBase { .. })));
    let lies = Delta::promising(&first, &second, crate::table::Digest(7));
    let error = edition.amended(&lies).unwrap_err();
    assert!(matches!(error, TableError::WrongResult { expected: crate::table::Digest(7), found } if found == second.digest()), "{error}");
    assert_same(&edition, &first);
}
