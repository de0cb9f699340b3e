//! `rtt`: how far the measured round-trip times are from the truth.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rollcall_agent::api::AddressReport;
use rollcall_agent::policy::Method;
use rollcall_agent_ebpf::fleet::ON_LINK_BASE;
use serde::{Deserialize, Serialize};

use super::options::Options;
use super::responder::Responder;
use super::sheet::{Sheet, number, rounded};
use super::spread::{percentile, sorted};
use super::stand::{self, Stand};
use crate::agent::Agent;
use crate::voice::{Voice, grouped};

const HOSTS: [u32; 2] = [1_000, 1_000_000];
const SECONDS: u64 = 15;
/// Delays of the responder, and how many stations have each.
const DELAYS: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(5)];
const STATIONS: u32 = 20;
/// Hosts of the fleet whose times are read.
const SAMPLE: u32 = 10_000;

/// Errors of the smallest and the largest number of hosts, and of each.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Rtt {
    idle_error_p99_us: Option<f64>,
    load_error_p99_us: Option<f64>,
    rows: Vec<Row>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Row {
    hosts: u32,
    samples: usize,
    /// Measured less the responder's own delay, in microseconds, without its sign.
    error_p50_us: Option<f64>,
    error_p99_us: Option<f64>,
    error_max_us: Option<f64>,
    /// Measured times of hosts that answer at once: all of it is error, or the wire.
    fleet_p50_us: Option<f64>,
    fleet_p99_us: Option<f64>,
}

/// Measures with few hosts, and with many.
pub(super) async fn run(options: &Options, voice: &Voice) -> Result<Rtt> {
    let mut rtt = Rtt::default();
    for hosts in options.sizes_or(&HOSTS) {
        let row = measure(options, voice, hosts).await.with_context(|| format!("{hosts} hosts"))?;
        let text = format!(
            "{} hosts: error p50 {} us, p99 {} us of {} samples",
            grouped(hosts.into()),
            number(row.error_p50_us, 1),
            number(row.error_p99_us, 1),
            row.samples
        );
        voice.step("rtt", &text, None);
        rtt.idle_error_p99_us = rtt.idle_error_p99_us.or(row.error_p99_us);
        rtt.load_error_p99_us = row.error_p99_us;
        rtt.rows.push(row);
    }
    Ok(rtt)
}

async fn measure(options: &Options, voice: &Voice, hosts: u32) -> Result<Row> {
    let policy = options.policy(Method::Arp);
    let stand = Stand::of(hosts)?;
    // Behind the last host of the cloud: the fleet's program passes on what is for them.
    let address = |station: u32| Ipv4Addr::from(ON_LINK_BASE + hosts + station);
    let slow: Vec<Ipv4Addr> = (1..=STATIONS * DELAYS.len() as u32).map(address).collect();
    let delays: BTreeMap<Ipv4Addr, Duration> = slow.iter().copied().zip(DELAYS.into_iter().cycle()).collect();
    let table = stand::table(stand.lab.fleet().cloud(), &policy, &slow, |host| host.name.clone())?;
    let path = stand.path("bench.table");
    std::fs::write(&path, table.bytes()).with_context(|| format!("cannot write {}", path.display()))?;
    let responder = Responder::start(&stand.lab.fleet_side(), delays)?;
    let mut agent = stand.agent(options, Some(&path)).await?;
    stand::all_up(&mut agent, table.len() as u32, options.interval, |_| {}).await?;
    tokio::time::sleep(options.interval * 2).await;

    let seconds = Duration::from_secs(options.seconds.unwrap_or(SECONDS));
    let errors = sample(&agent, &responder, &slow, seconds, voice).await?;
    let fleet = listing(&agent).await?;
    stand::end(agent).await?;
    drop(responder);
    ensure!(
        !errors.is_empty(),
        "no answer with a known delay could be matched to a measured time in {} s: measure longer (--seconds)",
        seconds.as_secs()
    );
    let at = |values: &[f64], percent: f64| percentile(values, percent).map(rounded);
    Ok(Row {
        hosts,
        samples: errors.len(),
        error_p50_us: at(&errors, 50.0),
        error_p99_us: at(&errors, 99.0),
        error_max_us: at(&errors, 100.0),
        fleet_p50_us: at(&fleet, 50.0),
        fleet_p99_us: at(&fleet, 99.0),
    })
}

/// The errors of as many answers as can be seen, in microseconds, sorted.
async fn sample(agent: &Agent, responder: &Responder, slow: &[Ipv4Addr], seconds: Duration, voice: &Voice) -> Result<Vec<f64>> {
    // An answer is on the agent's board long before this.
    const SETTLED: Duration = Duration::from_millis(10);
    let mut seen: BTreeMap<Ipv4Addr, u64> = BTreeMap::new();
    let mut errors = Vec::new();
    let began = Instant::now();
    while began.elapsed() < seconds {
        for address in slow {
            let Some(before) = responder.answer(*address).filter(|answer| answer.at.elapsed() > SETTLED) else { continue };
            if seen.get(address) == Some(&before.count) {
                continue;
            }
            let host = agent.host(&address.to_string()).await?.with_context(|| format!("the agent does not know {address}"))?;
            // Another answer meanwhile: whose time it is that was read, nobody knows.
            let same = responder.answer(*address).is_some_and(|after| after.count == before.count);
            if let Some(measured) = host.addresses.first().and_then(|address| address.now.rtt_seconds).filter(|_| same) {
                seen.insert(*address, before.count);
                errors.push((measured - before.delay.as_secs_f64()).abs() * 1e6);
            }
        }
        voice.progress("rtt", &format!("{} answers with a known delay", errors.len()));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(sorted(errors))
}

/// The measured times of hosts of the fleet, in microseconds, sorted.
async fn listing(agent: &Agent) -> Result<Vec<f64>> {
    let (status, body) = agent.get(&format!("/v1/hosts?limit={SAMPLE}")).await?;
    ensure!(status.is_success(), "GET /v1/hosts: {status}: {body}");
    let reports: Vec<AddressReport> = serde_json::from_str(&body).context("GET /v1/hosts answered no list")?;
    let fleet = reports.iter().filter(|report| report.project != stand::SLOW);
    Ok(sorted(fleet.filter_map(|report| report.rtt_seconds).map(|seconds| seconds * 1e6)))
}

impl Rtt {
    /// For people.
    pub(super) fn sheets(&self) -> Vec<Sheet> {
        let mut sheet = Sheet::new(
            "RTT: measured against a known delay",
            &["hosts", "samples", "error p50, us", "p99, us", "max, us", "fleet's RTT p50, us", "p99, us"],
        );
        for row in &self.rows {
            sheet.row([
                grouped(row.hosts.into()),
                row.samples.to_string(),
                number(row.error_p50_us, 1),
                number(row.error_p99_us, 1),
                number(row.error_max_us, 1),
                number(row.fleet_p50_us, 1),
                number(row.fleet_p99_us, 1),
            ]);
        }
        let stations = STATIONS * DELAYS.len() as u32;
        sheet.note(format!(
            "{stations} stations answer 1 or 5 ms after the kernel stamped the request at their side; the time from that stamp to the kernel's stamp of the answer, on its \
             way into the driver, is the truth, and the error is what the agent measured more (or less): two crossings of the veth pair. The fleet answers in the driver, at once: its whole time is wire and error."
        ));
        vec![sheet]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_has_the_keys_that_were_promised() {
        let json = serde_json::to_value(Rtt::default()).unwrap();
        for key in ["idle_error_p99_us", "load_error_p99_us"] {
            assert!(json.get(key).is_some(), "{key}");
        }
    }
}
