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

/// Smallest piece that the kernel can back by a huge page: 2 MB on x86-64 and on arm64 with pages of 4 KB.
#[cfg(target_os = "linux")]
const HUGE: usize = 2 << 20;

/// Asks for huge pages behind what a vector has reserved, before it is filled (Documentation/admin-guide/mm/transhuge.rst). Who looks at
/// every slot once a second otherwise spends his time on page tables, in a virtual machine twice. Only advice: without it all is as right.
pub fn prefer_huge_pages<T>(items: &Vec<T>) {
    #[cfg(target_os = "linux")]
    {
        let length = items.capacity() * size_of::<T>();
        if length < HUGE {
            return;
        }
        let start = items.as_ptr().cast::<u8>();
        let into_page = start.addr() % 4096;
        // SAFETY: MADV_HUGEPAGE changes by which pages memory is backed, never what stands in it. The page in which the vector begins is of
        // the same piece of malloc's, which has a mapping of its own at that size.
        unsafe {
            libc::madvise(start.wrapping_sub(into_page).cast_mut().cast(), length + into_page, libc::MADV_HUGEPAGE);
        }
    }
}
