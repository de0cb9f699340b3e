//! The receiver in the driver: `rollcall_agent_ebpf::receive` over a frame and the maps.

use aya_ebpf::programs::XdpContext;
use rollcall_agent_ebpf::reason::Reason;
use rollcall_agent_ebpf::receive::{self, Cell, Claim, Frame, Plain, World};
use rollcall_agent_ebpf::{board, config, evidence, index, others, target};

use crate::maps::{BOARD, CLAIM, CONFIG, EVIDENCE, INDEX, NETWORKS, OTHERS, PASSED, SENT, TARGET, now, read};

#[inline(always)]
pub(crate) fn classify(ctx: &XdpContext) -> Reason {
    receive::classify(Packet { start: ctx.data(), end: ctx.data_end() }, ctx.ingress_ifindex() as u32, &Maps)
}

/// The bytes between `data` and `data_end`.
#[derive(Clone, Copy)]
struct Packet {
    start: usize,
    end: usize,
}

impl Frame for Packet {
    #[inline(always)]
    fn get<T: Plain>(self, offset: usize) -> Option<T> {
        let start = self.start + offset;
        if start + size_of::<T>() > self.end {
            return None;
        }
        // SAFETY: the bytes lie between data and data_end, which is what the verifier asks for as well; kernels on which words
        // must be aligned refuse the program rather than fault. Plain values are valid in every state.
        Some(unsafe { (start as *const T).read_volatile() })
    }
}

/// A word of a map's element.
#[derive(Clone, Copy)]
struct Word(*mut u64);

impl Cell for Word {
    #[inline(always)]
    fn load(self) -> u64 {
        // SAFETY: the pointer comes from a successful look-up, and lies within the element.
        unsafe { self.0.read_volatile() }
    }

    /// One store of one word: the judge in userspace sees the answer whole or not at all. Answers of one address come in
    /// on one CPU (one flow, one queue), so reading, deciding and storing needs no lock.
    #[inline(always)]
    fn store(self, value: u64) {
        // SAFETY: as above.
        unsafe { self.0.write_volatile(value) };
    }
}

struct Maps;

impl World for Maps {
    type Cell = Word;

    #[inline(always)]
    fn target(&self, slot: u32) -> Option<[u64; target::WORDS]> {
        Some(read(TARGET.get_ptr(slot)?))
    }

    #[inline(always)]
    fn sent(&self, slot: u32) -> Option<[u64; board::SENT_WORDS]> {
        Some(read(SENT.get_ptr(slot)?))
    }

    #[inline(always)]
    fn board(&self, slot: u32) -> Option<Word> {
        Some(Word(BOARD.get_ptr_mut(slot)?.cast()))
    }

    #[inline(always)]
    fn bucket(&self, bucket: u32) -> Option<[u64; index::BUCKET_WORDS]> {
        Some(read(INDEX.get_ptr(bucket)?))
    }

    #[inline(always)]
    fn entry(&self, bucket: u32, place: usize) -> Option<u32> {
        let first: *const u32 = INDEX.get_ptr(bucket)?.cast();
        // SAFETY: the look-up gave a whole bucket, and the rest of a division by its entries is below them.
        Some(unsafe { first.add(place % index::ENTRIES).read_volatile() })
    }

    #[inline(always)]
    fn other(&self, place: u32) -> Option<[Word; others::WORDS]> {
        let first: *mut u64 = OTHERS.get_ptr_mut(place)?.cast();
        // SAFETY: the look-up gave a whole entry of two words.
        Some([Word(first), Word(unsafe { first.add(1) })])
    }

    #[inline(always)]
    fn evidence(&self, place: u32) -> Option<[Word; evidence::WORDS]> {
        let first: *mut u64 = EVIDENCE.get_ptr_mut(place)?.cast();
        // SAFETY: the look-up gave a whole entry of four words.
        Some(unsafe { [Word(first), Word(first.add(1)), Word(first.add(2)), Word(first.add(3))] })
    }

    #[inline(always)]
    fn network(&self, place: u32) -> Option<[u64; config::NETWORK_WORDS]> {
        Some(read(NETWORKS.get_ptr(place)?))
    }

    #[inline(always)]
    fn passed(&self, network: u16) -> Option<Word> {
        Some(Word(PASSED.get_ptr_mut(network.into())?))
    }

    #[inline(always)]
    fn config(&self, word: usize) -> Option<u64> {
        let first: *const u64 = CONFIG.get_ptr(0)?.cast();
        // SAFETY: `word` is one of the constants of `config`, below its number of words.
        Some(unsafe { first.add(word).read_volatile() })
    }

    #[inline(always)]
    fn settle(&self, claim: Claim) -> Option<Claim> {
        let words: *mut [u64; receive::CLAIM_WORDS] = CLAIM.get_ptr_mut(0)?;
        // SAFETY: a per-CPU element, and a program is not preempted by itself on one CPU.
        Some(unsafe {
            words.write_volatile(claim.words());
            Claim::of(words.read_volatile())
        })
    }

    #[inline(always)]
    fn now(&self) -> u64 {
        now()
    }
}
