//! The agent's metrics, read as a Prometheus server would read them.

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::agent::Agent;

/// One scrape.
pub(super) struct Scrape(String);

impl Scrape {
    /// Scrapes.
    pub(super) async fn of(agent: &Agent) -> Result<Self> {
        let (status, body) = agent.get("/metrics").await?;
        ensure!(status.is_success(), "GET /metrics: {status}: {body}");
        Ok(Self(body))
    }

    /// Length of the text, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.0.len()
    }

    /// The sum of all series of a counter or gauge; `None` where there is none.
    pub(super) fn sum(&self, name: &str) -> Option<f64> {
        self.samples(name).map(|(_, value)| value).reduce(|sum, value| sum + value)
    }

    /// A histogram, all its series together; `None` where there is none.
    pub(super) fn histogram(&self, name: &str) -> Option<Histogram> {
        let mut buckets: Vec<(f64, u64)> = Vec::new();
        for (labels, value) in self.samples(&format!("{name}_bucket")) {
            let bound = labels.split("le=\"").nth(1)?.split('"').next()?;
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? };
            match buckets.iter_mut().find(|(known, _)| *known == bound) {
                Some((_, count)) => *count += value as u64,
                None => buckets.push((bound, value as u64)),
            }
        }
        buckets.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        (!buckets.is_empty()).then_some(Histogram { buckets })
    }

    /// Labels and value of each series of that name.
    fn samples<'a>(&'a self, name: &str) -> impl Iterator<Item = (&'a str, f64)> {
        let name = name.to_owned();
        self.0.lines().filter_map(move |line| {
            let rest = line.strip_prefix(&name)?;
            let (labels, value) = match rest.strip_prefix('{') {
                Some(rest) => rest.rsplit_once("} ")?,
                None => ("", rest.strip_prefix(' ')?),
            };
            Some((labels, value.split(' ').next()?.parse().ok()?))
        })
    }
}

/// A histogram: how many values were at most each bound, in seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Histogram {
    /// Bound, and all values up to it.
    buckets: Vec<(f64, u64)>,
}

impl Histogram {
    /// What came since an earlier one.
    pub(super) fn since(&self, earlier: &Histogram) -> Self {
        let before = |bound: f64| earlier.buckets.iter().find(|(known, _)| *known == bound).map_or(0, |(_, count)| *count);
        Self { buckets: self.buckets.iter().map(|(bound, count)| (*bound, count.saturating_sub(before(*bound)))).collect() }
    }

    /// All values.
    pub(super) fn count(&self) -> u64 {
        self.buckets.last().map_or(0, |(_, count)| *count)
    }

    /// How many were over a bound, which must be one of the histogram's.
    pub(super) fn over(&self, bound: f64) -> Result<u64> {
        let (_, below) = self.buckets.iter().find(|(known, _)| (known - bound).abs() < 1e-12).context("no such bound in the histogram")?;
        Ok(self.count() - below)
    }

    /// The bound that so many percent of the values stay within; infinite beyond the last one, `None` of none.
    pub(super) fn within(&self, percent: f64) -> Option<f64> {
        let wanted = (self.count() as f64 * percent / 100.0).ceil() as u64;
        self.buckets.iter().find(|(_, count)| *count >= wanted.max(1)).map(|(bound, _)| *bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# TYPE rollcall_late histogram\n\
        rollcall_late_sum{p=\"a\"} 1.0\n\
        rollcall_late_bucket{le=\"0.001\",p=\"a\"} 90\n\
        rollcall_late_bucket{le=\"0.01\",p=\"a\"} 99\n\
        rollcall_late_bucket{le=\"+Inf\",p=\"a\"} 100\n\
        rollcall_late_bucket{le=\"0.001\",p=\"b\"} 100\n\
        rollcall_late_bucket{le=\"0.01\",p=\"b\"} 100\n\
        rollcall_late_bucket{le=\"+Inf\",p=\"b\"} 100\n\
        rollcall_skipped_total 7\n\
        rollcall_misses_total{network=\"a } 5\"} 3\n\
        rollcall_misses_total{network=\"b\"} 4 1700000000.0\n";

    #[test]
    fn series_are_summed_whatever_their_labels_say() {
        let scrape = Scrape(TEXT.into());
        assert_eq!(scrape.sum("rollcall_misses_total"), Some(7.0));
        assert_eq!((scrape.sum("rollcall_skipped_total"), scrape.sum("rollcall_skipped")), (Some(7.0), None));
    }

    #[test]
    fn percentiles_of_a_histogram_are_bounds_that_hold() {
        let scrape = Scrape(TEXT.into());
        let histogram = scrape.histogram("rollcall_late").unwrap();
        assert_eq!((histogram.count(), histogram.over(0.01).unwrap(), histogram.over(0.001).unwrap()), (200, 1, 10));
        assert_eq!(
            [50.0, 95.0, 96.0, 100.0].map(|percent| histogram.within(percent)),
            [Some(0.001), Some(0.001), Some(0.01), Some(f64::INFINITY)]
        );
        assert!(histogram.over(0.02).is_err());
        let none = histogram.since(&histogram);
        assert_eq!((none.count(), none.within(99.0)), (0, None));
        assert_eq!(scrape.histogram("rollcall_early"), None);
    }
}
