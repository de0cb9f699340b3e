//! Tell: turns the engine's notes into what people and systems hear: events for the API, changes for the alarms.
//!
//! One task, one order: when a host is gone from the roster, no later note about its slot finds a host any more.

use std::collections::VecDeque;
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
    latest: RwLock<VecDeque<Arc<Event>>>,
    stream: broadcast::Sender<Arc<Event>>,
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

    /// What is remembered of a host, oldest first.
    pub fn of(&self, host: &str) -> Vec<Event> {
        let latest = self.latest.read().unwrap_or_else(PoisonError::into_inner);
        latest.iter().filter(|event| event.id == host).map(|event| Event::clone(event)).collect()
    }

    fn push(&self, event: Event) {
        let event = Arc::new(event);
        // No reader is no error.
        let _ = self.stream.send(event.clone());
        let mut latest = self.latest.write().unwrap_or_else(PoisonError::into_inner);
        if latest.len() == REMEMBERED {
            latest.pop_front();
        }
        latest.push_back(event);
    }

    fn forget(&self, gone: &[Key]) {
        if gone.is_empty() {
            return;
        }
        let gone: std::collections::HashSet<(&str, std::net::IpAddr)> =
            gone.iter().map(|key| (key.network.as_str(), key.address)).collect();
        let mut latest = self.latest.write().unwrap_or_else(PoisonError::into_inner);
        latest.retain(|event| !gone.contains(&(event.network.as_str(), event.address)));
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
                self.roster = roster;
                self.events.forget(&gone);
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
        self.events.push(event);
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
