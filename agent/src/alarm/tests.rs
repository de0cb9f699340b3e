//! The stage without its clock, disk and network: random lives of it, with crashes at any moment.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::journal;
use super::lane::Outcome;
use super::notice::{AlarmId, Kind, Notice};
use super::record::Record;
use super::sample;
use super::state::{Replay, State};
use super::{Change, Key, Matter, What};
use crate::unit::Blind;

const ROUTE: &str = "pager";

/// What is true of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Truth {
    Up,
    Down,
    Gone,
}

/// A receiver that keeps tickets, and drops notices that it has seen.
#[derive(Debug, Default)]
struct Receiver {
    seen: HashSet<String>,
    open: BTreeMap<Key, AlarmId>,
    folded: HashMap<AlarmId, u32>,
    alarms: HashSet<AlarmId>,
}

impl Receiver {
    fn take(&mut self, notice: &Notice) {
        let key = notice.alarm.subject.key();
        let folded = self.folded.entry(notice.alarm.id).or_default();
        *folded = notice.folded.max(*folded);
        self.alarms.insert(notice.alarm.id);
        if !self.seen.insert(notice.id()) {
            return;
        }
        match notice.kind {
            Kind::Firing => assert_eq!(self.open.insert(key, notice.alarm.id), None, "two alarms open at once: {notice:?}"),
            Kind::Resolved => assert_eq!(self.open.remove(&key), Some(notice.alarm.id), "an end without a beginning: {notice:?}"),
            // It may come for a firing notice that never arrived: the agent could not know.
            Kind::Forgotten => drop(self.open.remove(&key)),
        }
    }
}

struct World {
    random: StdRng,
    clock: u64,
    state: State,
    /// On the disk, and written but not yet certain to be.
    disk: Vec<u8>,
    buffer: Vec<u8>,
    truth: BTreeMap<Key, Truth>,
    receiver: Receiver,
    /// Notices whose acknowledgement is on the disk.
    acknowledged: HashSet<String>,
    outages: u32,
    crashes: bool,
}

impl World {
    fn new(seed: u64, crashes: bool) -> World {
        let mut state = State::default();
        state.finish(&[ROUTE], sample::at(1_000));
        World {
            random: StdRng::seed_from_u64(seed),
            clock: 1_000,
            disk: state.encode(),
            state,
            buffer: Vec::new(),
            truth: (1..=4).map(|host| (sample::key(&format!("10.0.0.{host}")), Truth::Up)).collect(),
            receiver: Receiver::default(),
            acknowledged: HashSet::new(),
            outages: 0,
            crashes,
        }
    }

    fn now(&self) -> std::time::SystemTime {
        sample::at(self.clock)
    }

    fn journal(&mut self, record: &Record) {
        journal::encode(record, &mut self.buffer);
    }

    fn commit(&mut self) {
        self.disk.append(&mut self.buffer);
    }

    fn tell(&mut self, key: &Key, truth: Truth) {
        let change = match truth {
            Truth::Down => Change::Down(sample::down(&key.address.to_string(), self.clock)),
            Truth::Up => Change::Up { key: key.clone(), at: self.now() },
            Truth::Gone => Change::Forgotten { key: key.clone(), at: self.now() },
        };
        if let Some(record) = self.state.change(change, self.now()) {
            self.outages += u32::from(matches!(record, Record::Down { .. }));
            self.journal(&record);
        }
    }

    fn change(&mut self, forget: bool) {
        let key = sample::key(&format!("10.0.0.{}", self.random.random_range(1..=4)));
        let truth = match self.random.random_range(0..if forget { 10 } else { 9 }) {
            0..5 => Truth::Down,
            5..9 => Truth::Up,
            _ => Truth::Gone,
        };
        self.truth.insert(key.clone(), truth);
        self.tell(&key, truth);
    }

    /// One attempt; a crash may come before it, after the receiver has it, or after the answer.
    fn send(&mut self, away: bool) {
        let max = self.random.random_range(1..4);
        let notices = self.state.queue(ROUTE).unwrap().batch(max, Instant::now());
        if notices.is_empty() {
            return;
        }
        let references: Vec<_> = notices.iter().map(Notice::reference).collect();
        let record = Record::Tried { route: ROUTE.into(), notices: references.clone() };
        self.state.apply(&record);
        self.journal(&record);
        self.commit();
        for notice in &notices {
            assert!(!self.acknowledged.contains(&notice.id()), "sent again after it was acknowledged: {notice:?}");
            let gone = self.truth[&notice.alarm.subject.key()] == Truth::Gone;
            assert!(notice.kind == Kind::Forgotten || !gone, "told of a stopped host: {notice:?}");
        }
        let outcome = match self.random.random_range(0..10) {
            _ if away => Outcome::Declined,
            0 => Outcome::Unclear,
            1 => {
                notices.iter().for_each(|notice| self.receiver.take(notice));
                Outcome::Unclear
            }
            _ => {
                notices.iter().for_each(|notice| self.receiver.take(notice));
                Outcome::Delivered
            }
        };
        if self.crashes && self.random.random_bool(0.1) {
            return self.crash();
        }
        // Meanwhile things happen.
        if self.random.random_bool(0.3) {
            self.clock += 1;
            self.change(self.crashes);
        }
        let record = Record::ended(ROUTE, references, outcome);
        self.state.apply(&record);
        self.journal(&record);
        if self.random.random_bool(0.5) {
            self.commit();
            if outcome == Outcome::Delivered {
                self.acknowledged.extend(notices.iter().map(Notice::id));
            }
        }
    }

    /// `kill -9`: what was written stays, what was being written stays in part. The engine then looks again.
    fn crash(&mut self) {
        let kept = self.random.random_range(0..=self.buffer.len());
        self.disk.extend_from_slice(&self.buffer[..kept]);
        self.buffer.clear();
        let mut replay = Replay::default();
        let health = journal::read(&self.disk, |record| replay.take(record).map_err(|id| id.to_string())).unwrap();
        assert_eq!(health.damaged, []);
        self.state = replay.state;
        self.state.finish(&[ROUTE], self.now());
        self.disk = self.state.encode();
        let firing: BTreeSet<Key> = self.state.alarms().firing().map(|(key, _)| key.clone()).collect();
        let waiting = self.state.waiting();
        self.clock += 1;
        for (key, truth) in self.truth.clone() {
            match truth {
                Truth::Down if !firing.contains(&key) => self.tell(&key, truth),
                Truth::Up if firing.contains(&key) => self.tell(&key, truth),
                Truth::Gone if firing.contains(&key) || waiting.contains(&key) => self.tell(&key, truth),
                _ => {}
            }
        }
        self.commit();
    }

    fn live(&mut self, steps: usize, forget: bool) {
        for step in 0..steps {
            self.clock += 1;
            match self.random.random_range(0..20) {
                0..8 => self.change(forget),
                8..16 => self.send(step % 100 < 40),
                16..19 => self.commit(),
                _ if self.crashes => self.crash(),
                _ => {}
            }
            assert!(self.state.queue(ROUTE).unwrap().len() <= 4 * 6, "the queue grows without end");
        }
        for _ in 0..200 {
            self.send(false);
            if self.state.queue(ROUTE).unwrap().len() == 0 {
                break;
            }
        }
    }
}

#[test]
fn whatever_happens_and_whenever_it_is_killed_the_receiver_ends_up_knowing_the_truth() {
    for seed in 0..400 {
        let mut world = World::new(seed, true);
        world.live(400, true);
        assert_eq!(world.state.queue(ROUTE).unwrap().len(), 0, "seed {seed}: something is never told");
        let down: BTreeSet<_> = world.truth.iter().filter(|(_, truth)| **truth == Truth::Down).map(|(key, _)| key.clone()).collect();
        let told: BTreeSet<_> = world.receiver.open.keys().cloned().collect();
        assert_eq!(told, down, "seed {seed}");
        let firing: BTreeSet<_> = world.state.alarms().firing().map(|(key, _)| key.clone()).collect();
        assert_eq!(firing, down, "seed {seed}");
    }
}

#[test]
fn every_outage_is_told_or_counted_as_folded() {
    for seed in 0..200 {
        let mut world = World::new(seed, false);
        world.live(400, false);
        let told: u32 = world.receiver.alarms.iter().map(|alarm| 1 + world.receiver.folded[alarm]).sum();
        // The last fold of an alarm that still fires is told with its end.
        let untold: u32 =
            world.state.queue(ROUTE).unwrap().open().map(|(_, open)| open.folded - world.receiver.folded[&open.alarm.id]).sum();
        assert_eq!(told + untold, world.outages, "seed {seed}");
        assert!(world.outages > 20);
    }
}

#[test]
fn a_journal_cut_at_any_byte_is_the_state_that_it_was_at_some_moment() {
    let mut world = World::new(7, false);
    let mut moments = vec![(0, Vec::new())];
    for _ in 0..60 {
        world.clock += 1;
        if world.random.random_bool(0.5) {
            world.change(true)
        } else {
            world.send(false)
        }
        world.commit();
        moments.push((world.disk.len(), world.state.alarms().firing().map(|(key, _)| key.clone()).collect::<Vec<_>>()));
    }
    for length in 0..=world.disk.len() {
        let mut replay = Replay::default();
        let health = journal::read(&world.disk[..length], |record| replay.take(record).map_err(|id| id.to_string())).unwrap();
        assert_eq!(health.damaged_lines, 0);
        replay.state.finish(&[ROUTE], world.now());
        let firing: Vec<_> = replay.state.alarms().firing().map(|(key, _)| key.clone()).collect();
        let before = moments.iter().rposition(|(end, _)| *end <= length).unwrap();
        let possible = &moments[before..(before + 2).min(moments.len())];
        assert!(possible.iter().any(|(_, keys)| *keys == firing), "cut at {length}");
        if moments[before].0 == length {
            assert_eq!(moments[before].1, firing, "cut at {length}");
        }
    }
}

#[test]
fn a_flipped_bit_costs_its_own_line_and_no_other() {
    let mut world = World::new(9, false);
    world.live(30, false);
    world.commit();
    let lines = world.disk.iter().filter(|byte| **byte == b'\n').count();
    for at in 0..world.disk.len() {
        let mut bytes = world.disk.clone();
        bytes[at] ^= 1 << (at % 8);
        let mut replay = Replay::default();
        let health = journal::read(&bytes, |record| replay.take(record).map_err(|id| id.to_string())).unwrap();
        let lost = lines - health.records;
        assert!((1..=2).contains(&lost), "byte {at}: {health:?}");
        replay.state.finish(&[ROUTE], world.now());
    }
}

#[test]
fn a_snapshot_reads_back_as_the_same_state() {
    for seed in 0..50 {
        let mut world = World::new(seed, true);
        for _ in 0..100 {
            world.clock += 1;
            if world.random.random_bool(0.5) { world.change(true) } else { world.send(true) }
        }
        let bytes = world.state.encode();
        let mut replay = Replay::default();
        journal::read(&bytes, |record| replay.take(record).map_err(|id| id.to_string())).unwrap();
        let again = String::from_utf8(replay.state.encode()).unwrap();
        assert_eq!(again, String::from_utf8(bytes).unwrap(), "seed {seed}");
    }
}

#[test]
fn a_route_that_was_added_is_told_what_fires_and_one_that_was_removed_is_reported() {
    let mut state = State::default();
    state.finish(&[ROUTE], sample::at(1_000));
    state.change(Change::Down(sample::down("10.0.0.1", 1_000)), sample::at(1_000));
    let reconciled = state.finish(&["other"], sample::at(1_001));
    assert_eq!(reconciled.orphaned, BTreeMap::from([(ROUTE.to_owned(), 1)]));
    let reconciled = state.finish(&["other", ROUTE], sample::at(1_002));
    assert_eq!(reconciled.told_late, 1);
    let [notice] = &state.queue(ROUTE).unwrap().batch(9, Instant::now())[..] else { panic!() };
    assert_eq!(notice.kind, Kind::Firing);
}

#[test]
fn one_refused_notice_waits_alone_and_holds_up_its_own_address_only() {
    let mut state = State::default();
    state.finish(&[ROUTE], sample::at(1_000));
    let now = Instant::now();
    for host in 1..=3 {
        state.change(Change::Down(sample::down(&format!("10.0.0.{host}"), 1_000)), sample::at(1_000));
    }
    state.change(Change::Up { key: sample::key("10.0.0.1"), at: sample::at(1_001) }, sample::at(1_001));
    let queue = state.queue_mut(ROUTE).unwrap();
    let poison = queue.batch(1, now).remove(0).reference();
    queue.refuse(poison.clone(), now + Duration::from_secs(5));
    let others: Vec<_> = queue.batch(9, now).iter().map(|notice| notice.alarm.subject.id.clone()).collect();
    assert_eq!(others, ["i-10.0.0.2", "i-10.0.0.3"]);
    let later = queue.batch(9, now + Duration::from_secs(5));
    assert_eq!(later.iter().map(Notice::reference).collect::<Vec<_>>(), std::slice::from_ref(&poison));
    queue.ended(&[poison], Outcome::Dropped);
    assert_eq!(queue.batch(9, now).len(), 2, "the end of an alarm that was given up is not told either");
    assert_eq!(queue.again(), None);
}

#[test]
fn a_stopped_host_takes_all_its_alarms_with_it_and_leaves_those_of_others() {
    let matters = [
        Matter::Down,
        Matter::Conflict { expected: None, found: Some("02:00:00:00:00:66".into()) },
        Matter::Flapping { changes: 6, window: Duration::from_secs(600) },
        Matter::Blind { reason: Blind::LinkDown, networks: vec!["net-a".into()] },
    ];
    let mut state = State::default();
    state.finish(&[ROUTE], sample::at(1_000));
    let mut journal = state.encode();
    let mut apply = |state: &mut State, change: Change| {
        let record = state.change(change, sample::at(1_010));
        record.iter().for_each(|record| journal::encode(record, &mut journal));
        record.is_some()
    };
    for matter in matters {
        assert!(apply(&mut state, Change::Down(sample::about(matter, 1_000))), "each is an alarm of its own");
    }
    assert_eq!(state.alarms().firing().len(), 4);
    // The conflict is over, and nobody was told yet.
    assert!(apply(&mut state, Change::Up { key: sample::key("10.0.0.1").with(What::Conflict), at: sample::at(1_005) }));
    assert!(apply(&mut state, Change::Forgotten { key: sample::key("10.0.0.1"), at: sample::at(1_006) }));
    assert!(!apply(&mut state, Change::Forgotten { key: sample::key("10.0.0.1"), at: sample::at(1_007) }));
    let mut replay = Replay::default();
    journal::read(&journal, |record| replay.take(record).map_err(|id| id.to_string())).unwrap();
    replay.state.finish(&[ROUTE], sample::at(1_010));
    for state in [&state, &replay.state] {
        let left: Vec<What> = state.alarms().firing().map(|(key, _)| key.what).collect();
        assert_eq!(left, [What::Blind]);
        let waiting: Vec<_> =
            state.queue(ROUTE).unwrap().batch(9, Instant::now()).iter().map(|notice| notice.alarm.subject.matter.what()).collect();
        assert_eq!(waiting, [What::Blind], "nothing is told of the host any more");
    }
}
