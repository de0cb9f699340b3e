//! Register: which table is in force. Takes pushes and stops, one after the other, keeps the table on disk, and has
//! the engine follow it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::Sender;
use tokio::sync::oneshot;
use tracing::{info, warn};

use crate::api::{PushOutcome, StopOutcome};
use crate::clock;
use crate::engine::Command;
use crate::reply::{Program, ReplyError};
use crate::roster::{Keeper, PlanError, Roster};
use crate::site::Site;
use crate::state::{Restored, State, StateError};
use crate::table::{Delta, Digest, Table, TableError, is_delta};
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
}

/// Slots for a table: a quarter more than it needs now, so that a small growth needs no new arrays.
pub fn slots_for(addresses: usize) -> u32 {
    let wanted = addresses + addresses / 4 + 1024;
    u32::try_from(wanted).unwrap_or(u32::MAX).min(rollcall_agent_ebpf::SLOTS_MAX)
}

impl Register {
    /// A register with no table in force.
    pub fn new(keeper: Keeper, commands: Sender<Command>, view: Arc<View>, state: State, site: Site) -> Self {
        Register { inner: Mutex::new(Inner { keeper, roster: Arc::default() }), commands, view, state, site }
    }

    /// Takes a table or a delta. Blocks until the engine follows it.
    pub fn put(&self, bytes: &[u8]) -> Result<PushOutcome, RegisterError> {
        let mut inner = self.lock();
        let present = inner.roster.clone();
        let table = if is_delta(bytes) {
            let delta = Delta::from_bytes(bytes)?;
            if delta.base() != present.digest {
                let (base, generation) = (delta.base(), present.generation);
                return Err(RegisterError::Base { base, present: present.digest, generation });
            }
            delta.apply(&present.table)?
        } else {
            Table::from_bytes(bytes)?
        };
        let outcome = self.follow(&mut inner, table, &Restored::new())?;
        info!(target: "table", generation = outcome.generation, addresses = outcome.addresses, added = outcome.added, removed = outcome.removed, changed = outcome.changed, "table taken");
        Ok(outcome)
    }

    /// Takes the table that an agent starts with.
    pub fn start(&self, table: Table, restored: &Restored) -> Result<PushOutcome, RegisterError> {
        self.follow(&mut self.lock(), table, restored)
    }

    /// Stops hosts: their probing ends with the engine's next turn, and all that was held of them is gone.
    pub fn stop(&self, hosts: &[String]) -> Result<StopOutcome, RegisterError> {
        let mut inner = self.lock();
        let ids: Vec<&str> = hosts.iter().map(String::as_str).collect();
        let (table, unknown, addresses) = inner.roster.table.without_hosts(&ids);
        let mut stopped: Vec<String> = hosts.iter().filter(|id| !unknown.contains(id)).cloned().collect();
        stopped.sort_unstable();
        stopped.dedup();
        if stopped.is_empty() {
            let (generation, digest) = (inner.roster.generation, inner.roster.digest.to_string());
            return Ok(StopOutcome { stopped, unknown, addresses, generation, digest });
        }
        let PushOutcome { generation, digest, .. } = self.follow(&mut inner, table.with_generation(0), &Restored::new())?;
        info!(target: "table", generation, hosts = stopped.len(), addresses, "hosts stopped and forgotten");
        Ok(StopOutcome { stopped, unknown, addresses, generation, digest })
    }

    fn follow(&self, inner: &mut Inner, table: Table, restored: &Restored) -> Result<PushOutcome, RegisterError> {
        let present = inner.roster.clone();
        let generation = match table.generation() {
            0 => present.generation + 1,
            found if found < present.generation || (found == present.generation && table.digest() != present.digest) => {
                return Err(RegisterError::Old { found, present: present.generation });
            }
            found if found > GENERATION_MAX => return Err(RegisterError::High(found)),
            found => found,
        };
        let table = Arc::new(table.with_generation(generation));
        // On a copy: a plan that fails later has given no slot away.
        let mut keeper = inner.keeper.clone();
        let plan = keeper.plan(&present, table.clone(), generation, restored, clock::now())?;
        let arrays = self.view.arrays.load_full();
        let larger = if plan.capacity > arrays.capacity() {
            Some(Box::new(Program::prepare(slots_for(plan.capacity as usize), &arrays)?))
        } else {
            None
        };
        let outcome = PushOutcome {
            generation,
            digest: plan.roster.digest.to_string(),
            addresses: table.len() as u64,
            added: plan.added.len() as u64,
            removed: plan.removed.len() as u64,
            changed: plan.changed.len() as u64,
            unchanged: plan.unchanged,
            warnings: self.site.misfits(&table),
        };
        self.state.keep_table(&table)?;
        let roster = plan.roster.clone();
        let (done, told) = oneshot::channel();
        let gone = || RegisterError::Engine("the agent is stopping".into());
        let result = self
            .commands
            .send(Command::Apply { plan: Box::new(plan), larger, done })
            .map_err(|_| gone())
            .and_then(|()| told.blocking_recv().map_err(|_| gone())?.map_err(RegisterError::Engine));
        if let Err(error) = result {
            // The file must say what is in force.
            self.state.keep_table(&present.table)?;
            return Err(error);
        }
        (inner.keeper, inner.roster) = (keeper, roster);
        for misfit in &outcome.warnings {
            warn!(target: "table", "{misfit}");
        }
        Ok(outcome)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // The state is replaced only after all that can fail, so a panic in between left it whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
