//! The one check that makes bytes a table: after it, everything is read in place without asking again.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;
use zerocopy::byteorder::little_endian::U32;
use zerocopy::{FromBytes, IntoBytes};

use super::bytes::Bytes;
use super::error::TableError;
use super::layout::{DELTA_MAGIC, Header, LabelRow, MAX_ADDRESSES, MAX_LIST, MAX_NAMES, PolicyRow, Record, Span, TABLE_MAGIC, VERSION};
use super::{Sections, Table, host, sum};
use crate::policy::{Method, Policy};
use crate::unit::Mac;

/// Reads a file no further than its header allows.
///
/// The file is read, not mapped: a mapped file that somebody truncates kills the process that looks at it.
pub(super) fn open(path: &Path) -> Result<Table, TableError> {
    let failed = |source| TableError::Io { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_dir() {
        return Err(failed(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory")));
    }
    let mut bytes = Vec::with_capacity(Header::LENGTH);
    file.by_ref().take(Header::LENGTH as u64).read_to_end(&mut bytes).map_err(failed)?;
    let length = header(&bytes)?.length.get();
    if metadata.is_file() {
        exact_length(length, metadata.len())?;
        // Without zeroing, in one piece. Not trusted for pipes, where nothing vouches for the length.
        bytes.reserve_exact((length as usize).saturating_sub(bytes.len()));
    }
    file.take((length + 1).saturating_sub(Header::LENGTH as u64)).read_to_end(&mut bytes).map_err(failed)?;
    check(bytes.into())
}

/// Checks everything and decodes the policies.
pub(super) fn check(bytes: Bytes) -> Result<Table, TableError> {
    let header = header(&bytes)?;
    exact_length(header.length.get(), bytes.len() as u64)?;
    let sections = match sections(&header, bytes.len()) {
        Ok(sections) => sections,
        // The checksum has the first word: what is wrong behind it was not damaged on its way.
        Err(error) => return Err(checksum(&header, &bytes).err().unwrap_or(error)),
    };
    let mut table = Table { bytes, header, sections, policies: Vec::new() };
    let numbers = || (checksum(&table.header, &table.bytes), records(&table).and_then(|()| order(&table)));
    let ((checksum, numbers), texts) = match table.bytes.len() {
        0..SPLIT => (numbers(), texts(&table)),
        _ => std::thread::scope(|scope| {
            let numbers = scope.spawn(numbers);
            let texts = texts(&table);
            (numbers.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), texts)
        }),
    };
    checksum.and(texts).and(numbers)?;
    table.policies = policies(&table)?;
    Ok(table)
}

/// Bytes from which on a second thread pays.
const SPLIT: usize = 1 << 20;

fn checksum(header: &Header, bytes: &[u8]) -> Result<(), TableError> {
    let content = xxh3_64(&bytes[Header::CONTENT..]);
    match content == header.content.get() {
        true => Ok(()),
        false => {
            Err(TableError::Checksum { part: "content", expected: format!("{:016x}", header.content), found: format!("{content:016x}") })
        }
    }
}

/// Writes a generation into a checked table.
pub(super) fn number(bytes: &mut [u8], generation: u64) -> Header {
    let (header, _) = Header::mut_from_prefix(bytes).expect("a table begins with its header");
    header.generation.set(generation);
    seal(header);
    *header
}

/// Sets both checksums of the header of a table.
pub(super) fn seal_content(header: &mut Header, bytes: &[u8]) {
    header.content.set(xxh3_64(&bytes[Header::CONTENT..]));
    seal(header);
}

/// Writes its digest into a checked table.
pub(super) fn name(table: &mut Table) {
    let digest = sum::of(table);
    table.header.digest.set(digest.0);
    seal(&mut table.header);
    let header = table.header;
    table.bytes.owned_mut()[..Header::LENGTH].copy_from_slice(header.as_bytes());
}

/// Sets the checksum of a header.
pub(super) fn seal(header: &mut Header) {
    let checksum = xxh3_64(&header.as_bytes()[..Header::CHECKED]);
    header.checksum.set(checksum);
}

/// What both tables and deltas begin with: magic and version.
pub(super) fn preamble(bytes: &[u8], table: bool, header_length: usize) -> Result<(), TableError> {
    let (wanted, magic, other, other_magic) =
        if table { ("table", TABLE_MAGIC, "delta", DELTA_MAGIC) } else { ("delta", DELTA_MAGIC, "table", TABLE_MAGIC) };
    let begin = &bytes[..bytes.len().min(magic.len())];
    if begin == other_magic {
        return Err(TableError::OtherKind { wanted, found: other });
    }
    if !magic.starts_with(begin) {
        return Err(TableError::Magic { wanted, found: format!("\"{}\"", begin.escape_ascii()) });
    }
    let version = bytes.get(8..12).and_then(|b| U32::ref_from_bytes(b).ok()).map(|v| v.get());
    match version {
        Some(found) if found > VERSION => Err(TableError::Newer { found, known: VERSION }),
        Some(found) if found < VERSION => Err(TableError::Older { found, known: VERSION }),
        Some(_) if bytes.len() >= header_length => Ok(()),
        _ => Err(TableError::Truncated { expected: header_length as u64, found: bytes.len() as u64 }),
    }
}

pub(super) fn header(bytes: &[u8]) -> Result<Header, TableError> {
    preamble(bytes, true, Header::LENGTH)?;
    let (header, _) = Header::read_from_prefix(bytes).map_err(|_| malformed("no header"))?;
    let checksum = xxh3_64(&bytes[..Header::CHECKED]);
    if checksum != header.checksum.get() {
        return Err(TableError::Checksum {
            part: "header",
            expected: format!("{:016x}", header.checksum.get()),
            found: format!("{checksum:016x}"),
        });
    }
    if header.header_length.get() as usize != Header::LENGTH {
        return Err(malformed(format!("a header of {} bytes", header.header_length)));
    }
    Ok(header)
}

fn exact_length(expected: u64, found: u64) -> Result<(), TableError> {
    match found.cmp(&expected) {
        std::cmp::Ordering::Less => Err(TableError::Truncated { expected, found }),
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(TableError::Trailing { kind: "table", extra: found - expected }),
    }
}

fn sections(header: &Header, length: usize) -> Result<Sections, TableError> {
    let most = |what: &str, found: U32, most: usize| match found.get() as usize {
        found if found > most => Err(malformed(format!("{found} {what}, more than {most}"))),
        _ => Ok(()),
    };
    most("addresses", header.records, MAX_ADDRESSES)?;
    most("networks", header.networks, MAX_NAMES)?;
    most("policies", header.policies, MAX_NAMES)?;
    let mut next: usize = Header::LENGTH;
    let mut section = |count: U32, size: usize| -> Range<usize> {
        let start = next;
        next = next.saturating_add((count.get() as usize).saturating_mul(size));
        start..next
    };
    let sections = Sections {
        records: section(header.records, size_of::<Record>()),
        order: section(header.records, 4),
        hosts: section(header.hosts, 4),
        networks: section(header.networks, size_of::<Span>()),
        policies: section(header.policies, size_of::<PolicyRow>()),
        labels: section(header.labels, size_of::<LabelRow>()),
        spans: section(header.spans, size_of::<Span>()),
        text: section(header.text, 1),
    };
    if next != length {
        return Err(malformed(format!("its sections take {next} bytes of {length}")));
    }
    if header.host_text > header.text {
        return Err(malformed(format!("{} bytes of host text in {} bytes of text", header.host_text, header.text)));
    }
    if header.reserved.iter().any(|&b| b != 0) {
        return Err(malformed("reserved bytes of the header are not zero"));
    }
    Ok(sections)
}

fn texts(table: &Table) -> Result<(), TableError> {
    let text = str::from_utf8(table.text_bytes()).map_err(|error| malformed(format!("text: {error}")))?;
    if has_control(text) {
        return Err(malformed("a control character in the text"));
    }
    spans(table, text)?;
    hosts(table, text)
}

/// Control characters would let a name write on somebody's terminal or break a log line.
pub(super) fn has_control(text: &str) -> bool {
    if text.is_ascii() {
        // No early exit inside a chunk: the compiler makes vector code of it.
        text.as_bytes().chunks(4096).any(|chunk| chunk.iter().fold(false, |bad, &b| bad | (b < 0x20) | (b == 0x7f)))
    } else {
        text.chars().any(char::is_control)
    }
}

fn spans(table: &Table, text: &str) -> Result<(), TableError> {
    let string = |what: &str, at: usize, span: Span, empty: bool| -> Result<(), TableError> {
        let start = span.offset.get() as usize;
        match text.get(start..start.saturating_add(span.length.get() as usize)) {
            Some("") if !empty => Err(malformed(format!("{what} {at} is empty"))),
            Some(_) => Ok(()),
            None => Err(malformed(format!("{what} {at} is outside the text"))),
        }
    };
    let list = |what: &str, at: usize, first: U32, count: U32| -> Result<(), TableError> {
        match u64::from(first.get()) + u64::from(count.get()) <= u64::from(table.header.spans.get()) {
            true if count.get() as usize <= MAX_LIST => Ok(()),
            true => Err(malformed(format!("{what} {at} has {count} entries, more than {MAX_LIST}"))),
            false => Err(malformed(format!("{what} {at} is outside its list"))),
        }
    };
    for (at, &span) in table.section::<Span>(&table.sections.networks).iter().enumerate() {
        string("network", at, span, false)?;
    }
    for (at, &span) in table.section::<Span>(&table.sections.spans).iter().enumerate() {
        string("string", at, span, false)?;
    }
    for (at, row) in table.policy_rows().iter().enumerate() {
        string("policy", at, row.name, false)?;
        list("policy", at, row.first_route, row.routes)?;
    }
    for (at, row) in table.section::<LabelRow>(&table.sections.labels).iter().enumerate() {
        string("project", at, row.project, true)?;
        list("label", at, row.first_tag, row.tags)?;
    }
    ascending("networks", table.networks())?;
    ascending("policies", table.policy_rows().iter().map(|row| table.text(row.name)))
}

fn ascending<'a>(what: &str, mut names: impl Iterator<Item = &'a str> + Clone) -> Result<(), TableError> {
    match names.clone().is_sorted_by(|a, b| a < b) {
        true => Ok(()),
        false => {
            let mut last = names.next().unwrap_or_default();
            let wrong = names.find(|&name| std::mem::replace(&mut last, name) >= name).unwrap_or_default();
            Err(malformed(format!("{what} out of order or twice at {wrong:?}")))
        }
    }
}

fn hosts(table: &Table, text: &str) -> Result<(), TableError> {
    let offsets: &[U32] = table.section(&table.sections.hosts);
    let end = table.header.host_text.get();
    let mut last: &[u8] = &[];
    let mut start = 0;
    for (at, offset) in offsets.iter().enumerate() {
        let next = offsets.get(at + 1).map_or(end, |next| next.get());
        if offset.get() != start || next <= start || next > end {
            return Err(malformed(format!("host {at}: its text is not where the one before ends")));
        }
        let (label, id, name) = host::split(&text.as_bytes()[start as usize..next as usize])
            .ok_or_else(|| malformed(format!("host {at}: its text does not parse")))?;
        let name_start = next as usize - name.len();
        if !text.is_char_boundary(next as usize) || !text.is_char_boundary(name_start) {
            return Err(malformed(format!("host {at}: its text is cut inside a character")));
        }
        if id <= last {
            return Err(malformed(format!("host {at}: its id is empty, out of order or there twice")));
        }
        if label >= table.header.labels.get() {
            return Err(malformed(format!("host {at}: label {label} of {}", table.header.labels)));
        }
        last = id;
        start = next;
    }
    match start == end {
        true => Ok(()),
        false => Err(malformed(format!("{} bytes of host text belong to no host", end - start))),
    }
}

fn records(table: &Table) -> Result<(), TableError> {
    let (networks, policies, hosts) = (table.header.networks, table.header.policies, table.header.hosts);
    let mut last = None;
    for (at, record) in table.records().iter().enumerate() {
        let key = record.key();
        if last >= Some(key) {
            return Err(malformed(format!("record {at}: {} is out of order or there twice", record.address())));
        }
        last = Some(key);
        let inside =
            u32::from(record.network()) < networks.get() && u32::from(record.policy()) < policies.get() && record.host() < hosts.get();
        if !inside {
            return Err(malformed(format!("record {at}: its network, policy or host does not exist")));
        }
        if record.mac != [0; 6] && !Mac(record.mac).is_unicast() {
            return Err(malformed(format!("record {at}: MAC {} is no unicast address", Mac(record.mac))));
        }
        if record.reserved != [0; 2] {
            return Err(malformed(format!("record {at}: reserved bytes are not zero")));
        }
    }
    Ok(())
}

/// Strictly ascending pairs of (host, record) are a permutation of all records, and let no host be without one.
fn order(table: &Table) -> Result<(), TableError> {
    let records = table.records();
    let mut last = None;
    let mut hosts = 0;
    for (at, index) in table.section::<U32>(&table.sections.order).iter().enumerate() {
        let record =
            records.get(index.get() as usize).ok_or_else(|| malformed(format!("order {at}: record {index} of {}", records.len())))?;
        let pair = (record.host(), index.get());
        if last >= Some(pair) {
            return Err(malformed(format!("order {at}: out of order or twice")));
        }
        hosts += u32::from(last.is_none_or(|(host, _)| host != pair.0));
        last = Some(pair);
    }
    match hosts == table.header.hosts.get() {
        true => Ok(()),
        false => Err(malformed(format!("{} hosts have no address", table.header.hosts.get().saturating_sub(hosts)))),
    }
}

fn policies(table: &Table) -> Result<Vec<Policy>, TableError> {
    let milliseconds = |value: U32| Duration::from_millis(value.get().into());
    let mut policies = Vec::with_capacity(table.policy_rows().len());
    for row in table.policy_rows() {
        let name = table.text(row.name).to_owned();
        let Some(method) = Method::ALL.into_iter().find(|method| method.code() == row.method) else {
            return Err(malformed(format!("policy {name:?}: method {}", row.method)));
        };
        let first = row.first_route.get() as usize;
        let policy = Policy {
            name,
            interval: milliseconds(row.interval),
            timeout: milliseconds(row.timeout),
            confirm_interval: milliseconds(row.confirm_interval),
            down_after: row.down_after,
            down_of: row.down_after.saturating_add(row.slack & 0xf),
            up_after: row.up_after,
            up_of: row.up_after.saturating_add(row.slack >> 4),
            method,
            alarm: (first..first + row.routes.get() as usize).map(|at| table.text(table.span(at)).to_owned()).collect(),
        };
        if let Some(mistake) = policy.mistakes().into_iter().next() {
            return Err(TableError::Policy { policy: policy.name, mistake });
        }
        policies.push(policy);
    }
    Ok(policies)
}

fn malformed(what: impl Into<String>) -> TableError {
    TableError::Malformed { what: what.into() }
}
