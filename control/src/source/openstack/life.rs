//! What a server's state says: whether it is expected to answer.

use crate::hosts::Monitor;

/// States in which a server runs, and answers if it is well.
const RUNS: [&str; 4] = ["ACTIVE", "PASSWORD", "VERIFY_RESIZE", "UNKNOWN"];

/// What may be done to a server that runs on meanwhile.
const HARMLESS: [&str; 6] =
    ["image_snapshot", "image_snapshot_pending", "image_pending_upload", "image_uploading", "image_backup", "updating_password"];

/// How a server is watched, by Nova's `status` and task state. Where Nova does not say, it is watched: `UNKNOWN` is what it answers for
/// a cell that it cannot reach.
pub fn monitor(status: &str, task: Option<&str>) -> Monitor {
    let task = task.map(str::trim).filter(|task| !task.is_empty() && *task != "None");
    let runs = status.is_empty() || RUNS.iter().any(|state| status.eq_ignore_ascii_case(state));
    match (status.to_ascii_uppercase().as_str(), task) {
        ("DELETED" | "SOFT_DELETED", _) => Monitor::Off,
        (_, Some(task)) if runs && HARMLESS.contains(&task) => Monitor::On,
        (_, None) if runs => Monitor::On,
        _ => Monitor::Silent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_watched_while_it_runs_and_nobody_touches_it() {
        for (status, task) in [("ACTIVE", None), ("active", Some("")), ("ACTIVE", Some("image_uploading")), ("UNKNOWN", None), ("", None)] {
            assert_eq!(monitor(status, task), Monitor::On, "{status} {task:?}");
        }
        for status in ["SHUTOFF", "PAUSED", "SUSPENDED", "SHELVED", "SHELVED_OFFLOADED", "BUILD", "RESIZE", "MIGRATING", "REBOOT", "ERROR"]
        {
            assert_eq!(monitor(status, None), Monitor::Silent, "{status}");
        }
        for task in ["deleting", "powering-off", "migrating", "rebooting", "a word of a later release"] {
            assert_eq!(monitor("ACTIVE", Some(task)), Monitor::Silent, "{task}");
        }
        assert_eq!(monitor("SHUTOFF", Some("image_uploading")), Monitor::Silent);
        assert_eq!(monitor("DELETED", None), Monitor::Off);
    }
}
