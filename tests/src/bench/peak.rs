//! `peak`: the highest loss-free rate of round trips on one core.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rollcall_agent::link::Interface;
use rollcall_agent::policy::Method;
use rollcall_agent_ebpf::fleet::Cloud;
use serde::{Deserialize, Serialize};

use super::core::{Stop, pinned};
use super::machine::Idle;
use super::options::{Options, Transmit};
use super::rig::{Rig, Sent, interface};
use super::sender::Way;
use super::sheet::{Sheet, number, rounded};
use super::spread::percentile;
use super::stand::Stand;
use crate::voice::{Voice, grouped};

const SECONDS: u64 = 5;
const HOSTS: [u32; 2] = [10_000, 1_000_000];
/// Steps of the search for a rate without loss.
const STEPS: u32 = 6;

/// The highest rates of the largest number of hosts, and every measurement.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Peak {
    hosts: u32,
    kernel_kpps: Option<f64>,
    kernel_arp_kpps: Option<f64>,
    socket_kpps: Option<f64>,
    /// Probes without an answer in the runs that the figures come from.
    lost: u64,
    batch: u32,
    rows: Vec<Row>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Row {
    hosts: u32,
    transmit: String,
    method: Method,
    /// Thousands of round trips in a second.
    kpps: f64,
    sent: u64,
    lost: u64,
    seconds: f64,
    /// Whether the rate is that of a run at full speed, and not one found by slowing down until nothing was lost.
    unpaced: bool,
    /// Cores that the whole machine was busy with.
    busy_cores: f64,
    rtt_p50_us: Option<f64>,
    rtt_p99_us: Option<f64>,
}

/// Measures each transmitter that was asked for.
pub(super) async fn run(options: &Options, voice: &Voice) -> Result<Peak> {
    let seconds = Duration::from_secs(options.seconds.unwrap_or(SECONDS));
    let mut peak = Peak { batch: options.batch, ..Peak::default() };
    for hosts in options.sizes_or(&HOSTS) {
        let stand = Stand::of(hosts)?;
        let cloud = stand.lab.fleet().cloud();
        let interface = interface().await?;
        peak.hosts = hosts;
        peak.lost = 0;
        (peak.kernel_kpps, peak.kernel_arp_kpps, peak.socket_kpps) = (None, None, None);
        for (way, method) in
            [(Way::Kernel, Method::Icmp), (Way::Kernel, Method::Arp), (Way::Socket, Method::Icmp), (Way::Socket, Method::Arp)]
        {
            let unwanted = match options.transmit {
                Transmit::Auto => false,
                Transmit::Kernel => way != Way::Kernel,
                Transmit::Socket => way != Way::Socket,
            };
            if unwanted || options.method.is_some_and(|wish| wish != method) {
                continue;
            }
            let (interface, batch) = (interface.clone(), options.batch);
            let work = move |stop: &Stop| measure(way, method, &interface, cloud, batch, seconds, stop);
            let Some(row) = pinned(work).await.with_context(|| format!("{way:?} transmitter, {method}, {hosts} hosts"))? else {
                ensure!(options.transmit != Transmit::Kernel, "this agent has no kernel transmitter");
                continue;
            };
            voice.step(
                "peak",
                &format!("{} hosts, {} {method}: {} kpps, {} lost", grouped(hosts.into()), row.transmit, number(row.kpps, 0), row.lost),
                Some(Duration::from_secs_f64(row.seconds)),
            );
            let kpps = Some(row.kpps);
            match (way, method) {
                (Way::Kernel, Method::Icmp) => peak.kernel_kpps = kpps,
                (Way::Kernel, Method::Arp) => peak.kernel_arp_kpps = kpps,
                (Way::Kernel, Method::Auto | Method::Both) => {}
                (Way::Socket, _) => peak.socket_kpps = peak.socket_kpps.or(kpps),
            }
            peak.lost += row.lost;
            peak.rows.push(row);
        }
    }
    Ok(peak)
}

fn measure(
    way: Way,
    method: Method,
    interface: &Interface,
    cloud: Cloud,
    batch: u32,
    wanted: Duration,
    stop: &Stop,
) -> Result<Option<Row>> {
    let Some(mut rig) = Rig::open(way, interface, cloud, method)? else { return Ok(None) };
    // Pages, caches and the processor's clock want to be warm.
    let warm = rig.run(batch, None, Duration::from_millis(500), stop)?;
    let idle = Idle::now()?;
    let mut best = rig.run(batch, None, wanted, stop)?;
    let mut busy_cores = idle.busy_since()?;
    let unpaced = best.lost() == 0;
    if !unpaced {
        let pace = search(warm.per_second().min(best.per_second()), |pace| {
            Ok(rig.run(batch, Some(pace), Duration::from_secs(1), stop)?.lost() == 0)
        })?;
        let mut pace = pace;
        loop {
            let idle = Idle::now()?;
            best = rig.run(batch, Some(pace), wanted.max(Duration::from_secs(3)), stop)?;
            busy_cores = idle.busy_since()?;
            if best.lost() == 0 || pace < 1000.0 {
                break;
            }
            pace *= 0.9;
        }
    }
    let rtts = rig.rtts();
    let Sent { sent, took, .. } = best;
    Ok(Some(Row {
        hosts: cloud.on_link,
        transmit: rig.name().into(),
        method,
        kpps: rounded(best.per_second() / 1e3),
        sent,
        lost: best.lost(),
        seconds: rounded(took.as_secs_f64()),
        unpaced,
        busy_cores: rounded(busy_cores),
        rtt_p50_us: percentile(&rtts, 50.0).map(rounded),
        rtt_p99_us: percentile(&rtts, 99.0).map(rounded),
    }))
}

/// The highest pace below `top` that is good, by halving what is between a good and a bad one.
fn search(top: f64, mut good: impl FnMut(f64) -> Result<bool>) -> Result<f64> {
    let (mut low, mut high) = (0.0, top);
    for _ in 0..STEPS {
        let pace = (low + high) / 2.0;
        if good(pace)? {
            low = pace;
        } else {
            high = pace;
        }
    }
    Ok(if low > 0.0 { low } else { high })
}

impl Peak {
    /// For people.
    pub(super) fn sheets(&self) -> Vec<Sheet> {
        let mut sheet = Sheet::new(
            "Peak: loss-free round trips on one core",
            &["transmitter", "method", "hosts", "kpps", "lost", "sent", "RTT p50, us", "p99, us", "busy cores of the machine"],
        );
        for row in &self.rows {
            let paced = if row.unpaced { "" } else { " (paced)" };
            sheet.row([
                row.transmit.clone(),
                row.method.to_string(),
                grouped(row.hosts.into()),
                format!("{}{paced}", number(row.kpps, 0)),
                row.lost.to_string(),
                grouped(row.sent),
                number(row.rtt_p50_us, 1),
                number(row.rtt_p99_us, 1),
                number(row.busy_cores, 2),
            ]);
        }
        sheet.note(format!(
            "One thread pinned to one core sends to all hosts round after round, {} probes a call; the fleet's answer and the agent's XDP \
             program run on that core too. A probe counts as lost unless its answer was matched. \"paced\": full speed lost probes; this \
             is the highest rate found at which none was.",
            self.batch
        ));
        vec![sheet]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_ends_just_below_the_rate_that_loses() {
        let found = search(1000.0, |pace| Ok(pace < 700.0)).unwrap();
        assert!((670.0..700.0).contains(&found), "{found}");
        let nothing = search(1000.0, |_| Ok(false)).unwrap();
        assert!(nothing > 0.0 && nothing < 20.0, "{nothing}");
    }

    #[test]
    fn the_result_has_the_keys_that_were_promised() {
        let json = serde_json::to_value(Peak::default()).unwrap();
        for key in ["kernel_kpps", "kernel_arp_kpps", "socket_kpps", "lost"] {
            assert!(json.get(key).is_some(), "{key}");
        }
    }
}
