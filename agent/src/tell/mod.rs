//! Tell: turns the engine's notes into what people and systems hear: events for the API, changes for the alarms.
//!
//! One task, one order: when a host is gone from the roster, no later note about its slot finds a host any more. What of it is an alarm
//! is decided by the stages of [`crate::alarm::Filter`] and [`crate::alarm::Sights`].

mod census;
mod conflict;
mod events;
mod say;
mod subject;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tracing::debug;

use self::census::Rolls;
use self::conflict::Conflicts;
pub use self::events::Events;
use self::events::Remembered;
use crate::alarm::{
    AgentAlarmConfig, Alarm, Blindness, Change, Fall, Filter, FlapConfig, Group, Key, Matter, Place, Service, Sights, StormConfig, Told,
    Turn, What,
};
use crate::clock::{self, Mono, from_unix_ms, unix_ms};
use crate::engine::{Conditioned, Note, Sight, Turned};
use crate::policy::Policy;
use crate::roster::Roster;
use crate::unit::{Blind, Condition};
use crate::view::View;

/// Notes that are told between two looks at what else the thread has to do: a tenth of a millisecond, or two.
const BATCH: usize = 256;
/// Between two looks at what waits to be told.
const TICK: Duration = Duration::from_millis(100);

/// What the teller must know beside the engine's notes.
#[derive(Debug, Default)]
pub struct Telling {
    /// `[storm]`.
    pub storm: StormConfig,
    /// `[flapping]`.
    pub flapping: FlapConfig,
    /// `[agent_alarm]`.
    pub agent_alarm: AgentAlarmConfig,
    /// The names of all routes.
    pub routes: Vec<String>,
    /// The longest `conflict_check` of all networks.
    pub conflict_check: Option<Duration>,
    /// Alarms that fired before the start and are about more than silence.
    pub resumed: Vec<Arc<Alarm>>,
}

/// The task's state.
pub struct Teller {
    view: Arc<View>,
    alarms: Service,
    events: Arc<Events>,
    roster: Arc<Roster>,
    /// The table's policies, and their names, each shared by all that is remembered under it.
    policies: Vec<(Arc<str>, Arc<Policy>)>,
    /// Names of the table's networks, likewise.
    networks: Vec<Arc<str>>,
    filter: Filter,
    sights: Sights,
    rolls: Rolls,
    /// How the tags begin that make groups.
    tag: Arc<str>,
    /// Who hears of the agent's own faults.
    routes: Vec<String>,
    /// The window of flapping.
    flapping: Duration,
    /// How long an outage of before the start may take to show whether it lasts, beside what its policies take.
    window: Duration,
    /// Alarms of before the start that wait for the first table.
    resumed: Vec<Arc<Alarm>>,
    conflicts: Conflicts,
    /// What is being told; kept for its memory.
    told: Vec<Told>,
}

impl Teller {
    /// A teller that knows no host yet.
    pub fn new(view: Arc<View>, alarms: Service, events: Arc<Events>, telling: Telling) -> Self {
        let Telling { storm, flapping, agent_alarm, routes, conflict_check, resumed } = telling;
        let (roster, policies, networks, told) = Default::default();
        let mut teller = Teller {
            view,
            alarms,
            events,
            roster,
            policies,
            networks,
            rolls: Rolls::new(&storm.tag),
            tag: storm.tag.as_str().into(),
            window: storm.window,
            flapping: flapping.window,
            sights: Sights::new(agent_alarm.hold),
            routes: agent_alarm.routes.unwrap_or(routes),
            resumed: vec![],
            conflicts: Conflicts::new(&storm, conflict_check),
            filter: Filter::new(storm, flapping),
            told,
        };
        for alarm in resumed {
            match &alarm.subject.matter {
                Matter::Blind { reason, networks } => {
                    let since_ms = unix_ms(alarm.since);
                    teller.resume_blind(Blindness { networks: networks.clone(), reason: *reason, since_ms }, clock::now());
                }
                _ => teller.resumed.push(alarm),
            }
        }
        teller
    }

    /// Takes up that the agent could not see before the start. Of silence the engine says nothing until it is over.
    fn resume_blind(&mut self, blindness: Blindness, now: Mono) {
        let silent = if blindness.reason == Blind::Silent { blindness.networks.clone() } else { vec![] };
        self.sights.resume(blindness, now);
        for name in silent {
            if self.view.networks.iter().any(|network| network.name == name) {
                self.filter.sight(&name, false, now);
            } else {
                // It is no longer configured: nobody will say anything of it.
                self.sights.sight(&name, None, unix_ms(SystemTime::now()), now);
            }
        }
    }

    /// Tells until the engine is gone.
    pub async fn run(mut self, mut notes: mpsc::UnboundedReceiver<Note>) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut every = tokio::time::interval(TICK);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                received = notes.recv_many(&mut batch, BATCH) => {
                    if received == 0 {
                        return;
                    }
                    for note in batch.drain(..) {
                        self.tell(note).await;
                    }
                    // When a million addresses turn at once, the calls and the alarms get their share of the thread.
                    tokio::task::yield_now().await;
                }
                _ = every.tick(), if !self.is_idle() => self.tick(clock::now(), unix_ms(SystemTime::now())),
            }
        }
    }

    /// Tells one note.
    pub async fn tell(&mut self, note: Note) {
        match note {
            Note::Turn(turned) => self.turn(turned, clock::now()),
            Note::Condition(conditioned) => self.condition(conditioned),
            Note::Sight(sight) => self.sight(sight, clock::now()),
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
        let at = from_unix_ms(unix_ms(SystemTime::now()));
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
        for (told, slot) in slots.into_iter().enumerate() {
            if told % (16 * BATCH) == 16 * BATCH - 1 {
                tokio::task::yield_now().await;
            }
            self.filter.forget(slot);
            self.conflicts.forget(slot);
            self.view.marks.clear(slot);
        }
        let known = std::mem::take(&mut self.policies);
        let shared = |policy: &Policy| {
            let name = || policy.name.as_str().into();
            let name = known.iter().find(|(name, _)| **name == *policy.name).map_or_else(name, |(name, _)| name.clone());
            let same = known.iter().find(|(_, known)| **known == *policy).map(|(_, known)| known.clone());
            (name, same.unwrap_or_else(|| Arc::new(policy.clone())))
        };
        self.policies = roster.table.policies().iter().map(shared).collect();
        let known = std::mem::take(&mut self.networks);
        let name = |name: &str| known.iter().find(|known| ***known == *name).cloned().unwrap_or_else(|| name.into());
        self.networks = roster.table.networks().map(name).collect();
        self.rolls.take(roster.clone());
        self.roster = roster;
        self.resume(clock::now());
    }

    /// Takes up, with the first table, what fired before the start.
    fn resume(&mut self, now: Mono) {
        let bounds = self.roster.table.policies().iter().map(Policy::detection_bound);
        let until = now + self.window + bounds.max().unwrap_or_default();
        for alarm in std::mem::take(&mut self.resumed) {
            let subject = &alarm.subject;
            let slot = || self.roster.table.find(&subject.network, subject.address).and_then(|record| self.roster.slot(record));
            match (&subject.matter, subject.matter.what().is_of_address().then(slot).flatten()) {
                (Matter::Flapping { .. }, Some(slot)) => {
                    self.filter.resume_flapping(slot, now);
                    self.view.marks.set(slot, Condition::Flapping, true);
                }
                (Matter::Conflict { .. }, Some(slot)) => {
                    if let Some(network) = self.network_of(slot) {
                        self.conflicts.resume(&network, slot, now);
                    }
                    self.view.marks.set(slot, Condition::Conflict, true);
                }
                (Matter::Outage(outage), _) if let Some(group) = Group::named(outage.scope, &outage.name, &subject.network) => {
                    self.filter.resume_outage(group, outage.wave, outage.watched, subject.routes.clone(), until);
                }
                _ => self.alarms.send(Change::Up { key: subject.key(), at: SystemTime::now() }),
            }
        }
    }

    fn turn(&mut self, turned: Turned, now: Mono) {
        let Some(record) = self.roster.record(turned.slot) else { return };
        let table = &self.roster.table;
        debug!(target: "verdict", host = %table.host(record.host()).id(), network = %table.network(record.network()), address = %record.address(), from = %turned.from, to = %turned.to, reason = turned.blind.map(Blind::name));
        let Turned { at_ms, slot, from, to, blind, misses, since_ms, last_reply_ms } = turned;
        let policy = &self.policies[usize::from(record.policy())];
        self.events.push(Remembered { at_ms, policy: policy.0.clone(), slot, from, to, blind, begun: None }, table, &record);
        let (network, roster) = (&self.networks[usize::from(record.network())], &self.roster);
        let place = || Place {
            network: network.clone(),
            address: record.address(),
            tag: census::tag_of(&roster.table, &record, &self.tag).map(Arc::from),
            policy: policy.1.clone(),
        };
        let fall = Fall { at_ms, since_ms, last_reply_ms, misses };
        self.filter.turn(Turn { who: slot, from, to, fall }, place, &mut self.rolls, now, &mut self.told);
        self.say();
    }

    /// A condition began or ended. Said twice it is said once.
    fn condition(&mut self, conditioned: Conditioned) {
        let Conditioned { slot, condition, holds, macs, at_ms } = conditioned;
        let Some(record) = self.roster.record(slot) else { return };
        let resumed = condition == Condition::Conflict && self.conflicts.seen(slot);
        if !self.mark(slot, &record, condition, holds, at_ms) && !resumed {
            return;
        }
        let network = &self.networks[usize::from(record.network())];
        match (condition, holds) {
            (Condition::Conflict, true) if self.conflicts.begin(network, slot) => {
                let mac = |mac: crate::unit::Mac| Some(mac.to_string());
                let (expected, found) = macs.map_or((None, None), |(expected, found)| (mac(expected), mac(found)));
                let fall = Fall { at_ms, since_ms: at_ms, ..Fall::default() };
                let down = subject::address(&self.roster, &record, Matter::Conflict { expected, found }, fall);
                self.alarms.send(Change::Down(down));
            }
            (Condition::Conflict, false) if self.conflicts.end(network, slot) => self.end(&record, What::Conflict, at_ms),
            _ => {}
        }
    }

    fn sight(&mut self, sight: Sight, now: Mono) {
        let Sight { network, blind, at_ms } = sight;
        let name = match network {
            Some(number) => self.view.networks.get(usize::from(number)).map(|network| network.name.as_str()),
            None => Some(""),
        };
        if let Some(name) = name {
            self.sights.sight(name, blind, at_ms, now);
            self.filter.sight(name, blind.is_none(), now);
        }
    }

    fn is_idle(&self) -> bool {
        self.filter.is_idle() && self.sights.is_idle() && self.conflicts.is_idle()
    }

    /// Tells what time brings.
    fn tick(&mut self, now: Mono, wall_ms: u64) {
        self.rolls.tick();
        self.filter.tick(&mut self.rolls, now, wall_ms, &mut self.told);
        self.say();
        for seen in self.sights.tick(now, |network| self.rolls.watches(network)) {
            self.say_seen(seen, wall_ms);
        }
        let (roster, sights) = (&self.roster, &self.sights);
        let network = |slot: u32| roster.record(slot).map(|record| roster.table.network(record.network()));
        for slot in self.conflicts.over(now, |slot| network(slot).is_some_and(|network| sights.is_blind(network))) {
            self.condition(Conditioned { slot, condition: Condition::Conflict, holds: false, macs: None, at_ms: wall_ms });
        }
    }

    /// The name of the network of a slot.
    fn network_of(&self, slot: u32) -> Option<Arc<str>> {
        let record = self.roster.record(slot)?;
        self.networks.get(usize::from(record.network())).cloned()
    }
}

/// The longest that the stage may take to flush when the agent stops; the whole stop takes less than a second.
pub const FLUSH: Duration = Duration::from_millis(600);
