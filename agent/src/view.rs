//! What the engine shows to the rest of the agent: state that one thread writes and any may read, without locks and
//! without waiting for the engine.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use hdrhistogram::Histogram;
use rollcall_agent_ebpf::reason;

use crate::clock::Mono;
use crate::condition::Marks;
use crate::recent::Recent;
use crate::reply::Arrays;
use crate::roster::{Group, Roster};
use crate::unit::{Blind, Verdict};

const CHUNK: usize = 1 << 16;
const CHUNKS: usize = 1 << 8;

/// One word for each slot, in chunks that never move, so that growing needs no copy and readers no lock.
pub struct Slots<T> {
    chunks: Box<[OnceLock<Box<[T]>>]>,
}

impl<T: Default> Default for Slots<T> {
    fn default() -> Self {
        Slots { chunks: (0..CHUNKS).map(|_| OnceLock::new()).collect() }
    }
}

impl<T: Default> Slots<T> {
    /// The word of a slot; its chunk is made at first use.
    pub fn at(&self, slot: u32) -> &T {
        let chunk = &self.chunks[(slot as usize / CHUNK) % CHUNKS];
        &chunk.get_or_init(|| (0..CHUNK).map(|_| T::default()).collect())[slot as usize % CHUNK]
    }

    /// Bytes in use.
    pub fn bytes(&self) -> usize {
        self.chunks.iter().filter(|chunk| chunk.get().is_some()).count() * CHUNK * size_of::<T>()
    }
}

/// The verdict of an address as it is shown, in one word: milliseconds since the Unix epoch (48 bits), misses (8), reason of
/// blindness (4), verdict (4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The verdict.
    pub verdict: Verdict,
    /// Why it is unknown.
    pub blind: Option<Blind>,
    /// Misses behind the verdict: in a row, or among the last `down_of` outcomes.
    pub misses: u8,
    /// Since when, in milliseconds since the Unix epoch.
    pub since_ms: u64,
}

impl Shown {
    /// As a word.
    pub fn word(self) -> u64 {
        let verdict = Verdict::ALL.iter().position(|verdict| *verdict == self.verdict).map_or(0, |at| at as u64 + 1);
        let blind = self.blind.and_then(|blind| Blind::ALL.iter().position(|b| *b == blind)).map_or(0, |at| at as u64 + 1);
        self.since_ms << 16 | u64::from(self.misses) << 8 | blind << 4 | verdict
    }

    /// From a word.
    pub fn from_word(word: u64) -> Self {
        Shown {
            verdict: (word as usize & 0xf).checked_sub(1).and_then(|at| Verdict::ALL.get(at)).copied().unwrap_or(Verdict::Pending),
            blind: (word as usize >> 4 & 0xf).checked_sub(1).and_then(|at| Blind::ALL.get(at)).copied(),
            misses: (word >> 8) as u8,
            since_ms: word >> 16,
        }
    }
}

/// A counter with one writer.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds; only the owner of the counter may call it, which saves a locked instruction on the hot path.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed) + n, Ordering::Relaxed);
    }

    /// The count now.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What is counted for each network and policy.
#[derive(Debug)]
pub struct Series {
    /// Which network and policy.
    pub group: Arc<Group>,
    /// Probes that left.
    pub sent: Count,
    /// Probes answered in time.
    pub replies: Count,
    /// Probes not answered in time.
    pub misses: Count,
    /// Probes that say nothing, for a reason on our side.
    pub voids: Count,
    /// RTT in nanoseconds.
    pub rtt: Mutex<Histogram<u64>>,
}

/// The same counts over all series, also over those that a change of policy ended.
#[derive(Debug, Default)]
pub struct Totals {
    /// Probes that left.
    pub sent: Count,
    /// Probes answered in time.
    pub replies: Count,
    /// Probes not answered in time.
    pub misses: Count,
    /// Probes that say nothing.
    pub voids: Count,
}

impl Series {
    /// A series with nothing counted.
    pub fn new(group: Arc<Group>) -> Self {
        let zero = Count::default;
        Series { group, sent: zero(), replies: zero(), misses: zero(), voids: zero(), rtt: Mutex::new(rtt_histogram()) }
    }
}

/// A moment, in hundredths of a second since the start modulo 2^32 (1.3 years), plus one: 0 means never.
pub fn stamp_of(start: Mono, at: Mono) -> u32 {
    ((at.nanos().saturating_sub(start.nanos()) / 10_000_000) as u32).wrapping_add(1).max(1)
}

/// RTT from 1 us to 60 s with two significant digits, in nanoseconds.
pub fn rtt_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, 60_000_000_000, 2).unwrap_or_else(|_| unreachable!("the bounds are constants that fit"))
}

/// From here on a probe is counted as very late.
pub const VERY_LATE: Duration = Duration::from_millis(10);

/// Lateness of probes against the beginning of their step, and of the engine's turns against their tick: 1 us to 10 s, in nanoseconds.
pub fn late_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, 10_000_000_000, 2).unwrap_or_else(|_| unreachable!("the bounds are constants that fit"))
}

/// One network of the agent, as it is now.
#[derive(Debug)]
pub struct NetworkView {
    /// Its name.
    pub name: String,
    attached: RwLock<(String, &'static str, &'static str)>,
    /// Reason of blindness plus one; 0 when the agent sees it.
    blind: AtomicU8,
    /// Addresses of the network that have no MAC yet.
    pub unresolved: AtomicU64,
    /// Probes that could not be sent at the first try.
    pub send_errors: Count,
}

impl NetworkView {
    /// A network that the agent sees.
    pub fn new(name: String, interface: String, datapath: (&'static str, &'static str)) -> Self {
        let (blind, unresolved, send_errors) = Default::default();
        NetworkView { name, attached: (interface, datapath.0, datapath.1).into(), blind, unresolved, send_errors }
    }

    /// Its interface.
    pub fn interface(&self) -> String {
        self.attached.read().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// Names of its transmitter and its receiver.
    pub fn datapath(&self) -> (&'static str, &'static str) {
        let attached = self.attached.read().unwrap_or_else(PoisonError::into_inner);
        (attached.1, attached.2)
    }

    /// Set by the engine when an interface appeared or was made anew.
    pub fn set_attached(&self, interface: &str, datapath: (&'static str, &'static str)) {
        *self.attached.write().unwrap_or_else(PoisonError::into_inner) = (interface.to_owned(), datapath.0, datapath.1);
    }

    /// Why the agent cannot see this network now.
    pub fn blind(&self) -> Option<Blind> {
        usize::from(self.blind.load(Ordering::Relaxed)).checked_sub(1).and_then(|at| Blind::ALL.get(at)).copied()
    }

    /// Set by the engine.
    pub fn set_blind(&self, blind: Option<Blind>) {
        let at = blind.and_then(|blind| Blind::ALL.iter().position(|b| *b == blind)).map_or(0, |at| at as u8 + 1);
        self.blind.store(at, Ordering::Relaxed);
    }
}

/// All that the engine shows.
pub struct View {
    /// When the agent began: what the engine's stamps count from.
    pub start: Mono,
    /// Who is watched, in which slot.
    pub roster: ArcSwap<Roster>,
    /// The arrays shared with the kernel.
    pub arrays: ArcSwap<Arrays>,
    /// [`Shown`] of each slot.
    pub verdicts: Slots<AtomicU64>,
    /// What became of the last probes of each slot, as [`Recent`] (low half); the engine's stamp of the last answered one (high
    /// half).
    recent: Slots<AtomicU64>,
    /// What holds of few addresses beside the verdict.
    pub marks: Marks,
    /// Networks, by the agent's number.
    pub networks: Vec<NetworkView>,
    /// Series, by the number of their group.
    pub series: RwLock<BTreeMap<u16, Arc<Series>>>,
    /// Counts over all series since the start.
    pub totals: Totals,
    /// Frames by reason, from the XDP program; refreshed every second.
    pub frames: [AtomicU64; reason::COUNT as usize],
    /// Turns that were skipped because the hands stood still or the cap held.
    pub skipped: Count,
    /// Times that the engine stood still for long.
    pub stalls: Count,
    /// Lateness of probes, in nanoseconds.
    pub late: Mutex<Histogram<u64>>,
    /// Probes that left more than [`VERY_LATE`] after the beginning of their step: exact, where the histogram's cells are wide.
    pub late_10ms: Count,
    /// Time between two turns of the engine beyond its tick, in nanoseconds.
    pub pauses: Mutex<Histogram<u64>>,
    /// The longest of these pauses since the start, in nanoseconds.
    pub pause_max: AtomicU64,
    /// Verdicts that turned, slots that were given and freed: whether there is anything new to keep.
    pub turns: Count,
    /// Probes that wait for their turn under the cap.
    pub waiting: AtomicU64,
}

impl View {
    /// A view of an agent with these networks that watches nobody yet.
    pub fn new(start: Mono, networks: Vec<NetworkView>, arrays: Arc<Arrays>) -> Self {
        View {
            start,
            roster: ArcSwap::from_pointee(Roster::default()),
            arrays: ArcSwap::from(arrays),
            verdicts: Slots::default(),
            recent: Slots::default(),
            marks: Marks::default(),
            networks,
            series: RwLock::default(),
            totals: Totals::default(),
            frames: Default::default(),
            skipped: Count::default(),
            stalls: Count::default(),
            late: Mutex::new(late_histogram()),
            late_10ms: Count::default(),
            pauses: Mutex::new(late_histogram()),
            pause_max: AtomicU64::new(0),
            turns: Count::default(),
            waiting: AtomicU64::new(0),
        }
    }

    /// The verdict of a slot that belongs to a network of the agent, or to none. A network that cannot be seen makes every verdict in it unknown.
    pub fn shown(&self, slot: u32, network: Option<u16>) -> Shown {
        let mut shown = Shown::from_word(self.verdicts.at(slot).load(Ordering::Relaxed));
        let blind = match network {
            Some(network) => self.networks.get(usize::from(network)).and_then(NetworkView::blind),
            None => Some(Blind::NoNetwork),
        };
        if blind.is_some() {
            (shown.verdict, shown.blind) = (Verdict::Unknown, blind);
        }
        shown
    }

    /// Writes the verdict of a slot; only the engine does.
    pub fn show(&self, slot: u32, shown: Shown) {
        self.turns.add(1);
        self.verdicts.at(slot).store(shown.word(), Ordering::Relaxed);
    }

    /// Notes that a probe was answered, and the stamp of when it was sent; only the engine does.
    pub fn note_reply(&self, slot: u32, stamp: u32) {
        let recent = self.recent.at(slot);
        let word = recent.load(Ordering::Relaxed);
        recent.store(u64::from(Recent::of(word as u32).and(true).word()) | u64::from(stamp) << 32, Ordering::Relaxed);
    }

    /// Notes that a probe was missed; only the engine does.
    pub fn note_miss(&self, slot: u32) {
        let recent = self.recent.at(slot);
        let word = recent.load(Ordering::Relaxed);
        recent.store(u64::from(Recent::of(word as u32).and(false).word()) | word >> 32 << 32, Ordering::Relaxed);
    }

    /// The engine's stamp of the last probe that was answered; 0: none yet.
    pub fn last_reply(&self, slot: u32) -> u32 {
        (self.recent.at(slot).load(Ordering::Relaxed) >> 32) as u32
    }

    /// When the last probe of a slot was sent that was answered, in milliseconds since the Unix epoch, by two clocks that are read
    /// together. `None`: none since the start.
    pub fn last_reply_ms(&self, slot: u32, now: Mono, wall_ms: u64) -> Option<u64> {
        let stamp = self.last_reply(slot);
        let age = stamp_of(self.start, now).wrapping_sub(stamp);
        (stamp != 0).then(|| wall_ms.saturating_sub(u64::from(age) * 10))
    }

    /// The last outcomes of a slot.
    pub fn recent(&self, slot: u32) -> Recent {
        Recent::of(self.recent.at(slot).load(Ordering::Relaxed) as u32)
    }

    /// Begins to fetch what [`View::note_reply`] touches.
    pub fn prefetch(&self, slot: u32) {
        crate::reply::prefetch(self.recent.at(slot));
    }

    /// Empties what is shown of a slot.
    pub fn clear(&self, slot: u32) {
        self.recent.at(slot).store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_word_is_pending_never_down() {
        assert_eq!(Shown::from_word(0).verdict, Verdict::Pending);
    }

    #[test]
    fn shown_round_trips_through_its_word() {
        for verdict in Verdict::ALL {
            for blind in [None].into_iter().chain(Blind::ALL.map(Some)) {
                let shown = Shown { verdict, blind, misses: 200, since_ms: 1_800_000_000_123 };
                assert_eq!(Shown::from_word(shown.word()), shown);
            }
        }
    }
}
