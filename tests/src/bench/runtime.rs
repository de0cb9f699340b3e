//! How long XDP programs ran, by the kernel's own count (`BPF_ENABLE_STATS`), over a short window of its own.
//!
//! The count reads a clock twice for each frame, which costs something itself, most of it outside of what is counted. So it
//! is on only in the window, and nothing else is measured there.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use aya::programs::loaded_programs;
use aya::sys::{Stats, enable_stats};

use crate::lab::{AGENT_INTERFACE, FLEET_INTERFACE, Lab};

/// What one program did in the window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Share {
    /// Cores that it took.
    pub(super) cores: f64,
    /// Nanoseconds of one run, on average.
    pub(super) nanos: f64,
    /// Runs in a second.
    pub(super) per_second: f64,
}

/// The programs at both ends of a lab.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Shares {
    pub(super) agent: Share,
    pub(super) fleet: Share,
}

/// Counts for a while.
pub(super) async fn measure(lab: &Lab, window: Duration) -> Result<Shares> {
    let agent = Lab::xdp_program(&lab.agent(), AGENT_INTERFACE)?;
    let fleet = Lab::xdp_program(&lab.fleet_side(), FLEET_INTERFACE)?;
    let _on = enable_stats(Stats::RunTime).context("the kernel does not count the run time of XDP programs (Linux 5.8 does)")?;
    let (before, began) = (runs()?, Instant::now());
    tokio::time::sleep(window).await;
    let (after, took) = (runs()?, began.elapsed().as_secs_f64());
    let share = |id: Option<u32>| {
        let none = (Duration::ZERO, 0);
        let Some((id, end)) = id.and_then(|id| Some((id, after.get(&id)?))) else { return Share::default() };
        let start = before.get(&id).unwrap_or(&none);
        let (time, count) = (end.0.saturating_sub(start.0).as_secs_f64(), end.1.saturating_sub(start.1) as f64);
        Share { cores: time / took, nanos: time * 1e9 / count.max(1.0), per_second: count / took }
    };
    Ok(Shares { agent: share(agent), fleet: share(fleet) })
}

/// Run time and runs of all programs, by number. One that is unloaded meanwhile is left out.
fn runs() -> Result<BTreeMap<u32, (Duration, u64)>> {
    Ok(loaded_programs().filter_map(|info| info.ok()).map(|info| (info.id(), (info.run_time(), info.run_count()))).collect())
}
