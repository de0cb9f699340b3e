//! `EVIDENCE`: what somebody on the way said about a probe that did not arrive (ICMP errors, RFC 792 and RFC 4443). A small
//! open-addressing hash by slot, as [`crate::others`].
//!
//! An entry is four words: the slot plus one (0: free); type and code (high 16 bits) with the time in monotonic milliseconds;
//! and the address of whoever said it, as the two words of a target.

/// Words of an entry.
pub const WORDS: usize = 4;
/// Word of an entry: the slot plus one, 0 when free.
pub const KEY: usize = 0;
/// Word of an entry: [`value`].
pub const VALUE: usize = 1;
/// Words of an entry: who said it.
pub const FROM: usize = 2;
/// Entries in which a slot may stand.
pub const PROBES: u32 = 4;
/// Slots for one entry.
const SHARE: u32 = 64;

/// Entries for that many slots: a power of two.
pub const fn entries(slots: u32) -> u32 {
    crate::others::room(slots / SHARE)
}

/// Type (high byte) and code, and when.
#[inline(always)]
pub const fn value(because: u16, now_ns: u64) -> u64 {
    (because as u64) << 48 | (now_ns / 1_000_000) & 0xffff_ffff_ffff
}

/// Type and code of a value.
pub const fn because(value: u64) -> [u8; 2] {
    ((value >> 48) as u16).to_be_bytes()
}

/// The time of a value, in monotonic milliseconds.
pub const fn at_ms(value: u64) -> u64 {
    value & 0xffff_ffff_ffff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_round_trip_and_sizes_are_powers_of_two() {
        let value = value(0x0301, 5_000_000_000);
        assert_eq!((because(value), at_ms(value)), ([3, 1], 5000));
        assert_eq!([1, 1 << 20, 3_000_000].map(entries), [256, 1 << 14, 1 << 16]);
    }
}
