//! Register: which table is in force. Takes pushes and stops, one after the other, keeps the table on disk, and has
//! the engine follow it.
//!
//! A whole table is written to a file, mapped and checked; a delta or a stop is one entry of the journal, and costs as much as it
//! changes. When many have come, the table is written whole again beside the work ([`Register::tidy`]).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use tokio::sync::oneshot;
use tracing::{info, warn};

use crate::api::{PushOutcome, StopOutcome};
use crate::clock;
use crate::engine::Command;
use crate::heap;
use crate::reply::{Program, ReplyError};
use crate::roster::{Keeper, Plan, PlanError, Roster};
use crate::site::Site;
use crate::state::{Arrival, Change, Entry, Journal, Restored, State, StateError};
use crate::table::{Delta, Digest, Edition, Stopped, Table, TableError, is_delta};
use crate::view::View;

/// Why a table was not taken. The one in force stays.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The bytes are no table.
    #[error("this is no table that can be used: {0}")]
    Table(#[from] TableError),
    /// A delta against another table than the one in force.
    #[error("the delta is against table {base}, but table {present} (generation {generation}) is in force here: push the whole table")]
    Base {
        /// What the delta builds on.
        base: Digest,
        /// What is in force.
        present: Digest,
        /// Its generation.
        generation: u64,
    },
    /// An older table than the one in force.
    #[error("the table has generation {found}, but generation {present} is in force: compile it with a higher --generation, or with none")]
    Old {
        /// Of the table that came.
        found: u64,
        /// In force.
        present: u64,
    },
    /// A generation after which no other could come.
    #[error("the table has generation {0}, allowed: up to {GENERATION_MAX}")]
    High(u64),
    /// It does not fit.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The kernel has no room for it.
    #[error(transparent)]
    Reply(#[from] ReplyError),
    /// It cannot be kept.
    #[error(transparent)]
    State(#[from] StateError),
    /// The engine could not follow.
    #[error("the table was not taken: {0}")]
    Engine(String),
}

/// Highest generation that is taken: there is always one more.
const GENERATION_MAX: u64 = 1 << 53;

/// The table in force and who may change it.
pub struct Register {
    inner: Mutex<Inner>,
    commands: Sender<Command>,
    view: Arc<View>,
    state: State,
    site: Site,
}

struct Inner {
    keeper: Keeper,
    roster: Arc<Roster>,
    journal: Journal,
    /// Since when the table file is behind.
    behind: Option<Instant>,
    /// Not before this is it tried again to write the table whole.
    patience: Option<Instant>,
    /// What came since the table that is being written whole, while one is.
    later: Option<Vec<Entry>>,
}

/// What was pushed: a delta, or a table.
pub enum Body {
    /// In memory.
    Bytes(Vec<u8>),
    /// In a file of the state directory.
    File(Arrival),
}

/// How a table comes to be on the disk.
enum Keep {
    /// It is there.
    Kept,
    /// As an entry of the journal.
    Entry(Change),
    /// As a file of its own.
    Whole(Arrival),
}

/// Slots for a table: a sixty-fourth more than it needs now, so that a small growth needs no new arrays. Each slot
/// costs some hundred bytes, used or not.
pub fn slots_for(addresses: usize) -> u32 {
    let wanted = addresses + addresses / 64 + 1024;
    u32::try_from(wanted).unwrap_or(u32::MAX).min(rollcall_agent_ebpf::SLOTS_MAX)
}

/// How long the table file may be behind: what was stopped is gone from the disk as well after this.
const BEHIND: Duration = Duration::from_secs(300);

/// How many addresses may stand beside the base before the table is written whole.
fn weight_for(addresses: usize) -> usize {
    4096 + addresses / 256
}

impl Register {
    /// A register with no table in force.
    pub fn new(keeper: Keeper, commands: Sender<Command>, view: Arc<View>, state: State, site: Site) -> Self {
        let journal = Journal::new(state.clone());
        let inner = Inner { keeper, roster: Arc::default(), journal, behind: None, patience: None, later: None };
        Register { inner: Mutex::new(inner), commands, view, state, site }
    }

    /// A file for a table that arrives, for [`Body::File`].
    pub fn arrival(&self) -> Result<Arrival, RegisterError> {
        Ok(self.state.arrival()?)
    }

    /// Takes a table or a delta. Blocks until the engine follows it.
    pub fn put(&self, body: Body) -> Result<PushOutcome, RegisterError> {
        let outcome = match body {
            Body::Bytes(bytes) if is_delta(&bytes) => self.put_delta(bytes),
            Body::Bytes(bytes) => {
                let mut arrival = self.state.arrival()?;
                arrival.write(&bytes)?;
                drop(bytes);
                self.put_table(arrival)
            }
            Body::File(arrival) => {
                let mapping = arrival.map()?;
                if is_delta(&mapping) { self.put_delta(mapping.to_vec()) } else { self.put_table(arrival) }
            }
        }?;
        info!(target: "table", generation = outcome.generation, addresses = outcome.addresses, added = outcome.added, removed = outcome.removed, changed = outcome.changed, "table taken");
        Ok(outcome)
    }

    fn put_delta(&self, bytes: Vec<u8>) -> Result<PushOutcome, RegisterError> {
        let delta = Delta::from_bytes(bytes.as_slice())?;
        let mut inner = self.lock();
        let present = inner.roster.clone();
        if delta.base() != present.digest {
            let (base, generation) = (delta.base(), present.generation);
            return Err(RegisterError::Base { base, present: present.digest, generation });
        }
        let table = present.table.amended(&delta)?;
        let table = numbered(&present, table)?;
        self.follow(&mut inner, table, &Restored::new(), Keep::Entry(Change::Delta(bytes)))
    }

    fn put_table(&self, arrival: Arrival) -> Result<PushOutcome, RegisterError> {
        // It goes to the disk while it is checked. Whether it got there is asked again before it is in force.
        let mut table = std::thread::scope(|scope| {
            scope.spawn(|| drop(arrival.sync()));
            let table = Table::from_mapping(arrival.map()?)?;
            table.verify()?;
            Ok::<_, RegisterError>(table)
        })?;
        let mut inner = self.lock();
        let found = table.generation();
        let generation = generation_after(&inner.roster, found, table.digest())?;
        if generation != found {
            arrival.number(&table.header_with_generation(generation))?;
            table.reread_header()?;
        }
        let outcome = self.follow(&mut inner, Edition::of(Arc::new(table)), &Restored::new(), Keep::Whole(arrival));
        inner.roster.table.cool();
        heap::trim();
        outcome
    }

    /// Takes the table that was in force before the start.
    pub fn resume(&self, table: Edition, restored: &Restored) -> Result<PushOutcome, RegisterError> {
        let mut inner = self.lock();
        let table = numbered(&inner.roster, table)?;
        inner.behind = (table.weight() > 0).then(Instant::now);
        let outcome = self.follow(&mut inner, table, restored, Keep::Kept);
        inner.roster.table.cool();
        heap::trim();
        outcome
    }

    /// Takes the table that the operator gave the agent to start with.
    pub fn start(&self, table: Table, restored: &Restored) -> Result<PushOutcome, RegisterError> {
        table.verify()?;
        let mut inner = self.lock();
        let generation = generation_after(&inner.roster, table.generation(), table.digest())?;
        let mut arrival = self.state.arrival()?;
        arrival.write(table.bytes())?;
        arrival.number(&table.header_with_generation(generation))?;
        drop(table);
        let table = Table::from_mapping(arrival.map()?)?;
        let outcome = self.follow(&mut inner, Edition::of(Arc::new(table)), restored, Keep::Whole(arrival));
        inner.roster.table.cool();
        heap::trim();
        outcome
    }

    /// Stops hosts: their probing ends with the engine's next turn, and all that was held of them is gone.
    pub fn stop(&self, hosts: &[String]) -> Result<StopOutcome, RegisterError> {
        let mut inner = self.lock();
        let present = inner.roster.clone();
        let ids: Vec<&str> = hosts.iter().map(String::as_str).collect();
        let Stopped { edition, unknown, addresses } = present.table.without_hosts(&ids, 0);
        let mut stopped: Vec<String> = hosts.iter().filter(|id| !unknown.contains(id)).cloned().collect();
        stopped.sort_unstable();
        stopped.dedup();
        if stopped.is_empty() {
            let (generation, digest) = (present.generation, present.digest.to_string());
            return Ok(StopOutcome { stopped, unknown, addresses, generation, digest });
        }
        let table = numbered(&present, edition)?;
        let change = Change::Stop(stopped.clone());
        let PushOutcome { generation, digest, .. } = self.follow(&mut inner, table, &Restored::new(), Keep::Entry(change))?;
        info!(target: "table", generation, hosts = stopped.len(), addresses, "hosts stopped and forgotten");
        Ok(StopOutcome { stopped, unknown, addresses, generation, digest })
    }

    fn follow(&self, inner: &mut Inner, table: Edition, restored: &Restored, keep: Keep) -> Result<PushOutcome, RegisterError> {
        let present = inner.roster.clone();
        let warnings = self.site.misfits(&table);
        // On a copy: a plan that fails later has given no slot away.
        let mut keeper = inner.keeper.clone();
        let plan = keeper.plan(&present, table, restored, clock::now())?;
        let arrays = self.view.arrays.load_full();
        let larger = if plan.capacity > arrays.capacity() {
            Some(Box::new(Program::prepare(slots_for(plan.capacity as usize), &arrays)?))
        } else {
            None
        };
        let roster = plan.roster.clone();
        let outcome = PushOutcome {
            generation: roster.generation,
            digest: roster.digest.to_string(),
            addresses: roster.table.len() as u64,
            // Whoever pushed sees that it changed; that its slot did is ours.
            added: plan.added.len() as u64 - plan.anew,
            removed: plan.removed.len() as u64 - plan.anew,
            changed: plan.changed.len() as u64 + plan.anew,
            unchanged: plan.unchanged,
            warnings,
        };
        self.keep_and_apply(inner, &present, keep, plan, larger)?;
        (inner.keeper, inner.roster) = (keeper, roster);
        for misfit in &outcome.warnings {
            warn!(target: "table", "{misfit}");
        }
        Ok(outcome)
    }

    /// What is told to be in force is on the disk before. Where the engine cannot follow, the disk says again what it said.
    fn keep_and_apply(
        &self,
        inner: &mut Inner,
        present: &Roster,
        keep: Keep,
        plan: Plan,
        larger: Option<Box<Program>>,
    ) -> Result<(), RegisterError> {
        match keep {
            Keep::Kept => self.apply(plan, larger),
            Keep::Entry(change) => {
                let before = inner.journal.length();
                let entry = Entry { base: present.digest, generation: plan.roster.generation, change };
                inner.journal.append(&entry)?;
                if let Err(error) = self.apply(plan, larger) {
                    inner.journal.cut(before)?;
                    return Err(error);
                }
                inner.behind.get_or_insert_with(Instant::now);
                inner.later.iter_mut().for_each(|later| later.push(entry.clone()));
                Ok(())
            }
            Keep::Whole(arrival) => {
                arrival.keep()?;
                // Until the journal is emptied its entries are skipped: they are older than this table.
                let applied = inner.journal.restart(&[]).map_err(RegisterError::from).and_then(|()| self.apply(plan, larger));
                (inner.behind, inner.later) = (None, None);
                if let Err(error) = applied {
                    let mut arrival = self.state.arrival()?;
                    arrival.write(present.table.flat().bytes())?;
                    arrival.keep()?;
                    return Err(error);
                }
                Ok(())
            }
        }
    }

    /// Has the engine carry out a plan, and waits for it.
    fn apply(&self, plan: Plan, larger: Option<Box<Program>>) -> Result<(), RegisterError> {
        let (done, told) = oneshot::channel();
        let gone = || RegisterError::Engine("the agent is stopping".into());
        self.commands
            .send(Command::Apply { plan: Box::new(plan), larger, done })
            .map_err(|_| gone())
            .and_then(|()| told.blocking_recv().map_err(|_| gone())?.map_err(RegisterError::Engine))
    }

    /// Writes the table whole when much has come since that was done last. Pushes and stops go on meanwhile.
    pub fn tidy(&self) -> Result<(), RegisterError> {
        let snapshot = {
            let mut inner = self.lock();
            let table = &inner.roster.table;
            // Whoever was told of was looked up in it; those pages need not stay.
            table.cool();
            let due = table.weight() > weight_for(table.len()) || inner.behind.is_some_and(|since| since.elapsed() > BEHIND);
            let patience = inner.patience.is_some_and(|until| Instant::now() < until);
            if table.weight() == 0 || !due || patience || inner.later.is_some() {
                return Ok(());
            }
            inner.later = Some(vec![]);
            inner.roster.clone()
        };
        let written = self.write_whole(&snapshot);
        let mut inner = self.lock();
        // Another table was pushed whole meanwhile, or it could not be written.
        let Some(later) = inner.later.take() else { return Ok(()) };
        // Should this fail, it is not tried again and again: it is much work.
        inner.patience = Some(Instant::now() + BEHIND);
        let (arrival, retold) = written?;
        let roster = if later.is_empty() {
            retold
        } else {
            let mut table = retold.table.clone();
            for entry in &later {
                table = entry.apply(&table)?;
            }
            inner.roster.retold(table)
        };
        arrival.keep()?;
        inner.journal.restart(&later)?;
        inner.behind = (!later.is_empty()).then(Instant::now);
        let roster = Arc::new(roster);
        roster.table.cool();
        self.apply(Plan::retold(roster.clone(), self.view.arrays.load().capacity()), None)?;
        (inner.roster, inner.patience) = (roster, None);
        heap::trim();
        Ok(())
    }

    fn write_whole(&self, roster: &Roster) -> Result<(Arrival, Roster), RegisterError> {
        let flat = roster.table.flat();
        if flat.digest() != roster.digest {
            return Err(RegisterError::Table(TableError::WrongResult { expected: roster.digest, found: flat.digest() }));
        }
        let mut arrival = self.state.arrival()?;
        arrival.write(flat.bytes())?;
        drop(flat);
        arrival.sync()?;
        let table = Edition::of(Arc::new(Table::from_mapping(arrival.map()?)?));
        Ok((arrival, roster.retold(table)))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // The state is replaced only after all that can fail, so a panic in between left it whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A table with the generation that it has once it is in force.
fn numbered(present: &Roster, table: Edition) -> Result<Edition, RegisterError> {
    let generation = generation_after(present, table.generation(), table.digest())?;
    Ok(table.with_generation(generation))
}

fn generation_after(present: &Roster, found: u64, digest: Digest) -> Result<u64, RegisterError> {
    match found {
        0 => Ok(present.generation + 1),
        found if found < present.generation || (found == present.generation && digest != present.digest) => {
            Err(RegisterError::Old { found, present: present.generation })
        }
        found if found > GENERATION_MAX => Err(RegisterError::High(found)),
        found => Ok(found),
    }
}
