//! What the journal holds: every fact that changes the state, as one JSON object on one line.

use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::change::Key;
use super::lane::Outcome;
use super::notice::{Alarm, AlarmId, Kind, NoticeRef, shared};

/// Version of the journal's layout.
pub(super) const VERSION: u32 = 1;

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub(super) enum Record {
    /// The first line.
    Journal { version: u32 },
    /// An alarm began, and is to be told on these routes.
    Down {
        #[serde(with = "shared")]
        alarm: Arc<Alarm>,
        routes: Vec<String>,
        #[serde(with = "humantime_serde")]
        now: SystemTime,
    },
    /// It ended.
    Up {
        key: Key,
        #[serde(with = "humantime_serde")]
        at: SystemTime,
        #[serde(with = "humantime_serde")]
        now: SystemTime,
    },
    /// The host is gone.
    Forgotten {
        key: Key,
        #[serde(with = "humantime_serde")]
        at: SystemTime,
        #[serde(with = "humantime_serde")]
        now: SystemTime,
    },
    /// The route is about to send these.
    Tried { route: String, notices: Vec<NoticeRef> },
    /// The receiver acknowledged them.
    Delivered { route: String, notices: Vec<NoticeRef> },
    /// The receiver surely does not have them.
    Declined { route: String, notices: Vec<NoticeRef> },
    /// The answer was lost.
    Unclear { route: String, notices: Vec<NoticeRef> },
    /// Given up, after the receiver refused the content.
    Dropped { route: String, notices: Vec<NoticeRef> },
    /// Snapshot: an alarm that later lines name, and whether it fires.
    Alarm {
        #[serde(with = "shared")]
        alarm: Arc<Alarm>,
        firing: bool,
    },
    /// Snapshot: what a route knows and still has to tell of one address.
    Lane { route: String, key: Key, open: Option<OpenRecord>, pending: Vec<PendingRecord> },
}

/// What the receiver knows to be firing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OpenRecord {
    pub(super) alarm: AlarmId,
    pub(super) folded: u32,
}

/// A notice that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PendingRecord {
    pub(super) alarm: AlarmId,
    pub(super) kind: Kind,
    #[serde(with = "humantime_serde")]
    pub(super) ended: Option<SystemTime>,
    pub(super) folded: u32,
    #[serde(with = "humantime_serde")]
    pub(super) queued: SystemTime,
    pub(super) in_flight: bool,
    pub(super) maybe: bool,
    pub(super) needed: bool,
}

impl Record {
    /// How these notices of a route ended.
    pub(super) fn ended(route: &str, notices: Vec<NoticeRef>, outcome: Outcome) -> Record {
        let route = route.to_owned();
        match outcome {
            Outcome::Delivered => Record::Delivered { route, notices },
            Outcome::Declined => Record::Declined { route, notices },
            Outcome::Unclear => Record::Unclear { route, notices },
            Outcome::Dropped => Record::Dropped { route, notices },
        }
    }
}
