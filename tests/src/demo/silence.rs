//! Who falls silent, when, and what the alarms said of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime};

use rand::rngs::StdRng;
use rand::seq::index;
use rand::{Rng, SeedableRng};

use super::options::{SILENCED, STOPPED};
use crate::population::Host;
use crate::webhook::Arrival;

/// One host that was silenced.
#[derive(Clone, Debug)]
pub(super) struct Silenced {
    pub(super) host: Host,
    pub(super) at: Instant,
    pub(super) clock: SystemTime,
}

/// Whom to silence and when: distinct stations, each with its moment within the interval, in the order of the moments.
pub(super) fn choose(seed: u64, hosts: u32, interval: Duration) -> Vec<(Duration, u32)> {
    let mut random = StdRng::seed_from_u64(seed);
    let hosts = usize::try_from(hosts).unwrap_or(usize::MAX);
    let mut chosen: Vec<(Duration, u32)> = index::sample(&mut random, hosts, SILENCED.min(hosts))
        .into_iter()
        .map(|index| (interval.mul_f64(random.random_range(0.0..1.0)), u32::try_from(index + 1).unwrap_or(1)))
        .collect();
    chosen.sort_unstable();
    chosen
}

/// The hosts of the run that are silenced, by id, and what was heard of them.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) silenced: BTreeMap<String, Silenced>,
    pub(super) stopped: BTreeSet<String>,
    /// From silence to the alarm's arrival, and to the verdict.
    detected: BTreeMap<String, (Duration, Duration)>,
    pub(super) recovered: BTreeSet<String>,
    pub(super) forgotten: BTreeSet<String>,
    /// Alarms that had no right to come.
    pub(super) false_down: usize,
    /// Messages that had no right to come, for people.
    pub(super) strays: Vec<String>,
    pub(super) firing: usize,
    pub(super) resolved: usize,
    seen: BTreeSet<String>,
}

/// What an arrival was.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// A silenced host's alarm: from silence to its arrival, and to the verdict.
    Detected(Duration, Duration),
    /// A revived host's alarm is resolved.
    Recovered,
    /// A stopped host's alarm is closed.
    Forgotten,
    /// It had no right to come.
    Stray,
}

impl Ledger {
    /// The first so many of the silenced hosts, to be stopped.
    pub(super) fn choose_stopped(&mut self) -> Vec<String> {
        let stopped: Vec<String> = self.silenced.keys().take(STOPPED).cloned().collect();
        self.stopped.extend(stopped.iter().cloned());
        stopped
    }

    /// Files one message.
    pub(super) fn hear(&mut self, arrival: &Arrival) -> Heard {
        let alarm = &arrival.alarm;
        let id = &alarm.host.id;
        if !self.seen.insert(alarm.id.clone()) {
            return self.stray(format!("told twice: {}", alarm.summary));
        }
        match alarm.status.as_str() {
            "firing" => {
                self.firing += 1;
                match self.silenced.get(id) {
                    Some(silenced) if !self.detected.contains_key(id) && arrival.at >= silenced.at => {
                        let arrived = arrival.at.duration_since(silenced.at);
                        // Both clocks were read at the same moment; the verdict's time is rounded down to milliseconds.
                        let verdict = alarm.at.duration_since(silenced.clock).unwrap_or_default();
                        self.detected.insert(id.clone(), (arrived, verdict));
                        Heard::Detected(arrived, verdict)
                    }
                    _ => {
                        self.false_down += 1;
                        self.stray(format!("false alarm: {}", alarm.summary))
                    }
                }
            }
            "resolved" => {
                self.resolved += 1;
                if self.detected.contains_key(id) && !self.stopped.contains(id) && self.recovered.insert(id.clone()) {
                    Heard::Recovered
                } else {
                    self.stray(format!("resolved, but not revived: {}", alarm.summary))
                }
            }
            "forgotten" if self.stopped.contains(id) && self.forgotten.insert(id.clone()) => Heard::Forgotten,
            _ => self.stray(format!("not expected: {} ({})", alarm.summary, alarm.status)),
        }
    }

    fn stray(&mut self, what: String) -> Heard {
        self.strays.push(what);
        Heard::Stray
    }

    /// From silence to the alarm's arrival, sorted.
    pub(super) fn detections(&self) -> Vec<Duration> {
        let mut times: Vec<Duration> = self.detected.values().map(|(arrived, _)| *arrived).collect();
        times.sort_unstable();
        times
    }

    /// From silence to the verdict, sorted.
    pub(super) fn verdicts(&self) -> Vec<Duration> {
        let mut times: Vec<Duration> = self.detected.values().map(|(_, verdict)| *verdict).collect();
        times.sort_unstable();
        times
    }
}

#[cfg(test)]
mod tests {
    use rollcall_agent_ebpf::fleet::Cloud;

    use super::*;
    use crate::webhook::{Alarm, AlarmHost};

    fn silenced(station: u32) -> Silenced {
        let host = Host::of(Cloud { on_link: 100, routed: 0 }, station).unwrap();
        Silenced { host, at: Instant::now(), clock: SystemTime::now() }
    }

    fn arrival(station: u32, status: &str, after: Duration, of: &Silenced) -> Arrival {
        let host = silenced(station).host;
        let alarm = Alarm {
            id: format!("{}.{status}", host.id),
            status: status.into(),
            kind: "down".into(),
            summary: format!("{} {status}", host.id),
            host: AlarmHost { id: host.id, name: host.name },
            network: "lab".into(),
            address: Some(host.address.into()),
            detail: serde_json::Value::Null,
            at: of.clock + after / 2,
            misses: 3,
        };
        Arrival { at: of.at + after, alarm }
    }

    #[test]
    fn the_same_seed_silences_the_same_hosts_at_the_same_moments() {
        let interval = Duration::from_secs(1);
        let chosen = choose(7, 1000, interval);
        assert_eq!(chosen, choose(7, 1000, interval));
        assert_ne!(chosen, choose(8, 1000, interval));
        let stations: BTreeSet<u32> = chosen.iter().map(|(_, station)| *station).collect();
        assert_eq!(stations.len(), SILENCED);
        assert!(stations.iter().all(|station| (1..=1000).contains(station)));
        assert!(chosen.iter().all(|(moment, _)| *moment < interval));
        assert!(chosen.is_sorted());
    }

    #[test]
    fn only_the_first_alarm_of_a_silenced_host_is_a_detection() {
        let mut ledger = Ledger::default();
        let one = silenced(1);
        ledger.silenced.insert(one.host.id.clone(), one.clone());
        let second = Duration::from_secs(1);
        assert_eq!(ledger.hear(&arrival(1, "firing", second, &one)), Heard::Detected(second, second / 2));
        assert_eq!(ledger.hear(&arrival(1, "firing", second, &one)), Heard::Stray);
        assert_eq!(ledger.false_down, 0, "the same message twice is no second verdict");
        assert_eq!(ledger.hear(&arrival(2, "firing", second, &one)), Heard::Stray);
        assert_eq!((ledger.false_down, ledger.firing, ledger.strays.len()), (1, 2, 2));
        assert_eq!(ledger.hear(&arrival(1, "resolved", second, &one)), Heard::Recovered);
        assert_eq!(ledger.hear(&arrival(2, "resolved", second, &one)), Heard::Stray);
    }

    #[test]
    fn a_stopped_host_is_forgotten_and_never_resolved() {
        let mut ledger = Ledger::default();
        let one = silenced(1);
        ledger.silenced.insert(one.host.id.clone(), one.clone());
        ledger.hear(&arrival(1, "firing", Duration::from_secs(1), &one));
        assert_eq!(ledger.choose_stopped(), ["vm-000001"]);
        assert_eq!(ledger.hear(&arrival(1, "forgotten", Duration::from_secs(2), &one)), Heard::Forgotten);
        assert_eq!(ledger.hear(&arrival(1, "resolved", Duration::from_secs(3), &one)), Heard::Stray);
    }
}
