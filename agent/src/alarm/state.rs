//! All that the stage must not forget: the firing alarms and every route's queue.
//!
//! Nothing changes it but a [`Record`]: what runs now and what a restart reads back from the journal is the same code.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::SystemTime;

use super::alarms::{Alarms, Effect, of_address};
use super::change::{Change, Key};
use super::journal;
use super::lane::{Entry, Lane, Open, Outcome};
use super::notice::{Alarm, AlarmId, Notice, NoticeRef, representable};
use super::queue::Queue;
use super::record::{OpenRecord, PendingRecord, Record, VERSION};

/// Firing alarms and queues.
#[derive(Debug, Default)]
pub(super) struct State {
    alarms: Alarms,
    queues: BTreeMap<String, Queue>,
}

/// What [`State::finish`] found: for the log.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Reconciled {
    /// Notices that waited for routes which are configured no more.
    pub(super) orphaned: BTreeMap<String, usize>,
    /// Firing alarms queued for routes that had not been told of them.
    pub(super) told_late: usize,
    /// Alarms that a receiver holds open though the journal had lost them: they fire again, and the engine sees.
    pub(super) revived: usize,
}

impl State {
    /// The firing alarms.
    pub(super) fn alarms(&self) -> &Alarms {
        &self.alarms
    }

    /// Addresses whose alarm does not fire any more, and of which something is still to be told.
    pub(super) fn waiting(&self) -> BTreeSet<Key> {
        let keys = self.queues.values().flat_map(Queue::keys).filter(|key| self.alarms.of(key).is_none());
        keys.cloned().collect()
    }

    /// A route's queue.
    pub(super) fn queue(&self, route: &str) -> Option<&Queue> {
        self.queues.get(route)
    }

    /// A route's queue, for what is not journaled.
    pub(super) fn queue_mut(&mut self, route: &str) -> Option<&mut Queue> {
        self.queues.get_mut(route)
    }

    /// Takes a change; the record is to be journaled before anything of it is told. `None`: nothing new.
    pub(super) fn change(&mut self, change: Change, now: SystemTime) -> Option<Record> {
        let now = representable(now);
        let record = match self.alarms.apply(change, now) {
            Effect::Nothing => return None,
            Effect::Fired(alarm) => {
                let mut routes: Vec<String> = Vec::new();
                for route in &alarm.subject.routes {
                    if self.queues.contains_key(route) && !routes.contains(route) {
                        routes.push(route.clone());
                    }
                }
                Record::Down { alarm, routes, now }
            }
            Effect::Resolved { alarm, at } => Record::Up { key: alarm.subject.key(), at, now },
            Effect::Forgotten { key, fired, at } => {
                if !fired && !of_address(&key).any(|key| self.queues.values().any(|queue| queue.knows(&key))) {
                    return None;
                }
                Record::Forgotten { key, at, now }
            }
        };
        self.apply(&record);
        Some(record)
    }

    /// Takes a fact. Applying the same one twice changes nothing that matters.
    pub(super) fn apply(&mut self, record: &Record) {
        match record {
            Record::Journal { .. } | Record::Alarm { firing: false, .. } | Record::Lane { .. } => {}
            Record::Alarm { alarm, firing: true } => self.alarms.fire(alarm.clone()),
            Record::Down { alarm, routes, now } => {
                self.alarms.fire(alarm.clone());
                for route in routes {
                    self.queues.entry(route.clone()).or_default().firing(alarm, *now);
                }
            }
            Record::Up { key, at, now } => {
                self.alarms.end(key);
                self.queues.values_mut().filter(|queue| queue.knows(key)).for_each(|queue| queue.resolved(key, *at, *now));
            }
            Record::Forgotten { key, at, now } => {
                for key in of_address(key) {
                    self.alarms.end(&key);
                    self.queues.values_mut().filter(|queue| queue.knows(&key)).for_each(|queue| queue.forgotten(&key, *at, *now));
                }
            }
            Record::Tried { route, notices } => {
                self.queues.entry(route.clone()).or_default().tried(notices);
            }
            Record::Delivered { route, notices } => self.ended(route, notices, Outcome::Delivered),
            Record::Declined { route, notices } => self.ended(route, notices, Outcome::Declined),
            Record::Unclear { route, notices } => self.ended(route, notices, Outcome::Unclear),
            Record::Dropped { route, notices } => self.ended(route, notices, Outcome::Dropped),
        }
    }

    fn ended(&mut self, route: &str, notices: &[NoticeRef], outcome: Outcome) {
        if let Some(queue) = self.queues.get_mut(route) {
            queue.ended(notices, outcome);
        }
    }

    /// After the last record of a journal: settles what was under way, and makes alarms, queues and the configured
    /// routes agree again.
    pub(super) fn finish(&mut self, routes: &[&str], now: SystemTime) -> Reconciled {
        let now = representable(now);
        let mut reconciled = Reconciled::default();
        self.queues.retain(|name, queue| {
            let configured = routes.contains(&name.as_str());
            if !configured && queue.len() > 0 {
                reconciled.orphaned.insert(name.clone(), queue.len());
            }
            configured
        });
        for name in routes {
            self.queues.entry((*name).to_owned()).or_default().restarted();
        }
        let mut lost: BTreeMap<Key, Arc<Alarm>> = BTreeMap::new();
        for queue in self.queues.values() {
            for (key, lane) in queue.lanes() {
                let alarm = lane.pending.back().map(|entry| &entry.notice.alarm).or(lane.open.as_ref().map(|open| &open.alarm));
                if let Some(alarm) = alarm.filter(|_| lane.ends_firing() && self.alarms.of(key).is_none()) {
                    lost.insert(key.clone(), alarm.clone());
                }
            }
        }
        reconciled.revived = lost.len();
        lost.into_values().for_each(|alarm| self.alarms.fire(alarm));
        for (key, alarm) in self.alarms.firing() {
            for route in &alarm.subject.routes {
                if let Some(queue) = self.queues.get_mut(route).filter(|queue| !queue.ends_firing(key)) {
                    queue.firing(alarm, now);
                    reconciled.told_late += 1;
                }
            }
        }
        reconciled
    }

    /// A journal that makes this state out of nothing.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.snapshot(|record| journal::encode(record, &mut bytes));
        bytes
    }

    /// The records that make this state out of nothing.
    fn snapshot(&self, mut write: impl FnMut(&Record)) {
        write(&Record::Journal { version: VERSION });
        let mut written: HashSet<AlarmId> = HashSet::new();
        for (_, alarm) in self.alarms.firing() {
            written.insert(alarm.id);
            write(&Record::Alarm { alarm: alarm.clone(), firing: true });
        }
        for (route, queue) in &self.queues {
            for (key, lane) in queue.lanes() {
                let named = lane.open.iter().map(|open| &open.alarm).chain(lane.pending.iter().map(|entry| &entry.notice.alarm));
                for alarm in named {
                    if written.insert(alarm.id) {
                        write(&Record::Alarm { alarm: alarm.clone(), firing: false });
                    }
                }
                write(&lane_record(route, key, lane));
            }
        }
    }
}

fn lane_record(route: &str, key: &Key, lane: &Lane) -> Record {
    let open = lane.open.as_ref().map(|open| OpenRecord { alarm: open.alarm.id, folded: open.folded });
    let pending = lane.pending.iter().map(|entry| PendingRecord {
        alarm: entry.notice.alarm.id,
        kind: entry.notice.kind,
        ended: entry.notice.ended,
        folded: entry.notice.folded,
        queued: entry.queued,
        in_flight: entry.in_flight,
        maybe: entry.maybe,
        needed: entry.needed,
    });
    Record::Lane { route: route.to_owned(), key: key.clone(), open, pending: pending.collect() }
}

/// Reads a state back, record by record.
#[derive(Debug, Default)]
pub(super) struct Replay {
    pub(super) state: State,
    /// The alarms that a snapshot's lanes name.
    named: HashMap<AlarmId, Arc<Alarm>>,
}

impl Replay {
    /// Takes the next record. `Err`: it names an alarm that no line before it had, because that line is damaged.
    pub(super) fn take(&mut self, record: Record) -> Result<(), AlarmId> {
        match &record {
            Record::Alarm { alarm, .. } => {
                self.named.insert(alarm.id, alarm.clone());
            }
            Record::Lane { route, key, open, pending } => {
                let lane = self.lane(open.as_ref(), pending)?;
                self.state.queues.entry(route.clone()).or_default().restore(key, lane);
            }
            _ => {}
        }
        self.state.apply(&record);
        Ok(())
    }

    fn lane(&self, open: Option<&OpenRecord>, pending: &[PendingRecord]) -> Result<Lane, AlarmId> {
        let alarm = |id: AlarmId| self.named.get(&id).cloned().ok_or(id);
        let open = match open {
            Some(open) => Some(Open { alarm: alarm(open.alarm)?, folded: open.folded }),
            None => None,
        };
        let entries = pending.iter().map(|entry| {
            Ok(Entry {
                notice: Notice { alarm: alarm(entry.alarm)?, kind: entry.kind, ended: entry.ended, folded: entry.folded },
                seq: 0,
                queued: entry.queued,
                in_flight: entry.in_flight,
                maybe: entry.maybe,
                needed: entry.needed,
            })
        });
        Ok(Lane { open, pending: entries.collect::<Result<VecDeque<_>, AlarmId>>()? })
    }
}
