//! What has to be so for the demo to be a success.

use std::time::Duration;

use super::silence::Ledger;
use crate::lab::AGENT_INTERFACE;
use crate::voice::{grouped, seconds};

/// What lies between the arithmetic and a verdict on a busy machine: the tick of the schedule, and the scheduler's mood.
const VERDICT_SLACK: Duration = Duration::from_millis(100);
/// From a verdict to the alarm's arrival.
const DELIVERY: Duration = Duration::from_millis(500);
/// How soon an agent has to end after SIGTERM.
const SHUTDOWN: Duration = Duration::from_secs(1);

/// Something that had to be so.
#[derive(Debug)]
pub(super) struct Expectation {
    /// What had to be, and what was found.
    pub(super) what: String,
    /// Whether it was.
    pub(super) held: bool,
}

/// What was found at the end.
pub(super) struct Ended {
    pub(super) addresses: u64,
    pub(super) up: u64,
    pub(super) alarms_firing: u64,
    /// Stopped hosts that the agent no longer knows.
    pub(super) gone: usize,
    /// Whether the agent ended with success, and how soon after SIGTERM.
    pub(super) well: bool,
    pub(super) shutdown: Duration,
    /// Mode of an XDP program that the agent left behind.
    pub(super) xdp_left: Option<&'static str>,
}

/// All expectations; `bound` is what the policy allows from silence to the verdict.
pub(super) fn of(ledger: &Ledger, ended: &Ended, hosts: u32, bound: Duration) -> Vec<Expectation> {
    let (detections, verdicts) = (ledger.detections(), ledger.verdicts());
    let slowest = |times: &[Duration]| times.last().copied().unwrap_or_default();
    let (silenced, stopped) = (ledger.silenced.len(), ledger.stopped.len());
    let revived = silenced - stopped;
    let remaining = u64::from(hosts) - stopped as u64;
    let alarm_bound = bound + VERDICT_SLACK + DELIVERY;

    let mut expectations = Vec::new();
    let mut expect = |held: bool, what: String| expectations.push(Expectation { what, held });
    let mut count = |what: String, expected: u64, found: u64| {
        expect(expected == found, format!("{what}: expected {}, found {}", grouped(expected), grouped(found)));
    };
    count("false downs".into(), 0, ledger.false_down as u64);
    count("silenced hosts detected".into(), silenced as u64, detections.len() as u64);
    count("stopped hosts that the agent forgot".into(), stopped as u64, ended.gone as u64);
    count("stopped hosts whose alarm is closed".into(), stopped as u64, ledger.forgotten.len() as u64);
    count("revived hosts that recovered".into(), revived as u64, ledger.recovered.len() as u64);
    count("addresses watched at the end".into(), remaining, ended.addresses);
    count("addresses up at the end".into(), remaining, ended.up);
    count("alarms firing at the end".into(), 0, ended.alarms_firing);
    count(format!("messages without a cause ({})", ledger.strays.join("; ")), 0, ledger.strays.len() as u64);
    expect(
        slowest(&verdicts) <= bound + VERDICT_SLACK,
        format!("slowest verdict: expected within {} + {}, found {}", seconds(bound), seconds(VERDICT_SLACK), seconds(slowest(&verdicts))),
    );
    expect(
        slowest(&detections) <= alarm_bound,
        format!("slowest alarm: expected within {}, found {}", seconds(alarm_bound), seconds(slowest(&detections))),
    );
    expect(ended.well, "the agent ends with success after SIGTERM".into());
    expect(
        ended.shutdown <= SHUTDOWN,
        format!("the agent's shutdown: expected within {}, found {}", seconds(SHUTDOWN), seconds(ended.shutdown)),
    );
    let left = ended.xdp_left.unwrap_or("none");
    expect(ended.xdp_left.is_none(), format!("XDP programs left on {AGENT_INTERFACE}: expected none, found {left}"));
    expectations
}
