//! `rollcall stop`: a host is deleted, its agent forgets it.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use rollcall_agent::table::Digest;

use crate::cache::Cache;
use crate::client::{AgentArgs, Client};
use crate::failure::{EXIT_CODES, Failure};
use crate::screen::{Screen, printable};
use crate::warning::plural;

/// Stop probing hosts and forget them, with their alarms
///
/// Delete them from the host list too: the next push brings back what it holds.
#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES)]
pub struct Stop {
    /// Ids of hosts
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
    #[command(flatten)]
    agent: AgentArgs,
    /// Directory for the table pushed last [default: $XDG_STATE_HOME/rollcall or ~/.local/state/rollcall]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Write the outcome as one JSON object
    #[arg(long)]
    json: bool,
}

impl Stop {
    /// Runs it.
    pub async fn run(&self) -> Result<(), Failure> {
        let client = Client::new(&self.agent)?;
        let outcome = client.stop(self.ids.clone()).await?;
        // What was pushed last, without these hosts, is what the agent runs now: the next push can be a delta.
        let cache = Cache::new(self.cache.as_deref(), &client.file_name());
        if let (Some(table), Ok(digest)) = (cache.load(), outcome.digest.parse::<Digest>()) {
            let stopped: Vec<&str> = outcome.stopped.iter().map(String::as_str).collect();
            let (rest, _, removed) = Arc::new(table).without_hosts(&stopped);
            if removed > 0 && rest.digest() == digest {
                cache.store(&rest);
            }
        }
        let mut screen = Screen::new();
        match self.json {
            true => screen.json(&outcome)?,
            false => writeln!(
                screen,
                "{}: stopped {}, forgot {}; generation {}",
                self.agent.agent,
                plural(outcome.stopped.len() as u64, "host", "hosts"),
                plural(outcome.addresses, "address", "addresses"),
                outcome.generation
            )?,
        }
        screen.flush()?;
        if outcome.unknown.is_empty() {
            return Ok(());
        }
        let unknown: Vec<String> = outcome.unknown.iter().map(|id| printable(id)).collect();
        Err(Failure::NotFound(format!("the agent knows no host {}", unknown.join(", "))))
    }
}
