//! The machine: what it is, and how busy it is.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// `USER_HZ`: what `/proc/stat` counts in (proc(5)).
const TICKS_PER_SECOND: f64 = 100.0;

/// What a figure was measured on, and by which command.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(super) cpu: String,
    pub(super) cores: usize,
    pub(super) memory_gb: u64,
    pub(super) kernel: String,
    pub(super) commit: String,
    pub(super) command: String,
    pub(super) date: String,
}

impl Machine {
    /// This one, now.
    pub(crate) fn here() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let value = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let memory = value(&meminfo, "MemTotal").and_then(|text| text.strip_suffix(" kB")?.parse::<u64>().ok());
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        Self {
            cpu: value(&cpuinfo, "model name").unwrap_or_else(|| std::env::consts::ARCH.into()),
            cores: cores(),
            memory_gb: memory.unwrap_or_default().div_ceil(1 << 20),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().into(),
            commit: commit().unwrap_or_else(|| "unknown".into()),
            command: format!("cargo xtask bench {}", arguments.join(" ")),
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        }
    }

    /// On one line.
    pub(crate) fn line(&self) -> String {
        format!("{}, {} cores, {} GB, Linux {}, commit {}, {}", self.cpu, self.cores, self.memory_gb, self.kernel, self.commit, self.date)
    }
}

/// The commit that is checked out, and whether files differ from it.
fn commit() -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(env!("CARGO_MANIFEST_DIR")).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let short = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changed.is_empty() { short } else { format!("{short} with changes") })
}

/// Processors that are online.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// How long all processors together were idle up to a moment.
///
/// Idle time is measured by the kernel; the other columns of `/proc/stat` are sampled at ticks on many kernels, and work
/// that begins at timers, as the agent's does, is then over- or undercounted. So busy is what was neither idle nor taken by the host of a virtual machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Idle {
    at: Instant,
    idle: Duration,
    stolen: Duration,
    cores: usize,
}

impl Idle {
    /// Until now.
    pub(super) fn now() -> Result<Self> {
        let text = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
        let (idle, stolen, cores) =
            parse(&text).with_context(|| format!("cannot understand /proc/stat: {}", text.lines().next().unwrap_or_default()))?;
        Ok(Self { at: Instant::now(), idle, stolen, cores })
    }

    /// How long the host of a virtual machine gave its cores to others since then, all cores together.
    pub(super) fn stolen_since(&self) -> Result<Duration> {
        Ok(Self::now()?.stolen.saturating_sub(self.stolen))
    }

    /// Cores that were busy since then, on average. What the host of a virtual machine took is nobody's here.
    pub(super) fn busy_since(&self) -> Result<f64> {
        let now = Self::now()?;
        let took = now.at.duration_since(self.at).as_secs_f64().max(1e-3);
        let not_ours = (now.idle + now.stolen).saturating_sub(self.idle + self.stolen).as_secs_f64();
        Ok((now.cores as f64 - not_ours / took).max(0.0))
    }
}

/// Idle time (waiting for a disk is idle too), stolen time, and the number of processors.
fn parse(stat: &str) -> Option<(Duration, Duration, usize)> {
    let fields: Vec<&str> = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
    let cores = stat.lines().filter(|line| line.starts_with("cpu") && !line.starts_with("cpu ")).count();
    let time = |ticks: f64| Duration::from_secs_f64(ticks / TICKS_PER_SECOND);
    Some((time(ticks(3)? + ticks(4)?), time(ticks(7)?), cores))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_is_idle_and_waiting_for_disks() {
        let stat = "cpu  10 0 20 250 50 0 5 700 0 0\ncpu0 5 0 10 125 25 0 2 0 0 0\ncpu1 5 0 10 125 25 0 3 0 0 0\nintr 1\n";
        assert_eq!(parse(stat), Some((Duration::from_secs(3), Duration::from_secs(7), 2)));
        assert_eq!(parse("cpu  10 0"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn this_machine_has_a_name() {
        let machine = Machine::here();
        assert!(!machine.cpu.is_empty() && !machine.kernel.is_empty() && machine.cores > 0 && machine.memory_gb > 0, "{machine:?}");
    }
}
