//! The receiver: recognises the answers to our own probes and writes them to `BOARD`. Whatever is not provably ours goes on.
//!
//! Two steps, both for any [`Frame`] and any [`World`], so that the same code runs in the XDP program and in userspace:
//! [`parse`] makes a [`Claim`] of a frame, or nothing; [`judge`] compares the claim with what we know.

mod claim;
mod ipv4;
mod ipv6;
mod judge;

pub use claim::{Claim, Kind, Named, WORDS as CLAIM_WORDS};
pub use judge::judge;

use crate::frame::eth;
use crate::reason::Reason;

/// A part of a frame that can be read as a value, in memory order.
pub trait Plain: Copy {
    /// From as many bytes as it has.
    fn of(bytes: &[u8]) -> Option<Self>;
}

macro_rules! plain {
    ($($kind:ty),+) => { $(impl Plain for $kind {
        #[inline(always)]
        fn of(bytes: &[u8]) -> Option<Self> {
            Some(<$kind>::from_le_bytes(bytes.try_into().ok()?))
        }
    })+ };
}
plain!(u8, u16, u32, u64);

/// A frame as it came in.
pub trait Frame: Copy {
    /// The value at an offset; `None` where the frame ends before it.
    fn get<T: Plain>(self, offset: usize) -> Option<T>;
}

impl Frame for &[u8] {
    #[inline(always)]
    fn get<T: Plain>(self, offset: usize) -> Option<T> {
        T::of(self.get(offset..offset.checked_add(size_of::<T>())?)?)
    }
}

/// A word that the receiver writes and others read: one store, so nobody sees half of it.
pub trait Cell: Copy {
    /// As it is now.
    fn load(self) -> u64;
    /// From now on.
    fn store(self, value: u64);
}

/// The shared arrays, wherever the receiver runs.
pub trait World {
    /// A word of an element.
    type Cell: Cell;
    /// `TARGET[slot]`.
    fn target(&self, slot: u32) -> Option<[u64; crate::target::WORDS]>;
    /// `SENT[slot]`.
    fn sent(&self, slot: u32) -> Option<[u64; crate::board::SENT_WORDS]>;
    /// `BOARD[slot]`.
    fn board(&self, slot: u32) -> Option<Self::Cell>;
    /// `INDEX[bucket]`.
    fn bucket(&self, bucket: u32) -> Option<[u64; crate::index::BUCKET_WORDS]>;
    /// One entry of `INDEX[bucket]`.
    fn entry(&self, bucket: u32, place: usize) -> Option<u32>;
    /// `OTHERS[place]`.
    fn other(&self, place: u32) -> Option<[Self::Cell; crate::others::WORDS]>;
    /// `EVIDENCE[place]`.
    fn evidence(&self, place: u32) -> Option<[Self::Cell; crate::evidence::WORDS]>;
    /// `NETWORKS[place]`.
    fn network(&self, place: u32) -> Option<[u64; crate::config::NETWORK_WORDS]>;
    /// `PASSED[network]`: when an answer of a neighbour was passed on last.
    fn passed(&self, network: u16) -> Option<Self::Cell>;
    /// A word of `CONFIG[0]`.
    fn config(&self, word: usize) -> Option<u64>;
    /// Passes a claim through memory where that helps the verifier: it then knows nothing of the ways by which claims came to be,
    /// and goes through what follows once.
    fn settle(&self, claim: Claim) -> Option<Claim>;
    /// The monotonic clock, in nanoseconds: the one that `SENT` is written by.
    fn now(&self) -> u64;
}

/// Where a frame came in. Interfaces have numbers of their own in each network namespace, and the program does not learn in which one
/// it runs: the MAC that the frame was sent to, which is the interface's, tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whence {
    /// Number of the interface.
    pub interface: u32,
    /// The MAC that it was sent to, as [`crate::config::mac_word`].
    pub to: u64,
}

/// A MAC in the low bytes of a word.
const MAC: u64 = (1 << 48) - 1;

/// What the receiver makes of a frame that came in from an interface.
#[inline(always)]
pub fn classify<F: Frame, W: World>(frame: F, interface: u32, world: &W) -> Reason {
    answer(frame, interface, world).unwrap_or(Reason::Foreign)
}

/// Nearly all that comes in are plain ARP and echo replies. Each of the two has a way of its own, on which the compiler keeps the
/// claim in registers; all others share one.
#[inline(always)]
fn answer<F: Frame, W: World>(frame: F, interface: u32, world: &W) -> Option<Reason> {
    let (first, second): (u64, u64) = (frame.get(0)?, frame.get(8)?);
    let from = Whence { interface, to: first & MAC };
    if (second >> 32) as u16 == ARP {
        return judge(&ipv4::arp::<F, 0>(frame, second, 0)?, from, world);
    }
    if let Some(claim) = ipv4::plain_echo(frame, second) {
        return judge(&claim, from, world);
    }
    judge(&world.settle(parse(frame)?)?, from, world)
}

/// What a frame says, if it has the shape of an answer, or of a router's word about a probe of ours.
#[inline(always)]
pub fn parse<F: Frame>(frame: F) -> Option<Claim> {
    // Words in memory order: type and the two bytes behind it are in the upper half of the second.
    let second: u64 = frame.get(8)?;
    let kind = (second >> 32) as u16;
    if kind != VLAN && kind != SERVICE_VLAN {
        return untagged::<F, 0>(frame, second, 0);
    }
    let outer = (second >> 32) as u32 & TAG;
    // Identifier 0 is a tag that gives a priority and no network (IEEE 802.1Q, 6.8.1).
    let outer = if outer & IDENTIFIER == 0 { 0 } else { u64::from(outer) };
    let third: u64 = frame.get(12)?;
    if (third >> 32) as u16 == VLAN {
        let inner = (third >> 32) as u32 & TAG;
        untagged::<F, 8>(frame, frame.get(16)?, outer | u64::from(inner) << 32)
    } else {
        untagged::<F, 4>(frame, third, outer)
    }
}

const VLAN: u16 = eth::VLAN.to_be();
const SERVICE_VLAN: u16 = eth::SERVICE_VLAN.to_be();
const IPV4: u16 = eth::IPV4.to_be();
const IPV6: u16 = eth::IPV6.to_be();
const ARP: u16 = eth::ARP.to_be();
/// A tag without its priority.
const TAG: u32 = u32::from_le_bytes([0xff, 0xff, 0x0f, 0xff]);
const IDENTIFIER: u32 = u32::from_le_bytes([0, 0, 0x0f, 0xff]);

/// A frame whose header is longer by `SHIFT` bytes of tags; `second` is the word that ends with the type and two more bytes.
#[inline(always)]
fn untagged<F: Frame, const SHIFT: usize>(frame: F, second: u64, tags: u64) -> Option<Claim> {
    match (second >> 32) as u16 {
        IPV4 => ipv4::parse::<F, SHIFT>(frame, second, tags),
        ARP => ipv4::arp::<F, SHIFT>(frame, second, tags),
        IPV6 => ipv6::parse::<F, SHIFT>(frame, tags),
        _ => None,
    }
}

/// The sum of the 16-bit words of a word.
#[inline(always)]
const fn halves(word: u64) -> u64 {
    (word & 0xffff) + (word >> 16 & 0xffff) + (word >> 32 & 0xffff) + (word >> 48)
}
