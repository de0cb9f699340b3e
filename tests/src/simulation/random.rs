//! Chance that is the same in every run with one seed, and costs next to nothing: SplitMix64 (Steele, Lea, Flood 2014).

/// A generator.
#[derive(Clone, Copy, Debug)]
pub struct Random(u64);

impl Random {
    /// One for each seed.
    pub const fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// The next 64 bits.
    pub const fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number below a bound.
    pub const fn below(&mut self, bound: u64) -> u64 {
        ((self.bits() as u128 * bound as u128) >> 64) as u64
    }
}

/// The threshold below which [`Random::bits`] falls with that probability.
pub(crate) fn threshold(probability: f64) -> u64 {
    // Past the largest integer a cast stays there.
    (probability * 2f64.powi(64)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_a_thousand_is_one_in_a_thousand() {
        let mut random = Random::new(7);
        let limit = threshold(0.001);
        let hits = (0..10_000_000).filter(|_| random.bits() < limit).count();
        assert!((9_700..10_300).contains(&hits), "{hits}");
        assert_eq!((threshold(0.0), threshold(1.0)), (0, u64::MAX));
    }
}
