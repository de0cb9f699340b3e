//! `CONFIG[0]` and `NETWORKS`: what the program must know of the agent as a whole.
//!
//! An entry of `NETWORKS` is two words: the interface and its network, and the interface's MAC (first byte lowest).

/// Words of `CONFIG[0]`.
pub const WORDS: usize = 3;
/// Word: the ICMP identifier in use (low 16 bits) and the one before it, which answers may still carry (next 16).
pub const IDS: usize = 0;
/// Word: number of buckets of `INDEX`.
pub const BUCKETS: usize = 1;
/// Word: number of entries of `OTHERS`.
pub const OTHERS: usize = 2;

/// Words of an entry of `NETWORKS`.
pub const NETWORK_WORDS: usize = 2;
/// Entries of `NETWORKS`: an open-addressing hash of interface index -> network.
pub const NETWORKS: u32 = 4096;
/// Entries in which an interface may stand.
pub const NETWORK_PROBES: u32 = 4;

/// The word [`IDS`].
pub const fn ids_word(current: u16, previous: u16) -> u64 {
    current as u64 | (previous as u64) << 16
}

/// The identifiers of a word [`IDS`].
#[inline(always)]
pub const fn ids(word: u64) -> [u16; 2] {
    [word as u16, (word >> 16) as u16]
}

/// Where an interface stands at a step of its search.
#[inline(always)]
pub const fn network_place(interface: u32, step: u32) -> u32 {
    interface.wrapping_add(step) & (NETWORKS - 1)
}

/// An entry of `NETWORKS`.
pub const fn network_entry(interface: u32, network: u16) -> u64 {
    1 << 63 | (network as u64) << 32 | interface as u64
}

/// The network of an entry that is that interface's.
#[inline(always)]
pub const fn network(entry: u64, interface: u32) -> Option<u16> {
    if entry >> 63 == 1 && entry as u32 == interface { Some((entry >> 32) as u16) } else { None }
}

/// The second word of an entry.
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
}
