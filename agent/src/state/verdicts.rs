//! Verdicts, kept every few seconds.

use std::fs;
use std::io::{self, Write};

use rollcall_agent_ebpf::target::{self, Target};
use tracing::warn;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::{Before, Restored, State, StateError};
use crate::unit::{Mac, Verdict};
use crate::view::View;

const VERDICTS: &str = "verdicts";
const MAGIC: &[u8; 8] = b"rclverd\x02";
/// network: u16, address: 16 bytes, verdict: u8, since in milliseconds: u64, MAC: 6 bytes, zero unless the agent learned it; little-endian.
const ROW: usize = 33;

impl State {
    /// Keeps the verdicts of all addresses that are up or down, and the MACs that were learned.
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
    let arrays = view.arrays.load();
    for (_, record, slot) in roster.iter() {
        let shown = view.shown(slot, roster.network(&record));
        let learned = |target: &Target| target.flags & target::LEARNED != 0 && target.address == record.octets();
        let mac = if record.mac().is_none() { arrays.target(slot).filter(learned).map(|target| target.mac) } else { None };
        let verdict = match (shown.verdict, mac) {
            (Verdict::Up, _) => 1,
            (Verdict::Down, _) => 2,
            (Verdict::Pending | Verdict::Suspect | Verdict::Unknown, None) => continue,
            (Verdict::Pending | Verdict::Suspect | Verdict::Unknown, Some(_)) => 0,
        };
        let mut row = [0; ROW];
        row[..2].copy_from_slice(&record.network().to_le_bytes());
        row[2..18].copy_from_slice(&record.octets());
        row[18] = verdict;
        row[19..27].copy_from_slice(&shown.since_ms.to_le_bytes());
        row[27..].copy_from_slice(&mac.unwrap_or_default());
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
            0 => Verdict::Pending,
            1 => Verdict::Up,
            2 => Verdict::Down,
            _ => return None,
        };
        let (since, mac) = row.split_first_chunk::<8>()?;
        let mac = Some(Mac(mac.try_into().ok()?)).filter(|mac| mac.is_unicast());
        let before = Before { verdict, since_ms: u64::from_le_bytes(*since), mac };
        networks.get_mut(usize::from(u16::from_le_bytes(*network)))?.1.push((*address, before));
    }
    Some(Restored::from_networks(networks))
}
