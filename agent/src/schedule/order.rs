//! The order in which a pass of a dial comes to its buckets: scattered over the circle, so that a few addresses lie far apart; where each
//! bucket is going to have some, in groups of those that one step sends, so that neighbours are probed together.

use super::STEP_MAX;

/// Buckets of a group: those of the longest step, where a bucket is a millisecond.
const GROUP: usize = STEP_MAX.as_millis() as usize;

/// An order that visits every bucket of a circle once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order {
    circle: usize,
    group: usize,
    groups: usize,
    stride: usize,
}

impl Order {
    /// Each bucket far from the one before it.
    pub(super) fn scattered(circle: usize) -> Self {
        Order::of(circle, 1)
    }

    /// Group by group, each far from the one before it; the last one may have a few more.
    pub(super) fn grouped(circle: usize) -> Self {
        Order::of(circle, GROUP.min(circle))
    }

    fn of(circle: usize, group: usize) -> Self {
        let groups = circle / group;
        Order { circle, group, groups, stride: stride(groups) }
    }

    /// The bucket that comes after this one.
    pub(super) fn after(self, bucket: usize) -> usize {
        let group = (bucket / self.group).min(self.groups - 1);
        let end = if group + 1 == self.groups { self.circle } else { (group + 1) * self.group };
        if bucket + 1 < end { bucket + 1 } else { (group + self.stride) % self.groups * self.group }
    }
}

/// A stride near the golden section of the circle and coprime to it: consecutive places lie far apart, and a pass
/// visits every place.
fn stride(circle: usize) -> usize {
    let gcd = |mut a: usize, mut b: usize| {
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let wish = (circle as f64 * 0.618_034) as usize;
    (wish.max(1)..).find(|s| gcd(*s, circle) == 1).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_visits_every_bucket_once_and_ends_where_it_began() {
        for circle in [1, 2, 3, 9, 10, 11, 19, 20, 21, 100, 101, 999, 1000, 60_000, 65_536] {
            for order in [Order::scattered(circle), Order::grouped(circle)] {
                let mut visited = vec![false; circle];
                let mut bucket = 0;
                for _ in 0..circle {
                    assert!(!std::mem::replace(&mut visited[bucket], true), "{order:?}: {bucket} twice");
                    bucket = order.after(bucket);
                }
                assert_eq!(bucket, 0, "{order:?}");
            }
        }
    }
}
