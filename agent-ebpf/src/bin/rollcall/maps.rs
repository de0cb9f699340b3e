//! The maps that agent and programs share. `rollcall_agent_ebpf` says what stands in them.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, PerCpuArray};
use rollcall_agent_ebpf::{board, config, evidence, index, others, reason, receive, run, target};

/// `BPF_F_MMAPABLE` of linux/bpf.h: userspace reads and writes the array as memory.
const MMAPABLE: u32 = 1 << 10;

// The sizes of the first six are placeholders: the agent sets them when it loads the programs.
#[map]
pub(crate) static TARGET: Array<[u64; target::WORDS]> = Array::with_max_entries(1, MMAPABLE);
#[map]
pub(crate) static SENT: Array<[u64; board::SENT_WORDS]> = Array::with_max_entries(1, MMAPABLE);
#[map]
pub(crate) static BOARD: Array<[u64; board::BOARD_WORDS]> = Array::with_max_entries(1, MMAPABLE);
#[map]
pub(crate) static INDEX: Array<[u64; index::BUCKET_WORDS]> = Array::with_max_entries(1, MMAPABLE);
#[map]
pub(crate) static OTHERS: Array<[u64; others::WORDS]> = Array::with_max_entries(1, MMAPABLE);
#[map]
pub(crate) static EVIDENCE: Array<[u64; evidence::WORDS]> = Array::with_max_entries(1, MMAPABLE);
#[map]
pub(crate) static CONFIG: Array<[u64; config::WORDS]> = Array::with_max_entries(1, MMAPABLE);
#[map]
pub(crate) static NETWORKS: Array<[u64; config::NETWORK_WORDS]> = Array::with_max_entries(config::NETWORKS, MMAPABLE);
#[map]
pub(crate) static PASSED: Array<u64> = Array::with_max_entries(config::NETWORKS, MMAPABLE);
#[map]
pub(crate) static RUN: Array<[u64; run::WORDS]> = Array::with_max_entries(1, MMAPABLE);
#[map]
pub(crate) static DUE: Array<[u64; run::BLOCK_WORDS]> = Array::with_max_entries(run::BLOCKS, MMAPABLE);
#[map]
pub(crate) static CLAIM: PerCpuArray<[u64; receive::CLAIM_WORDS]> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub(crate) static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(reason::COUNT, 0);

#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_ktime_get_ns() }
}

/// An element of a map as it is now; userspace may be writing it, word by word.
#[inline(always)]
pub(crate) fn read<T: Copy>(element: *const T) -> T {
    // SAFETY: the pointer comes from a successful look-up and elements are plain integers, valid in every state.
    unsafe { element.read_volatile() }
}
