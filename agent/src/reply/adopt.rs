//! Taking over from a smaller set of arrays, while probes and answers go on.

use std::sync::atomic::Ordering;

use rollcall_agent_ebpf::{board, evidence, others};

use super::arrays::{Arrays, IndexFull};
use super::region::Region;

impl Arrays {
    /// Copies targets and configuration of a smaller set and builds the index: all that only userspace writes.
    pub(super) fn adopt(&self, old: &Arrays) -> Result<(), IndexFull> {
        self.adopt_targets(old);
        (0..old.capacity())
            .filter_map(|slot| Some((slot, old.target(slot)?)))
            .try_for_each(|(slot, target)| self.index_insert(slot, &target))
    }

    /// Copies targets and configuration again, as they are now: MACs may have been learned since [`Arrays::adopt`], the
    /// identifier changed, an interface made anew. Who is in the index has not changed: only plans do that.
    pub(super) fn adopt_targets(&self, old: &Arrays) {
        copy(&old.config, &self.config);
        copy(&old.networks, &self.networks);
        copy(&old.passed, &self.passed);
        self.set_sizes();
        copy(&old.target, &self.target);
    }

    /// Copies `SENT`, `BOARD`, `OTHERS` and `EVIDENCE` of a smaller set, just before the programs are swapped.
    pub(super) fn adopt_traces(&self, old: &Arrays) {
        copy(&old.sent, &self.sent);
        copy(&old.board, &self.board);
        for from in (0..old.others.len() as u32).filter_map(|place| old.others.words(place)) {
            let Some(slot) = others::slot(from[others::KEY].load(Ordering::Acquire)) else { continue };
            if let Some(to) = self.others_of(slot).find(|entry| entry[others::KEY].load(Ordering::Relaxed) == 0) {
                to[others::VALUE].store(from[others::VALUE].load(Ordering::Relaxed), Ordering::Relaxed);
                to[others::KEY].store(others::key(slot), Ordering::Release);
            }
        }
        for from in (0..old.evidence.len() as u32).filter_map(|place| old.evidence.words(place)) {
            let Some(slot) = others::slot(from[evidence::KEY].load(Ordering::Acquire)) else { continue };
            if let Some(to) = self.evidence_of(slot).find(|entry| entry[evidence::KEY].load(Ordering::Relaxed) == 0) {
                from.iter().zip(to).skip(1).for_each(|(from, to)| to.store(from.load(Ordering::Relaxed), Ordering::Relaxed));
                to[evidence::KEY].store(others::key(slot), Ordering::Release);
            }
        }
    }

    /// Takes over replies that reached the old set between [`Arrays::adopt_traces`] and the swap of the programs.
    pub(super) fn adopt_stragglers(&self, old: &Arrays) {
        for slot in 0..old.capacity() {
            let (Some(from), Some(to)) = (old.board.words(slot), self.board.words(slot)) else { continue };
            let (old_word, new_word) = (from[0].load(Ordering::Acquire), to[0].load(Ordering::Acquire));
            if old_word == new_word {
                continue;
            }
            let word = match board::newest(old_word).wrapping_sub(board::newest(new_word)) {
                0 => board::merged(new_word, old_word),
                1..0x8000 => old_word,
                _ => continue,
            };
            // Lost only to a reply that came in just now, which is newer.
            let _ = to[0].compare_exchange(new_word, word, Ordering::AcqRel, Ordering::Relaxed);
        }
    }
}

fn copy<const WORDS: usize>(from: &Region<WORDS>, to: &Region<WORDS>) {
    for element in 0..from.len().min(to.len()) as u32 {
        if let (Some(from), Some(to)) = (from.words(element), to.words(element)) {
            from.iter().zip(to).for_each(|(from, to)| to.store(from.load(Ordering::Relaxed), Ordering::Relaxed));
        }
    }
}
