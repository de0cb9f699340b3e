//! What the metrics ask of the stage: counters that any thread reads without waiting.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// One route's counters since the start of the agent.
#[derive(Debug, Default)]
pub(super) struct RouteStats {
    pub(super) delivered: AtomicU64,
    pub(super) failed_attempts: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) folded: AtomicU64,
    pub(super) queued: AtomicU64,
    pub(super) failing: AtomicBool,
    /// Milliseconds since 1970 at which the oldest waiting notice was queued; 0: none waits.
    oldest: AtomicU64,
}

impl RouteStats {
    pub(super) fn waiting(&self, queued: usize, oldest: Option<SystemTime>, folded: u64) {
        let since = oldest.map_or(0, |at| at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis().max(1));
        self.oldest.store(u64::try_from(since).unwrap_or(u64::MAX), Relaxed);
        self.queued.store(queued as u64, Relaxed);
        self.folded.store(folded, Relaxed);
    }

    pub(super) fn report(&self, name: &str, kind: &'static str) -> RouteReport {
        RouteReport {
            name: name.to_owned(),
            kind,
            delivered: self.delivered.load(Relaxed),
            failed_attempts: self.failed_attempts.load(Relaxed),
            dropped: self.dropped.load(Relaxed),
            folded: self.folded.load(Relaxed),
            queued: self.queued.load(Relaxed),
            failing: self.failing.load(Relaxed),
            oldest: match self.oldest.load(Relaxed) {
                0 => None,
                millis => Some(UNIX_EPOCH + Duration::from_millis(millis)),
            },
        }
    }
}

/// One route as the metrics show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteReport {
    /// The route's name.
    pub name: String,
    /// `log`, `webhook` or `alertmanager`.
    pub kind: &'static str,
    /// Notices that the receiver acknowledged, since the start.
    pub delivered: u64,
    /// Attempts that failed, since the start; one attempt carries a whole batch.
    pub failed_attempts: u64,
    /// Notices given up because the receiver refused their content, since the start.
    pub dropped: u64,
    /// Outages folded into earlier ones while the receiver was away, since the start.
    pub folded: u64,
    /// Notices that wait or are on their way now.
    pub queued: u64,
    /// Whether the last attempt failed.
    pub failing: bool,
    /// Since when the oldest of them waits.
    pub oldest: Option<SystemTime>,
}
