//! A table's digest as a sum: one term for each address with all that the table says of it, and one for each policy.
//!
//! A term is an XXH3-128, the sum wraps at 128 bits. So what a delta or a stop makes of a digest costs as much as there are
//! addresses that change, and the order in which things come does not matter.

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::{Digest, HostView, Record, Table};
use crate::policy::Policy;

/// Below so many addresses a second thread costs more than it saves.
const SPLIT: usize = 1 << 16;

/// What an address's term takes from the names that many addresses share.
#[derive(Clone, Copy)]
pub(super) struct Shared {
    pub(super) network: u64,
    pub(super) policy: u64,
    pub(super) label: u64,
}

/// A name as terms hold it.
pub(super) fn name(text: &str) -> u64 {
    xxh3_64(text.as_bytes())
}

/// A host's project and tags as terms hold them.
pub(super) fn label(host: &HostView<'_>) -> u64 {
    let mut bytes = Vec::with_capacity(128);
    for text in std::iter::once(host.project()).chain(host.tags()) {
        bytes.extend((text.len() as u32).to_le_bytes());
        bytes.extend(text.as_bytes());
    }
    xxh3_64(&bytes)
}

/// The term of an address. `buffer` is only there to be used again.
pub(super) fn address(record: &Record, shared: Shared, id: &[u8], host_name: &[u8], buffer: &mut Vec<u8>) -> u128 {
    buffer.clear();
    buffer.extend(record.octets);
    buffer.extend(record.mac);
    for number in [shared.network, shared.policy, shared.label, id.len() as u64] {
        buffer.extend(number.to_le_bytes());
    }
    buffer.extend(id);
    buffer.extend(host_name);
    xxh3_128(buffer)
}

/// The term of a policy.
pub(super) fn policy(policy: &Policy) -> u128 {
    let mut bytes = b"policy".to_vec();
    for time in [policy.interval, policy.timeout, policy.confirm_interval] {
        bytes.extend((time.as_millis() as u64).to_le_bytes());
    }
    bytes.extend([policy.down_after, policy.up_after, policy.method.code()]);
    // Nothing where all is in a row: such a policy has the term that it had before there was anything else.
    if !(policy.down().is_run() && policy.up().is_run()) {
        bytes.extend([b'/', policy.down_of, policy.up_of]);
    }
    for text in std::iter::once(&policy.name).chain(&policy.alarm) {
        bytes.extend((text.len() as u32).to_le_bytes());
        bytes.extend(text.as_bytes());
    }
    xxh3_128(&bytes)
}

/// The digest of a checked table, computed from all that it says.
pub(super) fn of(table: &Table) -> Digest {
    let networks: Vec<u64> = table.networks().map(name).collect();
    let policies: Vec<u64> = table.policies().iter().map(|policy| name(&policy.name)).collect();
    // In the order of the hosts: their texts are long, and read from one end to the other so.
    let part = |order: &[zerocopy::byteorder::little_endian::U32]| {
        let mut labels: Vec<Option<u64>> = vec![None; table.labels()];
        let mut buffer = Vec::with_capacity(256);
        let records = table.records();
        order.iter().fold(0u128, |sum, at| {
            let record = &records[at.get() as usize];
            let (number, id, host_name) = table.host_parts(record.host());
            let label = *labels[number as usize].get_or_insert_with(|| label(&table.host(record.host())));
            let shared = Shared { network: networks[usize::from(record.network())], policy: policies[usize::from(record.policy())], label };
            sum.wrapping_add(address(record, shared, id, host_name, &mut buffer))
        })
    };
    let order = table.order();
    let addresses = match order.len() {
        0..SPLIT => part(order),
        length => {
            let (first, second) = order.split_at(length / 2);
            std::thread::scope(|scope| {
                let second = scope.spawn(|| part(second));
                part(first).wrapping_add(second.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            })
        }
    };
    Digest(table.policies().iter().map(policy).fold(addresses, u128::wrapping_add))
}
