//! Work that keeps one core busy: on a thread of its own, pinned, and ended when nobody waits for it any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use tokio::sync::oneshot;

use super::machine;

/// Set once nobody waits for the work any more.
#[derive(Clone, Default)]
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Fails once the work is to end.
    pub(super) fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) { Err(anyhow!("interrupted")) } else { Ok(()) }
    }
}

/// Runs a function on the last core, in the calling thread's network namespace. Dropping the future ends the work, and
/// waits for its end: what it uses may then be removed.
pub(super) async fn pinned<T: Send + 'static>(work: impl FnOnce(&Stop) -> Result<T> + Send + 'static) -> Result<T> {
    let stop = Stop::default();
    let (done, result) = oneshot::channel();
    let theirs = stop.clone();
    let thread = std::thread::Builder::new().name("bench".into()).spawn(move || {
        let result = pin().and_then(|()| work(&theirs));
        // Nobody waits after an interruption.
        let _ = done.send(result);
    });
    let _guard = Guard { stop, thread: Some(thread.context("cannot start a thread")?) };
    result.await.map_err(|_| anyhow!("the measuring thread panicked; what it said stands above"))?
}

/// The last core: the first one has most of the machine's interrupts.
fn pin() -> Result<()> {
    let mut set = CpuSet::new();
    set.set(machine::cores() - 1)?;
    sched_setaffinity(Pid::from_raw(0), &set).context("cannot pin a thread to a core")
}

struct Guard {
    stop: Stop,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.stop.0.store(true, Ordering::Relaxed);
        // A panic was told by the channel.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
