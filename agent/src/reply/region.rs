//! A `BPF_F_MMAPABLE` array map as memory, or memory that is used like one. The one place where the agent maps memory that the kernel writes.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::sync::atomic::AtomicU64;

use memmap2::{MmapOptions, MmapRaw};

/// Begins to fetch a value into the cache: a hint, without effect on machines whose hint Rust does not know.
pub fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the instruction reads nothing that the program could see, and the address is one of a live value.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

/// The elements of an array map, each of `WORDS` words, shared with the kernel.
#[derive(Debug)]
pub struct Region<const WORDS: usize> {
    memory: MmapRaw,
    elements: usize,
}

impl<const WORDS: usize> Region<WORDS> {
    /// Maps the whole of an array map with `elements` elements of `8 * WORDS` bytes.
    pub fn map(map: impl AsFd, elements: u32) -> io::Result<Self> {
        let elements = elements as usize;
        let memory = MmapOptions::new().len(elements * WORDS * 8).map_raw(map.as_fd().as_raw_fd())?;
        Ok(Region { memory, elements })
    }

    /// As many elements in memory of our own, where no program shares them.
    pub fn anonymous(elements: u32) -> io::Result<Self> {
        let elements = elements as usize;
        let memory = MmapOptions::new().len(elements * WORDS * 8).map_anon()?.into();
        Ok(Region { memory, elements })
    }

    /// Elements.
    pub fn len(&self) -> usize {
        self.elements
    }

    /// Whether there is none; a map has at least one.
    pub fn is_empty(&self) -> bool {
        self.elements == 0
    }

    /// The words of one element; `None` beyond the end.
    pub fn words(&self, index: u32) -> Option<&[AtomicU64; WORDS]> {
        if index as usize >= self.elements {
            return None;
        }
        // SAFETY: the mapping is page-aligned, as long as `elements` elements, lives as long as `self`, and nobody holds
        // a plain reference into it: the kernel side and we touch it by whole aligned words only, hence the atomics.
        Some(unsafe { &*self.memory.as_ptr().cast::<[AtomicU64; WORDS]>().add(index as usize) })
    }

    /// Begins to fetch an element into the cache. Nothing waits for it.
    pub fn prefetch(&self, index: u32) {
        if let Some(words) = self.words(index) {
            prefetch(words);
        }
    }

    /// Bytes mapped.
    pub fn bytes(&self) -> usize {
        self.memory.len()
    }
}
