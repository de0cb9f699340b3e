//! The witness: a thread as urgent as the agent's engine and as free to move, that does nothing but look at the clock. When it is
//! late the machine stood still: its host had the core, or the kernel held interrupts back. The engine cannot hold it up on a
//! machine of two cores and more, for the kernel gives each of the two a core of its own.
//!
//! It must neither go before the engine nor be pinned to a core: the kernel then moves the engine to the other core in the
//! middle of a run, while the answers are still taken in on the first, and the rings of the lab's veth pair overflow.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use rollcall_agent::priority;
use serde::{Deserialize, Serialize};

/// Between two looks: the engine's tick while it has much to do.
const PERIOD: Duration = Duration::from_millis(1);
/// A probe that leaves later than this is late.
const LATE: Duration = Duration::from_millis(10);
const LONG: Duration = Duration::from_millis(5);

/// How the machine kept time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Standstill {
    /// Share of the moments at which something due would have had to wait for more than 10 ms.
    pub(super) late_ratio: f64,
    /// Pauses over 5 ms.
    pub(super) over_5_ms: u64,
    pub(super) longest_ms: f64,
}

/// The thread. Dropping it ends it.
pub(super) struct Witness {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Standstill>>,
}

impl Witness {
    /// Starts to look.
    pub(super) fn start() -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let theirs = stop.clone();
        let thread = std::thread::Builder::new().name("witness".into()).spawn(move || look(&theirs));
        Ok(Witness { stop, thread: Some(thread.context("cannot start a thread")?) })
    }

    /// Ends, and says what was seen.
    pub(super) fn end(mut self) -> Result<Standstill> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("the witness ended before")?;
        thread.join().map_err(|_| anyhow!("the witness panicked; what it said stands above"))
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // It ends within a period; what it saw is not asked for.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn look(stop: &AtomicBool) -> Standstill {
    priority::come_first();
    let began = Instant::now();
    let mut seen = Seen::default();
    let mut due = began;
    while !stop.load(Ordering::Relaxed) {
        due += PERIOD;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let now = Instant::now();
        seen.note(now.saturating_duration_since(due));
        due = due.max(now);
    }
    seen.standstill(began.elapsed())
}

#[derive(Debug, Default)]
struct Seen {
    late: Duration,
    over_5_ms: u64,
    longest: Duration,
}

impl Seen {
    /// Takes one look into account that came so much after its time.
    fn note(&mut self, behind: Duration) {
        self.late += behind.saturating_sub(LATE);
        self.over_5_ms += u64::from(behind > LONG);
        self.longest = self.longest.max(behind);
    }

    fn standstill(&self, took: Duration) -> Standstill {
        Standstill {
            late_ratio: self.late.as_secs_f64() / took.as_secs_f64().max(1e-3),
            over_5_ms: self.over_5_ms,
            longest_ms: self.longest.as_secs_f64() * 1e3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pause_counts_by_what_would_have_waited_for_too_long() {
        let ms = Duration::from_millis;
        let mut seen = Seen::default();
        [0, 4, 6, 30].map(ms).into_iter().for_each(|behind| seen.note(behind));
        assert_eq!(seen.standstill(ms(1000)), Standstill { late_ratio: 0.02, over_5_ms: 2, longest_ms: 30.0 });
    }
}
