//! Route `log`: one line for each notice, readable at 3 a.m., with the values as fields.

use tracing::{info, warn};

use crate::alarm::config::LogConfig;
use crate::alarm::notice::{Kind, Notice, stamp};

/// The log as a receiver: it is always there.
#[derive(Debug)]
pub(in crate::alarm) struct Log {
    route: String,
}

impl Log {
    pub(super) fn open(config: &LogConfig) -> Log {
        Log { route: config.name.clone() }
    }

    pub(super) fn deliver(&self, notices: &[Notice]) {
        for notice in notices {
            let alarm = &notice.alarm;
            let subject = &alarm.subject;
            // Names are debug-printed: quotes and control characters in them stay inside their field.
            macro_rules! line {
                ($level:ident) => {
                    $level!(
                        target: "alarm",
                        route = self.route,
                        status = notice.kind.name(),
                        kind = subject.matter.what().name(),
                        alarm = %alarm.id,
                        network = ?subject.network,
                        address = %subject.address,
                        host = ?subject.name,
                        id = ?subject.id,
                        project = ?subject.project,
                        policy = ?subject.policy,
                        since = %stamp(alarm.since),
                        "{}",
                        notice.summary()
                    )
                };
            }
            match notice.kind {
                Kind::Firing => line!(warn),
                Kind::Resolved | Kind::Forgotten => line!(info),
            }
        }
    }
}
