//! Who gives way to whom on a machine with few cores: scrapes, lists and pushes to the engine.

use tracing::debug;

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
