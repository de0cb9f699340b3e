//! How long to wait before the next attempt: twice as long each time, with jitter, up to a limit.

use std::time::Duration;

use rand::Rng;

/// Waiting times after failures in a row.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    least: Duration,
    most: Duration,
    failures: u32,
}

impl Backoff {
    /// From `least` up to `most`.
    pub(super) fn new(least: Duration, most: Duration) -> Backoff {
        Backoff { least, most: most.max(least), failures: 0 }
    }

    /// The wait after one more failure: half of it certain, half by chance, so that agents whose receiver came back
    /// do not all knock at once.
    pub(super) fn next(&mut self, random: &mut impl Rng) -> Duration {
        let whole = self.after(self.failures);
        self.failures = self.failures.saturating_add(1);
        whole / 2 + whole.mul_f64(random.random_range(0.0..0.5))
    }

    /// The full wait after so many failures before.
    pub(super) fn after(&self, failures: u32) -> Duration {
        self.least.saturating_mul(1_u32 << failures.min(20)).min(self.most)
    }

    /// Something worked.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn waits_double_with_jitter_up_to_the_limit_and_start_anew_after_success() {
        let mut random = StdRng::seed_from_u64(1);
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        for whole in [100, 200, 400, 800, 1000, 1000] {
            let wait = backoff.next(&mut random).as_millis();
            assert!((whole / 2..=whole).contains(&wait), "{wait} of {whole}");
        }
        backoff.reset();
        assert!(backoff.next(&mut random) <= Duration::from_millis(100));
        assert_eq!(backoff.after(u32::MAX), Duration::from_secs(1));
    }
}
