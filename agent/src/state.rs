//! What survives a restart beside the alarms: the table in force and the verdicts. Every file is written whole, to a
//! temporary name, and renamed.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use tracing::warn;
use xxhash_rust::xxh3::xxh3_64;

use crate::table::{Digest, Table};
use crate::unit::{Verdict, mapped, unmapped};
use crate::view::View;

const TABLE: &str = "table.rct";
const SOURCE: &str = "table.source";
const VERDICTS: &str = "verdicts";
const MAGIC: &[u8; 8] = b"rclverd\x01";
/// network: u16, address: 16 bytes, verdict: u8, since in milliseconds: u64; little-endian.
const ROW: usize = 27;

/// Verdicts from before a restart, with the moment since when they hold.
pub type Restored = HashMap<(String, IpAddr), (Verdict, u64)>;

/// The state directory.
#[derive(Clone, Debug)]
pub struct State {
    directory: PathBuf,
}

/// The state directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {action}: {error}: the agent needs a state directory that it can write (state_directory)", path = path.display())]
pub struct StateError {
    path: PathBuf,
    action: &'static str,
    error: io::Error,
}

impl State {
    /// Makes the directory where it is missing.
    pub fn open(directory: &Path) -> Result<State, StateError> {
        let state = State { directory: directory.into() };
        fs::create_dir_all(directory).map_err(|error| StateError { path: directory.into(), action: "cannot make it", error })?;
        state.write("probe", b"").map(|()| drop(fs::remove_file(directory.join("probe"))))?;
        Ok(state)
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The table that was in force, unless the operator's own table file is another one than it began with. A damaged
    /// one is set aside, not deleted.
    pub fn table(&self, source: Option<Digest>) -> Option<Table> {
        let path = self.directory.join(TABLE);
        let recorded = fs::read_to_string(self.directory.join(SOURCE)).ok().and_then(|text| text.trim().parse::<Digest>().ok());
        if source.is_some() && source != recorded {
            return None;
        }
        if !path.exists() {
            return None;
        }
        match Table::open(&path) {
            Ok(table) => Some(table),
            Err(error) => {
                let aside = self.directory.join("table.damaged");
                warn!(target: "table", file = %path.display(), %error, kept_as = %aside.display(), "the table of the last run cannot be used: push it again");
                let _ = fs::rename(&path, aside);
                None
            }
        }
    }

    /// Keeps the table that is in force from now on.
    pub fn keep_table(&self, table: &Table) -> Result<(), StateError> {
        self.write(TABLE, table.bytes())
    }

    /// Keeps which table file the agent began with.
    pub fn keep_source(&self, source: Digest) -> Result<(), StateError> {
        self.write(SOURCE, source.to_string().as_bytes())
    }

    /// Keeps the verdicts of all addresses that are up or down.
    pub fn keep_verdicts(&self, view: &View) -> Result<(), StateError> {
        self.write(VERDICTS, &encode(view))
    }

    /// The verdicts of the last run; none, with a warning, where the file is damaged.
    pub fn verdicts(&self) -> Restored {
        let path = self.directory.join(VERDICTS);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Restored::new(),
            Err(error) => {
                warn!(target: "verdict", file = %path.display(), %error, "the verdicts of the last run cannot be read: all addresses start as pending");
                return Restored::new();
            }
        };
        decode(&bytes).unwrap_or_else(|| {
            warn!(target: "verdict", file = %path.display(), "the verdicts of the last run are damaged: all addresses start as pending");
            Restored::new()
        })
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), StateError> {
        let path = self.directory.join(name);
        let temporary = self.directory.join(format!(".{name}.new"));
        let write = || -> io::Result<()> {
            let mut file = File::create(&temporary)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            File::open(&self.directory)?.sync_all()
        };
        write().map_err(|error| StateError { path, action: "cannot write it", error })
    }
}

fn encode(view: &View) -> Vec<u8> {
    let roster = view.roster.load();
    let names: Vec<&str> = roster.table.networks().collect();
    let mut bytes = Vec::with_capacity(64 + ROW * roster.slots.len());
    bytes.extend(MAGIC);
    bytes.extend((names.len() as u32).to_le_bytes());
    for name in names {
        bytes.extend((name.len() as u32).to_le_bytes());
        bytes.extend(name.as_bytes());
    }
    for (record, slot) in roster.table.records().iter().zip(&roster.slots) {
        let shown = view.shown(*slot, roster.network(record));
        let verdict = match shown.verdict {
            Verdict::Up => 1,
            Verdict::Down => 2,
            Verdict::Pending | Verdict::Suspect | Verdict::Unknown => continue,
        };
        bytes.extend(record.network().to_le_bytes());
        bytes.extend(mapped(record.address()));
        bytes.push(verdict);
        bytes.extend(shown.since_ms.to_le_bytes());
    }
    bytes.extend(xxh3_64(&bytes).to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<Restored> {
    let (body, sum) = bytes.split_last_chunk::<8>()?;
    if xxh3_64(body) != u64::from_le_bytes(*sum) {
        return None;
    }
    let (magic, rest) = body.split_first_chunk::<8>()?;
    let (count, mut rest) = rest.split_first_chunk::<4>()?;
    if magic != MAGIC {
        return None;
    }
    let mut names = Vec::new();
    for _ in 0..u32::from_le_bytes(*count) {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let (name, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        names.push(String::from_utf8(name.to_vec()).ok()?);
        rest = after;
    }
    let mut restored = Restored::with_capacity(rest.len() / ROW);
    for row in rest.chunks(ROW) {
        let (network, row) = row.split_first_chunk::<2>()?;
        let (address, row) = row.split_first_chunk::<16>()?;
        let (verdict, row) = row.split_first()?;
        let verdict = match verdict {
            1 => Verdict::Up,
            2 => Verdict::Down,
            _ => return None,
        };
        let since = u64::from_le_bytes(row.try_into().ok()?);
        let name = names.get(usize::from(u16::from_le_bytes(*network)))?;
        restored.insert((name.clone(), unmapped(*address)), (verdict, since));
    }
    Some(restored)
}
