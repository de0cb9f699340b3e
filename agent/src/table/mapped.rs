//! A table's file, mapped: the one place of this crate's tables that needs `unsafe`.
//!
//! Only files of the agent's own state directory are mapped. They are made by this process with a name of its own and mode 0600,
//! written once, and from then on only replaced by renaming another file over them or unlinked: the mapped file stays as it is for
//! as long as it is mapped. Files that an operator names are read: whoever truncated one would kill the agent.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Deref;

use memmap2::{Mmap, UncheckedAdvice};

/// A file of ours, mapped to be read.
pub struct Mapping(Mmap);

impl Mapping {
    /// Maps a whole file of the state directory.
    pub fn of(file: &File) -> io::Result<Mapping> {
        // SAFETY: nobody but the state directory's owner can write to the file, and this process changes nothing in it but the
        // header, before the table is shared (see the head of this module). All that is read from it is read as plain bytes, with
        // every offset checked against its length and every string checked again, so even bytes that changed would be an error that
        // is told, not undefined behaviour further on.
        let map = unsafe { Mmap::map(file) }?;
        Ok(Mapping(map))
    }

    /// Takes all pages out of this process's memory. They stay in the page cache for as long as the kernel has room.
    pub fn cool(&self) {
        // SAFETY: a shared mapping of a file that is never written through it: dropped pages come back with the same content.
        let cooled = unsafe { self.0.unchecked_advise(UncheckedAdvice::DontNeed) };
        // Memory that is not given back is no reason to fail.
        drop(cooled);
    }
}

impl Deref for Mapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
