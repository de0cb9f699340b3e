//! The journal: `alarms.journal` in the state directory, one checksummed JSON record a line.
//!
//! Lines are appended and synced in batches before anything they say is told; the file is replaced by a snapshot,
//! atomically, when it has grown and at every start. A crash can only cut the last line short: it is left out. A line
//! that is damaged otherwise (its checksum does not match) is left out too, with a warning and a copy of the file kept
//! aside. Refusing to start would blind a whole site for one flipped bit, while each loss heals: an alarm that was lost
//! is raised again by the next verdict, one that should have ended ends with the next reply, and what was acknowledged
//! goes out once more under the same id. Only a journal of another version is refused: that is a person's decision.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use xxhash_rust::xxh3::xxh3_64;

use super::record::{Record, VERSION};

/// Name of the journal in the state directory.
pub(super) const NAME: &str = "alarms.journal";

/// A journal that is smaller than this is not worth rewriting.
const REWRITE_FROM: u64 = 1 << 20;

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The operating system refused.
    #[error("cannot {action} {}: {source} (the state directory must exist or be creatable, and be writable by the agent)", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another agent uses the directory.
    #[error("{} is locked: another rollcall-agent runs with this state directory; stop it, or give this one its own state_directory", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// Written by another version.
    #[error("{}: the journal has version {found}, this agent reads version {VERSION}; run the agent that wrote it, or move the file away to start without its firing alarms", path.display())]
    Version {
        /// The journal.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
}

/// What reading found besides records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Health {
    /// Records read.
    pub(super) records: usize,
    /// Bytes of a last line that a crash cut short.
    pub(super) torn: usize,
    /// Lines that were left out, with the reason: the first few.
    pub(super) damaged: Vec<(usize, String)>,
    /// How many there were in all.
    pub(super) damaged_lines: usize,
}

impl Health {
    fn damaged(&mut self, line: usize, why: String) {
        self.damaged_lines += 1;
        if self.damaged.len() < 5 {
            self.damaged.push((line, why));
        }
    }
}

/// Appends one record's line: 16 hexadecimal digits of XXH3 over the JSON, a space, the JSON, a line feed.
pub(super) fn encode(record: &Record, into: &mut Vec<u8>) {
    // Every type of a record has a JSON form, and writing to memory cannot fail: a record that could not be written
    // leaves an empty line, which reads back as damage rather than as something else.
    let json = serde_json::to_vec(record).unwrap_or_default();
    into.extend_from_slice(format!("{:016x} ", xxh3_64(&json)).as_bytes());
    into.extend_from_slice(&json);
    into.push(b'\n');
}

fn decode(line: &[u8]) -> Result<Record, String> {
    let (sum, json) = line.split_at_checked(16).ok_or("shorter than a checksum")?;
    let json = json.strip_prefix(b" ").ok_or("no space after the checksum")?;
    if sum != format!("{:016x}", xxh3_64(json)).as_bytes() {
        return Err("its checksum does not match".into());
    }
    serde_json::from_slice(json).map_err(|error| format!("not a record: {error}"))
}

/// Reads the records of a journal. `each` may refuse one, with the reason. `Err`: the version that was found instead.
pub(super) fn read(bytes: &[u8], mut each: impl FnMut(Record) -> Result<(), String>) -> Result<Health, u32> {
    let mut health = Health::default();
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    health.torn = bytes.len() - whole;
    for (index, line) in bytes[..whole].split_inclusive(|byte| *byte == b'\n').enumerate() {
        match decode(&line[..line.len() - 1]) {
            Ok(Record::Journal { version }) if version != VERSION => return Err(version),
            Ok(record) => match each(record) {
                Ok(()) => health.records += 1,
                Err(why) => health.damaged(index + 1, why),
            },
            Err(why) => health.damaged(index + 1, why),
        }
    }
    Ok(health)
}

/// The open journal.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: Option<File>,
    /// Held for as long as the journal is open.
    _lock: File,
    /// Lines that are not written yet.
    buffer: Vec<u8>,
    /// Length of the file, and what it was after the last rewrite.
    length: u64,
    base: u64,
}

impl Journal {
    /// Opens the state directory (made if it is not there) and reads the journal's bytes. Nothing can be appended
    /// until the first [`Journal::rewrite`].
    pub(super) fn open(state_dir: &Path) -> Result<(Journal, Vec<u8>), JournalError> {
        let failed = |action, path: &Path| {
            let path = path.to_owned();
            move |source| JournalError::Io { action, path, source }
        };
        DirBuilder::new().recursive(true).mode(0o750).create(state_dir).map_err(failed("make the directory", state_dir))?;
        let lock_path = state_dir.join("alarms.lock");
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&lock_path);
        let lock = lock.map_err(failed("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(JournalError::Locked { path: lock_path }),
            Err(TryLockError::Error(source)) => return Err(failed("lock", &lock_path)(source)),
        }
        let path = state_dir.join(NAME);
        let mut bytes = Vec::new();
        match File::open(&path).and_then(|mut file| file.read_to_end(&mut bytes)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(failed("read", &path)(source)),
        }
        let journal = Journal { path, file: None, _lock: lock, buffer: Vec::new(), length: 0, base: 0 };
        Ok((journal, bytes))
    }

    /// The journal's file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps a copy of a damaged journal, for a person to look at. Returns where.
    pub(super) fn keep_aside(&self, bytes: &[u8], now: SystemTime) -> io::Result<PathBuf> {
        let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let path = self.path.with_file_name(format!("{NAME}.damaged-{seconds}"));
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?.write_all(bytes)?;
        Ok(path)
    }

    /// Adds a record to the next batch; without a file the rewrite that is due will hold it.
    pub(super) fn append(&mut self, record: &Record) {
        if self.file.is_some() {
            encode(record, &mut self.buffer);
        }
    }

    /// Whether [`Journal::commit`] has anything to do.
    pub(super) fn dirty(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// Whether a snapshot is due: the journal has outgrown the last one, or could not be written.
    pub(super) fn wants_rewrite(&self) -> bool {
        self.file.is_none() || self.length + self.buffer.len() as u64 > REWRITE_FROM.max(4 * self.base)
    }

    /// Writes and syncs the batch. After an error nothing is certain about the file's end, so only a rewrite helps:
    /// the batch is let go, for a snapshot holds it too.
    pub(super) fn commit(&mut self) -> Result<(), JournalError> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let buffer = std::mem::take(&mut self.buffer);
        match file.write_all(&buffer).and_then(|()| file.sync_data()) {
            Ok(()) => {
                self.length += buffer.len() as u64;
                Ok(())
            }
            Err(source) => {
                self.file = None;
                Err(JournalError::Io { action: "append to", path: self.path.clone(), source })
            }
        }
    }

    /// Replaces the journal by a snapshot, which holds all that is in the batch: whole or not at all.
    pub(super) fn rewrite(&mut self, snapshot: &[u8]) -> Result<(), JournalError> {
        self.buffer.clear();
        self.file = None;
        let new = self.path.with_extension("journal.new");
        let written = || {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(snapshot)?;
            file.sync_all()?;
            fs::rename(&new, &self.path)?;
            if let Some(directory) = self.path.parent() {
                File::open(directory)?.sync_all()?;
            }
            Ok(file)
        };
        let file = written().map_err(|source| JournalError::Io { action: "replace", path: self.path.clone(), source })?;
        self.file = Some(file);
        self.length = snapshot.len() as u64;
        self.base = self.length;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::alarm::{Alarm, sample};

    fn record(host: u8) -> Record {
        let alarm = Arc::new(Alarm::from(sample::down(&format!("10.0.0.{host}"), 1_000)));
        Record::Down { alarm, routes: vec!["pager".into()], now: sample::at(1_000) }
    }

    fn records(bytes: &[u8]) -> Vec<Record> {
        let mut records = Vec::new();
        read(bytes, |record| {
            records.push(record);
            Ok(())
        })
        .unwrap();
        records
    }

    #[test]
    fn what_is_appended_and_committed_is_read_back_and_the_rest_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let (mut journal, bytes) = Journal::open(&directory.path().join("a/b")).unwrap();
        assert!(bytes.is_empty());
        journal.rewrite(&[]).unwrap();
        journal.append(&record(1));
        journal.commit().unwrap();
        journal.append(&record(2));
        drop(journal);
        let (_journal, bytes) = Journal::open(&directory.path().join("a/b")).unwrap();
        assert_eq!(records(&bytes), [record(1)]);
    }

    #[test]
    fn after_a_failed_write_the_snapshot_heals_what_was_half_written() {
        let directory = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(directory.path()).unwrap();
        journal.rewrite(&[]).unwrap();
        // A file that cannot be written to, as a full disk's.
        journal.file = Some(File::open(directory.path().join(NAME)).unwrap());
        journal.append(&record(1));
        let error = journal.commit().unwrap_err().to_string();
        assert!(error.contains("cannot append to") && error.contains(NAME), "{error}");
        journal.append(&record(2));
        assert!(journal.wants_rewrite() && !journal.dirty(), "nothing piles up while the disk refuses");
        let mut snapshot = Vec::new();
        [record(1), record(2)].iter().for_each(|record| encode(record, &mut snapshot));
        journal.rewrite(&snapshot).unwrap();
        journal.append(&record(3));
        journal.commit().unwrap();
        assert!(!journal.wants_rewrite());
        assert_eq!(records(&fs::read(directory.path().join(NAME)).unwrap()), [record(1), record(2), record(3)]);
    }

    #[test]
    fn the_journal_is_for_the_agents_eyes_only() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(directory.path()).unwrap();
        journal.rewrite(&[]).unwrap();
        let mode = fs::metadata(directory.path().join(NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
