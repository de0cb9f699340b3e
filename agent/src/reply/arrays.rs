//! The per-address arrays that agent and XDP program share, with the operations that keep them whole.

use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rollcall_agent_ebpf::target::{self, Target};
use rollcall_agent_ebpf::{board, config, evidence, index, others, run};

use super::region::Region;
use crate::clock::Mono;
use crate::unit::mapped;

/// `TARGET`, `SENT`, `BOARD`, `INDEX`, `OTHERS`, `EVIDENCE`, `CONFIG`, `NETWORKS`, `PASSED`, `RUN` and `DUE` of one loaded program.
#[derive(Debug)]
pub struct Arrays {
    pub(super) target: Region<{ target::WORDS }>,
    pub(super) sent: Region<{ board::SENT_WORDS }>,
    pub(super) board: Region<{ board::BOARD_WORDS }>,
    pub(super) index: Region<{ index::BUCKET_WORDS }>,
    pub(super) others: Region<{ others::WORDS }>,
    pub(super) evidence: Region<{ evidence::WORDS }>,
    pub(super) config: Region<{ config::WORDS }>,
    pub(super) networks: Region<{ config::NETWORK_WORDS }>,
    pub(super) passed: Region<1>,
    pub(super) run: Region<{ run::WORDS }>,
    pub(super) due: Region<{ run::BLOCK_WORDS }>,
    /// The program makes probes too: a larger one that takes its place must do so as well.
    pub(super) generates: AtomicBool,
    /// They are maps of the kernel.
    pub(super) shared: bool,
}

/// `INDEX` has no room within reach for one more address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no room in the reply index for this address")]
pub struct IndexFull;

/// What somebody on the way said of a probe that did not arrive (ICMP error, RFC 792 or RFC 4443).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// ICMP type; of ICMPv6 where the address is an IPv6 one.
    pub kind: u8,
    /// ICMP code.
    pub code: u8,
    /// Who said it, IPv4 mapped.
    pub from: [u8; 16],
    /// When, in milliseconds of the monotonic clock.
    pub at_ms: u64,
}

/// What became of one probe, as far as `SENT` and `BOARD` say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traces {
    sent: [u64; board::SENT_WORDS],
    word: u64,
}

impl Traces {
    /// Sequence of the newest probe.
    pub fn newest(&self) -> u16 {
        board::newest_sent(self.sent)
    }

    /// Nanoseconds since that probe left; `None` when it is no longer remembered.
    pub fn elapsed(&self, sequence: u16, now_ns: u64) -> Option<u64> {
        let entry = self.sent[usize::from(sequence & 1)];
        (board::sent_sequence(entry) == sequence).then(|| board::elapsed(entry, now_ns))
    }

    /// Whether that probe was answered in time.
    pub fn answered(&self, sequence: u16) -> bool {
        board::answered(self.word, sequence)
    }

    /// Whether a reply in the window of that probe was credited to a later one.
    pub fn excused(&self, sequence: u16) -> bool {
        board::excused(self.word, sequence)
    }

    /// RTT in nanoseconds, if that probe is the newest answered one.
    pub fn rtt(&self, sequence: u16) -> Option<u64> {
        (board::newest(self.word) == sequence && self.answered(sequence)).then(|| board::rtt(self.word))
    }
}

/// Slots that lie in one cache line of `SENT` and of the engine's cells. What is asked for early is asked for once for all of
/// them: asking costs as much as using what has come.
const NEIGHBOURS: u32 = 4;

/// Whether a slot is the first of its cache line that is come to, after the one before it.
pub fn leads(before: Option<u32>, slot: u32) -> bool {
    slot.is_multiple_of(NEIGHBOURS) || before != Some(slot.wrapping_sub(1))
}

impl Arrays {
    /// Arrays that no program of the kernel shares, for so many addresses.
    pub fn in_memory(slots: u32) -> io::Result<Arrays> {
        let slots = slots.max(1);
        let arrays = Arrays {
            target: Region::anonymous(slots)?,
            sent: Region::anonymous(slots)?,
            board: Region::anonymous(slots)?,
            index: Region::anonymous(index::buckets(slots))?,
            others: Region::anonymous(others::entries(slots))?,
            evidence: Region::anonymous(evidence::entries(slots))?,
            config: Region::anonymous(1)?,
            networks: Region::anonymous(config::NETWORKS)?,
            passed: Region::anonymous(config::NETWORKS)?,
            run: Region::anonymous(1)?,
            due: Region::anonymous(run::BLOCKS)?,
            generates: AtomicBool::new(false),
            shared: false,
        };
        arrays.set_sizes();
        Ok(arrays)
    }

    /// Slots.
    pub fn capacity(&self) -> u32 {
        self.target.len() as u32
    }

    /// Bytes of kernel memory behind the mappings.
    pub fn bytes(&self) -> usize {
        self.target.bytes()
            + self.sent.bytes()
            + self.board.bytes()
            + self.index.bytes()
            + self.others.bytes()
            + self.evidence.bytes()
            + self.config.bytes()
            + self.networks.bytes()
            + self.passed.bytes()
            + self.run.bytes()
            + self.due.bytes()
    }

    /// When the receiver last passed on an answer of a neighbour of that network, which sockets then hear.
    pub fn passed(&self, network: u16) -> Mono {
        self.passed.words(network.into()).map_or(Mono::default(), |[at]| Mono::from_nanos(at.load(Ordering::Acquire)))
    }

    /// What a slot probes; `None` when the slot is not in use.
    pub fn target(&self, slot: u32) -> Option<Target> {
        let target = Target::from_words(load(self.target.words(slot)?));
        (target.flags & target::LIVE != 0).then_some(target)
    }

    /// Gives a slot to an address whose first probe will have the sequence after `sequence`. The target becomes live last.
    pub fn occupy(&self, slot: u32, target: &Target, sequence: u16) -> Result<(), IndexFull> {
        self.index_insert(slot, target)?;
        if let (Some(sent), Some(board)) = (self.sent.words(slot), self.board.words(slot)) {
            let before = sequence.wrapping_sub(1);
            sent[usize::from(sequence & 1)].store(board::sent(sequence, 0), Ordering::Relaxed);
            sent[usize::from(before & 1)].store(board::sent(before, 0), Ordering::Relaxed);
            board[0].store(board::fresh(sequence), Ordering::Relaxed);
        }
        self.forget_other(slot);
        self.forget_evidence(slot);
        self.store_target(slot, target);
        Ok(())
    }

    /// Changes MAC, timeout or flags of a live slot; address, network and nonce stay.
    pub fn change(&self, slot: u32, change: impl FnOnce(&mut Target)) {
        if let Some(mut target) = self.target(slot) {
            change(&mut target);
            self.store_target(slot, &target);
            self.forget_other(slot);
        }
    }

    /// Takes a slot out of use: from now on nothing is sent to it and no reply fits it. [`Arrays::vacate`] follows.
    pub fn silence(&self, slot: u32) {
        if let Some(words) = self.target.words(slot) {
            words[3].store(0, Ordering::Release);
        }
    }

    /// Frees a slot.
    pub fn vacate(&self, slot: u32) {
        self.silence(slot);
        if let Some(board) = self.board.words(slot) {
            board.iter().for_each(|word| word.store(0, Ordering::Relaxed));
        }
        self.forget_other(slot);
        self.forget_evidence(slot);
        if let Some(words) = self.target.words(slot) {
            self.index_remove(slot, &Target::from_words(load(words)));
        }
    }

    /// The address that a slot has, or had before it was silenced.
    pub fn address(&self, slot: u32) -> Option<[u8; 16]> {
        self.target.words(slot).map(|words| Target::from_words(load(words)).address)
    }

    /// Notes that the probes up to `sequence` are judged, where the last answer lies so far back that its sequence will
    /// come round again. If a reply comes in at this very moment, its word is right as it is.
    pub fn age(&self, slot: u32, sequence: u16) {
        let Some(words) = self.board.words(slot) else { return };
        let word = words[0].load(Ordering::Acquire);
        if board::is_old(word, sequence) {
            let _ = words[0].compare_exchange(word, board::aged(word, sequence), Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    fn store_target(&self, slot: u32, target: &Target) {
        let Some(words) = self.target.words(slot) else { return };
        let new = target.words();
        words[3].store(0, Ordering::Release);
        words[0].store(new[0], Ordering::Release);
        words[1].store(new[1], Ordering::Release);
        words[2].store(new[2], Ordering::Release);
        words[3].store(new[3], Ordering::Release);
    }

    /// What is known of the last probes of a slot. `SENT` is read first: a reply that comes in between is then seen.
    pub fn traces(&self, slot: u32) -> Option<Traces> {
        let sent = load(self.sent.words(slot)?);
        let word = self.board.words(slot)?[0].load(Ordering::Acquire);
        Some(Traces { sent, word })
    }

    /// The send times alone: all that sending must know.
    pub fn sent(&self, slot: u32) -> Option<Traces> {
        Some(Traces { sent: load(self.sent.words(slot)?), word: 0 })
    }

    /// RTT in nanoseconds of the last reply, when there was one.
    pub fn rtt(&self, slot: u32) -> Option<u64> {
        let rtt = board::rtt(self.board.words(slot)?[0].load(Ordering::Relaxed));
        (rtt != 0).then_some(rtt)
    }

    /// The other MAC that answered for the address, and how often.
    pub fn other_mac(&self, slot: u32) -> Option<([u8; 6], u16)> {
        let entry = self.others_of(slot).find(|entry| entry[others::KEY].load(Ordering::Acquire) == others::key(slot))?;
        let value = entry[others::VALUE].load(Ordering::Acquire);
        // Unless the entry became another slot's meanwhile.
        (entry[others::KEY].load(Ordering::Relaxed) == others::key(slot)).then(|| others::mac(value))?
    }

    /// The entries of `OTHERS` in which a slot may stand.
    pub(super) fn others_of(&self, slot: u32) -> impl Iterator<Item = &[AtomicU64; others::WORDS]> {
        let entries = self.others.len() as u32;
        (0..others::PROBES).filter_map(move |step| self.others.words(others::place(slot, step, entries)))
    }

    fn forget_other(&self, slot: u32) {
        self.others_of(slot)
            .filter(|entry| entry[others::KEY].load(Ordering::Relaxed) == others::key(slot))
            .for_each(|entry| entry[others::KEY].store(0, Ordering::Release));
    }

    /// Writes down that the next probe of a slot leaves now; returns its sequence, and what stood there before for [`Arrays::undo`].
    pub fn note_sent(&self, slot: u32, now_ns: u64) -> Option<(u16, u64)> {
        let words = self.sent.words(slot)?;
        let traces = Traces { sent: load(words), word: 0 };
        let sequence = traces.newest().wrapping_add(1);
        let before = words[usize::from(sequence & 1)].swap(board::sent(sequence, now_ns), Ordering::Release);
        Some((sequence, before))
    }

    /// Takes back [`Arrays::note_sent`] of a probe that could not leave.
    pub fn undo(&self, slot: u32, sequence: u16, before: u64) {
        if let Some(words) = self.sent.words(slot) {
            words[usize::from(sequence & 1)].store(before, Ordering::Release);
        }
    }

    /// Begins to fetch what the probes and the answers of [`NEIGHBOURS`] slots will touch. A million addresses are more than any
    /// cache holds, and one core waits some 100 ns for each line that it did not ask for early.
    pub fn prefetch(&self, slot: u32) {
        self.target.prefetch(slot);
        // The frame of a trial has no slot: u32::MAX is past any array.
        self.target.prefetch(slot.saturating_add(NEIGHBOURS / 2));
        self.prefetch_traces(slot);
    }

    /// Likewise what judging them touches.
    pub fn prefetch_traces(&self, slot: u32) {
        self.sent.prefetch(slot);
        self.board.prefetch(slot);
    }

    /// Likewise what scheduling them touches.
    pub fn prefetch_sent(&self, slot: u32) {
        self.sent.prefetch(slot);
    }

    /// Likewise what an ARP answer will touch; the target must have come.
    pub fn prefetch_index(&self, slot: u32) {
        if let Some(target) = self.target(slot).filter(|target| target.flags & target::ARP != 0) {
            let hash = index::hash(target.network, &target.address);
            self.index.prefetch(index::bucket(hash, 0, self.index.len() as u32));
        }
    }

    /// Sets the ICMP identifiers that answers may carry.
    pub fn set_ids(&self, current: u16, previous: u16) {
        if let Some(words) = self.config.words(0) {
            words[config::IDS].store(config::ids_word(current, previous), Ordering::Release);
        }
    }

    /// What somebody on the way said last of a probe of this slot.
    pub fn evidence(&self, slot: u32) -> Option<Evidence> {
        let entry = self.evidence_of(slot).find(|entry| entry[evidence::KEY].load(Ordering::Acquire) == others::key(slot))?;
        let [key, value, high, low] = load(entry);
        let same = key == others::key(slot) && entry[evidence::KEY].load(Ordering::Acquire) == key;
        let [high, low] = [high, low].map(u64::to_le_bytes);
        let mut from = [0; 16];
        from[..8].copy_from_slice(&high);
        from[8..].copy_from_slice(&low);
        let [kind, code] = evidence::because(value);
        same.then_some(Evidence { kind, code, from, at_ms: evidence::at_ms(value) })
    }

    pub(super) fn evidence_of(&self, slot: u32) -> impl Iterator<Item = &[AtomicU64; evidence::WORDS]> {
        let entries = self.evidence.len() as u32;
        (0..evidence::PROBES).filter_map(move |step| self.evidence.words(others::place(slot, step, entries)))
    }

    fn forget_evidence(&self, slot: u32) {
        self.evidence_of(slot)
            .filter(|entry| entry[evidence::KEY].load(Ordering::Relaxed) == others::key(slot))
            .for_each(|entry| entry[evidence::KEY].store(0, Ordering::Release));
    }

    /// Tells the program the sizes of the arrays that it looks things up in.
    pub(super) fn set_sizes(&self) {
        if let Some(words) = self.config.words(0) {
            words[config::BUCKETS].store(self.index.len() as u64, Ordering::Release);
            words[config::OTHERS].store(self.others.len() as u64, Ordering::Release);
            words[config::EVIDENCE].store(self.evidence.len() as u64, Ordering::Release);
        }
    }

    /// The two entries of each word of the buckets in which a hash may stand.
    fn index_words(&self, hash: u64) -> impl Iterator<Item = &AtomicU64> {
        let buckets = self.index.len() as u32;
        (0..index::PROBES).filter_map(move |step| self.index.words(index::bucket(hash, step, buckets))).flatten()
    }

    pub(super) fn index_insert(&self, slot: u32, target: &Target) -> Result<(), IndexFull> {
        let hash = index::hash(target.network, &target.address);
        let entry = u64::from(index::entry(hash, slot));
        let put = |word: &AtomicU64, shift: usize| {
            let pair = word.load(Ordering::Relaxed);
            let free = (pair >> shift) as u32 == 0;
            if free {
                word.store(pair | entry << shift, Ordering::Release);
            }
            free
        };
        let place = index::place(hash);
        if self.index_words(hash).nth(place / 2).is_some_and(|word| put(word, place % 2 * 32)) {
            return Ok(());
        }
        let found = self.index_words(hash).any(|word| put(word, 0) || put(word, 32));
        if found { Ok(()) } else { Err(IndexFull) }
    }

    /// The slot in which an address of a network sits.
    pub fn slot_of(&self, network: u16, address: IpAddr) -> Option<u32> {
        let octets = mapped(address);
        let hash = index::hash(network, &octets);
        let pairs = self.index_words(hash).map(|word| word.load(Ordering::Relaxed));
        pairs
            .flat_map(|pair| [pair as u32, (pair >> 32) as u32])
            .filter_map(|entry| index::slot(entry, hash))
            .find(|slot| self.target(*slot).is_some_and(|target| target.network == network && target.address == octets))
    }

    fn index_remove(&self, slot: u32, target: &Target) {
        let hash = index::hash(target.network, &target.address);
        let entry = index::entry(hash, slot);
        for word in self.index_words(hash) {
            let pair = word.load(Ordering::Relaxed);
            for shift in [0, 32] {
                if (pair >> shift) as u32 == entry {
                    word.store(pair & !(0xffff_ffff << shift), Ordering::Release);
                    return;
                }
            }
        }
    }
}

pub(super) fn load<const N: usize>(words: &[AtomicU64; N]) -> [u64; N] {
    std::array::from_fn(|i| words[i].load(Ordering::Acquire))
}
