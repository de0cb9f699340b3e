//! The fleet's `BEHAVIOUR` as plain memory: a kernel array map with `BPF_F_MMAPABLE`, mapped shared.
// Why: aya has no mmap of arrays; and atomics over foreign memory can only be made by `from_ptr`.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::AtomicU64;

use memmap2::{MmapOptions, MmapRaw};

/// An array of `u64` that the kernel's programs read and write at the same time.
pub(crate) struct Words {
    memory: MmapRaw,
    count: usize,
}

impl Words {
    /// Maps a map of `count` values of 8 bytes each.
    pub(crate) fn map(map: BorrowedFd<'_>, count: usize) -> io::Result<Self> {
        let memory = MmapOptions::new().len(count * size_of::<u64>()).map_raw(map.as_raw_fd())?;
        Ok(Self { memory, count })
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// One of them.
    pub(crate) fn word(&self, index: usize) -> Option<&AtomicU64> {
        if index >= self.count {
            return None;
        }
        // SAFETY: the mapping is at least `count` words long (the kernel refuses to map more than the map has, in whole
        // pages), page-aligned, and lives as long as `self`. All accesses of this process go through these atomics;
        // the kernel's are single loads and stores of 8 aligned bytes.
        Some(unsafe { AtomicU64::from_ptr(self.memory.as_mut_ptr().cast::<u64>().add(index)) })
    }
}
