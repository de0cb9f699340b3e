//! The kernel that this runs on.

use std::fs;

/// Whether the kernel knows `BPF_PROG_RUN` with live frames, by its version: that it works then is what the tests are for.
pub fn has_live_frames() -> bool {
    let release = release();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(5), Some(18))
}

/// The kernel's version.
pub fn release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}
