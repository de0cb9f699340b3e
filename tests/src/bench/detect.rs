//! `detect`: how soon hosts that fall silent are down.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use rand::rngs::StdRng;
use rand::seq::index;
use rand::{Rng, SeedableRng};
use rollcall_agent::policy::Method;
use serde::{Deserialize, Serialize};

use super::events::{Down, Watcher};
use super::options::Options;
use super::sheet::{Sheet, number, rounded};
use super::spread::{percentile, sorted};
use super::stand::{self, Stand};
use crate::voice::{Voice, grouped};

const HOSTS: u32 = 1_000_000;
const SILENCED_MAX: u32 = 1000;
/// Beyond what the policy's arithmetic allows, until what is not detected counts as missed.
const PATIENCE: Duration = Duration::from_secs(10);

/// The distribution of detection times.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Detect {
    hosts: u32,
    interval_ms: f64,
    method: String,
    silenced: u32,
    detected: u32,
    /// Hosts that were said to be down and were not silent.
    false_down: u32,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    max_ms: Option<f64>,
    /// Until the event was read from the stream.
    heard_p99_ms: Option<f64>,
    /// What the policy's arithmetic allows.
    bound_ms: f64,
    seed: u64,
    /// Events of the agent that could not be read: what is not detected may be among them.
    events_missed: u64,
}

/// Silences as asked for.
pub(super) async fn run(options: &Options, voice: &Voice) -> Result<Detect> {
    let hosts = options.hosts_or(HOSTS);
    let wanted = options.silenced.unwrap_or((hosts / 1000).clamp(1, SILENCED_MAX));
    ensure!((1..=hosts).contains(&wanted), "--silenced: found {wanted}, allowed: 1 to the {hosts} hosts");
    let method = options.method.unwrap_or(Method::Arp);
    let policy = options.policy(method);
    let seed = options.seed.unwrap_or_else(rand::random);

    let stand = Stand::of(hosts)?;
    let (_, path) = stand.table(&policy)?;
    let mut agent = stand.agent(options, Some(&path)).await?;
    stand::all_up(&mut agent, hosts, options.interval, |_| {}).await?;
    tokio::time::sleep(policy.interval).await;
    voice.step("detect", &format!("{wanted} of {} hosts fall silent within an interval (seed {seed})", grouped(hosts.into())), None);

    let watcher = Watcher::start(&agent).await?;
    let (cloud, fleet) = (stand.lab.fleet().cloud(), stand.lab.fleet());
    let mut silenced = BTreeMap::new();
    let began = Instant::now();
    for (moment, station) in choose(seed, hosts, wanted, policy.interval) {
        // Many fall silent in one millisecond, which is what a timer can do: each at its own moment still.
        tokio::time::sleep_until((began + moment).into()).await;
        let address = cloud.address(station).map(Ipv4Addr::from).context("a station without an address")?;
        // Read before: the time is then at least the true one.
        let at = SystemTime::now();
        fleet.kill(station);
        silenced.insert(IpAddr::V4(address), at);
    }
    let deadline = Instant::now() + policy.detection_bound() + PATIENCE;
    while watcher.count() < silenced.len() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Whoever is down without a reason may come after all that had one.
    tokio::time::sleep(policy.detection_bound()).await;
    let heard = watcher.heard()?;
    drop(watcher);
    stand::end(agent).await?;

    let mut detect = Detect {
        hosts,
        interval_ms: policy.interval.as_secs_f64() * 1e3,
        method: method.name().into(),
        silenced: wanted,
        bound_ms: policy.detection_bound().as_secs_f64() * 1e3,
        seed,
        events_missed: heard.missed,
        ..Detect::default()
    };
    detect.judge(&silenced, &heard.downs);
    voice.step("detect", &format!("{} detected, {} false downs", detect.detected, detect.false_down), Some(began.elapsed()));
    Ok(detect)
}

/// Whom to silence and when: distinct stations, each with its moment within the interval, in the order of the moments.
fn choose(seed: u64, hosts: u32, count: u32, interval: Duration) -> Vec<(Duration, u32)> {
    let mut random = StdRng::seed_from_u64(seed);
    let chosen = index::sample(&mut random, hosts as usize, count as usize);
    let moments = chosen.into_iter().map(|index| (interval.mul_f64(random.random_range(0.0..1.0)), index as u32 + 1));
    let mut moments: Vec<(Duration, u32)> = moments.collect();
    moments.sort_unstable();
    moments
}

impl Detect {
    fn judge(&mut self, silenced: &BTreeMap<IpAddr, SystemTime>, downs: &[Down]) {
        let mut times = BTreeMap::new();
        for Down { address, at, heard } in downs {
            match silenced.get(address) {
                // The agent's stamp is rounded down to a millisecond.
                Some(since) if *at + Duration::from_millis(1) >= *since && !times.contains_key(address) => {
                    let ms = |time: &SystemTime| time.duration_since(*since).unwrap_or_default().as_secs_f64() * 1e3;
                    times.insert(*address, (ms(at), ms(heard)));
                }
                _ => self.false_down += 1,
            }
        }
        self.detected = times.len() as u32;
        let verdicts = sorted(times.values().map(|(at, _)| *at));
        let heard = sorted(times.values().map(|(_, heard)| *heard));
        let at = |percent: f64| percentile(&verdicts, percent).map(rounded);
        (self.p50_ms, self.p99_ms, self.max_ms) = (at(50.0), at(99.0), at(100.0));
        self.heard_p99_ms = percentile(&heard, 99.0).map(rounded);
    }

    /// For people.
    pub(super) fn sheets(&self) -> Vec<Sheet> {
        let title = format!(
            "Detection: {} of {} hosts fall silent, probed by {} every {} ms",
            self.silenced,
            grouped(self.hosts.into()),
            self.method,
            self.interval_ms
        );
        let mut sheet = Sheet::new(title, &["figure", "value"]);
        sheet.pair("detected", format!("{} of {}", self.detected, self.silenced));
        sheet.pair("false downs", self.false_down.to_string());
        sheet.pair("silence to verdict: p50", format!("{} ms", number(self.p50_ms, 0)));
        sheet.pair("p99", format!("{} ms", number(self.p99_ms, 0)));
        sheet.pair("longest", format!("{} ms", number(self.max_ms, 0)));
        sheet.pair("allowed by the policy's arithmetic", format!("{} ms", number(self.bound_ms, 0)));
        sheet.pair("silence to the event at a reader of the stream: p99", format!("{} ms", number(self.heard_p99_ms, 0)));
        sheet.note(format!(
            "Each falls silent at a random moment of one interval (seed {}). The verdict's time is the agent's own, to the millisecond, on the \
             same clock.",
            self.seed
        ));
        if self.events_missed > 0 {
            sheet.note(format!(
                "{} events of the agent's stream were not read in time: detections may be among them.",
                grouped(self.events_missed)
            ));
        }
        vec![sheet]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_silences_the_same_hosts_at_the_same_moments() {
        let second = Duration::from_secs(1);
        let chosen = choose(7, 1000, 40, second);
        assert_eq!(chosen, choose(7, 1000, 40, second));
        assert_ne!(chosen, choose(8, 1000, 40, second));
        let stations: std::collections::BTreeSet<u32> = chosen.iter().map(|(_, station)| *station).collect();
        assert!(stations.len() == 40 && stations.iter().all(|station| (1..=1000).contains(station)) && chosen.is_sorted());
    }

    #[test]
    fn a_down_of_another_host_or_before_the_silence_or_a_second_one_is_false() {
        let address = |last: u8| IpAddr::from([10, 0, 0, last]);
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let down = |last: u8, ms: u64| Down {
            address: address(last),
            at: start + Duration::from_millis(ms),
            heard: start + Duration::from_millis(ms + 5),
        };
        let silenced = BTreeMap::from([(address(1), start + Duration::from_millis(500)), (address(2), start)]);
        let mut detect = Detect::default();
        detect.judge(&silenced, &[down(1, 100), down(1, 2000), down(1, 2500), down(2, 1000), down(3, 1000)]);
        assert_eq!((detect.detected, detect.false_down), (2, 3));
        assert_eq!((detect.p50_ms, detect.max_ms, detect.heard_p99_ms), (Some(1000.0), Some(1500.0), Some(1505.0)));
    }

    #[test]
    fn the_result_has_the_keys_that_were_promised() {
        let json = serde_json::to_value(Detect::default()).unwrap();
        for key in ["silenced", "detected", "false_down", "p50_ms", "p99_ms", "max_ms"] {
            assert!(json.get(key).is_some(), "{key}");
        }
    }
}
