//! Who gives way to whom on a machine with few cores: scrapes, lists and pushes to the engine.

use thread_priority::{
    RealtimeThreadSchedulePolicy, ScheduleParams, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
};
use tracing::{debug, info};

/// Puts the calling thread, the engine or who hears replies for it, before all that is not real-time: a listing, a new table or another program may take a
/// core for a second, and no probe may wait for it. A nice value alone would not do: it counts only among the processes of one
/// session or control group (sched(7), autogroup). The engine sleeps most of each turn, and the kernel keeps a twentieth of
/// each second free of real-time threads.
pub fn come_first() {
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::RoundRobin);
    let lowest = ThreadPriority::from_posix(ScheduleParams { sched_priority: 1 });
    if let Err(error) = set_thread_priority_and_policy(thread_native_id(), lowest, policy) {
        info!(target: "engine", ?error, "this thread keeps its normal priority (it needs CAP_SYS_NICE for another): on a busy machine probes may be late");
    }
}

/// Steps of niceness below the engine: about a third of its share of a core that both want.
const BELOW: i32 = 5;

/// Lowers the calling thread below the thread that the engine is started from. Where the kernel refuses all threads are
/// equal, as they were.
pub fn stand_back() {
    // On Linux niceness belongs to the thread: a zero names the calling one (setpriority(2), "C library/kernel differences").
    let lowered = rustix::process::getpriority_process(None).and_then(|now| rustix::process::setpriority_process(None, now + BELOW));
    if let Err(error) = lowered {
        debug!(target: "agent", %error, "this thread keeps the engine's priority");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_thread_that_stands_back_is_lowered() {
        let niceness = || rustix::process::getpriority_process(None).unwrap();
        let before = niceness();
        let lowered = std::thread::spawn(move || {
            stand_back();
            niceness()
        });
        assert_eq!((lowered.join().unwrap(), niceness()), ((before + BELOW).min(19), before));
    }
}
