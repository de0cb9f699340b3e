//! How long after a death the verdict comes: as the policy's arithmetic says, and as the engine does it.
//!
//! A host that dies at a moment that has nothing to do with its turn waits for its next probe, between nothing and the interval. That probe and those that
//! confirm it take `2 timeout + (down_after - 2) confirm_interval` more (one miss alone: `timeout`), where no probe overlaps another.

use std::time::Duration;

use anyhow::{Context, Result};
use rollcall_agent::policy::Policy;
use rollcall_agent_ebpf::fleet::Behaviour;

use super::odds;
use crate::simulation::Random;

/// An address is probed at one moment of each interval, or within five milliseconds where that is no multiple of a step; its miss is seen up
/// to five milliseconds after its deadline.
const SLACK: Duration = Duration::from_millis(10);

/// Times from death to verdict, sorted, and the policy.
pub(crate) struct Detection {
    /// The policy.
    pub policy: Policy,
    /// Sorted.
    pub times: Vec<Duration>,
}

impl Detection {
    /// The time that so many of all verdicts did not exceed.
    pub(crate) fn measured(&self, share: f64) -> Duration {
        let at = ((self.times.len() as f64 * share).ceil() as usize).clamp(1, self.times.len());
        self.times[at - 1]
    }

    /// Whether nobody waited longer than the policy promises, and nobody shorter than it takes; a turn of the engine or two is what its
    /// arithmetic leaves out.
    pub(crate) fn holds(&self) -> bool {
        let bound = self.policy.detection_bound();
        self.measured(1.0) <= bound + SLACK && self.measured(0.0) + SLACK >= bound - self.policy.interval
    }

    /// The same by the arithmetic.
    pub(crate) fn predicted(&self, share: f64) -> Duration {
        self.policy.detection_bound() - self.policy.interval.mul_f64(1.0 - share)
    }
}

/// Lets half of so many hosts die, each at a random moment of some rounds.
pub(crate) fn run(seed: u64, hosts: u32, policy: Policy) -> Result<Detection> {
    const ROUNDS: u64 = 20;
    let mut simulation = odds::simulation(seed, hosts, policy.clone())?;
    let start = Duration::from_secs(5);
    simulation.run_until(start);
    let mut random = Random::new(seed);
    // The other half goes on answering: where nobody answers any more the agent says that it cannot know.
    let span = policy.interval.as_micros() as u64 * ROUNDS;
    let mut deaths: Vec<(Duration, u32)> =
        (1..=hosts).step_by(2).map(|station| (start + Duration::from_micros(random.below(span)), station)).collect();
    deaths.sort_unstable();
    let mut died = std::collections::HashMap::new();
    for (at, station) in deaths {
        simulation.run_until(at);
        let now = simulation.now();
        simulation.cloud(|air| {
            let behaviour = &mut air.nets[0].health[station as usize].behaviour;
            *behaviour = behaviour.with(Behaviour::DEAD, true);
            if let Some(address) = air.address(0, station) {
                died.insert(address, now);
            }
        });
    }
    let end = simulation.elapsed() + policy.detection_bound() * 2;
    simulation.run_until(end);
    let verdict = |fell: &crate::simulation::Fell| died.get(&fell.address).map(|died| fell.at.since(*died));
    let mut times: Vec<Duration> = simulation.ledger.fell.iter().filter_map(verdict).collect();
    times.sort_unstable();
    anyhow::ensure!(times.len() == died.len(), "{} hosts died, {} verdicts", died.len(), times.len());
    times.first().context("nobody died")?;
    Ok(Detection { policy, times })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_death_is_told_within_the_bound_and_half_of_them_within_the_predicted_half() {
        // In steps of ten milliseconds, of twenty, and of five, for the interval is no multiple of more, nor of that.
        for (timeout, interval) in [(100, 1000), (200, 1000), (200, 997)] {
            let (timeout, interval) = (Duration::from_millis(timeout), Duration::from_millis(interval));
            let detection = run(3, 400, Policy { timeout, interval, ..odds::policy(3) }).unwrap();
            assert!(detection.holds(), "{:?} to {:?}", detection.measured(0.0), detection.measured(1.0));
            let (measured, predicted) = (detection.measured(0.5), detection.predicted(0.5));
            assert!(measured.abs_diff(predicted) < Duration::from_millis(120), "{measured:?} {predicted:?}");
        }
    }
}
