//! What came of it: the figures, and which expectations held.

use std::time::Duration;

use serde_json::{Value, json};

use super::expectation::Expectation;
use super::options::Options;
use super::silence::Ledger;
use crate::agent::Cost;
use crate::voice::{Voice, grouped, megabytes, seconds};

/// The figures of a run.
#[derive(Debug)]
pub(super) struct Summary {
    pub(super) hosts: u32,
    pub(super) all_up: Duration,
    pub(super) probes_sent: u64,
    pub(super) replies: u64,
    /// Who was silenced, and what was heard of them.
    pub(super) ledger: Ledger,
    /// What the policy's arithmetic allows from silence to the verdict.
    pub(super) bound: Duration,
    pub(super) steady: Duration,
    /// Cores that the agent took in the steady phase.
    pub(super) cores: f64,
    pub(super) cost: Cost,
    pub(super) expectations: Vec<Expectation>,
}

impl Summary {
    /// Whether all expectations held.
    pub(super) fn ok(&self) -> bool {
        self.expectations.iter().all(|expectation| expectation.held)
    }

    pub(super) fn json(&self, options: &Options) -> Value {
        let ms = |duration: Duration| (duration.as_secs_f64() * 10_000.0).round() / 10.0;
        let ledger = &self.ledger;
        let (detections, verdicts) = (ledger.detections(), ledger.verdicts());
        let failed: Vec<&str> = self.failed().map(|expectation| expectation.what.as_str()).collect();
        json!({
            "hosts": self.hosts,
            "method": options.method.name(),
            "interval_ms": ms(options.interval),
            "all_up_ms": ms(self.all_up),
            "probes_sent": self.probes_sent,
            "replies": self.replies,
            "steady_seconds": self.steady.as_secs_f64(),
            "false_down": ledger.false_down,
            "killed": ledger.silenced.len(),
            "detected": detections.len(),
            "stopped": ledger.stopped.len(),
            "forgotten": ledger.forgotten.len(),
            "recovered": ledger.recovered.len(),
            "alarms_firing": ledger.firing,
            "alarms_resolved": ledger.resolved,
            "detect_p50_ms": ms(percentile(&detections, 50)),
            "detect_p99_ms": ms(percentile(&detections, 99)),
            "detect_max_ms": ms(percentile(&detections, 100)),
            "verdict_p50_ms": ms(percentile(&verdicts, 50)),
            "verdict_p99_ms": ms(percentile(&verdicts, 99)),
            "verdict_max_ms": ms(percentile(&verdicts, 100)),
            "verdict_bound_ms": ms(self.bound),
            "agent_cores": (self.cores * 1000.0).round() / 1000.0,
            "agent_cpu_seconds": self.cost.cpu.as_secs_f64(),
            "agent_resident_bytes": self.cost.resident,
            "agent_kernel_map_bytes": self.cost.maps,
            "failed": failed,
            "ok": self.ok(),
        })
    }

    pub(super) fn print(&self, voice: &Voice) {
        let three = |times: &[Duration]| {
            let at = |percent| seconds(percentile(times, percent));
            format!("p50 {}, p99 {}, max {}", at(50), at(99), at(100))
        };
        let ledger = &self.ledger;
        let (detections, verdicts) = (ledger.detections(), ledger.verdicts());
        let (silenced, stopped) = (ledger.silenced.len(), ledger.stopped.len());
        // Of a small cloud this would be the agent's own size, shared among few.
        let per_host = match self.hosts {
            10_000.. => format!(", {} bytes a host in all", self.cost.resident / u64::from(self.hosts)),
            _ => String::new(),
        };
        let rows = [
            ("hosts", format!("{}, all up {} after the push", grouped(self.hosts.into()), seconds(self.all_up))),
            ("probes", format!("{} sent, {} answered in time so far", grouped(self.probes_sent), grouped(self.replies))),
            ("false downs", ledger.false_down.to_string()),
            ("silenced", format!("{}, detected {}", silenced, detections.len())),
            ("to the verdict", format!("{} (allowed: {})", three(&verdicts), seconds(self.bound))),
            ("to the alarm", three(&detections)),
            ("stopped", format!("{}, forgotten {}", stopped, ledger.forgotten.len())),
            ("revived", format!("{}, recovered {}", silenced - stopped, ledger.recovered.len())),
            ("alarms", format!("{} firing, {} resolved", ledger.firing, ledger.resolved)),
            ("agent's CPU", format!("{:.1} % of one core while nothing happens", self.cores * 100.0)),
            (
                "agent's memory",
                format!("{} resident, {} of it kernel maps{per_host}", megabytes(self.cost.resident), megabytes(self.cost.maps)),
            ),
        ];
        voice.line("");
        for (name, text) in rows {
            voice.line(&format!("  {name:<16} {text}"));
        }
        voice.line("");
        for expectation in self.failed() {
            voice.line(&format!("{} {}", voice.red("FAILED"), expectation.what));
        }
        if self.ok() {
            voice.line(&voice.green(&format!("all {} expectations held", self.expectations.len())));
        }
    }

    fn failed(&self) -> impl Iterator<Item = &Expectation> {
        self.expectations.iter().filter(|expectation| !expectation.held)
    }
}

/// Nearest rank, of sorted values; zero of none.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let times: Vec<Duration> = (1..=37).map(Duration::from_millis).collect();
        let at = |percent| percentile(&times, percent).as_millis();
        assert_eq!((at(50), at(99), at(100)), (19, 37, 37));
        assert_eq!(percentile(&[], 99), Duration::ZERO);
    }
}
