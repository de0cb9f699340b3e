//! How often a host that is alive is called down, where a share of what is asked is lost: as the policy's arithmetic says, and as
//! the engine does it.
//!
//! What is counted: turns of a verdict to `down` of addresses that never died, over all probes that were judged (answered or missed).
//! Each probe is lost with probability p, independently of the others. Up with nothing counted, an address needs `(1 - p^n) / (p^n (1 - p))`
//! judged probes on average until n were missed in a row; down, it needs `(1 - q^u) / (q^u (1 - q))` until u were answered in a row, with
//! q = 1 - p. The two follow each other for ever, so one false down comes with so many judged probes as both sums together. Where p is small
//! that is p^n for each regular probe.

use std::time::Duration;

use anyhow::{Context, Result};
use rollcall_agent::policy::{Method, Policy};
use rollcall_agent::schedule::Pps;
use rollcall_agent::table::Writer;
use rollcall_agent_ebpf::fleet::Cloud;

use crate::population;
use crate::simulation::Simulation;

/// False downs for each judged probe, with probes of which none overlaps another one of its address.
pub fn false_downs_per_probe(policy: &Policy, loss: f64) -> f64 {
    let run = |p: f64, n: u8| (1.0 - p.powi(n.into())) / (p.powi(n.into()) * (1.0 - p));
    if loss <= 0.0 { 0.0 } else { 1.0 / (run(loss, policy.down_after) + run(1.0 - loss, policy.up_after)) }
}

/// What a run was.
#[derive(Clone, Debug)]
pub struct Odds {
    /// Misses in a row that make an address down.
    pub down_after: u8,
    /// The chance that a probe or its answer is lost.
    pub loss: f64,
    /// Judged probes.
    pub probes: u64,
    /// Verdicts `down` of hosts that are alive.
    pub false_downs: u64,
    /// False downs for each judged probe, by the arithmetic.
    pub predicted: f64,
    /// How long it took on this machine.
    pub took: Duration,
    /// How long it was in the simulation.
    pub lasted: Duration,
}

impl Odds {
    /// False downs for each judged probe, as they were counted.
    pub fn rate(&self) -> f64 {
        self.false_downs as f64 / self.probes as f64
    }

    /// How many false downs the arithmetic expects in so many probes.
    pub fn expected(&self) -> f64 {
        self.predicted * self.probes as f64
    }

    /// Where the count lies in 999 of 1000 runs if the arithmetic is right: Poisson's distribution, approached by its square root.
    pub fn interval(&self) -> (f64, f64) {
        let (mean, z) = (self.expected(), 3.291);
        let root = |sign: f64| (mean.sqrt() + sign * z / 2.0).max(0.0).powi(2);
        (root(-1.0).floor(), root(1.0).ceil())
    }

    /// Whether it does.
    pub fn fits(&self) -> bool {
        let (low, high) = self.interval();
        (low..=high).contains(&(self.false_downs as f64))
    }
}

/// The policy of these runs: no probe leaves before the one before it is judged.
pub(crate) fn policy(down_after: u8) -> Policy {
    Policy {
        name: format!("down-after-{down_after}"),
        interval: Duration::from_secs(1),
        timeout: Duration::from_millis(100),
        confirm_interval: Duration::from_millis(200),
        down_after,
        down_of: down_after,
        up_after: 2,
        up_of: 2,
        method: Method::Arp,
        alarm: vec![],
    }
}

/// A simulated agent with so many hosts of one policy on the link.
pub(crate) fn simulation(seed: u64, hosts: u32, policy: Policy) -> Result<Simulation> {
    let cloud = Cloud { on_link: hosts, routed: 0 };
    let mut writer = Writer::new();
    let policy = writer.policy(policy);
    for host in population::hosts(cloud) {
        let row = writer.host(&host.id, &host.name, host.project, host.tags);
        writer.address(row, population::NETWORK, host.address.into(), host.mac, policy);
    }
    let pps = Pps::new(10_000_000).context("a cap")?;
    let mut simulation = Simulation::new(seed, &[(population::NETWORK.to_owned(), cloud)], hosts as usize, pps)?;
    simulation.push(writer.finish()?)?;
    Ok(simulation)
}

/// Hosts of one engine: a virtual day of them is a thousand million probes nearly.
const HOSTS: u32 = 10_000;

/// Runs until so many probes were judged, on every core an engine of its own.
pub(crate) fn run(seed: u64, down_after: u8, loss: f64, probes: u64) -> Result<Odds> {
    let began = std::time::Instant::now();
    let engines = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let one = |engine: u64| run_one(seed.wrapping_add(engine), policy(down_after), loss, probes.div_ceil(engines));
    let outcomes: Vec<Result<(u64, u64, Duration)>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..engines).map(|engine| scope.spawn(move || one(engine))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| anyhow::bail!("a simulation panicked"))).collect()
    });
    let (mut judged, mut false_downs, mut lasted) = (0, 0, Duration::ZERO);
    for outcome in outcomes {
        let (probes, downs, time) = outcome?;
        (judged, false_downs, lasted) = (judged + probes, false_downs + downs, lasted + time);
    }
    let predicted = false_downs_per_probe(&policy(down_after), loss);
    Ok(Odds { down_after, loss, probes: judged, false_downs, predicted, took: began.elapsed(), lasted })
}

fn run_one(seed: u64, policy: Policy, loss: f64, probes: u64) -> Result<(u64, u64, Duration)> {
    // Every second of the simulation judges each host once: few hosts for few probes, so that the beginning is little.
    let hosts = u32::try_from(probes / 100).unwrap_or(HOSTS).clamp(100, HOSTS);
    let mut simulation = simulation(seed, hosts, policy)?;
    simulation.run_until(Duration::from_secs(3));
    let (judged, told) = (judged(&simulation), simulation.ledger.fell.len());
    simulation.cloud(|air| air.nets[0].health[1..].iter_mut().for_each(|health| health.set_loss(loss)));
    while self::judged(&simulation) - judged < probes {
        let until = simulation.elapsed() + Duration::from_secs(1);
        simulation.run_until(until);
    }
    let downs = (simulation.ledger.fell.len() - told) as u64;
    Ok((self::judged(&simulation) - judged, downs, simulation.elapsed()))
}

fn judged(simulation: &Simulation) -> u64 {
    let totals = &simulation.view().totals;
    totals.replies.value() + totals.misses.value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_is_that_of_small_losses_and_of_a_coin() {
        let rate = |n, p| false_downs_per_probe(&policy(n), p);
        assert!((rate(3, 1e-3) / 1e-9 - 1.0).abs() < 0.002);
        assert_eq!(rate(3, 0.0), 0.0);
        // A coin: 2 tosses on average until a miss, 6 until two replies in a row.
        assert!((rate(1, 0.5) - 1.0 / 8.0).abs() < 1e-12);
    }

    #[test]
    fn lossless_cloud_has_no_false_down_and_a_lossy_one_as_many_as_predicted() {
        let none = run(1, 1, 0.0, 200_000).unwrap();
        assert_eq!((none.false_downs, none.probes >= 200_000), (0, true));
        for (down_after, loss) in [(1, 0.01), (2, 0.05)] {
            let odds = run(2, down_after, loss, 400_000).unwrap();
            assert!(odds.fits(), "{odds:?}: expected {}", odds.expected());
        }
    }

    #[test]
    fn window_of_outcomes_has_no_more_false_downs_than_operators_are_told_and_no_fewer_than_its_lower_bound() {
        for (count, of, loss) in [(2, 3, 0.01), (3, 5, 0.05)] {
            let policy = Policy { down_of: of, ..policy(count) };
            let (probes, downs, lasted) = run_one(3, policy.clone(), loss, 1_000_000).unwrap();
            // The bounds are for a round: there is one, with most of its probes, in each interval.
            let expected = |rate: f64| Odds { down_after: count, loss, probes, false_downs: downs, predicted: rate, took: lasted, lasted };
            let stated = policy.false_down_rate(loss);
            let least = stated * (1.0 - loss).powi(i32::from(of - count) + 1) * (1.0 - 2.0 * loss);
            assert!(downs as f64 <= expected(stated).interval().1, "{count} of {of}: {downs} of {probes}, stated {stated}");
            assert!(downs as f64 >= expected(least).interval().0, "{count} of {of}: {downs} of {probes}, at least {least}");
            assert!(downs > 50, "{count} of {of}: {downs}");
        }
    }
}
