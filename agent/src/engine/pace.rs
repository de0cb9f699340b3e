//! Pace: how long a step is, in which probes leave together, and when the next turn comes.

use std::time::Duration;

use super::network::Network;
use super::{Engine, TICK};
use crate::clock::Mono;
use crate::schedule::STEP_MAX;

/// Between two departures of probes, and between two turns where nothing else is to be done: a turn costs hundreds of microseconds on an
/// idle processor whatever it does (PERFORMANCE.md), so few probes leave many buckets of the dial at a time. Turns come at multiples
/// on the clock of a step, of five milliseconds where that is less, or of one: so every step begins with a turn.
const STEPS: [Duration; 5] = [STEP_MAX, Duration::from_millis(10), Duration::from_millis(5), Duration::from_millis(2), TICK];
/// Probes of one step at most, where a shorter one can have fewer: they leave in one go.
const MANY: u64 = 1_000;
/// A longer step is only taken where it would have so few: a table that grows and shrinks a little keeps its step.
const FEW: u64 = 900;
/// One turn while a probe of an address that is not down was not answered soon, for its miss is to be seen soon after its deadline.
const TICK_AWAITING: Duration = Duration::from_millis(5);

impl Engine {
    /// Between two departures. In the longer steps no address may wander: its next probe would come later than its interval says by a step.
    pub(super) fn pace(&self) -> Duration {
        let rate = self.schedule.rate();
        let fits = |step: &Duration| {
            let most = if *step > self.step { FEW } else { MANY };
            let few = rate * step.as_millis() as u64 <= most * 1_000;
            *step <= self.step_max && few && (*step <= TICK_AWAITING || self.schedule.keeps(*step))
        };
        STEPS.into_iter().find(fits).unwrap_or(TICK)
    }

    /// How long after this turn the next one is due.
    pub(super) fn rest(&self, now: Mono) -> Duration {
        // An address under suspicion wants its verdict to the millisecond; whoever pushed a table waits for it, and so does whoever lies
        // behind a gateway that came or went, and a probe that the cap or a full queue did not let leave.
        let changing = self.job.is_some() || self.networks.iter().any(Network::is_changing);
        let turn = if changing || self.schedule.confirms() || self.schedule.waiting() > 0 || self.networks.iter().any(Network::is_held_up) {
            TICK
        } else if now < self.awaiting {
            self.step.min(TICK_AWAITING)
        } else {
            self.step
        };
        (now.floor(turn) + turn).since(now)
    }
}
