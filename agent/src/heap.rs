//! The heap of a process that now and then needs much memory for a moment: a table is checked, planned, written.
#![allow(unsafe_code)]

/// Has large pieces of memory go back to the kernel as soon as they are freed. Call it first of all.
///
/// glibc takes a freed large piece as a reason to keep such pieces from then on (mallopt(3), M_MMAP_THRESHOLD), and gives every
/// thread a heap of its own: an agent of a million hosts would hold on to half as much again as it needs.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: mallopt only sets numbers that malloc looks at, under malloc's own lock.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, 256 << 10);
            libc::mallopt(libc::M_TRIM_THRESHOLD, 1 << 20);
            libc::mallopt(libc::M_ARENA_MAX, 2);
        }
    }
}

/// Gives back what lies free between pieces that are in use. After work that made many small pieces.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim walks malloc's own lists under malloc's own locks, and touches no piece that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}
