//! `INDEX`: (network, address) -> slot, for replies that carry no slot (ARP, NDP).
//!
//! An open-addressing hash of 64-byte buckets, one cache line and one map look-up each. An entry is a `u32`: slot
//! plus one in the low 24 bits (so zero is empty), an 8-bit tag of the hash above it, so that a bucket is searched
//! without touching `TARGET`. Sixteen buckets are a row; a key may stand in [`PROBES`] buckets, one below the other in as many
//! rows. Nothing is ever moved, so removal is one store and a concurrent reader never misses a present key.
//!
//! Neighbours are probed one after the other, and are laid close to each other here: addresses that differ in their last two bits
//! alone begin in the same bucket, those that differ in their last six in the same row, whose buckets they fill from one that the
//! hash names. Of a million addresses each look-up would otherwise go to memory, and to a page that no look-up went to just before.
//! In its first bucket a key has a place of its own ([`place`]), which four of five keys get: nothing is searched for them.

/// Entries of a bucket.
pub const ENTRIES: usize = 16;
/// Words of a bucket: two entries a word, the lower entry in the low half.
pub const BUCKET_WORDS: usize = ENTRIES / 2;
/// Buckets in which a key may stand.
pub const PROBES: u32 = 16;
/// Low bits of an address that its bucket does not depend on.
const TOGETHER: u32 = 2;
/// Bits above them that choose the bucket in a row; of both the row does not depend.
const COLUMN: u32 = 4;
/// Buckets of a row.
const ROW: u32 = 1 << COLUMN;
/// Entries that a bucket holds on average when all slots are in use.
const FILL: u32 = 7;

/// Buckets for that many slots.
pub const fn buckets(slots: u32) -> u32 {
    let rows = slots.div_ceil(FILL).div_ceil(ROW);
    ROW * if rows < PROBES { PROBES } else { rows }
}

/// Hash of a key. Not keyed: only the operator's table inserts, the wire merely looks up.
#[inline(always)]
pub fn hash(network: u16, address: &[u8; 16]) -> u64 {
    let [a0, a1, a2, a3, a4, a5, a6, a7, b0, b1, b2, b3, b4, b5, b6, b7] = *address;
    hash_words(network, u64::from_le_bytes([a0, a1, a2, a3, a4, a5, a6, a7]), u64::from_le_bytes([b0, b1, b2, b3, b4, b5, b6, b7]))
}

/// The same of an address as the two words in which a target holds it.
#[inline(always)]
pub const fn hash_words(network: u16, high: u64, low: u64) -> u64 {
    let (byte, rest) = (low >> 56, low & ((1 << 56) - 1));
    let (last, column) = (byte & ((1 << TOGETHER) - 1), byte >> TOGETHER);
    let low = rest | (column >> COLUMN) << 56;
    let mut x = high ^ (network as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    x ^= low;
    x = (x ^ (x >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    x = (x ^ (x >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    x ^= x >> 32;
    // The last bits go into the tag, which tells the neighbours apart.
    let x = x ^ (last << (64 - TOGETHER));
    let column = ((x >> 32) + column) % ROW as u64;
    x & !((ROW as u64 - 1) << 32) | column << 32
}

/// The bucket of a hash at a step of its search.
#[inline(always)]
pub const fn bucket(hash: u64, step: u32, buckets: u32) -> u32 {
    let first = ((hash as u32 as u64 * (buckets / ROW) as u64) >> 32) as u32 * ROW + (hash >> 32) as u32 % ROW;
    let bucket = first + step * ROW;
    if bucket >= buckets { bucket - buckets } else { bucket }
}

/// The place in its first bucket that a key takes where nobody sits there yet: another one for each of four neighbours.
#[inline(always)]
pub const fn place(hash: u64) -> usize {
    (hash >> 62 << 2 | hash >> 54 & 3) as usize
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
    extern crate std;

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

    /// How many of the addresses find no room, and the longest search.
    fn fill(count: u32, address: impl Fn(u32) -> u32) -> (u32, u32) {
        let buckets = buckets(count);
        let mut fill = std::vec![0u8; buckets as usize];
        let (mut refused, mut longest) = (0, 0);
        for i in 0..count {
            let h = hash(0, &mapped(address(i).to_be_bytes()));
            match (0..PROBES).find(|step| fill[bucket(h, *step, buckets) as usize] < ENTRIES as u8) {
                Some(step) => {
                    fill[bucket(h, step, buckets) as usize] += 1;
                    longest = longest.max(step + 1);
                }
                None => refused += 1,
            }
        }
        (refused, longest)
    }

    #[test]
    fn every_address_finds_room_whether_they_lie_close_together_or_apart() {
        for count in [1, 100, 1000, 50_000, 1 << 20] {
            for (name, (refused, longest)) in [
                ("in a row", fill(count, |i| 0x0a80_0100 + i)),
                ("every second", fill(count, |i| 0x0a00_0001 + 2 * i)),
                ("ten of each /24", fill(count, |i| 0x0a00_0000 + (i / 10) * 256 + i % 10)),
                ("scattered", fill(count, |i| i.wrapping_mul(0x9e37_79b1))),
            ] {
                assert_eq!(refused, 0, "{count} addresses {name}");
                assert!(longest <= PROBES / 2, "{count} addresses {name}: {longest} buckets");
            }
        }
    }

    #[test]
    fn most_keys_get_a_place_of_their_own() {
        let (count, mut own) = (1 << 20, 0);
        let mut taken = std::vec![[false; ENTRIES]; buckets(count) as usize];
        for i in 0..count {
            let h = hash(0, &mapped((0x0a80_0100 + i).to_be_bytes()));
            let first = &mut taken[bucket(h, 0, buckets(count)) as usize];
            if !std::mem::replace(&mut first[place(h)], true) {
                own += 1;
            } else if let Some(free) = first.iter_mut().find(|taken| !**taken) {
                *free = true;
            }
        }
        assert!(own * 100 > count * 78, "{own} of {count}");
        let places = [8u8, 9, 10, 11].map(|last| place(hash(3, &mapped([10, 0, 0, last]))));
        assert!((1..4).all(|at| !places[..at].contains(&places[at])), "{places:?}");
    }

    #[test]
    fn sixty_four_neighbours_fill_one_row_at_each_step() {
        let buckets = buckets(1 << 20);
        for step in [0, 1, PROBES - 1] {
            let mut fill = std::collections::BTreeMap::new();
            for last in 64..128 {
                *fill.entry(bucket(hash(3, &mapped([10, 0, 7, last])), step, buckets)).or_insert(0) += 1;
            }
            let first = *fill.keys().next().unwrap();
            assert_eq!(first % ROW, 0);
            assert!(fill.into_iter().eq((first..first + ROW).map(|bucket| (bucket, 4))), "step {step}");
        }
    }

    #[test]
    fn neighbours_share_a_bucket_and_differ_in_their_tags() {
        let hashes = [8u8, 9, 10, 11].map(|last| hash(3, &mapped([10, 0, 0, last])));
        assert!(hashes.iter().all(|h| bucket(*h, 0, 1000) == bucket(hashes[0], 0, 1000)));
        for (i, h) in hashes.iter().enumerate() {
            assert!(hashes[..i].iter().all(|other| slot(entry(*other, 5), *h).is_none()));
        }
    }
}
