//! From a writer's drafts to the bytes of a table: sort, number, lay out.

use std::collections::BTreeSet;

use zerocopy::byteorder::little_endian::{U16, U32};
use zerocopy::{FromZeros, IntoBytes};

use super::error::WriteError;
use super::layout::{Header, LabelRow, MAX_ADDRESSES, MAX_NAMES, PolicyRow, Record, Span, TABLE_MAGIC, VERSION};
use super::writer::{Pool, Writer};
use super::{check, number};
use crate::unit::unmapped;

const UNUSED: u32 = u32::MAX;

/// Old numbers to new ones, and new ones to old ones.
struct Ranks {
    rank: Vec<u32>,
    order: Vec<u32>,
}

impl Ranks {
    /// Numbers what is used in the order in which it is given.
    fn of(order: Vec<u32>, known: usize) -> Self {
        let mut rank = vec![UNUSED; known];
        for (new, &old) in order.iter().enumerate() {
            rank[old as usize] = new as u32;
        }
        Ranks { rank, order }
    }
}

pub(super) fn assemble(writer: &Writer) -> Result<Vec<u8>, WriteError> {
    limit("addresses", writer.addresses.len() as u64, MAX_ADDRESSES as u64)?;
    let hosts = rank_hosts(writer)?;
    let networks = rank_networks(writer)?;
    let policies = rank_policies(writer)?;
    let labels = rank_labels(writer, &hosts);
    let records = sorted_records(writer, &hosts, &networks, &policies)?;
    let order = by_host(&records, hosts.order.len());

    let (mut text, host_offsets) = host_text(writer, &hosts, &labels)?;
    let host_text = text.len() as u32;
    let mut pool = Pool::new();
    for &label in &labels.order {
        let label = &writer.labels[label as usize];
        for &string in std::iter::once(&label.project).chain(&label.tags) {
            pool.insert(writer.strings.text(string), 0);
        }
    }
    for &network in &networks.order {
        pool.insert(writer.strings.text(network), 0);
    }
    for &policy in &policies.order {
        let policy = &writer.policies[policy as usize];
        for string in std::iter::once(&policy.name).chain(&policy.alarm) {
            pool.insert(string, 0);
        }
    }
    let pooled: u64 = pool.keys().map(|string| string.len() as u64).sum();
    limit("bytes of text", text.len() as u64 + pooled, u32::MAX.into())?;
    for (string, offset) in &mut pool {
        *offset = text.len() as u32;
        text.push_str(string);
    }
    let span = |string: &str| Span { offset: U32::new(pool[string]), length: U32::new(string.len() as u32) };

    let network_rows: Vec<Span> = networks.order.iter().map(|&network| span(writer.strings.text(network))).collect();
    let mut spans = Vec::new();
    let mut policy_rows = Vec::with_capacity(policies.order.len());
    for &policy in &policies.order {
        let policy = &writer.policies[policy as usize];
        let milliseconds = |duration: std::time::Duration| U32::new(duration.as_millis() as u32);
        policy_rows.push(PolicyRow {
            name: span(&policy.name),
            interval: milliseconds(policy.interval),
            timeout: milliseconds(policy.timeout),
            confirm_interval: milliseconds(policy.confirm_interval),
            down_after: policy.down_after,
            up_after: policy.up_after,
            method: policy.method.code(),
            slack: policy.down().slack() | policy.up().slack() << 4,
            first_route: U32::new(spans.len() as u32),
            routes: U32::new(policy.alarm.len() as u32),
        });
        spans.extend(policy.alarm.iter().map(|route| span(route)));
    }
    let mut label_rows = Vec::with_capacity(labels.order.len());
    for &label in &labels.order {
        let label = &writer.labels[label as usize];
        label_rows.push(LabelRow {
            project: span(writer.strings.text(label.project)),
            first_tag: U32::new(spans.len() as u32),
            tags: U32::new(label.tags.len() as u32),
        });
        spans.extend(label.tags.iter().map(|&tag| span(writer.strings.text(tag))));
        limit("tags", spans.len() as u64, u32::MAX.into())?;
    }

    let sections: [&[u8]; 8] = [
        records.as_bytes(),
        order.as_bytes(),
        host_offsets.as_bytes(),
        network_rows.as_bytes(),
        policy_rows.as_bytes(),
        label_rows.as_bytes(),
        spans.as_bytes(),
        text.as_bytes(),
    ];
    let length = Header::LENGTH + sections.iter().map(|section| section.len()).sum::<usize>();
    let count = |n: usize| U32::new(n as u32);
    let mut header = Header::new_zeroed();
    header.magic = TABLE_MAGIC;
    header.version = VERSION.into();
    header.header_length = count(Header::LENGTH);
    header.length = (length as u64).into();
    header.generation = writer.generation.into();
    header.records = count(records.len());
    header.hosts = count(host_offsets.len());
    header.networks = count(network_rows.len());
    header.policies = count(policy_rows.len());
    header.labels = count(label_rows.len());
    header.spans = count(spans.len());
    header.host_text = host_text.into();
    header.text = count(text.len());
    let mut bytes = Vec::with_capacity(length);
    bytes.extend_from_slice(header.as_bytes());
    for section in sections {
        bytes.extend_from_slice(section);
    }
    check::seal_content(&mut header, &bytes);
    bytes[..Header::LENGTH].copy_from_slice(header.as_bytes());
    Ok(bytes)
}

fn limit(what: &'static str, found: u64, allowed: u64) -> Result<(), WriteError> {
    match found > allowed {
        true => Err(WriteError::TooMany { what, found, allowed }),
        false => Ok(()),
    }
}

/// Numbers the hosts that have an address by id. The same id twice is one host if all else is the same too.
fn rank_hosts(writer: &Writer) -> Result<Ranks, WriteError> {
    let mut used = vec![false; writer.hosts.len()];
    for address in &writer.addresses {
        used[address.host as usize] = true;
    }
    // The first bytes of the id as a number decide most comparisons without a look at the text.
    let mut keyed: Vec<(u128, u32)> = (0..writer.hosts.len() as u32)
        .filter(|&host| used[host as usize])
        .map(|host| {
            let id = writer.id(host).as_bytes();
            let mut prefix = [0; 16];
            let length = id.len().min(16);
            prefix[..length].copy_from_slice(&id[..length]);
            (u128::from_be_bytes(prefix), host)
        })
        .collect();
    keyed.sort_by(|&(a, x), &(b, y)| a.cmp(&b).then_with(|| writer.id(x).cmp(writer.id(y))));
    let mut rank = vec![UNUSED; writer.hosts.len()];
    let mut order: Vec<u32> = Vec::with_capacity(keyed.len());
    let mut last_key = None;
    for (key, host) in keyed {
        match order.last() {
            Some(&last) if last_key == Some(key) && writer.id(last) == writer.id(host) => {
                let same = writer.name(last) == writer.name(host) && writer.hosts[last as usize].label == writer.hosts[host as usize].label;
                if !same {
                    return Err(WriteError::HostConflict { id: writer.id(host).to_owned() });
                }
            }
            _ => order.push(host),
        }
        last_key = Some(key);
        rank[host as usize] = order.len() as u32 - 1;
    }
    Ok(Ranks { rank, order })
}

fn rank_networks(writer: &Writer) -> Result<Ranks, WriteError> {
    let used: BTreeSet<u32> = used(writer.addresses.iter().map(|address| address.network), writer.strings.len());
    limit("networks", used.len() as u64, MAX_NAMES as u64)?;
    let mut order: Vec<u32> = used.into_iter().collect();
    order.sort_unstable_by(|&a, &b| writer.strings.text(a).cmp(writer.strings.text(b)));
    Ok(Ranks::of(order, writer.strings.len()))
}

fn rank_policies(writer: &Writer) -> Result<Ranks, WriteError> {
    let mut order: Vec<u32> = match writer.all_policies {
        true => (0..writer.policies.len() as u32).collect(),
        false => used(writer.addresses.iter().map(|address| address.policy), writer.policies.len()).into_iter().collect(),
    };
    limit("policies", order.len() as u64, MAX_NAMES as u64)?;
    let name = |policy: u32| &writer.policies[policy as usize].name;
    order.sort_unstable_by(|&a, &b| name(a).cmp(name(b)));
    match order.windows(2).find(|pair| name(pair[0]) == name(pair[1])) {
        Some(pair) => Err(WriteError::PolicyConflict { name: name(pair[0]).clone() }),
        None => Ok(Ranks::of(order, writer.policies.len())),
    }
}

fn rank_labels(writer: &Writer, hosts: &Ranks) -> Ranks {
    let used = used(hosts.order.iter().map(|&host| writer.hosts[host as usize].label), writer.labels.len());
    let mut order: Vec<u32> = used.into_iter().collect();
    let text = |string: &u32| writer.strings.text(*string);
    order.sort_unstable_by(|&a, &b| {
        let (a, b) = (&writer.labels[a as usize], &writer.labels[b as usize]);
        text(&a.project).cmp(text(&b.project)).then_with(|| a.tags.iter().map(text).cmp(b.tags.iter().map(text)))
    });
    Ranks::of(order, writer.labels.len())
}

fn used(indices: impl Iterator<Item = u32>, known: usize) -> BTreeSet<u32> {
    let mut seen = vec![false; known];
    indices.for_each(|index| seen[index as usize] = true);
    (0..known as u32).filter(|&index| seen[index as usize]).collect()
}

fn sorted_records(writer: &Writer, hosts: &Ranks, networks: &Ranks, policies: &Ranks) -> Result<Vec<Record>, WriteError> {
    let mut records: Vec<Record> = writer
        .addresses
        .iter()
        .map(|draft| Record {
            octets: draft.octets,
            mac: draft.mac,
            network: U16::new(networks.rank[draft.network as usize] as u16),
            host: U32::new(hosts.rank[draft.host as usize]),
            policy: U16::new(policies.rank[draft.policy as usize] as u16),
            reserved: [0; 2],
        })
        .collect();
    // Hosts too: of two rows for one address the message names the same one first, however they came.
    records.sort_unstable_by_key(|record| (record.key(), record.host()));
    match records.windows(2).find(|pair| pair[0].key() == pair[1].key()) {
        Some(pair) => Err(WriteError::DuplicateAddress {
            network: writer.strings.text(networks.order[usize::from(pair[0].network())]).to_string(),
            address: unmapped(pair[0].octets),
            first: writer.id(hosts.order[pair[0].host() as usize]).to_owned(),
            second: writer.id(hosts.order[pair[1].host() as usize]).to_owned(),
        }),
        None => Ok(records),
    }
}

/// Record indices by (host, record): a counting sort.
fn by_host(records: &[Record], hosts: usize) -> Vec<U32> {
    let mut next = vec![0u32; hosts + 1];
    for record in records {
        next[record.host() as usize + 1] += 1;
    }
    for host in 0..hosts {
        next[host + 1] += next[host];
    }
    let mut order = vec![U32::ZERO; records.len()];
    for (at, record) in records.iter().enumerate() {
        let place = &mut next[record.host() as usize];
        order[*place as usize].set(at as u32);
        *place += 1;
    }
    order
}

fn host_text(writer: &Writer, hosts: &Ranks, labels: &Ranks) -> Result<(String, Vec<U32>), WriteError> {
    let mut text = String::with_capacity(writer.host_text.len() + hosts.order.len() * 4);
    let mut offsets = Vec::with_capacity(hosts.order.len());
    for &host in &hosts.order {
        limit("bytes of text", text.len() as u64, u32::MAX.into())?;
        offsets.push(U32::new(text.len() as u32));
        number::push(&mut text, labels.rank[writer.hosts[host as usize].label as usize]);
        let id = writer.id(host);
        number::push(&mut text, id.len() as u32);
        text.push_str(id);
        text.push_str(writer.name(host));
    }
    limit("bytes of text", text.len() as u64, u32::MAX.into())?;
    Ok((text, offsets))
}
