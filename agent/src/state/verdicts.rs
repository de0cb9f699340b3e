//! Verdicts, kept every few seconds.

use std::fs;
use std::io::{self, Write};

use tracing::warn;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::{Restored, State, StateError};
use crate::unit::Verdict;
use crate::view::View;

const VERDICTS: &str = "verdicts";
const MAGIC: &[u8; 8] = b"rclverd\x01";
/// network: u16, address: 16 bytes, verdict: u8, since in milliseconds: u64; little-endian.
const ROW: usize = 27;

impl State {
    /// Keeps the verdicts of all addresses that are up or down.
    pub fn keep_verdicts(&self, view: &View) -> Result<(), StateError> {
        self.write(VERDICTS, |file| encode(view, file))
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
}

/// Writes row by row: a million of them never stand in memory.
fn encode(view: &View, file: &mut impl Write) -> io::Result<()> {
    let roster = view.roster.load_full();
    let mut sum = Xxh3::new();
    let mut write = |bytes: &[u8]| {
        sum.update(bytes);
        file.write_all(bytes)
    };
    write(MAGIC)?;
    write(&(roster.table.networks().len() as u32).to_le_bytes())?;
    for name in roster.table.networks() {
        write(&(name.len() as u32).to_le_bytes())?;
        write(name.as_bytes())?;
    }
    for (_, record, slot) in roster.iter() {
        let shown = view.shown(slot, roster.network(&record));
        let verdict = match shown.verdict {
            Verdict::Up => 1,
            Verdict::Down => 2,
            Verdict::Pending | Verdict::Suspect | Verdict::Unknown => continue,
        };
        let mut row = [0; ROW];
        row[..2].copy_from_slice(&record.network().to_le_bytes());
        row[2..18].copy_from_slice(&record.octets());
        row[18] = verdict;
        row[19..].copy_from_slice(&shown.since_ms.to_le_bytes());
        write(&row)?;
    }
    // Only this and a listing read the whole table; its pages need not stay.
    roster.table.cool();
    let sum = sum.digest();
    file.write_all(&sum.to_le_bytes())
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
    let mut networks = Vec::new();
    for _ in 0..u32::from_le_bytes(*count) {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let (name, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        networks.push((String::from_utf8(name.to_vec()).ok()?, Vec::new()));
        rest = after;
    }
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
        networks.get_mut(usize::from(u16::from_le_bytes(*network)))?.1.push((*address, verdict, since));
    }
    Some(Restored::from_networks(networks))
}
