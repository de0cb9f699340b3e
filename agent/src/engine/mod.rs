//! Engine: the one thread that owns schedule, verdicts, transmitters and program, and the one module that knows all stages.
//!
//! It turns once a millisecond, or every twenty while there is little to do: take commands, carry out a piece of the plan under way, judge
//! what left some milliseconds ago and whose deadline passed, send what is due. Nothing it does waits: commands come in by a channel, what
//! it has to say goes out by another, and what it knows is read by others from the [`View`].

mod apply;
mod attach;
mod both;
mod cell;
mod class;
mod conflict;
mod doubt;
mod gateway;
mod hearing;
mod judge;
mod losses;
mod network;
mod note;
mod pace;
mod send;
mod sight;
mod way;
mod well;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::Receiver as Commands;
use hdrhistogram::Histogram;
use rollcall_agent_ebpf::run::DUE_MAX;
use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

pub use self::attach::{Attached, Attachment, Tap};
use self::both::Pairs;
use self::cell::Cell;
use self::class::Classes;
use self::conflict::Conflict;
pub(crate) use self::conflict::is_allowed;
use self::losses::Losses;
use self::network::Network;
pub use self::note::{Conditioned, Note, Sight, Turned};
use self::send::Batch;
use self::sight::Overload;
use crate::clock::{self, Clock, Mono};
use crate::priority;
use crate::reply::{Arrays, Program};
use crate::roster::{Assignment, Plan, Roster};
use crate::schedule::{Pps, STEP_MAX, Schedule, Throttle};
use crate::view::{self, View};

/// The shortest turn of the engine.
pub const TICK: Duration = Duration::from_millis(1);
/// What left is looked at in the first turn so long after it did: answers that take longer than that are looked for twice.
const LOOK: Duration = Duration::from_millis(10);
/// From a deadline to its judgement: a reply that came in just before it may still be on its way through the program.
const MARGIN: Duration = Duration::from_micros(200);
/// A pause between two turns from which on the agent itself was not well: probes under way then are evidence of nothing.
/// Less where a timeout is shorter than twice this.
const STALL: Duration = Duration::from_millis(100);
const STALL_MIN: Duration = Duration::from_millis(10);
/// Between two refreshes of what the view cannot show directly.
const REFRESH: Duration = Duration::from_secs(1);
/// Between two lines of the log about the same trouble.
const COMPLAIN: Duration = Duration::from_secs(10);
/// Between two ICMP identifiers: firewalls forget long-lived ones.
const ID_LIFETIME: Duration = Duration::from_secs(600);

/// What the engine can be told to do.
pub enum Command {
    /// Follow a new table. `larger` is a program with larger arrays, where the plan needs one.
    Apply {
        /// What to do.
        plan: Box<Plan>,
        /// A prepared program with more slots.
        larger: Option<Box<Program>>,
        /// Told when all is done.
        done: oneshot::Sender<Result<(), String>>,
    },
    /// An interface came, went, or changed its carrier.
    Link {
        /// The agent's number of the network.
        network: u16,
        /// Up and with carrier.
        running: bool,
    },
    /// The network namespace of an interface is gone: nothing of ours may keep it.
    Detach {
        /// The agent's number of the network.
        network: u16,
    },
    /// An interface was made anew, or has another MAC, other addresses or another gateway: attach to it again.
    Reattach {
        /// The agent's number of the network.
        network: u16,
        /// All that is needed for it.
        attachment: Box<Attachment>,
        /// Told when that is done; dropped where it failed.
        done: oneshot::Sender<()>,
    },
}

/// A plan that is being carried out piece by piece.
struct Job {
    roster: Arc<Roster>,
    removed: std::vec::IntoIter<u32>,
    changed: std::vec::IntoIter<Assignment>,
    added: std::vec::IntoIter<Assignment>,
    done: oneshot::Sender<Result<(), String>>,
}

/// Lets a complaint that could come every millisecond through once in a while.
#[derive(Debug, Default)]
struct Seldom(Option<Mono>);

impl Seldom {
    fn now(&mut self, now: Mono) -> bool {
        let due = self.0.is_none_or(|last| now.since(last) >= COMPLAIN);
        if due {
            self.0 = Some(now);
        }
        due
    }
}

/// The engine.
pub struct Engine {
    clock: Clock,
    program: Program,
    arrays: Arc<Arrays>,
    /// What the slots mean.
    roster: Arc<Roster>,
    schedule: Schedule,
    throttle: Throttle,
    cells: Vec<Cell>,
    pairs: Pairs,
    classes: Classes,
    networks: Vec<Network>,
    job: Option<Job>,
    /// By slot.
    conflicts: BTreeMap<u32, Conflict>,
    /// What made seconds bad, one bit for each, the latest lowest.
    overload: Overload,
    view: Arc<View>,
    notes: mpsc::UnboundedSender<Note>,
    last: Mono,
    /// Until the next turn.
    tick: Duration,
    /// Wall clock in milliseconds at this turn.
    wall_ms: u64,
    /// When the engine stood still.
    stalls: Losses,
    refreshed: Mono,
    id: u16,
    id_since: Mono,
    late: Histogram<u64>,
    late_behind: u64,
    /// Time between two turns beyond the tick.
    pauses: Histogram<u64>,
    /// Slots to be judged in this turn; kept for its memory.
    due: Vec<u32>,
    /// Slots whose turn was lost; likewise.
    skipped: Vec<u32>,
    /// The monotonic clock's distance from the one that goes on while the machine is suspended.
    suspended: Duration,
    /// Until when a miss may come that is news.
    awaiting: Mono,
    /// Between two departures of probes, and the longest that this may be: less where timeouts are so short that it would look like a stall.
    step: Duration,
    step_max: Duration,
    /// A pause between two turns from which on the agent itself was not well.
    stall: Duration,
    stall_told: Seldom,
    skipped_told: Seldom,
}

impl Engine {
    /// An engine on attached networks that watches nobody yet.
    pub fn new(
        clock: Clock,
        program: Program,
        networks: Vec<Attached>,
        pps: Pps,
        view: Arc<View>,
        notes: mpsc::UnboundedSender<Note>,
    ) -> Self {
        let now = clock.now();
        let arrays = program.arrays().clone();
        let id = rand::random_range(1..=u16::MAX);
        arrays.set_ids(id, id);
        let suspended = clock.boot_time().since(now);
        Engine {
            clock,
            program,
            arrays,
            roster: Arc::default(),
            schedule: Schedule::default(),
            throttle: Throttle::new(pps, now),
            cells: Vec::new(),
            pairs: Pairs::default(),
            classes: Classes::default(),
            networks: networks.into_iter().map(Network::new).collect(),
            job: None,
            conflicts: BTreeMap::new(),
            overload: Overload::default(),
            view,
            notes,
            last: now,
            tick: TICK,
            wall_ms: 0,
            stalls: Losses::default(),
            refreshed: now,
            id,
            id_since: now,
            late: view::late_histogram(),
            late_behind: 0,
            pauses: view::late_histogram(),
            due: Vec::new(),
            skipped: Vec::new(),
            suspended,
            awaiting: now,
            step: STEP_MAX,
            step_max: STEP_MAX,
            stall: STALL,
            stall_told: Seldom::default(),
            skipped_told: Seldom::default(),
        }
    }

    /// Turns until `stop` is set. Dropping the engine afterwards detaches the program and closes the sockets.
    pub fn run(mut self, commands: &Commands<Command>, stop: &AtomicBool) {
        priority::come_first();
        self.start(self.clock.now());
        while !stop.load(Ordering::Relaxed) {
            let now = self.clock.now();
            while let Ok(command) = commands.try_recv() {
                self.command(command, now);
            }
            self.turn(now, self.clock.boot_time(), self.clock.unix_ms());
            let rest = (now + self.tick).since(self.clock.now());
            if !rest.is_zero() {
                std::thread::sleep(rest);
            }
        }
    }

    /// Before the first turn.
    pub fn start(&mut self, now: Mono) {
        self.wall_ms = self.clock.unix_ms();
        self.networks_start(now);
    }

    /// How long after a turn the next one is due.
    pub fn tick(&self) -> Duration {
        self.tick
    }

    /// One turn, at a moment of the monotonic clock, of the one that goes on in suspension, and of the wall clock.
    pub fn turn(&mut self, now: Mono, boot: Mono, wall_ms: u64) {
        self.wall_ms = wall_ms;
        let pause = clock::nanos(now.since(self.last).saturating_sub(self.tick));
        let _ = self.pauses.record(pause);
        self.view.pause_max.fetch_max(pause, Ordering::Relaxed);
        let suspended = boot.since(now);
        let slept = suspended.saturating_sub(std::mem::replace(&mut self.suspended, suspended));
        if now.since(self.last) + slept > self.stall {
            self.stalls.note(self.last, now);
            self.networks.iter_mut().for_each(|network| network.hearing.paused(now));
            self.view.stalls.add(1);
            let milliseconds = (now.since(self.last) + slept).as_millis() as u64;
            if self.stall_told.now(now) {
                warn!(target: "engine", milliseconds, times = self.view.stalls.value(), "the agent stood still: probes of that time count as nothing; is the machine overloaded or was it suspended?");
            }
        }
        self.last = now;
        self.schedule.prefetch_hands(now, self.step);
        self.work();
        self.find_ways(now);
        self.resolve(now);
        self.gateways(now);
        self.take_census(now);
        self.judge(now);
        self.step = self.pace();
        self.send(now);
        self.tick = self.rest(now);
        if now.since(self.refreshed) >= REFRESH {
            self.refreshed = now;
            self.refresh(now);
        }
    }

    /// Takes a command.
    pub fn command(&mut self, command: Command, now: Mono) {
        match command {
            Command::Apply { plan, larger, done } => self.begin(*plan, larger.map(|program| *program), done, now),
            Command::Link { network, running } => self.link(network, running, now),
            Command::Detach { network } => self.leave(network, now),
            Command::Reattach { network, attachment, done } => {
                if self.reattach(network, *attachment, now) {
                    // Dropped where it failed: then it is tried again.
                    let _ = done.send(());
                }
            }
        }
    }

    /// Brings into the view what is not written there directly.
    fn refresh(&mut self, now: Mono) {
        for class in self.classes.iter_mut().filter(|class| !class.rtt.is_empty()) {
            // A scrape holds the lock for some microseconds; then the next second will do.
            if let Ok(mut rtt) = class.series.rtt.try_lock() {
                let _ = rtt.add(&class.rtt);
                class.rtt.reset();
            }
        }
        if let Ok(mut late) = self.view.late.try_lock() {
            let _ = late.add(&self.late);
            self.late.reset();
        }
        if let Ok(mut pauses) = self.view.pauses.try_lock() {
            let _ = pauses.add(&self.pauses);
            self.pauses.reset();
        }
        for (shown, count) in self.view.frames.iter().zip(self.program.counters()) {
            shown.store(count, Ordering::Relaxed);
        }
        self.end_conflicts(now);
        self.look_at_load();
        self.look_for_silence(now);
        self.schedule.slim();
        self.due.shrink_to(DUE_MAX);
        self.skipped.shrink_to(DUE_MAX);
        self.networks.iter_mut().flat_map(|network| &mut network.batches).for_each(Batch::slim);
        self.view.waiting.store(self.schedule.waiting() as u64, Ordering::Relaxed);
        if now.since(self.id_since) >= ID_LIFETIME {
            let before = std::mem::replace(&mut self.id, rand::random_range(1..=u16::MAX));
            self.arrays.set_ids(self.id, before);
            self.id_since = now;
        }
        if self.late_behind > 0 && self.skipped_told.now(now) {
            warn!(target: "schedule", skipped = self.late_behind, "probes were skipped: the cap `pps` is too low for the policies, or the machine too slow");
            self.late_behind = 0;
        }
    }

    fn stamp(&self, at: Mono) -> u32 {
        view::stamp_of(self.view.start, at)
    }

    /// The stamp of a moment of the wall clock, also of one before the start: the difference wraps back.
    fn stamp_of_wall(&self, ms: u64) -> u32 {
        self.stamp(self.last).wrapping_sub((self.wall_ms.saturating_sub(ms) / 10) as u32).max(1)
    }

    /// The wall clock at a stamp.
    fn stamp_ms(&self, stamp: u32) -> Option<u64> {
        (stamp != 0).then(|| self.wall_ms.saturating_sub(u64::from(self.stamp(self.last).wrapping_sub(stamp)) * 10))
    }

    fn tell(&self, note: Note) {
        if self.notes.send(note).is_err() {
            info!(target: "engine", "nobody listens any more: the agent is stopping");
        }
    }
}
