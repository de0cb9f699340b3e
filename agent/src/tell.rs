//! Tell: turns the engine's notes into what people and systems hear: events for the API, changes for the alarms.
//!
//! One task, one order: when a host is gone from the roster, no later note about its slot finds a host any more.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{broadcast, mpsc};
use tracing::debug;

use crate::alarm::{Change, Down, Key, Service, Subject};
use crate::api::Event;
use crate::clock::{from_unix_ms, rfc3339, unix_ms};
use crate::engine::{Note, Turned};
use crate::roster::Roster;
use crate::table::Record;
use crate::unit::{Blind, Verdict};
use crate::view::View;

/// Verdict changes that the agent remembers for `GET /v1/hosts/{id}`.
const REMEMBERED: usize = 100_000;
/// Events that a slow reader of the stream may lag behind.
const STREAM: usize = 16_384;

/// The events of the agent: the latest ones, and those to come.
pub struct Events {
    latest: RwLock<Latest>,
    stream: broadcast::Sender<Arc<Event>>,
}

/// The latest turns, by slot: few bytes each, and what a host's removal costs does not depend on how many there are.
#[derive(Default)]
struct Latest {
    turns: VecDeque<Remembered>,
    /// How many were dropped from the front.
    dropped: u64,
    /// By slot that was freed: turns before this one were of somebody else.
    freed: HashMap<u32, u64>,
}

/// One turn of a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remembered {
    slot: u32,
    /// The verdict before.
    pub from: Verdict,
    /// The verdict from then on.
    pub to: Verdict,
    /// Why it is unknown.
    pub reason: Option<Blind>,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
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

    /// What is remembered of the address in a slot, oldest first.
    pub fn of(&self, slot: u32) -> Vec<Remembered> {
        let latest = self.latest.read().unwrap_or_else(PoisonError::into_inner);
        let first = latest.freed.get(&slot).map_or(0, |freed| freed.saturating_sub(latest.dropped)) as usize;
        latest.turns.iter().skip(first).filter(|turn| turn.slot == slot).copied().collect()
    }

    /// Slots of which something is remembered.
    fn slots(&self) -> HashSet<u32> {
        let latest = self.latest.read().unwrap_or_else(PoisonError::into_inner);
        latest.turns.iter().map(|turn| turn.slot).collect()
    }

    fn push(&self, event: Event, turned: Turned) {
        // No reader is no error.
        let _ = self.stream.send(Arc::new(event));
        let mut latest = self.latest.write().unwrap_or_else(PoisonError::into_inner);
        let latest = &mut *latest;
        if latest.turns.len() == REMEMBERED {
            latest.turns.pop_front();
            latest.dropped += 1;
        }
        let Turned { slot, from, to, blind, at_ms, .. } = turned;
        latest.turns.push_back(Remembered { slot, from, to, reason: blind, at_ms });
    }

    fn forget(&self, freed: impl Iterator<Item = u32>) {
        let mut latest = self.latest.write().unwrap_or_else(PoisonError::into_inner);
        let Latest { turns, dropped, freed: known } = &mut *latest;
        let next = *dropped + turns.len() as u64;
        known.extend(freed.map(|slot| (slot, next)));
        if known.len() > 2 * REMEMBERED {
            // A slot of which nothing is remembered needs no mark.
            let slots: HashSet<u32> = turns.iter().map(|turn| turn.slot).collect();
            known.retain(|slot, _| slots.contains(slot));
        }
    }
}

/// The task's state.
pub struct Teller {
    view: Arc<View>,
    alarms: Service,
    events: Arc<Events>,
    roster: Arc<Roster>,
}

impl Teller {
    /// A teller that knows no host yet.
    pub fn new(view: Arc<View>, alarms: Service, events: Arc<Events>) -> Self {
        Teller { view, alarms, events, roster: Arc::default() }
    }

    /// Tells until the engine is gone.
    pub async fn run(mut self, mut notes: mpsc::UnboundedReceiver<Note>) {
        while let Some(note) = notes.recv().await {
            self.tell(note);
        }
    }

    /// Tells one note.
    pub fn tell(&mut self, note: Note) {
        match note {
            Note::Turn(turned) => self.turn(turned),
            Note::Roster(roster, gone) => {
                let before = std::mem::replace(&mut self.roster, roster);
                if gone.len() < REMEMBERED / 10 {
                    let slot = |key: &Key| before.table.find(&key.network, key.address).and_then(|id| before.slot(id));
                    self.events.forget(gone.iter().filter_map(slot));
                } else {
                    // Of so many most were never remembered: it is less to ask those who are whether they still sit there.
                    let now = &self.roster;
                    let who =
                        |roster: &Roster, slot| roster.record(slot).map(|r| (roster.table.network(r.network()).to_owned(), r.address()));
                    self.events.forget(self.events.slots().into_iter().filter(|slot| who(&before, *slot) != who(now, *slot)));
                }
                let at = from_unix_ms(unix_ms(std::time::SystemTime::now()));
                for key in gone {
                    self.alarms.send(Change::Forgotten { key, at });
                }
            }
            Note::Done(done, result) => {
                self.view.roster.store(self.roster.clone());
                // The one who asked may have hung up.
                let _ = done.send(result);
            }
        }
    }

    fn turn(&self, turned: Turned) {
        let Some(record) = self.roster.record(turned.slot) else { return };
        let table = &self.roster.table;
        let host = table.host(record.host());
        let event = Event {
            at: rfc3339(turned.at_ms),
            id: host.id().into(),
            name: host.name().into(),
            project: host.project().into(),
            network: table.network(record.network()).into(),
            address: record.address(),
            policy: table.policies()[usize::from(record.policy())].name.clone(),
            from: turned.from,
            to: turned.to,
            reason: turned.blind,
        };
        debug!(target: "verdict", host = %event.id, network = %event.network, address = %event.address, from = %event.from, to = %event.to, reason = turned.blind.map(Blind::name));
        let key = || Key { network: event.network.clone(), address: event.address };
        match turned.to {
            Verdict::Down => self.alarms.send(Change::Down(down(&self.roster, &record, turned))),
            Verdict::Up => self.alarms.send(Change::Up { key: key(), at: from_unix_ms(turned.at_ms) }),
            Verdict::Pending | Verdict::Suspect | Verdict::Unknown => {}
        }
        self.events.push(event, turned);
    }
}

/// What the alarm stage must know of an address that is down.
pub fn down(roster: &Roster, record: &Record, turned: Turned) -> Down {
    let table = &roster.table;
    let host = table.host(record.host());
    let policy = &table.policies()[usize::from(record.policy())];
    Down {
        subject: Arc::new(Subject {
            id: host.id().into(),
            name: host.name().into(),
            project: host.project().into(),
            network: table.network(record.network()).into(),
            address: record.address(),
            mac: record.mac().map(|mac| mac.to_string()),
            tags: host.tags().map(str::to_owned).collect(),
            policy: policy.name.clone(),
            routes: policy.alarm.clone(),
        }),
        at: from_unix_ms(turned.at_ms),
        since: from_unix_ms(turned.since_ms),
        last_reply: turned.last_reply_ms.map(from_unix_ms),
        misses: u32::from(turned.misses),
        interval: policy.interval,
        timeout: policy.timeout,
    }
}

/// The longest that the stage may take to flush when the agent stops; the whole stop takes less than a second.
pub const FLUSH: Duration = Duration::from_millis(600);

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(events: &Events, slot: u32, at_ms: u64) {
        let (from, to) = (Verdict::Up, Verdict::Down);
        let event = Event {
            at: rfc3339(at_ms),
            id: "h".into(),
            name: String::new(),
            project: String::new(),
            network: "a".into(),
            address: [10, 0, 0, 1].into(),
            policy: "gold".into(),
            from,
            to,
            reason: None,
        };
        events.push(event, Turned { slot, from, to, blind: None, misses: 3, at_ms, since_ms: at_ms, last_reply_ms: None });
    }

    #[test]
    fn what_was_said_about_a_slots_old_host_is_not_said_about_the_new_one() {
        let events = Events::default();
        let times = |slot| events.of(slot).iter().map(|turn| turn.at_ms).collect::<Vec<_>>();
        for at in 0..10 {
            turn(&events, at as u32 % 2, at);
        }
        events.forget([1].into_iter());
        assert_eq!((times(0), times(1)), (vec![0, 2, 4, 6, 8], vec![]));
        turn(&events, 1, 11);
        assert_eq!(times(1), [11]);
        for at in 20..20 + REMEMBERED as u64 {
            turn(&events, 7, at);
        }
        assert_eq!((times(0), times(1), times(7).len()), (vec![], vec![], REMEMBERED), "only so many are remembered");
        events.forget(0..REMEMBERED as u32 + 1);
        assert!(times(7).is_empty());
    }
}
