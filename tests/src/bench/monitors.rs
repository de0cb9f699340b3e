//! The second half of `peers`: monitors beside rollcall's agent, on the same hosts at the same interval.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::index;
use rollcall_agent_ebpf::fleet::{Cloud, Outcome};
use serde::{Deserialize, Serialize};

use super::machine::Idle;
use super::monitor::{Kind, Monitor};
use super::options::Options;
use super::sheet::{Sheet, number, rounded};
use super::stand::Stand;
use super::tool;
use crate::fleet::Mode;
use crate::voice::{Voice, grouped};

const HOSTS: [u32; 2] = [1_000, 10_000];
const SILENCED: u32 = 20;
/// Until a monitor has seen everybody, while nothing happens, and while some are silent.
const SETTLE: Duration = Duration::from_secs(5);
const CALM: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(6);

/// One monitor with one number of hosts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Row {
    monitor: String,
    hosts: u32,
    process_cores: f64,
    /// The whole machine, less what it is busy with without a monitor.
    machine_cores: f64,
    /// Requests that reached the fleet, for each host and interval: 1 is what was asked for.
    probes_per_interval: f64,
    silenced: u32,
    /// Silent hosts that it did not show as failing within the time.
    missed: u32,
    /// Hosts that it showed as failing and that never were silent.
    false_failures: u32,
    /// Why it could not be measured.
    failed: Option<String>,
}

/// Measures all monitors.
pub(super) async fn run(options: &Options, voice: &Voice) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    // A sweep of a million is asked for with the same option, and no monitor of others would live through it.
    let mut sizes = options.sizes_or(&HOSTS);
    sizes.retain(|hosts| *hosts <= HOSTS[1]);
    if sizes.is_empty() {
        sizes = HOSTS.into();
    }
    for hosts in sizes {
        for kind in Kind::ALL {
            let row = match measure(kind, options, hosts).await {
                Ok(row) => row,
                Err(error) if kind == Kind::Rollcall => return Err(error),
                // A monitor of others that cannot do it is a result.
                Err(error) => Row { monitor: kind.name().into(), hosts, failed: Some(format!("{error:#}")), ..Row::default() },
            };
            row.tell(voice);
            rows.push(row);
        }
    }
    Ok(rows)
}

async fn measure(kind: Kind, options: &Options, hosts: u32) -> Result<Row> {
    // Behind the gateway: the kernel's neighbour table, full at 1,024, is in nobody's way.
    // The fleet where it suits best: in the driver for rollcall, which attaches there too; in the network stack for the others.
    let mode = if kind == Kind::Rollcall { Mode::Native } else { Mode::Generic };
    let stand = Stand::with(Cloud { on_link: 0, routed: hosts }, mode)?;
    let fleet = stand.lab.fleet();
    let idle = Idle::now()?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let baseline = idle.busy_since()?;
    let mut monitor = Monitor::start(kind, options, &stand).await?;
    tokio::time::sleep(SETTLE).await;

    monitor.mark().await?;
    let requests = || -> Result<u64> {
        let counters = fleet.counters()?;
        Ok([Outcome::IcmpAnswered, Outcome::Dead].iter().filter_map(|outcome| counters.get(outcome.label())).sum())
    };
    let pid = monitor.pid()?;
    let (before, cpu, idle, began) = (requests()?, tool::processor_time(pid)?, Idle::now()?, Instant::now());
    tokio::time::sleep(CALM).await;
    let (busy, took) = (idle.busy_since()?, began.elapsed().as_secs_f64());
    let cpu = tool::processor_time(monitor.pid()?)?.saturating_sub(cpu).as_secs_f64() / took;
    let probes = (requests()? - before) as f64;
    let calm = monitor.failing().await?;

    monitor.mark().await?;
    let count = SILENCED.min(hosts);
    let mut random = StdRng::seed_from_u64(options.seed.unwrap_or_else(rand::random));
    let stations: Vec<u32> = index::sample(&mut random, hosts as usize, count as usize).into_iter().map(|index| index as u32 + 1).collect();
    let mut silent = BTreeSet::new();
    for station in &stations {
        fleet.kill(*station);
        silent.insert(fleet.cloud().address(*station).map(Ipv4Addr::from).context("a station without an address")?);
    }
    tokio::time::sleep(SILENCE).await;
    let shown = monitor.failing().await?;
    monitor.end().await?;

    let seen = shown.intersection(&silent).count() as u32;
    let wrong: BTreeSet<&Ipv4Addr> = calm.iter().chain(shown.difference(&silent)).collect();
    Ok(Row {
        monitor: kind.name().into(),
        hosts,
        process_cores: rounded(cpu),
        machine_cores: rounded((busy - baseline).max(0.0)),
        probes_per_interval: rounded(probes / f64::from(hosts) / (took / options.interval.as_secs_f64())),
        silenced: count,
        missed: count - seen,
        false_failures: wrong.len() as u32,
        failed: None,
    })
}

impl Row {
    fn tell(&self, voice: &Voice) {
        let text = match &self.failed {
            Some(why) => format!("{}: {} hosts: {} {why}", self.monitor, grouped(self.hosts.into()), voice.red("not measured:")),
            None => format!(
                "{}: {} hosts: {} cores, {} of {} silent hosts missed, {} false failures",
                self.monitor,
                grouped(self.hosts.into()),
                number(self.process_cores, 3),
                self.missed,
                self.silenced,
                self.false_failures
            ),
        };
        voice.step("monitor", &text, None);
    }
}

/// For people.
pub(super) fn sheet(rows: &[Row]) -> Sheet {
    let mut sheet = Sheet::new(
        "Monitors: the same hosts, every second",
        &["monitor", "hosts", "process, cores", "machine, cores", "probes a host and interval", "silent hosts missed", "false failures"],
    );
    for row in rows {
        let hosts = grouped(row.hosts.into());
        match &row.failed {
            None => sheet.row([
                row.monitor.clone(),
                hosts,
                number(row.process_cores, 3),
                number(row.machine_cores, 3),
                number(row.probes_per_interval, 2),
                format!("{} of {}", row.missed, row.silenced),
                row.false_failures.to_string(),
            ]),
            Some(why) => {
                sheet.row([row.monitor.clone(), hosts, "-".into(), "-".into(), "-".into(), "-".into(), "-".into()]);
                sheet.note(format!(
                    "{} with {} hosts could not be measured: {}",
                    row.monitor,
                    grouped(row.hosts.into()),
                    super::sheet::essence(why)
                ));
            }
        }
    }
    sheet.note(format!(
        "CPU over {} s while nothing happens: of the process, and of the whole machine, less its baseline, with the fleet's answers in it (and, \
         for blackbox_exporter, with the program that asks it for each host). Then {SILENCED} hosts fall silent for {} s. As failing counts: for \
         rollcall a verdict `down`; for fping an interval without an answer; for smokeping_prober (ping sockets) two requests more than \
         responses; for blackbox_exporter a probe without success. A false failure is one of a host that answered everything.",
        CALM.as_secs(),
        SILENCE.as_secs()
    ));
    sheet
}
