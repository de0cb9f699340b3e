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
use crate::policy::Policy;
use crate::roster::Roster;
use crate::table::{Edition, Record};
use crate::unit::{Blind, Verdict};
use crate::view::View;

/// Verdict changes that the agent remembers for `GET /v1/hosts/{id}`.
const REMEMBERED: usize = 65_536;
/// Events that a slow reader of the stream may lag behind.
const STREAM: usize = 16_384;
/// Notes that are told between two looks at what else the thread has to do: a tenth of a millisecond, or two.
const BATCH: usize = 256;

/// The events of the agent: the latest ones, and those to come.
pub struct Events {
    latest: RwLock<VecDeque<Remembered>>,
    stream: broadcast::Sender<Arc<Event>>,
}

/// A turn as it is remembered: 32 bytes. What the table says of the address is added when somebody asks.
#[derive(Clone, Debug)]
struct Remembered {
    at_ms: u64,
    /// The policy of that time.
    policy: Arc<str>,
    slot: u32,
    from: Verdict,
    to: Verdict,
    blind: Option<Blind>,
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

    fn push(&self, turn: Remembered, table: &Edition, record: &Record) {
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
    fn forget(&self, gone: &[u32]) {
        if !gone.is_empty() {
            let mut latest = self.latest.write().unwrap_or_else(PoisonError::into_inner);
            latest.retain(|turn| gone.binary_search(&turn.slot).is_err());
        }
    }
}

/// The task's state.
pub struct Teller {
    view: Arc<View>,
    alarms: Service,
    events: Arc<Events>,
    roster: Arc<Roster>,
    /// Names of the table's policies, each shared by all that is remembered under it.
    policies: Vec<Arc<str>>,
}

impl Teller {
    /// A teller that knows no host yet.
    pub fn new(view: Arc<View>, alarms: Service, events: Arc<Events>) -> Self {
        Teller { view, alarms, events, roster: Arc::default(), policies: vec![] }
    }

    /// Tells until the engine is gone.
    pub async fn run(mut self, mut notes: mpsc::UnboundedReceiver<Note>) {
        let mut batch = Vec::with_capacity(BATCH);
        while notes.recv_many(&mut batch, BATCH).await > 0 {
            for note in batch.drain(..) {
                self.tell(note).await;
            }
            // When a million addresses turn at once, the calls and the alarms get their share of the thread.
            tokio::task::yield_now().await;
        }
    }

    /// Tells one note.
    pub async fn tell(&mut self, note: Note) {
        match note {
            Note::Turn(turned) => self.turn(turned),
            Note::Condition(_) | Note::Sight(_) => {}
            Note::Roster(roster, gone) => self.take_roster(roster, gone).await,
            Note::Done(done, result) => {
                self.view.roster.store(self.roster.clone());
                // The one who asked may have hung up.
                let _ = done.send(result);
            }
            Note::Spent(spent) => drop(tokio::task::spawn_blocking(move || drop(spent))),
        }
    }

    async fn take_roster(&mut self, roster: Arc<Roster>, gone: Vec<Key>) {
        let at = from_unix_ms(unix_ms(std::time::SystemTime::now()));
        let mut slots = Vec::with_capacity(gone.len());
        for (told, key) in gone.into_iter().enumerate() {
            if told % BATCH == BATCH - 1 {
                tokio::task::yield_now().await;
            }
            slots.extend(self.roster.table.find(&key.network, key.address).and_then(|record| self.roster.slot(record)));
            self.alarms.send(Change::Forgotten { key, at });
        }
        slots.sort_unstable();
        self.events.forget(&slots);
        let known = std::mem::take(&mut self.policies);
        let name =
            |policy: &Policy| known.iter().find(|name| ***name == *policy.name).cloned().unwrap_or_else(|| policy.name.as_str().into());
        self.policies = roster.table.policies().iter().map(name).collect();
        self.roster = roster;
    }

    fn turn(&self, turned: Turned) {
        let Some(record) = self.roster.record(turned.slot) else { return };
        let table = &self.roster.table;
        let network = || table.network(record.network());
        debug!(target: "verdict", host = %table.host(record.host()).id(), network = %network(), address = %record.address(), from = %turned.from, to = %turned.to, reason = turned.blind.map(Blind::name));
        match turned.to {
            Verdict::Down => self.alarms.send(Change::Down(down(&self.roster, &record, turned))),
            Verdict::Up => {
                let key = Key::new(network(), record.address());
                self.alarms.send(Change::Up { key, at: from_unix_ms(turned.at_ms) });
            }
            Verdict::Pending | Verdict::Suspect | Verdict::Unknown => {}
        }
        let policy = self.policies[usize::from(record.policy())].clone();
        let Turned { at_ms, slot, from, to, blind, .. } = turned;
        self.events.push(Remembered { at_ms, policy, slot, from, to, blind }, table, &record);
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
            matter: crate::alarm::Matter::Down,
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
