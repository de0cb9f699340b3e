use std::time::Duration;

use super::*;
use crate::policy::Method;
use crate::unit::Mac;

fn policy(name: &str) -> Policy {
    Policy {
        name: name.into(),
        interval: Duration::from_secs(1),
        timeout: Duration::from_millis(300),
        confirm_interval: Duration::from_millis(200),
        down_after: 3,
        down_of: 3,
        up_after: 2,
        up_of: 2,
        method: Method::Arp,
        alarm: vec!["log".into(), "pager".into()],
    }
}

/// One row of a test's host list: id, name, project, tags, network, address, policy.
type Row<'a> = (&'a str, &'a str, &'a str, &'a [&'a str], &'a str, &'a str, &'a str);

const ROWS: [Row; 6] = [
    ("vm-2", "größe", "p1", &["web", "a=b"], "red", "10.0.0.2", "gold"),
    ("vm-1", "one", "p1", &["a=b", "web"], "red", "10.0.0.1", "gold"),
    ("vm-1", "one", "p1", &["a=b", "web"], "blue", "10.0.0.1", "gold"),
    ("vm-3", "", "", &[], "blue", "2001:db8::7", "tin"),
    ("vm-10", "ten", "p2", &[], "blue", "10.0.0.10", "tin"),
    ("vm-1", "one", "p1", &["a=b", "web"], "blue", "9.255.255.255", "gold"),
];

fn mac(n: u8) -> Mac {
    Mac([0xfa, 0x16, 0x3e, 0, 0, n])
}

fn written(rows: &[Row], policies: &[Policy]) -> Result<Table, WriteError> {
    let mut writer = Writer::new();
    let refs: Vec<_> = policies.iter().map(|policy| writer.policy(policy.clone())).collect();
    for &(id, name, project, tags, network, address, policy) in rows {
        let host = writer.host(id, name, project, tags.iter().copied());
        let address: IpAddr = address.parse().unwrap();
        let mac = address.is_ipv4().then(|| mac(mapped(address)[15]));
        let policy = refs[policies.iter().position(|known| known.name == policy).unwrap()];
        writer.address(host, network, address, mac, policy);
    }
    writer.finish()
}

fn table(rows: &[Row]) -> Table {
    written(rows, &[policy("gold"), policy("tin"), policy("unused")]).unwrap()
}

#[test]
fn a_table_says_what_was_written() {
    let table = Table::from_bytes(table(&ROWS).bytes()).unwrap();
    assert_eq!((table.len(), table.hosts(), table.generation()), (6, 4, 0));
    assert_eq!(table.networks().collect::<Vec<_>>(), ["blue", "red"]);
    assert_eq!(table.policies(), [policy("gold"), policy("tin")]);
    let rows: Vec<_> =
        table.records().iter().map(|r| format!("{} {} {}", table.network(r.network()), r.address(), table.host(r.host()).id())).collect();
    assert_eq!(
        rows,
        [
            "blue 9.255.255.255 vm-1",
            "blue 10.0.0.1 vm-1",
            "blue 10.0.0.10 vm-10",
            "blue 2001:db8::7 vm-3",
            "red 10.0.0.1 vm-1",
            "red 10.0.0.2 vm-2"
        ]
    );
    let host = table.host(table.find_host("vm-2").unwrap());
    assert_eq!((host.id(), host.name(), host.project()), ("vm-2", "größe", "p1"));
    assert_eq!(host.tags().collect::<Vec<_>>(), ["a=b", "web"]);
    let bare = table.host(table.find_host("vm-3").unwrap());
    assert_eq!((bare.name(), bare.project(), bare.tags().len()), ("", "", 0));
    assert_eq!(table.find_host("vm-4"), None);
    let record = &table.records()[table.find("red", "10.0.0.2".parse().unwrap()).unwrap() as usize];
    assert_eq!(record.mac(), Some(mac(2)));
    assert_eq!(table.policies()[usize::from(record.policy())].name, "gold");
    let six = &table.records()[table.find("blue", "2001:db8::7".parse().unwrap()).unwrap() as usize];
    assert_eq!(six.mac(), None);
    assert_eq!(table.find("red", "10.0.0.10".parse().unwrap()), None);
    assert_eq!(table.find("green", "10.0.0.1".parse().unwrap()), None);
}

#[test]
fn every_address_is_found_under_its_host_and_under_no_other() {
    let table = table(&ROWS);
    let mut seen = vec![0; table.len()];
    for host in 0..table.hosts() as u32 {
        let indices: Vec<u32> = table.addresses_of(host).collect();
        assert!(indices.is_sorted());
        for index in indices {
            assert_eq!(table.records()[index as usize].host(), host);
            seen[index as usize] += 1;
        }
    }
    assert_eq!(seen, [1; 6]);
}

#[test]
fn rows_in_any_order_give_the_same_bytes() {
    let expected = table(&ROWS);
    for turn in 1..ROWS.len() {
        let mut rows = ROWS;
        rows.rotate_left(turn);
        rows[1..].reverse();
        let policies = [policy("unused"), policy("tin"), policy("gold")];
        assert_eq!(written(&rows, &policies).unwrap().bytes(), expected.bytes());
    }
}

#[test]
fn the_generation_changes_no_digest() {
    let plain = table(&ROWS);
    let numbered = plain.with_generation(77);
    let read = Table::from_bytes(numbered.bytes()).unwrap();
    assert_eq!((read.generation(), read.digest()), (77, plain.digest()));
    assert_eq!(read.with_generation(0).bytes(), plain.bytes());
    assert_ne!(table(&ROWS[1..]).digest(), plain.digest());
}

#[test]
fn an_empty_table_is_a_table() {
    let empty = Table::from_bytes(Table::empty().bytes()).unwrap();
    assert_eq!((empty.len(), empty.hosts(), empty.networks().len(), empty.policies().len()), (0, 0, 0, 0));
    assert_eq!(empty.find_host("vm-1"), None);
    assert_eq!(empty.find("red", "10.0.0.1".parse().unwrap()), None);
}

#[test]
fn no_length_short_of_the_whole_is_a_table() {
    let bytes = table(&ROWS).bytes().to_vec();
    for length in 0..bytes.len() {
        let error = Table::from_bytes(&bytes[..length]).unwrap_err();
        assert!(matches!(error, TableError::Truncated { .. }), "{length}: {error}");
    }
    let mut longer = bytes;
    longer.push(0);
    assert!(matches!(Table::from_bytes(longer), Err(TableError::Trailing { extra: 1, .. })));
}

#[test]
fn every_flipped_bit_is_noticed() {
    let bytes = table(&ROWS).bytes().to_vec();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            assert!(Table::from_bytes(flipped).is_err(), "byte {at} bit {bit}");
        }
    }
}

/// Sets the checksums right, so that the check behind them is what has to notice.
fn resealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let (mut header, _) = Header::read_from_prefix(&bytes).unwrap();
    check::seal_content(&mut header, &bytes);
    bytes[..Header::LENGTH].copy_from_slice(zerocopy::IntoBytes::as_bytes(&header));
    bytes
}

/// Asks a table everything: whatever was let in must not panic.
fn visit(table: &Table) {
    for record in table.records() {
        let _ = (table.network(record.network()), record.address(), record.mac());
        let _ = &table.policies()[usize::from(record.policy())];
        assert_eq!(table.find(table.network(record.network()), record.address()).map(|at| table.records()[at as usize]), Some(*record));
    }
    for index in 0..table.hosts() as u32 {
        let host = table.host(index);
        let _ = (host.name(), host.project(), host.tags().count());
        assert_eq!(table.find_host(host.id()), Some(index));
        assert!(table.addresses_of(index).count() > 0);
    }
}

#[test]
fn a_hostile_table_with_right_checksums_is_refused_or_harmless() {
    let bytes = table(&ROWS).bytes().to_vec();
    let mut refused = 0;
    for at in Header::CONTENT..bytes.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff, bytes[at] ^ 1, bytes[at].wrapping_add(1)] {
            let mut hostile = bytes.clone();
            hostile[at] = value;
            match Table::from_bytes(resealed(hostile)) {
                Ok(table) => visit(&table),
                Err(TableError::Malformed { .. } | TableError::Policy { .. }) => refused += 1,
                Err(other) => panic!("byte {at} = {value}: {other}"),
            }
        }
    }
    assert!(refused > 1000, "{refused}");
}

#[test]
fn a_digest_that_is_not_that_of_the_content_is_found_out() {
    let good = table(&ROWS);
    let mut bytes = good.bytes().to_vec();
    let (header, _) = Header::mut_from_prefix(&mut bytes).unwrap();
    header.digest = 7.into();
    let liar = Table::from_bytes(resealed(bytes)).unwrap();
    assert!(good.verify().is_ok() && matches!(liar.verify(), Err(TableError::Malformed { .. })));
}

#[test]
fn random_bytes_are_no_table_and_no_delta() {
    // A fixed xorshift: the same bytes in every run.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let valid = table(&ROWS).bytes().to_vec();
    for _ in 0..5000 {
        let length = (random() % 700) as usize;
        let noise: Vec<u8> = (0..length).map(|_| random() as u8).collect();
        assert!(Table::from_bytes(&noise[..]).is_err());
        assert!(Delta::from_bytes(&noise[..]).is_err());
        let mut body = valid.clone();
        for _ in 0..=random() % 8 {
            let at = Header::CONTENT + (random() as usize) % (body.len() - Header::CONTENT);
            body[at] = random() as u8;
        }
        if let Ok(table) = Table::from_bytes(resealed(body)) {
            visit(&table);
        }
    }
}

#[test]
fn other_versions_and_other_files_are_named() {
    let mut newer = table(&ROWS).bytes().to_vec();
    newer[8] = 7;
    let error = Table::from_bytes(newer.clone()).unwrap_err().to_string();
    assert!(error.starts_with("version 7 is newer than this program understands (2)"), "{error}");
    newer[8] = 1;
    assert!(matches!(Table::from_bytes(newer), Err(TableError::Older { found: 1, known: 2 })));
    let error = Table::from_bytes(&b"id,name,network,address"[..]).unwrap_err().to_string();
    assert!(error.starts_with("not a table: it begins with \"id,name,\""), "{error}");
    let delta = Delta::between(&Table::empty(), &table(&ROWS));
    assert!(matches!(Table::from_bytes(delta.bytes()), Err(TableError::OtherKind { found: "delta", .. })));
    assert!(matches!(Delta::from_bytes(table(&ROWS).bytes()), Err(TableError::OtherKind { found: "table", .. })));
}

#[test]
fn a_file_is_read_no_further_than_its_header_allows() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("t");
    std::fs::write(&path, table(&ROWS).bytes()).unwrap();
    assert_eq!(Table::open(&path).unwrap().digest(), table(&ROWS).digest());
    std::fs::write(&path, &table(&ROWS).bytes()[..300]).unwrap();
    assert!(matches!(Table::open(&path), Err(TableError::Truncated { found: 300, .. })));
    assert!(matches!(Table::open(directory.path()), Err(TableError::Io { .. })));
    assert!(matches!(Table::open(&directory.path().join("none")), Err(TableError::Io { .. })));
    // A header that promises the moon allocates nothing.
    let mut moon = table(&ROWS).bytes().to_vec();
    let (header, _) = Header::mut_from_prefix(&mut moon).unwrap();
    header.length = u64::MAX.into();
    check::seal(header);
    std::fs::write(&path, moon).unwrap();
    assert!(matches!(Table::open(&path), Err(TableError::Truncated { expected: u64::MAX, .. })));
}

#[test]
fn the_writer_refuses_what_a_table_cannot_hold() {
    let both = [ROWS[0], ("vm-9", "nine", "p", &[], "red", "10.0.0.2", "gold")];
    let error = written(&both, &[policy("gold")]).unwrap_err();
    assert_eq!(error.to_string(), r#"10.0.0.2 in network "red" is there twice: for host "vm-2" and for host "vm-9""#);
    let conflict = [ROWS[0], ("vm-2", "other", "p1", &["a=b", "web"], "red", "10.0.0.3", "gold")];
    assert_eq!(written(&conflict, &[policy("gold")]).unwrap_err(), WriteError::HostConflict { id: "vm-2".into() });
    let twice = [policy("gold"), policy("tin"), Policy { down_after: 5, down_of: 5, ..policy("gold") }];
    let mut rows = vec![ROWS[0], ROWS[3]];
    assert!(written(&rows, &twice).is_ok(), "the second gold is used by nobody");
    rows[0].0 = "";
    assert!(matches!(written(&rows, &twice), Err(WriteError::Text { field: "id", .. })));
    rows[0].0 = "vm\u{1b}[31m";
    assert!(matches!(written(&rows, &twice), Err(WriteError::Text { field: "id", .. })));
    let slow = Policy { interval: Duration::from_millis(50), ..policy("gold") };
    assert!(matches!(written(&ROWS[..1], &[slow]), Err(WriteError::Policy { .. })));
}

#[test]
fn windows_of_outcomes_survive_the_table_and_cost_nothing_where_there_are_none() {
    let window = |down_of, up_of| Policy { down_of, up_of, ..policy("gold") };
    let of = |gold| written(&ROWS, &[gold, policy("tin")]).unwrap();
    let gold = |table: &Table| table.policies()[0].clone();
    for (down_of, up_of) in [(3, 2), (5, 2), (3, 4), (18, 17)] {
        let table = Table::from_bytes(of(window(down_of, up_of)).bytes()).unwrap();
        assert_eq!(gold(&table), window(down_of, up_of));
        assert_eq!(table.digest() == of(policy("gold")).digest(), (down_of, up_of) == (3, 2), "{down_of} {up_of}");
    }
    assert_ne!(of(window(4, 2)).digest(), of(window(3, 3)).digest());
    assert!(matches!(written(&ROWS, &[window(19, 2), policy("tin")]), Err(WriteError::Policy { .. })));
}

#[test]
fn a_host_that_is_stopped_leaves_nothing_behind() {
    let full = Arc::new(table(&ROWS).with_generation(5));
    let (rest, unknown, removed) = full.without_hosts(&["vm-1", "nobody", "vm-2", "nobody"]);
    assert_eq!((unknown, removed), (vec!["nobody".to_owned()], 4));
    assert_eq!(rest.generation(), 5);
    assert_eq!(rest.with_generation(0).bytes(), table(&ROWS[3..5]).bytes(), "as if they had never been");
    assert!(!rest.bytes().windows(3).any(|w| *w == "größe".as_bytes()[..3]));
    let (same, unknown, removed) = full.without_hosts(&[]);
    assert_eq!((same.bytes(), unknown.len(), removed), (full.bytes(), 0, 0));
}

#[test]
fn a_delta_gives_the_bytes_that_it_was_made_from() {
    let mut renamed = ROWS;
    renamed[0].1 = "renamed";
    let mut moved = ROWS;
    moved[4].5 = "10.0.0.11";
    moved[3].6 = "gold";
    let mut handed_over = ROWS;
    handed_over[4].0 = "vm-1a";
    let mut grown = ROWS.to_vec();
    grown.push(("vm-3", "", "", &[], "green", "10.0.0.3", "tin"));
    grown.push(("vm-0", "zero", "p9", &["x"], "red", "10.0.0.99", "gold"));
    let tables = [
        Table::empty(),
        table(&ROWS),
        table(&ROWS[2..]),
        table(&ROWS[..3]),
        table(&renamed),
        table(&moved),
        table(&handed_over),
        table(&grown),
        written(&ROWS, &[Policy { interval: Duration::from_secs(9), ..policy("gold") }, policy("tin")]).unwrap(),
    ];
    let tables = tables.map(Arc::new);
    for (i, base) in tables.iter().enumerate() {
        for (j, new) in tables.iter().enumerate() {
            let new = Arc::new(new.with_generation(9));
            let delta = Delta::from_bytes(Delta::between(base, &new).bytes()).unwrap();
            assert_eq!((delta.base(), delta.result()), (base.digest(), new.digest()));
            assert_eq!(delta.apply(base).unwrap().bytes(), new.bytes(), "from {i} to {j}");
            if base.digest() != new.digest() {
                assert!(matches!(delta.apply(&new), Err(TableError::WrongBase { .. })));
            }
        }
    }
}

#[test]
fn a_delta_carries_only_what_changed() {
    let base = table(&ROWS);
    let mut rows = ROWS[1..].to_vec();
    rows[3].6 = "gold";
    let delta = Delta::between(&base, &table(&rows));
    assert_eq!((delta.removed(), delta.changed().len(), delta.changed().hosts()), (1, 1, 1));
    let slower = written(&ROWS, &[Policy { down_after: 9, down_of: 9, ..policy("gold") }, policy("tin")]).unwrap();
    let delta = Delta::between(&base, &slower);
    assert_eq!((delta.removed(), delta.changed().len()), (0, 0), "a policy's content travels alone");
}

#[test]
fn a_damaged_delta_is_refused() {
    let delta = Delta::between(&table(&ROWS[2..]), &table(&ROWS[..5]));
    let bytes = delta.bytes().to_vec();
    assert!(is_delta(&bytes) && !is_delta(table(&ROWS).bytes()));
    for length in 0..bytes.len() {
        assert!(matches!(Delta::from_bytes(&bytes[..length]), Err(TableError::Truncated { .. })), "{length}");
    }
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x10;
        assert!(Delta::from_bytes(flipped).is_err(), "byte {at}");
    }
}
