//! Delta: what turns one table into another.

use std::collections::HashMap;
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;
use zerocopy::byteorder::little_endian::{U32, U64, U128};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::check::preamble;
use super::error::TableError;
use super::layout::{DELTA_MAGIC, VERSION};
use super::{Digest, Edition, HostView, Record, Table, Writer};

/// The start of a delta; then the removed records' indices in the base, then a table of what is new or changed,
/// with all policies of the result.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    magic: [u8; 8],
    version: U32,
    /// How many records of the base are gone.
    removed: U32,
    length: U64,
    /// XXH3-128 of the whole delta with zero in this place.
    checksum: U128,
    base: U128,
    result: U128,
    generation: U64,
}

const LENGTH: usize = size_of::<Header>();

fn checksum(header: &Header, body: &[u8]) -> u128 {
    let mut hasher = Xxh3::new();
    hasher.update(Header { checksum: U128::ZERO, ..*header }.as_bytes());
    hasher.update(body);
    hasher.digest128()
}

/// What turns the table with digest [`Delta::base`] into the one with digest [`Delta::result`].
pub struct Delta {
    bytes: Vec<u8>,
    header: Header,
    removed: Vec<u32>,
    changed: Table,
}

/// Whether these bytes begin as a delta does.
pub fn is_delta(bytes: &[u8]) -> bool {
    bytes.starts_with(&DELTA_MAGIC)
}

impl Delta {
    /// What turns `base` into `new`.
    pub fn between(base: &Table, new: &Table) -> Delta {
        let sides = Sides::of(base, new);
        let mut removed = Vec::new();
        let mut writer = Writer::new().generation(new.generation());
        writer.all_policies = true;
        let policies = writer.policies_of(new);
        let mut hosts = HashMap::new();
        let mut changed = |record: &Record| {
            let host = *hosts.entry(record.host()).or_insert_with(|| {
                let host = new.host(record.host());
                writer.host(host.id(), host.name(), host.project(), host.tags())
            });
            let network = new.network(record.network());
            writer.address(host, network, record.address(), record.mac(), policies[usize::from(record.policy())]);
        };
        // By host of the new table: the base's host, if nothing of it changed.
        let same_host: Vec<Option<u32>> = (0..new.hosts() as u32)
            .zip(&sides.old_host)
            .map(|(host, old)| old.filter(|&old| same_host(base.host(old), new.host(host))))
            .collect();
        // By policy of the base: the new table's policy of that name. What it says travels with every delta.
        let same_policy: Vec<Option<usize>> =
            base.policies().iter().map(|old| new.policies().iter().position(|policy| policy.name == old.name)).collect();
        let same = |old: &Record, record: &Record| {
            old.mac() == record.mac()
                && same_host[record.host() as usize] == Some(old.host())
                && same_policy[usize::from(old.policy())] == Some(usize::from(record.policy()))
        };
        let mut old = base.records().iter().enumerate().peekable();
        for record in new.records() {
            let key = sides.new_key(record);
            while let Some((at, _)) = old.next_if(|(_, old)| sides.base_key(old) < key) {
                removed.push(at as u32);
            }
            match old.next_if(|(_, old)| sides.base_key(old) == key) {
                Some((_, old)) if same(old, record) => {}
                _ => changed(record),
            }
        }
        removed.extend(old.map(|(at, _)| at as u32));
        let changed = writer.finish().expect("part of a valid table is valid");
        Delta::assemble(base.digest(), (new.digest(), new.generation()), removed, changed)
    }

    /// A delta that lies about what comes of it.
    #[cfg(test)]
    pub(super) fn promising(base: &Table, new: &Table, result: Digest) -> Delta {
        let Delta { removed, changed, .. } = Delta::between(base, new);
        Delta::assemble(base.digest(), (result, 0), removed, changed)
    }

    fn assemble(base: Digest, (result, generation): (Digest, u64), removed: Vec<u32>, changed: Table) -> Delta {
        let length = LENGTH + removed.len() * 4 + changed.bytes().len();
        let mut header = Header::new_zeroed();
        header.magic = DELTA_MAGIC;
        header.version = VERSION.into();
        header.removed = (removed.len() as u32).into();
        header.length = (length as u64).into();
        header.base = base.0.into();
        header.result = result.0.into();
        header.generation = generation.into();
        let mut bytes = Vec::with_capacity(length);
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend(removed.iter().flat_map(|index| index.to_le_bytes()));
        bytes.extend_from_slice(changed.bytes());
        header.checksum = checksum(&header, &bytes[LENGTH..]).into();
        bytes[..LENGTH].copy_from_slice(header.as_bytes());
        Delta { bytes, header, removed, changed }
    }

    /// Checks a delta in memory; a `Vec` is taken over, a slice is copied.
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Result<Delta, TableError> {
        let bytes = bytes.into();
        preamble(&bytes, false, LENGTH)?;
        let malformed = |what: &str| TableError::Malformed { what: what.to_owned() };
        let (header, rest) = Header::read_from_prefix(&bytes).map_err(|_| malformed("no header"))?;
        let (expected, found) = (header.length.get(), bytes.len() as u64);
        if found < expected {
            return Err(TableError::Truncated { expected, found });
        }
        if found > expected {
            return Err(TableError::Trailing { kind: "delta", extra: found - expected });
        }
        let checksum = checksum(&header, rest);
        if checksum != header.checksum.get() {
            return Err(TableError::Checksum {
                part: "delta",
                expected: format!("{:032x}", header.checksum.get()),
                found: format!("{checksum:032x}"),
            });
        }
        let (removed, rest) = <[U32]>::ref_from_prefix_with_elems(rest, header.removed.get() as usize)
            .map_err(|_| malformed("more removed addresses than bytes"))?;
        let removed: Vec<u32> = removed.iter().map(|index| index.get()).collect();
        if !removed.is_sorted_by(|a, b| a < b) {
            return Err(malformed("removed addresses out of order"));
        }
        let changed = Table::from_bytes(rest)?;
        Ok(Delta { header, removed, changed, bytes })
    }

    /// The delta as it is stored and sent.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The digest of the table that it applies to.
    pub fn base(&self) -> Digest {
        Digest(self.header.base.get())
    }

    /// The digest of the table that it gives.
    pub fn result(&self) -> Digest {
        Digest(self.header.result.get())
    }

    /// The generation of the table that it gives.
    pub fn generation(&self) -> u64 {
        self.header.generation.get()
    }

    /// How many addresses of the base are gone.
    pub fn removed(&self) -> usize {
        self.removed.len()
    }

    /// New and changed addresses with their hosts; and all policies of the result.
    pub fn changed(&self) -> &Table {
        &self.changed
    }

    /// The positions in the base of those that are gone, ascending.
    pub(super) fn positions(&self) -> &[u32] {
        &self.removed
    }

    /// The table that comes of it: the same bytes as the one it was made from.
    pub fn apply(&self, base: &Arc<Table>) -> Result<Table, TableError> {
        Ok(Edition::of(base.clone()).amended(self)?.flat())
    }
}

/// Two tables made comparable: networks under numbers that both share, hosts by id.
struct Sides {
    base_networks: Vec<usize>,
    new_networks: Vec<usize>,
    /// By host of the new table: the base's host with the same id.
    old_host: Vec<Option<u32>>,
}

impl Sides {
    fn of(base: &Table, new: &Table) -> Self {
        let mut names: Vec<&str> = base.networks().chain(new.networks()).collect();
        names.sort_unstable();
        names.dedup();
        let shared = |table: &Table| table.networks().map(|name| names.partition_point(|&known| known < name)).collect::<Vec<usize>>();
        let mut old = (0..base.hosts() as u32).peekable();
        let old_host = (0..new.hosts() as u32)
            .map(|index| {
                let id = new.host(index).id();
                while old.next_if(|&old| base.host(old).id() < id).is_some() {}
                old.next_if(|&old| base.host(old).id() == id)
            })
            .collect();
        Sides { base_networks: shared(base), new_networks: shared(new), old_host }
    }

    fn base_key(&self, record: &Record) -> (usize, [u8; 16]) {
        (self.base_networks[usize::from(record.network())], record.octets())
    }

    fn new_key(&self, record: &Record) -> (usize, [u8; 16]) {
        (self.new_networks[usize::from(record.network())], record.octets())
    }
}

/// Whether a host is the same in all that a table holds of it.
fn same_host(old: HostView<'_>, new: HostView<'_>) -> bool {
    old.id() == new.id() && old.name() == new.name() && old.project() == new.project() && old.tags().eq(new.tags())
}
