//! Percentiles of what was measured.

/// Nearest rank, of sorted values: always one that was measured. `None` of none.
pub(super) fn percentile(sorted: &[f64], percent: f64) -> Option<f64> {
    let rank = (sorted.len() as f64 * percent / 100.0).ceil() as usize;
    sorted.get(rank.saturating_sub(1).min(sorted.len().checked_sub(1)?)).copied()
}

/// The middle one of some values, or the mean of the two in the middle.
pub(super) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let sorted = sorted(values);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

/// Values in their order.
pub(super) fn sorted(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_unstable_by(f64::total_cmp);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values: Vec<f64> = (1..=1000).map(f64::from).collect();
        let at = |percent| percentile(&values, percent).unwrap();
        assert_eq!((at(0.0), at(50.0), at(99.0), at(99.95), at(100.0)), (1.0, 500.0, 990.0, 1000.0, 1000.0));
        assert_eq!(percentile(&[], 50.0), None);
    }

    #[test]
    fn the_median_is_not_moved_by_one_outlier() {
        assert_eq!(median([3.0, 1.0, 1e9]), Some(3.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median([]), None);
    }
}
