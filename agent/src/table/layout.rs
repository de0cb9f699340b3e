//! The bytes of a table, version 2. All integers little-endian, all types of alignment 1: read in place anywhere.
//!
//! ```text
//! Header                                   128 bytes
//! Record    x records    sorted by (network, address)        32 bytes each
//! u32       x records    record indices sorted by (host, record)
//! u32       x hosts      where a host's text begins; hosts sorted by id
//! Span      x networks   names, sorted                        8 bytes each
//! PolicyRow x policies   sorted by name                      32 bytes each
//! LabelRow  x labels     (project, tags) of hosts            16 bytes each
//! Span      x spans      tags of labels, routes of policies   8 bytes each
//! text                   UTF-8: first each host's text, then every other string once
//! ```
//!
//! A host's text is its label and the length of its id, both as in [`super::number`], then id and name; it
//! ends where the next host's begins. So an address of a host with one address takes 32 + 4 + 4 bytes beside
//! its names.

use std::net::IpAddr;

use zerocopy::byteorder::little_endian::{U16, U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::unit::{Mac, unmapped};

/// First bytes of a table. As in PNG, they show a transfer in text mode.
pub(super) const TABLE_MAGIC: [u8; 8] = *b"\x89RCT\r\n\x1a\n";
/// First bytes of a delta.
pub(super) const DELTA_MAGIC: [u8; 8] = *b"\x89RCD\r\n\x1a\n";
/// The one version of tables and deltas that this program reads and writes.
pub(super) const VERSION: u32 = 2;

/// Most addresses of a table: a slot has 24 bits, and some are kept free for growth.
pub const MAX_ADDRESSES: usize = 16_000_000;
/// Most networks of a table, and most policies.
pub const MAX_NAMES: usize = 65_535;
/// Longest id, name, network, project, tag, policy or route, in bytes of UTF-8.
pub const MAX_TEXT: usize = 1024;
/// Most routes of a policy, and most tags of a host: few bytes must not decode into much.
pub const MAX_LIST: usize = 256;

/// The start of a table.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Header {
    pub(super) magic: [u8; 8],
    pub(super) version: U32,
    pub(super) header_length: U32,
    /// Of the whole table, this header included.
    pub(super) length: U64,
    pub(super) generation: U64,
    /// What [`super::sum`] says of the content: who writes a table computes it, and the checksums vouch for it from then on.
    pub(super) digest: U128,
    /// XXH3-64 of everything from [`Header::CONTENT`] on.
    pub(super) content: U64,
    /// XXH3-64 of everything before this field.
    pub(super) checksum: U64,
    pub(super) records: U32,
    pub(super) hosts: U32,
    pub(super) networks: U32,
    pub(super) policies: U32,
    pub(super) labels: U32,
    pub(super) spans: U32,
    /// Of the hosts' part of the text.
    pub(super) host_text: U32,
    pub(super) text: U32,
    pub(super) reserved: [u8; 32],
}

impl Header {
    pub(super) const LENGTH: usize = 128;
    /// The fields that [`Header::checksum`] covers end here.
    pub(super) const CHECKED: usize = 56;
    /// What [`Header::content`] covers begins here.
    pub(super) const CONTENT: usize = 64;
}

/// A piece of the text.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Span {
    pub(super) offset: U32,
    pub(super) length: U32,
}

/// A policy.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct PolicyRow {
    pub(super) name: Span,
    /// All times in milliseconds.
    pub(super) interval: U32,
    pub(super) timeout: U32,
    pub(super) confirm_interval: U32,
    pub(super) down_after: u8,
    pub(super) up_after: u8,
    /// [`crate::policy::Method::code`].
    pub(super) method: u8,
    /// By how many outcomes more than `down_after` are looked at (low half), and than `up_after` (high half).
    pub(super) slack: u8,
    pub(super) first_route: U32,
    pub(super) routes: U32,
}

/// What many hosts have in common.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct LabelRow {
    pub(super) project: Span,
    pub(super) first_tag: U32,
    pub(super) tags: U32,
}

/// One address, 32 bytes, read in place.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Record {
    pub(super) octets: [u8; 16],
    /// Zero: not known.
    pub(super) mac: [u8; 6],
    pub(super) network: U16,
    pub(super) host: U32,
    pub(super) policy: U16,
    pub(super) reserved: [u8; 2],
}

const _: () = assert!(size_of::<Header>() == Header::LENGTH);
const _: () = assert!(std::mem::offset_of!(Header, checksum) == Header::CHECKED);
const _: () = assert!(std::mem::offset_of!(Header, records) == Header::CONTENT);
const _: () = assert!(size_of::<Span>() == 8 && size_of::<PolicyRow>() == 32 && size_of::<LabelRow>() == 16);
const _: () = assert!(size_of::<Record>() == 32 && align_of::<Record>() == 1);

impl Record {
    /// The address.
    pub fn address(&self) -> IpAddr {
        unmapped(self.octets)
    }

    /// The address as [`crate::unit::mapped`] writes it.
    pub fn octets(&self) -> [u8; 16] {
        self.octets
    }

    /// The MAC that the platform gave, if it did.
    pub fn mac(&self) -> Option<Mac> {
        Some(Mac(self.mac)).filter(|mac| mac.0 != [0; 6])
    }

    /// Index into [`super::Table::networks`].
    pub fn network(&self) -> u16 {
        self.network.get()
    }

    /// Index into [`super::Table::policies`].
    pub fn policy(&self) -> u16 {
        self.policy.get()
    }

    /// Index for [`super::Table::host`].
    pub fn host(&self) -> u32 {
        self.host.get()
    }

    /// What records are sorted by.
    pub(super) fn key(&self) -> (u16, u128) {
        (self.network.get(), u128::from_be_bytes(self.octets))
    }
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record")
            .field("address", &self.address())
            .field("mac", &self.mac())
            .field("network", &self.network())
            .field("policy", &self.policy())
            .field("host", &self.host())
            .finish()
    }
}
