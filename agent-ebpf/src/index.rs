//! `INDEX`: (network, address) -> slot, for replies that carry no slot (ARP, later NDP).
//!
//! An open-addressing hash of 64-byte buckets, one cache line and one map look-up each. An entry is a `u32`: slot
//! plus one in the low 24 bits (so zero is empty), an 8-bit tag of the hash above it, so that a bucket is searched
//! without touching `TARGET`. A key may stand in [`PROBES`] consecutive buckets; nothing is ever moved, so removal
//! is one store and a concurrent reader never misses a present key.

/// Entries of a bucket.
pub const ENTRIES: usize = 16;
/// Words of a bucket: two entries a word, the lower entry in the low half.
pub const BUCKET_WORDS: usize = ENTRIES / 2;
/// Buckets in which a key may stand.
pub const PROBES: u32 = 4;

/// Buckets for that many slots: at most half full, a power of two, at least [`PROBES`].
pub const fn buckets(slots: u32) -> u32 {
    let wanted = slots.div_ceil(ENTRIES as u32 / 2).next_power_of_two();
    if wanted < PROBES { PROBES } else { wanted }
}

/// Hash of a key. Not keyed: only the operator's table inserts, the wire merely looks up.
#[inline(always)]
pub fn hash(network: u16, address: &[u8; 16]) -> u64 {
    let [a0, a1, a2, a3, a4, a5, a6, a7, b0, b1, b2, b3, b4, b5, b6, b7] = *address;
    let high = u64::from_le_bytes([a0, a1, a2, a3, a4, a5, a6, a7]);
    let low = u64::from_le_bytes([b0, b1, b2, b3, b4, b5, b6, b7]);
    let mut x = high ^ u64::from(network).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    x ^= low;
    x = (x ^ (x >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    x = (x ^ (x >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    x ^ (x >> 32)
}

/// First bucket of a hash.
#[inline(always)]
pub const fn bucket(hash: u64, buckets: u32) -> u32 {
    hash as u32 & (buckets - 1)
}

/// The entry of a slot under a hash.
#[inline(always)]
pub const fn entry(hash: u64, slot: u32) -> u32 {
    ((hash >> 56) as u32) << 24 | (slot + 1)
}

/// The slot of an entry whose tag fits the hash.
#[inline(always)]
pub const fn slot(entry: u32, hash: u64) -> Option<u32> {
    let number = entry & 0x00ff_ffff;
    if number == 0 || entry >> 24 != (hash >> 56) as u32 { None } else { Some(number - 1) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::mapped;

    #[test]
    fn entries_round_trip_and_empty_is_no_slot() {
        let h = hash(7, &mapped([10, 0, 0, 1]));
        for number in [0, 1, crate::SLOTS_MAX - 1] {
            assert_eq!(slot(entry(h, number), h), Some(number));
        }
        assert_eq!(slot(0, 0), None);
        assert_eq!(slot(entry(h, 5), h ^ (1 << 56)), None);
    }

    #[test]
    fn sequential_addresses_spread_over_the_buckets() {
        // 2^20 addresses into 2^17 buckets: mean 8 (half full); what spills past 4 buckets would be refused.
        extern crate std;
        let n = 1u32 << 20;
        let count = buckets(n);
        assert_eq!(count, 1 << 17);
        let mut fill = std::vec![0u8; count as usize];
        let mut refused = 0;
        for i in 0..n {
            let h = hash(0, &mapped((0x0a80_0100 + i).to_be_bytes()));
            let first = bucket(h, count);
            match (0..PROBES).map(|p| (first + p) & (count - 1)).find(|b| fill[*b as usize] < ENTRIES as u8) {
                Some(b) => fill[b as usize] += 1,
                None => refused += 1,
            }
        }
        assert_eq!(refused, 0);
    }
}
