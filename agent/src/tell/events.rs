//! The events of the agent, for its API: verdicts that turned, conditions that began or ended.

use std::collections::VecDeque;
use std::num::NonZeroU8;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::broadcast;

use crate::api::Event;
use crate::clock::rfc3339;
use crate::roster::Roster;
use crate::table::{Edition, Record};
use crate::unit::{Blind, Condition, Verdict};

/// Verdict changes that the agent remembers for `GET /v1/hosts/{id}`.
const REMEMBERED: usize = 65_536;
/// Events that a slow reader of the stream may lag behind.
const STREAM: usize = 16_384;
/// The events of the agent: the latest ones, and those to come.
pub struct Events {
    latest: RwLock<VecDeque<Remembered>>,
    stream: broadcast::Sender<Arc<Event>>,
}

/// A turn as it is remembered: 32 bytes. What the table says of the address is added when somebody asks.
#[derive(Clone, Debug)]
pub(super) struct Remembered {
    pub(super) at_ms: u64,
    /// The policy of that time.
    pub(super) policy: Arc<str>,
    pub(super) slot: u32,
    pub(super) from: Verdict,
    pub(super) to: Verdict,
    pub(super) blind: Option<Blind>,
    pub(super) begun: Option<Begun>,
}

/// A condition that began or ended, in one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Begun(NonZeroU8);

impl Begun {
    pub(super) fn new(condition: Condition, holds: bool) -> Option<Begun> {
        let at = Condition::ALL.iter().position(|known| *known == condition)? as u8;
        NonZeroU8::new(1 + 2 * at + u8::from(holds)).map(Begun)
    }

    fn condition(self) -> Option<Condition> {
        Condition::ALL.get(usize::from((self.0.get() - 1) / 2)).copied()
    }

    fn holds(self) -> bool {
        (self.0.get() - 1) % 2 == 1
    }
}

const _: () = assert!(size_of::<Remembered>() <= 32);

impl Remembered {
    /// As the API says it, of the address that sits in the slot.
    fn event(&self, table: &Edition, record: &Record) -> Event {
        let host = table.host(record.host());
        Event {
            at: rfc3339(self.at_ms),
            id: host.id().into(),
            name: host.name().into(),
            project: host.project().into(),
            network: table.network(record.network()).into(),
            address: record.address(),
            policy: self.policy.as_ref().into(),
            from: self.from,
            to: self.to,
            reason: self.blind,
            condition: self.begun.and_then(Begun::condition),
            holds: self.begun.map(Begun::holds),
        }
    }
}

impl Default for Events {
    fn default() -> Self {
        Events { latest: RwLock::default(), stream: broadcast::channel(STREAM).0 }
    }
}

impl Events {
    /// The events to come.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Event>> {
        self.stream.subscribe()
    }

    /// What is remembered of an address of the roster's table, oldest first.
    pub fn of(&self, roster: &Roster, index: u32) -> Vec<Event> {
        let (Some(record), Some(slot)) = (roster.table.record(index), roster.slot(index)) else { return Vec::new() };
        let latest = self.latest.read().unwrap_or_else(PoisonError::into_inner);
        latest.iter().filter(|turn| turn.slot == slot).map(|turn| turn.event(&roster.table, &record)).collect()
    }

    pub(super) fn push(&self, turn: Remembered, table: &Edition, record: &Record) {
        // Written out only when somebody reads; one who left since is no error.
        if self.stream.receiver_count() > 0 {
            let _ = self.stream.send(Arc::new(turn.event(table, record)));
        }
        let mut latest = self.latest.write().unwrap_or_else(PoisonError::into_inner);
        if latest.len() == REMEMBERED {
            latest.pop_front();
        }
        latest.push_back(turn);
    }

    /// Forgets what is remembered of some slots; `gone` is sorted. No slot is given away again within
    /// [`crate::roster::QUARANTINE`], so nobody else's turns are meant.
    pub(super) fn forget(&self, gone: &[u32]) {
        if !gone.is_empty() {
            let mut latest = self.latest.write().unwrap_or_else(PoisonError::into_inner);
            latest.retain(|turn| gone.binary_search(&turn.slot).is_err());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_and_whether_it_holds_fit_in_a_byte() {
        for condition in Condition::ALL {
            for holds in [true, false] {
                let begun = Begun::new(condition, holds).unwrap();
                assert_eq!((begun.condition(), begun.holds()), (Some(condition), holds));
            }
        }
    }
}
