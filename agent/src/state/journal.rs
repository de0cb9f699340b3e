//! The table's journal: what changed since the table file was written whole. Its last entry is on the disk before anybody is told.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;

use tracing::warn;
use xxhash_rust::xxh3::Xxh3;
use zerocopy::byteorder::little_endian::{U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{State, StateError, new_file, sync_directory};
use crate::table::Digest;

const NAME: &str = "table.journal";
const MAGIC: [u8; 8] = *b"\x89RCJ\r\n\x1a\n";

/// What an entry begins with; the change follows.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    magic: [u8; 8],
    /// XXH3-64 of all that follows in the entry.
    checksum: U64,
    length: U64,
    generation: U64,
    base: U128,
    /// 1: a delta, 2: ids of stopped hosts, each on a line of its own.
    kind: U32,
    reserved: U32,
}

/// The checksum covers what comes after this.
const SUMMED: usize = 16;

/// How a table changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A delta, as it came.
    Delta(Vec<u8>),
    /// Hosts that were stopped.
    Stop(Vec<String>),
}

/// One change of the table in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Of the table before it.
    pub base: Digest,
    /// Of the table that it gave.
    pub generation: u64,
    /// The change.
    pub change: Change,
}

impl Entry {
    fn to_bytes(&self) -> Vec<u8> {
        let ids;
        let (kind, payload) = match &self.change {
            Change::Delta(bytes) => (1, bytes.as_slice()),
            Change::Stop(hosts) => {
                // No id holds a line feed: tables refuse control characters.
                ids = hosts.join("\n");
                (2, ids.as_bytes())
            }
        };
        let mut header = Header {
            magic: MAGIC,
            checksum: U64::ZERO,
            length: (payload.len() as u64).into(),
            generation: self.generation.into(),
            base: self.base.0.into(),
            kind: kind.into(),
            reserved: U32::ZERO,
        };
        header.checksum = checksum(&header, payload).into();
        [header.as_bytes(), payload].concat()
    }

    /// The entry that begins here and what follows it.
    fn read(bytes: &[u8]) -> Option<(Entry, &[u8])> {
        let (header, rest) = Header::read_from_prefix(bytes).ok()?;
        let (payload, rest) = rest.split_at_checked(usize::try_from(header.length.get()).ok()?)?;
        if header.magic != MAGIC || checksum(&header, payload) != header.checksum.get() {
            return None;
        }
        let change = match header.kind.get() {
            1 => Change::Delta(payload.to_vec()),
            2 => Change::Stop(str::from_utf8(payload).ok()?.lines().map(str::to_owned).collect()),
            _ => return None,
        };
        Some((Entry { base: Digest(header.base.get()), generation: header.generation.get(), change }, rest))
    }
}

fn checksum(header: &Header, payload: &[u8]) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(&header.as_bytes()[SUMMED..]);
    hasher.update(payload);
    hasher.digest()
}

/// The journal, to be written. One at a time.
pub struct Journal {
    state: State,
    /// `None` until something is written.
    file: Option<File>,
    length: u64,
}

impl Journal {
    /// The journal of a state directory, after [`State::table`] has read and mended it.
    pub fn new(state: State) -> Journal {
        let length = fs::metadata(state.directory.join(NAME)).map_or(0, |metadata| metadata.len());
        Journal { state, file: None, length }
    }

    /// Writes one more entry and waits until it is on the disk. What could not be written whole is taken back.
    pub fn append(&mut self, entry: &Entry) -> Result<(), StateError> {
        let bytes = entry.to_bytes();
        let written = self.file().and_then(|file| {
            file.write_all(&bytes)?;
            file.sync_data()
        });
        match written {
            Ok(()) => {
                self.length += bytes.len() as u64;
                Ok(())
            }
            Err(error) => {
                let _ = self.cut(self.length);
                Err(self.failed(error))
            }
        }
    }

    /// How long it is, for [`Journal::cut`].
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Takes back what was written after it had this length.
    pub fn cut(&mut self, length: u64) -> Result<(), StateError> {
        let cut = self.file().and_then(|file| {
            file.set_len(length)?;
            file.sync_all()
        });
        cut.map_err(|error| self.failed(error))?;
        self.length = length;
        Ok(())
    }

    /// Begins anew with these entries, on top of a table file that was written just now. Until this is done the old entries stand
    /// there: they are older than that table, and skipped for it.
    pub fn restart(&mut self, entries: &[Entry]) -> Result<(), StateError> {
        self.file = None;
        self.length = self.state.write_journal(entries)?;
        Ok(())
    }

    fn file(&mut self) -> io::Result<&mut File> {
        if self.file.is_none() {
            let path = self.state.directory.join(NAME);
            let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
            sync_directory(&self.state.directory)?;
            self.file = Some(file);
        }
        self.file.as_mut().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn failed(&self, error: io::Error) -> StateError {
        StateError { path: self.state.directory.join(NAME), action: "cannot write it", error }
    }
}

impl State {
    /// The whole entries of the journal, in order. What stands behind the last one was never acknowledged and is cut off. Where a
    /// whole entry follows a damaged one, that and all that follows is set aside.
    pub(super) fn journal_entries(&self) -> Vec<Entry> {
        let path = self.directory.join(NAME);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return vec![],
            Err(error) => {
                warn!(target: "table", file = %path.display(), %error, "the changes since the table was written whole cannot be read: push the table again");
                return vec![];
            }
        };
        let mut entries = Vec::new();
        let mut rest = bytes.as_slice();
        while let Some((entry, after)) = Entry::read(rest) {
            entries.push(entry);
            rest = after;
        }
        if rest.is_empty() {
            return entries;
        }
        let later = rest.windows(MAGIC.len()).enumerate().skip(1).any(|(at, magic)| magic == MAGIC && Entry::read(&rest[at..]).is_some());
        if later {
            self.set_journal_aside(&entries, "an entry is damaged");
        } else if let Err(error) = self.write_journal(&entries) {
            warn!(target: "table", %error, bytes = rest.len(), "the journal ends in a change that was never acknowledged, and it cannot be cut off");
        }
        entries
    }

    /// Keeps only these entries in force, and the journal as it was under another name.
    pub(super) fn set_journal_aside(&self, good: &[Entry], why: &str) {
        let path = self.directory.join(NAME);
        let aside = self.directory.join("table.journal.damaged");
        warn!(target: "table", file = %path.display(), kept_as = %aside.display(), good = good.len(), "changes of the table are lost ({why}): hosts that were stopped since may be probed again: push the table again");
        let _ = fs::rename(&path, aside);
        if let Err(error) = self.write_journal(good) {
            warn!(target: "table", %error, "the changes that are good could not be kept");
        }
    }

    /// Puts a journal with these entries in the place of the present one. Its length.
    fn write_journal(&self, entries: &[Entry]) -> Result<u64, StateError> {
        let path = self.directory.join(NAME);
        let temporary = self.directory.join(format!(".{NAME}.new"));
        let write = || -> io::Result<u64> {
            let mut length = 0;
            if entries.is_empty() {
                match fs::remove_file(&path) {
                    // Nothing to remove, nothing to wait for.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
                    removed => removed?,
                }
            } else {
                let mut file = new_file(&temporary)?;
                for entry in entries {
                    let bytes = entry.to_bytes();
                    file.write_all(&bytes)?;
                    length += bytes.len() as u64;
                }
                file.sync_all()?;
                fs::rename(&temporary, &path)?;
            }
            sync_directory(&self.directory)?;
            Ok(length)
        };
        write().map_err(|error| StateError { path: path.clone(), action: "cannot write it", error })
    }
}
