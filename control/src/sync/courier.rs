//! A courier for each agent: sees to it that the agent runs the table that it should, and knows of no other agent. One that is away gets
//! its table when it is back; a slow one holds up nobody.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::anyhow;
use rollcall_agent::table::{Delta, Digest, Table};
use tokio::sync::watch;

use super::first::First;
use super::guard::Guard;
use super::say;
use crate::client::{Client, Pushed, describe};
use crate::failure::Failure;

/// Before the first try after a failure; doubled with each one.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// How long an agent may take for one answer; a table of a million addresses takes it a second or two.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What a courier brings.
#[derive(Clone, Debug)]
pub struct Errand {
    /// The table of its agent.
    pub table: Arc<Table>,
    /// Those of all agents: an address that moves from one to another is not lost.
    pub all: Arc<[Arc<Table>]>,
}

/// How an agent stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// It answered when it was asked last.
    pub reachable: bool,
    /// It runs the table that it should.
    pub in_step: bool,
    /// Addresses of that table.
    pub addresses: u64,
    /// Tables and deltas that it took.
    pub pushes: u64,
    /// Why the last try failed.
    pub error: Option<String>,
}

/// An agent that took longer than that.
pub fn late() -> Failure {
    Failure::Unreachable(anyhow!("the agent did not answer in {}", humantime::format_duration(PATIENCE)))
}

/// What others see of a courier.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Mutex<Standing>>);

impl Board {
    /// As it is now.
    pub fn standing(&self) -> Standing {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Standing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Brings one agent its tables.
pub struct Courier {
    name: String,
    client: Client,
    board: Board,
    /// The table that the agent took last from us.
    pushed: Option<Arc<Table>>,
    /// The judgement of the first table; `None` once it was let pass.
    first: Option<First>,
}

impl Courier {
    /// For an agent. `guard`: what the first table may take from it.
    pub fn new(name: &str, client: Client, board: Board, guard: Guard) -> Self {
        Courier { name: name.to_owned(), client, board, pushed: None, first: Some(First::new(guard)) }
    }

    /// Works until nobody wants tables any more. `every`: how often it looks whether the agent still runs what it should.
    pub async fn run(mut self, mut wanted: watch::Receiver<Option<Errand>>, every: Duration) {
        let mut retry = RETRY.0;
        loop {
            let errand = wanted.borrow_and_update().clone();
            let pause = match errand {
                None => every,
                Some(errand) => match self.deliver(&errand).await {
                    Ok(()) => {
                        retry = RETRY.0;
                        every
                    }
                    Err(_) => {
                        let pause = retry;
                        retry = (retry * 2).min(RETRY.1);
                        pause
                    }
                },
            };
            tokio::select! {
                changed = wanted.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Sees to it that the agent runs this table; says so where anything changed.
    pub async fn deliver(&mut self, errand: &Errand) -> Result<(), Failure> {
        let delivered = tokio::time::timeout(PATIENCE, self.push(errand)).await;
        let result = delivered.unwrap_or_else(|_| Err(late()));
        let mut standing = self.board.lock();
        let before = standing.clone();
        standing.reachable = !matches!(result, Err(Failure::Unreachable(_)));
        standing.in_step = result.is_ok();
        standing.error = result.as_ref().err().map(ToString::to_string);
        standing.pushes += u64::from(matches!(result, Ok(true)));
        if result.is_ok() {
            standing.addresses = errand.table.len() as u64;
        }
        if let Some(error) = &standing.error
            && before.error.as_ref() != Some(error)
        {
            say(&format!("agent {}: {error}: it goes on with the table that it has, and is tried again and again", self.name));
        }
        if before.error.is_some() && standing.error.is_none() {
            say(&format!("agent {}: is back and runs its table", self.name));
        }
        drop(standing);
        result.map(drop)
    }

    /// Whether anything had to be sent.
    async fn push(&mut self, errand: &Errand) -> Result<bool, Failure> {
        let table = &errand.table;
        let status = self.client.status().await?;
        let running = status.digest.parse::<Digest>().ok().filter(|_| status.generation > 0);
        if running == Some(table.digest()) {
            self.pushed = Some(table.clone());
            self.first = None;
            return Ok(false);
        }
        if let Some(first) = &mut self.first {
            first.judge(&self.client, status.addresses, &errand.all).await?;
            self.first = None;
        }
        let base = self.pushed.take();
        if let (Some(base), Some(running)) = (&base, running)
            && base.digest() != running
        {
            say(&format!(
                "agent {}: runs a table that was not sent from here: does another sync, or somebody by hand, push to it too?",
                self.name
            ));
        }
        let delta = base.filter(|base| running == Some(base.digest())).map(|base| Delta::between(&base, table));
        let delta = delta.filter(|delta| delta.bytes().len() < table.bytes().len());
        let mut answer = match &delta {
            Some(delta) => self.client.push(delta.bytes().to_vec()).await?,
            None => self.client.push(table.bytes().to_vec()).await?,
        };
        if let (Pushed::OtherBase(_), Some(_)) = (&answer, &delta) {
            // Somebody else pushed in between.
            answer = self.client.push(table.bytes().to_vec()).await?;
        }
        match answer {
            Pushed::Done(outcome) => {
                self.pushed = Some(table.clone());
                let (name, how) = (&self.name, if delta.is_some() { "delta" } else { "table" });
                say(&format!(
                    "agent {name}: {how}: {} added, {} removed, {} changed; {} addresses",
                    outcome.added, outcome.removed, outcome.changed, outcome.addresses
                ));
                for warning in &outcome.warnings {
                    say(&format!("agent {name}: warning: {}", crate::screen::printable(warning)));
                }
                Ok(true)
            }
            Pushed::OtherBase(problem) => Err(anyhow!("it refuses the table: {}", describe(problem)).into()),
        }
    }
}
