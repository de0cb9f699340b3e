//! `steady`: what the agent costs while nothing happens, and whether it does its work meanwhile.

use std::time::{Duration, Instant};

use anyhow::Result;
use rollcall_agent::api::Status;
use rollcall_agent::policy::Method;
use serde::{Deserialize, Serialize};

use super::burden::{self, Burden};
use super::events::Watcher;
use super::machine::Idle;
use super::memory::Memory;
use super::options::{Options, Part};
use super::runtime::{self, Shares};
use super::scrape::{Histogram, Scrape};
use super::sheet::{Sheet, number, rounded};
use super::stand::{self, Stand};
use super::witness::{Standstill, Witness};
use crate::agent::Agent;
use crate::voice::{Voice, grouped, megabytes};

const SECONDS: u64 = 60;
/// As long as the figures of record ask for.
const SECONDS_OF_ALL: u64 = 600;
const HOSTS: u32 = 1_000_000;
/// Histograms of the agent.
const LATENESS: &str = "rollcall_probe_lateness_seconds";
const PAUSE: &str = "rollcall_engine_pause_seconds";
/// A machine that is busier than this without an agent measures something else too.
const QUIET_CORES: f64 = 0.1;
/// A probe that leaves later than this after its turn is late.
const LATE: f64 = 0.01;

/// What was measured of one agent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Steady {
    pub(super) hosts: u32,
    pub(super) interval_ms: f64,
    pub(super) method: String,
    pub(super) transmit: String,
    pub(super) seconds: f64,
    /// What the whole machine was busy with, less what it is without an agent and the fleet's program.
    pub(super) cpu_cores: f64,
    /// The process alone, by its own account.
    pub(super) process_cores: f64,
    pub(super) machine_cores: f64,
    pub(super) idle_cores: f64,
    pub(super) fleet_cores: f64,
    /// Nanoseconds of the fleet's and of the agent's XDP program for one frame, with the count's own cost.
    pub(super) fleet_ns: f64,
    pub(super) receive_ns: f64,
    pub(super) bytes_per_host: f64,
    pub(super) process_bytes: u64,
    pub(super) map_bytes: u64,
    pub(super) peak_resident_bytes: u64,
    pub(super) probes: u64,
    pub(super) probes_per_second: f64,
    /// Bounds that so many probes stayed within; `None`: beyond the last bound of the agent's histogram.
    pub(super) late_p50_ms: Option<f64>,
    pub(super) late_p99_ms: Option<f64>,
    pub(super) late_max_ms: Option<f64>,
    /// Share of the probes that left more than 10 ms late, or not at all.
    pub(super) late_ratio: f64,
    pub(super) skipped: u64,
    pub(super) false_down: u64,
    /// Events of the agent that could not be read: downs may have been among them.
    pub(super) events_missed: u64,
    /// Probes without an answer in time, and those that said nothing for a reason on our side.
    pub(super) lost: u64,
    pub(super) misses: u64,
    pub(super) voids: u64,
    /// The engine's pauses, where the agent tells of them.
    pub(super) pause_max_ms: Option<f64>,
    pub(super) pauses_over_5_ms: Option<u64>,
    /// What the host of a virtual machine took from all its cores together: a pause that is not the agent's.
    pub(super) stolen_ms: Option<f64>,
    /// How the machine itself kept time meanwhile.
    pub(super) standstill: Option<Standstill>,
    /// What was asked of the agent meanwhile.
    pub(super) load: Option<Burden>,
}

/// Measures as asked for.
pub(super) async fn run(options: &Options, voice: &Voice) -> Result<Steady> {
    let usual = if options.part == Part::All { SECONDS_OF_ALL } else { SECONDS };
    let seconds = Duration::from_secs(options.seconds.unwrap_or(usual));
    measure(options, voice, options.hosts_or(HOSTS), seconds).await
}

/// Measures an agent with so many hosts for so long.
pub(super) async fn measure(options: &Options, voice: &Voice, hosts: u32, seconds: Duration) -> Result<Steady> {
    let method = options.method.unwrap_or(Method::Arp);
    let policy = options.policy(method);
    let stand = Stand::of(hosts)?;
    let (table, path) = stand.table(&policy)?;
    let baseline = baseline(seconds).await?;

    let began = Instant::now();
    let mut agent = stand.agent(options, Some(&path)).await?;
    let progress =
        |status: &Status| voice.progress("up", &format!("{} of {hosts}", status.verdicts.get("up").copied().unwrap_or_default()));
    stand::all_up(&mut agent, hosts, options.interval, progress).await?;
    voice.step("up", &format!("all {} hosts answer", grouped(hosts.into())), Some(began.elapsed()));
    tokio::time::sleep(options.interval.clamp(Duration::from_secs(1), Duration::from_secs(5))).await;

    let watcher = Watcher::start(&agent).await?;
    let witness = Witness::start()?;
    let start = Look::at(&agent).await?;
    let (idle, cost, began) = (Idle::now()?, agent.cost()?, Instant::now());
    let load = if options.load {
        Some(burden::carry(&agent, table, seconds, voice).await?)
    } else {
        wait(seconds, voice).await;
        None
    };
    let (machine, took) = (idle.busy_since()?, began.elapsed().as_secs_f64());
    let stolen = idle.stolen_since()?;
    let process = agent.cost()?.cpu.saturating_sub(cost.cpu).as_secs_f64() / took;
    let end = Look::at(&agent).await?;
    let standstill = witness.end()?;
    let memory = Memory::of(&agent)?;
    let heard = watcher.heard()?;
    drop(watcher);
    let still_down = end.status.verdicts.get("down").copied().unwrap_or_default();
    let shares = runtime::measure(&stand.lab, Duration::from_secs(2).min(seconds)).await?;
    stand::end(agent).await?;

    let mut steady = Steady {
        hosts,
        interval_ms: options.interval.as_secs_f64() * 1e3,
        method: method.name().into(),
        seconds: rounded(took),
        stolen_ms: Some(rounded(stolen.as_secs_f64() * 1e3)),
        standstill: Some(standstill),
        false_down: (heard.downs.len() as u64).max(still_down),
        events_missed: heard.missed,
        load,
        ..Steady::default()
    };
    steady.cost(baseline, machine, process, &shares, &memory);
    steady.work(&start, &end, took)?;
    voice.step(
        "steady",
        &format!(
            "{} hosts: {} cores, {} bytes a host, {} false downs",
            grouped(hosts.into()),
            number(steady.cpu_cores, 3),
            number(steady.bytes_per_host, 0),
            steady.false_down
        ),
        Some(Duration::from_secs_f64(took)),
    );
    Ok(steady)
}

/// What the machine is busy with while no agent runs.
async fn baseline(seconds: Duration) -> Result<f64> {
    // It is there during the measurement too.
    let witness = Witness::start()?;
    let idle = Idle::now()?;
    tokio::time::sleep((seconds / 2).clamp(Duration::from_secs(1), Duration::from_secs(5))).await;
    let busy = idle.busy_since()?;
    witness.end()?;
    Ok(busy)
}

async fn wait(seconds: Duration, voice: &Voice) {
    let began = Instant::now();
    while let Some(left) = seconds.checked_sub(began.elapsed()).filter(|left| !left.is_zero()) {
        voice.progress("steady", &format!("{} s to go", left.as_secs() + 1));
        tokio::time::sleep(left.min(Duration::from_secs(5))).await;
    }
}

/// What the agent says of its work so far.
struct Look {
    status: Status,
    late: Option<Histogram>,
    pauses: Option<Histogram>,
    skipped: u64,
}

impl Look {
    async fn at(agent: &Agent) -> Result<Self> {
        let scrape = Scrape::of(agent).await?;
        Ok(Self {
            status: agent.status().await?,
            late: scrape.histogram(LATENESS),
            pauses: scrape.histogram(PAUSE),
            skipped: scrape.sum("rollcall_probes_skipped_total").unwrap_or_default() as u64,
        })
    }
}

impl Steady {
    fn cost(&mut self, baseline: f64, machine: f64, process: f64, shares: &Shares, memory: &Memory) {
        self.machine_cores = rounded(machine);
        self.idle_cores = rounded(baseline);
        self.fleet_cores = rounded(shares.fleet.cores);
        // Part of the softirq's work, the fleet's too, is done and accounted in the process. Where something else was more
        // busy before than during the measurement, that is what is left to say.
        self.cpu_cores = rounded((machine - baseline).max(process).max(shares.fleet.cores) - shares.fleet.cores);
        self.process_cores = rounded(process);
        (self.fleet_ns, self.receive_ns) = (rounded(shares.fleet.nanos), rounded(shares.agent.nanos));
        self.bytes_per_host = rounded(memory.all() as f64 / f64::from(self.hosts));
        (self.process_bytes, self.map_bytes, self.peak_resident_bytes) = (memory.process, memory.maps, memory.peak_resident);
    }

    fn work(&mut self, start: &Look, end: &Look, took: f64) -> Result<()> {
        let (before, after) = (&start.status, &end.status);
        self.transmit = after.networks.first().map(|network| network.transmit.clone()).unwrap_or_default();
        self.probes = after.probes_sent - before.probes_sent;
        self.probes_per_second = rounded(self.probes as f64 / took);
        (self.misses, self.voids) = (after.misses - before.misses, after.voids - before.voids);
        self.lost = self.misses + self.voids;
        self.skipped = end.skipped - start.skipped;
        if let (Some(end), Some(start)) = (&end.late, &start.late) {
            let late = end.since(start);
            let within = |percent: f64| late.within(percent).filter(|bound| bound.is_finite()).map(|bound| bound * 1e3);
            (self.late_p50_ms, self.late_p99_ms, self.late_max_ms) = (within(50.0), within(99.0), within(100.0));
            self.late_ratio = rounded(late.over(LATE)? as f64 / late.count().max(1) as f64);
        }
        if let (Some(end), Some(start)) = (&end.pauses, &start.pauses) {
            let pauses = end.since(start);
            self.pause_max_ms = pauses.within(100.0).filter(|bound| bound.is_finite()).map(|bound| bound * 1e3);
            self.pauses_over_5_ms = pauses.over(0.005).ok();
        }
        Ok(())
    }

    /// For people.
    pub(super) fn sheets(&self) -> Vec<Sheet> {
        let title = format!("Steady: {} hosts every {} ms for {} s", grouped(self.hosts.into()), self.interval_ms, number(self.seconds, 0));
        let mut sheet = Sheet::new(title, &["figure", "value"]);
        let bound = |bound: Option<f64>| bound.map_or("over 5 s, or not known".into(), |bound| format!("within {bound} ms"));
        sheet.pair("CPU of the agent and its kernel work", format!("{} cores", number(self.cpu_cores, 3)));
        sheet.pair("the process by its own account", format!("{} cores", number(self.process_cores, 3)));
        sheet.pair("the whole machine", format!("{} cores", number(self.machine_cores, 3)));
        sheet.pair("of that without an agent", format!("{} cores", number(self.idle_cores, 3)));
        sheet
            .pair("of that the fleet's program", format!("{} cores, {} ns a frame", number(self.fleet_cores, 3), number(self.fleet_ns, 0)));
        sheet.pair("the agent's XDP program (part of the first line)", format!("{} ns a frame", number(self.receive_ns, 0)));
        sheet.pair("memory per host, all included", format!("{} bytes", number(self.bytes_per_host, 1)));
        sheet.pair("of that process, kernel maps", format!("{}, {}", megabytes(self.process_bytes), megabytes(self.map_bytes)));
        sheet.pair(
            "probes",
            format!("{} ({} a second, {}, {})", grouped(self.probes), number(self.probes_per_second, 0), self.transmit, self.method),
        );
        sheet.pair("lateness p50, p99, max", [self.late_p50_ms, self.late_p99_ms, self.late_max_ms].map(bound).join(", "));
        sheet.pair("later than 10 ms", format!("{} %, {} skipped", number(self.late_ratio * 100.0, 4), self.skipped));
        sheet.pair("lost", format!("{} ({} missed, {} void)", self.lost, self.misses, self.voids));
        let unread =
            if self.events_missed > 0 { format!(" at least: {} events were not read", grouped(self.events_missed)) } else { String::new() };
        sheet.pair("false downs", format!("{}{unread}", self.false_down));
        if let Some(over) = self.pauses_over_5_ms {
            sheet.pair("pauses of the engine", format!("longest {}, {over} over 5 ms", bound(self.pause_max_ms)));
        }
        if let Some(Standstill { late_ratio, over_5_ms, longest_ms }) = self.standstill {
            sheet.pair(
                "the machine's own: something due would have waited for more than 10 ms",
                format!("{} % of the time", number(late_ratio * 100.0, 4)),
            );
            sheet.pair(
                "its pauses: a thread as urgent as the engine that only looks at the clock",
                format!("longest {} ms, {over_5_ms} over 5 ms", number(longest_ms, 1)),
            );
        }
        if let Some(stolen) = self.stolen_ms {
            sheet.pair("taken from all cores together by the host of this machine", format!("{} ms", number(stolen, 0)));
        }
        if let Some(load) = &self.load {
            load.rows(&mut sheet);
        }
        sheet.note(
            "CPU is what the machine was neither idle nor robbed of by its host, less its baseline without an agent, less the run time of the fleet's XDP program (counted \
             by the kernel in a window of its own); never less than the process's own account says. The veth driver's work on both sides is the agent's here. Memory is what is resident \
             without the mapped kernel arrays, and those arrays as the kernel charges for them. Lateness is given by the agent's histogram: as bounds.",
        );
        if self.idle_cores > QUIET_CORES {
            sheet.note(format!(
                "The machine was busy with something else ({} cores before the agent started): the figures of CPU and lateness are not to be trusted.",
                number(self.idle_cores, 2)
            ));
        }
        vec![sheet]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_has_the_keys_that_were_promised() {
        let json = serde_json::to_value(Steady::default()).unwrap();
        for key in ["hosts", "cpu_cores", "bytes_per_host", "late_ratio", "false_down", "lost"] {
            assert!(json.get(key).is_some(), "{key}");
        }
    }

    #[test]
    fn what_the_machine_does_without_us_and_the_fleets_work_are_not_the_agents() {
        let mut steady = Steady { hosts: 10, ..Steady::default() };
        let fleet = runtime::Share { cores: 0.1, nanos: 100.0, per_second: 1e6 };
        let shares = Shares { fleet, ..Shares::default() };
        steady.cost(0.05, 0.65, 0.4, &shares, &Memory { process: 600, maps: 400, peak_resident: 0 });
        assert_eq!((steady.cpu_cores, steady.process_cores, steady.bytes_per_host), (0.5, 0.4, 100.0));
        steady.cost(0.5, 0.1, 0.0, &shares, &Memory::default());
        assert_eq!(steady.cpu_cores, 0.0);
        steady.cost(2.0, 2.0, 0.6, &shares, &Memory::default());
        assert_eq!(steady.cpu_cores, 0.5, "never less than the process's own account says");
    }
}
