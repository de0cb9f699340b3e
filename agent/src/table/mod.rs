//! Table: the compiled form of hosts and policies. All an agent needs to know, and nothing else.
//!
//! A table is one piece of bytes, checked once when it is opened and read in place from then on: records are
//! fixed-width and sorted by (network, address), strings and policies are stored once. [`Writer`] makes them,
//! [`Delta`] says what turns one into another. The layout is in `layout.rs`.

use std::net::IpAddr;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use zerocopy::FromBytes;
use zerocopy::byteorder::little_endian::U32;

use self::bytes::Bytes;
use self::layout::{Header, LabelRow, PolicyRow, Span};
use crate::policy::Policy;
use crate::unit::mapped;

mod assemble;
mod bytes;
mod check;
mod delta;
mod digest;
mod edition;
mod error;
mod host;
mod layout;
#[cfg(feature = "dataplane")]
mod mapped;
mod number;
mod strings;
mod sum;
mod writer;

pub use self::delta::{Delta, is_delta};
pub use self::digest::{Digest, DigestError};
pub use self::edition::{Edition, Stopped};
pub use self::error::{TableError, WriteError};
pub use self::host::HostView;
pub use self::layout::{MAX_ADDRESSES, MAX_LIST, MAX_NAMES, MAX_TEXT, Record};
#[cfg(feature = "dataplane")]
pub use self::mapped::Mapping;
pub use self::strings::Strings;
pub use self::writer::{HostRef, LabelRef, NetworkRef, PolicyRef, Writer, text_rule};

/// A checked table. Immutable; put it in an `Arc` to share it.
pub struct Table {
    bytes: Bytes,
    header: Header,
    sections: Sections,
    policies: Vec<Policy>,
}

/// Where the parts of a table are.
#[derive(Clone, Debug)]
struct Sections {
    records: Range<usize>,
    order: Range<usize>,
    hosts: Range<usize>,
    networks: Range<usize>,
    policies: Range<usize>,
    labels: Range<usize>,
    spans: Range<usize>,
    text: Range<usize>,
}

impl Table {
    /// Reads and checks a table file. The file may change or vanish afterwards.
    pub fn open(path: &Path) -> Result<Table, TableError> {
        check::open(path)
    }

    /// Checks a table in memory; a `Vec` is taken over, a slice is copied.
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Result<Table, TableError> {
        check::check(bytes.into().into())
    }

    /// Checks a table that stands in a file of our own.
    #[cfg(feature = "dataplane")]
    pub fn from_mapping(mapping: Mapping) -> Result<Table, TableError> {
        check::check(mapping.into())
    }

    /// Whether the digest is that of the content. Opening a table trusts whoever wrote it with that, for it costs a look at all that
    /// it says; one that comes from outside and is to be built on is asked.
    pub fn verify(&self) -> Result<(), TableError> {
        let (expected, found) = (self.digest(), sum::of(self));
        match expected == found {
            true => Ok(()),
            false => Err(TableError::Malformed { what: format!("its digest is {expected}, its content has {found}") }),
        }
    }

    /// The first bytes of this table under another generation: what has to be written over the first ones of its file.
    #[cfg(feature = "dataplane")]
    pub(crate) fn header_with_generation(&self, generation: u64) -> Vec<u8> {
        let mut bytes = self.bytes[..Header::LENGTH].to_vec();
        check::number(&mut bytes, generation);
        bytes
    }

    /// Reads the first bytes again, after they were written over in the file.
    #[cfg(feature = "dataplane")]
    pub(crate) fn reread_header(&mut self) -> Result<(), TableError> {
        self.header = check::header(&self.bytes)?;
        Ok(())
    }

    /// Gives the memory back that pages of a mapped file take; they are read again when they are needed.
    pub fn cool(&self) {
        self.bytes.cool();
    }

    /// The table of nothing, with generation 0.
    pub fn empty() -> Table {
        Writer::new().finish().expect("an empty table breaks no limit")
    }

    /// The table as it is stored and sent.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The number of this table among those that an agent ran; 0: unnumbered.
    pub fn generation(&self) -> u64 {
        self.header.generation.get()
    }

    /// The identity of the content; does not depend on the generation.
    pub fn digest(&self) -> Digest {
        Digest(self.header.digest.get())
    }

    /// The same content under another generation; copies it.
    pub fn with_generation(&self, generation: u64) -> Table {
        let mut bytes = self.bytes.to_vec();
        let header = check::number(&mut bytes, generation);
        Table { bytes: bytes.into(), header, sections: self.sections.clone(), policies: self.policies.clone() }
    }

    /// Number of addresses.
    pub fn len(&self) -> usize {
        self.header.records.get() as usize
    }

    /// Whether there is no address.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All addresses, sorted by (network name, address).
    pub fn records(&self) -> &[Record] {
        self.section(&self.sections.records)
    }

    /// The names of the networks, sorted; the position is [`Record::network`].
    pub fn networks(&self) -> impl ExactSizeIterator<Item = &str> + Clone {
        self.section::<Span>(&self.sections.networks).iter().map(|&span| self.text(span))
    }

    /// The name of one network.
    ///
    /// # Panics
    /// If `index` is not a [`Record::network`] of this table.
    pub fn network(&self, index: u16) -> &str {
        self.text(self.section::<Span>(&self.sections.networks)[usize::from(index)])
    }

    /// The policies, sorted by name; the position is [`Record::policy`].
    pub fn policies(&self) -> &[Policy] {
        &self.policies
    }

    /// Number of hosts.
    pub fn hosts(&self) -> usize {
        self.header.hosts.get() as usize
    }

    /// One host; hosts are sorted by id.
    ///
    /// # Panics
    /// If `index` is not below [`Table::hosts`].
    pub fn host(&self, index: u32) -> HostView<'_> {
        HostView::read(self, index)
    }

    /// The host with this id. O(log hosts).
    pub fn find_host(&self, id: &str) -> Option<u32> {
        let (mut low, mut high) = (0, self.header.hosts.get());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.host(middle).id().cmp(id) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Some(middle),
            }
        }
        None
    }

    /// The indices of a host's records, ascending. O(log addresses + its addresses).
    pub fn addresses_of(&self, host: u32) -> impl Iterator<Item = u32> + use<'_> {
        let order: &[U32] = self.section(&self.sections.order);
        let records = self.records();
        let first = order.partition_point(|at| records[at.get() as usize].host() < host);
        order[first..].iter().map(|at| at.get()).take_while(move |&at| records[at as usize].host() == host)
    }

    /// The index of the record of an address. O(log networks + log addresses).
    pub fn find(&self, network: &str, address: IpAddr) -> Option<u32> {
        let networks: &[Span] = self.section(&self.sections.networks);
        let network = networks.binary_search_by(|&span| self.text(span).cmp(network)).ok()?;
        let key = (network as u16, u128::from_be_bytes(mapped(address)));
        self.records().binary_search_by_key(&key, Record::key).ok().map(|at| at as u32)
    }

    /// This table without some hosts, the ids among `ids` that it does not know, and the number of addresses
    /// that are gone. The generation is kept.
    pub fn without_hosts(self: &Arc<Self>, ids: &[&str]) -> (Table, Vec<String>, u64) {
        let Stopped { edition, unknown, addresses } = Edition::of(self.clone()).without_hosts(ids, self.generation());
        (edition.flat(), unknown, addresses)
    }

    fn section<T>(&self, range: &Range<usize>) -> &[T]
    where
        T: FromBytes + zerocopy::Immutable + zerocopy::KnownLayout + zerocopy::Unaligned,
    {
        <[T]>::ref_from_bytes(&self.bytes[range.clone()]).expect("section lengths are checked when a table is opened")
    }

    fn label(&self, index: u32) -> LabelRow {
        self.section::<LabelRow>(&self.sections.labels)[index as usize]
    }

    fn span(&self, index: usize) -> Span {
        self.section::<Span>(&self.sections.spans)[index]
    }

    fn policy_rows(&self) -> &[PolicyRow] {
        self.section(&self.sections.policies)
    }

    fn labels(&self) -> usize {
        self.header.labels.get() as usize
    }

    /// Record indices sorted by (host, record).
    fn order(&self) -> &[U32] {
        self.section(&self.sections.order)
    }

    /// Label, id and name of a host, without a look at whether they are UTF-8: the check when the table was opened said so.
    fn host_parts(&self, index: u32) -> (u32, &[u8], &[u8]) {
        host::split(self.host_bytes(index)).expect("host texts are checked when a table is opened")
    }

    fn host_bytes(&self, index: u32) -> &[u8] {
        let offsets: &[U32] = self.section(&self.sections.hosts);
        let index = index as usize;
        let end = offsets.get(index + 1).map_or(self.header.host_text.get(), |next| next.get()) as usize;
        &self.text_bytes()[offsets[index].get() as usize..end]
    }

    fn text_bytes(&self) -> &[u8] {
        &self.bytes[self.sections.text.clone()]
    }

    fn text(&self, span: Span) -> &str {
        let start = span.offset.get() as usize;
        str::from_utf8(&self.text_bytes()[start..start + span.length.get() as usize]).expect("strings are checked when a table is opened")
    }
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table")
            .field("generation", &self.generation())
            .field("digest", &self.digest())
            .field("hosts", &self.hosts())
            .field("addresses", &self.len())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "dataplane"))]
pub(crate) use self::edition::tests::{Cloud, Random};
#[cfg(test)]
mod tests;
