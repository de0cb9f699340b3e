//! `RUN` and `DUE`: what userspace writes before a test run with live frames, and what the program notes while it goes on.
//!
//! `DUE` is a row of slots, sixteen in a block of 64 bytes: one cache line, one look-up. A run makes one frame for each of
//! the slots between [`CURSOR`] and [`END`]. Only one run goes on at a time, so the cursor needs no lock. Outside of a run both are 0,
//! and then no frame is made, wherever it comes in.

use crate::probe;

/// Slots of a block of `DUE`.
pub const BLOCK: usize = 16;
/// Words of a block.
pub const BLOCK_WORDS: usize = BLOCK / 2;
/// Slots that `DUE` holds: the most that one run sends.
pub const DUE_MAX: usize = 4096;
/// In place of a slot: a frame that is the echo template and nothing else, to see whether frames leave at all.
pub const TRIAL: u32 = u32::MAX;
/// Blocks of `DUE`.
pub const BLOCKS: u32 = (DUE_MAX / BLOCK) as u32;

/// The interface that a test run comes in from, unless told otherwise: the namespace's `lo`
/// (`LOOPBACK_IFINDEX` of include/net/net_namespace.h). The program is never attached there.
pub const LOOPBACK: u32 = 1;

/// Words of `RUN[0]`.
pub const WORDS: usize = TEMPLATE_ECHO_V6 + probe::WORDS_V6;
/// Word: the next place in `DUE`.
pub const CURSOR: usize = 0;
/// Word: the end of what stands in `DUE`.
pub const END: usize = 1;
/// Word: the interface that the frames leave by.
pub const INTERFACE: usize = 2;
/// Word: sums of the echo template's IP header (low half) and ICMP header (high half), in memory order.
pub const SUMS: usize = 3;
/// Word: frames that the driver did not take, since the program was loaded (tracepoint `xdp_devmap_xmit`).
pub const DROPPED: usize = 4;
/// Word: frames that could not be handed to the driver at all (tracepoint `xdp_redirect_err`).
pub const REFUSED: usize = 5;
/// Word: 1 while a run goes on, so that drops of other programs are not counted.
pub const ACTIVE: usize = 6;
/// Word: the send time of the block of `DUE` that is being gone through. One for sixteen frames, which is also what the kernel
/// hands to a driver at once (`DEV_MAP_BULK_SIZE`): reading the clock for each costs as much as building it.
pub const NOW: usize = 7;
/// Word: the VLAN tags of the network, as [`crate::config::Tags::word`].
pub const TAGS: usize = 8;
/// Word: sums of what stays under the checksums of a solicitation (low half) and of an ICMPv6 echo (high half), without source
/// and destination, in memory order.
pub const SUMS_V6: usize = 9;
/// Word: the MAC of the gateway of the run's family, first byte lowest; 0: not known.
pub const GATEWAY: usize = 10;
/// Words: the source address for link-local targets, and the sum of its 16-bit words.
pub const SOURCE_LINK: usize = 11;
/// Words: likewise for all others.
pub const SOURCE_GLOBAL: usize = SOURCE_LINK + SOURCE_WORDS;
/// Words of a source.
pub const SOURCE_WORDS: usize = 3;
/// Words: template of an ARP request.
pub const TEMPLATE_ARP: usize = SOURCE_GLOBAL + SOURCE_WORDS;
/// Words: template of an echo request.
pub const TEMPLATE_ECHO: usize = TEMPLATE_ARP + probe::WORDS;
/// Words: template of a neighbour solicitation.
pub const TEMPLATE_SOLICITATION: usize = TEMPLATE_ECHO + probe::WORDS;
/// Words: template of an ICMPv6 echo request.
pub const TEMPLATE_ECHO_V6: usize = TEMPLATE_SOLICITATION + probe::WORDS_V6;
