//! `OTHERS`: which other MAC answered for an address, and how often. Hardly any address has one, so this is a small
//! open-addressing hash by slot, beside the arrays that hold something for each.
//!
//! An entry is two words: the slot plus one (0: free), and the MAC (low 48 bits, first byte lowest) with the count (high 16
//! bits, saturating). Where all [`PROBES`] entries of a slot are taken by others its MAC is not kept; the frame is counted
//! all the same ([`crate::reason::Reason::OtherMac`]).

/// Words of an entry.
pub const WORDS: usize = 2;
/// Word of an entry: the slot plus one, 0 when free.
pub const KEY: usize = 0;
/// Word of an entry: see [`once_more`].
pub const VALUE: usize = 1;
/// Entries in which a slot may stand: those of one cache line and a second.
pub const PROBES: u32 = 8;
/// Slots for one entry.
const SHARE: u32 = 16;
/// The least that is worth a map.
const LEAST: u32 = 256;

/// Entries for that many slots: a power of two.
pub const fn entries(slots: u32) -> u32 {
    room(slots / SHARE)
}

/// As many entries or more: a power of two.
pub(crate) const fn room(wanted: u32) -> u32 {
    if wanted < LEAST { LEAST } else { wanted.next_power_of_two() }
}

/// Where a slot stands at a step of its search; `entries` is a power of two.
#[inline(always)]
pub const fn place(slot: u32, step: u32, entries: u32) -> u32 {
    slot.wrapping_add(step) & entries.wrapping_sub(1)
}

/// The key of a slot.
#[inline(always)]
pub const fn key(slot: u32) -> u64 {
    slot as u64 + 1
}

/// The slot of an entry in use.
pub const fn slot(key: u64) -> Option<u32> {
    if key == 0 { None } else { Some(key as u32 - 1) }
}

/// A value after one more answer from a MAC, given as a word.
#[inline(always)]
pub const fn once_more(value: u64, mac: u64) -> u64 {
    let count = value >> 48;
    let count = if count == 0xffff { count } else { count + 1 };
    count << 48 | mac & 0xffff_ffff_ffff
}

/// The MAC of a value and how often it answered, when it ever did.
pub fn mac(value: u64) -> Option<([u8; 6], u16)> {
    let [a, b, c, d, e, f, ..] = value.to_le_bytes();
    match (value >> 48) as u16 {
        0 => None,
        count => Some(([a, b, c, d, e, f], count)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_and_the_count_saturates() {
        assert_eq!(mac(0), None);
        let value = (0..70_000).fold(0, |value, _| once_more(value, 0x0900_0000_0002));
        assert_eq!(mac(value), Some(([2, 0, 0, 0, 0, 9], 0xffff)));
    }

    #[test]
    fn places_stay_within_the_entries_and_keys_give_their_slot_back() {
        for slots in [1, 5000, crate::SLOTS_MAX] {
            let count = entries(slots);
            assert!(count.is_power_of_two());
            assert!((0..PROBES).all(|step| place(slots - 1, step, count) < count));
        }
        assert_eq!((slot(key(0)), slot(key(7)), slot(0)), (Some(0), Some(7), None));
    }
}
