//! What both sides of the kernel line agree on: the layouts of the shared arrays, the header ranges of the
//! frames, the checksum, the hash of `INDEX`, and the rules by which a reply is matched to a probe.
//!
//! The library is `no_std` and builds for the host too, so that plain `cargo test` reaches its logic; the XDP
//! programs in `src/bin` are thin shells around it. [`VERSION`] goes up with every change of a layout and is
//! checked when the agent loads the program.
#![no_std]

pub mod board;
pub mod checksum;
pub mod config;
pub mod evidence;
pub mod fleet;
pub mod frame;
pub mod index;
pub mod others;
pub mod probe;
pub mod reason;
pub mod receive;
pub mod run;
pub mod target;

/// Version of everything in this crate that both sides must agree on.
pub const VERSION: u32 = 6;

/// Highest slot number plus one: `INDEX` keeps a slot in 24 bits, and 0 means empty.
pub const SLOTS_MAX: u32 = (1 << 24) - 1;
