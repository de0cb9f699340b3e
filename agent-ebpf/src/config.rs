//! `CONFIG[0]`, `NETWORKS` and `PASSED`: what the program must know of the agent as a whole, and the agent of the program.
//!
//! An entry of `NETWORKS` is three words: the interface and its network, the VLAN tags under which frames of that network
//! come, and the interface's MAC (first byte lowest). Interfaces of two network namespaces may have one number: the MAC tells
//! them apart.
//!
//! `PASSED[network]` is the time of the monotonic clock, in nanoseconds, at which an ARP reply or neighbour advertisement to the agent was
//! last passed on to the kernel's stack. The agent hears those by a socket: one that did not come by the program shows that the program
//! is not asked any more.

use crate::frame::eth;

/// Words of `CONFIG[0]`.
pub const WORDS: usize = 4;
/// Word: the ICMP identifier in use (low 16 bits) and the one before it, which answers may still carry (next 16).
pub const IDS: usize = 0;
/// Word: number of buckets of `INDEX`.
pub const BUCKETS: usize = 1;
/// Word: number of entries of `OTHERS`.
pub const OTHERS: usize = 2;
/// Word: number of entries of `EVIDENCE`.
pub const EVIDENCE: usize = 3;

/// Words of an entry of `NETWORKS`.
pub const NETWORK_WORDS: usize = 3;
/// Word of an entry: [`network_entry`]; 0 when free.
pub const NETWORK_KEY: usize = 0;
/// Word of an entry: the tags, as [`Tags::word`].
pub const NETWORK_TAGS: usize = 1;
/// Word of an entry: [`mac_word`].
pub const NETWORK_MAC: usize = 2;
/// Entries of `NETWORKS`: an open-addressing hash of interface and tags -> network.
pub const NETWORKS: u32 = 4096;
/// Entries in which an interface may stand.
pub const NETWORK_PROBES: u32 = 8;

/// The word [`IDS`].
pub const fn ids_word(current: u16, previous: u16) -> u64 {
    current as u64 | (previous as u64) << 16
}

/// The identifiers of a word [`IDS`].
#[inline(always)]
pub const fn ids(word: u64) -> [u16; 2] {
    [word as u16, (word >> 16) as u16]
}

/// The VLAN tags of a network's frames: none, one, or two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tags {
    /// Identifier of the outer tag, 1 to 4094; 0: no tag.
    pub outer: u16,
    /// Identifier of the inner one; 0: no second tag.
    pub inner: u16,
    /// The outer tag's protocol identifier is that of a service tag (IEEE 802.1ad).
    pub service: bool,
}

impl Tags {
    /// As the four bytes of each tag in memory order, outer in the low half; no priority, not drop eligible.
    pub const fn word(self) -> u64 {
        let outer = match self.outer {
            0 => 0,
            id => bytes(if self.service { eth::SERVICE_VLAN } else { eth::VLAN }, id),
        };
        let inner = match self.inner {
            0 => 0,
            id => bytes(eth::VLAN, id),
        };
        outer as u64 | (inner as u64) << 32
    }

    /// How many there are.
    pub const fn count(self) -> usize {
        (self.outer != 0) as usize + (self.inner != 0) as usize
    }
}

const fn bytes(protocol: u16, id: u16) -> u32 {
    let ([a, b], [c, d]) = (protocol.to_be_bytes(), (id & 0x0fff).to_be_bytes());
    u32::from_le_bytes([a, b, c, d])
}

/// Where an interface stands at a step of its search.
#[inline(always)]
pub const fn network_place(interface: u32, tags: u64, mac: u64, step: u32) -> u32 {
    let mixed = (tags ^ tags >> 29 ^ mac).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48;
    interface.wrapping_add(mixed as u32).wrapping_add(step) & (NETWORKS - 1)
}

/// The key of an entry of `NETWORKS`.
pub const fn network_entry(interface: u32, network: u16) -> u64 {
    1 << 63 | (network as u64) << 32 | interface as u64
}

/// The network of a key that is that interface's.
#[inline(always)]
pub const fn network(entry: u64, interface: u32) -> Option<u16> {
    if entry >> 63 == 1 && entry as u32 == interface { Some((entry >> 32) as u16) } else { None }
}

/// A MAC as a word.
#[inline(always)]
pub const fn mac_word(mac: [u8; 6]) -> u64 {
    u64::from_le_bytes([mac[0], mac[1], mac[2], mac[3], mac[4], mac[5], 0, 0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_entries_round_trip_and_empty_is_none() {
        assert_eq!(network(network_entry(77, 65_535), 77), Some(65_535));
        assert_eq!(network(network_entry(77, 3), 78), None);
        assert_eq!(network(0, 0), None);
        assert_eq!(ids(ids_word(7, 0xffff)), [7, 0xffff]);
    }

    #[test]
    fn tags_are_the_bytes_of_the_wire() {
        let tags = Tags { outer: 0x123, inner: 0xffe, service: true };
        assert_eq!(tags.word().to_le_bytes(), [0x88, 0xa8, 0x01, 0x23, 0x81, 0x00, 0x0f, 0xfe]);
        assert_eq!(Tags { outer: 5, ..Tags::default() }.word().to_le_bytes(), [0x81, 0, 0, 5, 0, 0, 0, 0]);
        assert_eq!((Tags::default().word(), Tags::default().count(), tags.count()), (0, 0, 2));
    }

    #[test]
    fn networks_of_one_trunk_do_not_crowd_together() {
        for service in [false, true] {
            let mut fill = [0u8; NETWORKS as usize];
            // A thousand VLANs of one interface, each in the first free place.
            for outer in 1..=1000 {
                let tags = Tags { outer, inner: 0, service }.word();
                let free =
                    (0..NETWORK_PROBES).map(|step| network_place(9, tags, 0xb5d2_11fa_1652, step) as usize).find(|place| fill[*place] == 0);
                fill[free.expect("no room")] = 1;
            }
        }
    }
}
