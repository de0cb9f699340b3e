//! `rollcall push`: a table reaches an agent, as a delta where that is shorter.

use std::io::Write;
use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use rollcall_agent::api::PushOutcome;
use rollcall_agent::table::{Delta, Digest, Table};
use serde::Serialize;

use super::compile::table;
use crate::cache::Cache;
use crate::client::{AgentArgs, Client, Pushed, describe};
use crate::failure::{EXIT_CODES, Failure};
use crate::lists::Lists;
use crate::progress::Progress;
use crate::screen::{Screen, printable};
use crate::warning::{count_by_policy, plural, tell, warnings};

/// Bring a table, or host lists and policies, to an agent
///
/// Sends what changed only, if the table that the agent runs is at hand: the one that was pushed last, or --base.
#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES)]
pub struct Push {
    /// A table from `rollcall compile`
    #[arg(required_unless_present = "hosts", conflicts_with_all = ["hosts", "policy"])]
    table: Option<PathBuf>,
    /// Host lists, to compile first
    #[arg(short = 'f', long, value_name = "FILE", num_args = 1.., requires = "policy")]
    hosts: Vec<PathBuf>,
    /// Policy file, to compile with
    #[arg(short = 'p', long, value_name = "FILE", requires = "hosts")]
    policy: Option<PathBuf>,
    #[command(flatten)]
    agent: AgentArgs,
    /// Send the whole table always
    #[arg(long)]
    full: bool,
    /// The table that the agent runs now, to send the difference to it
    #[arg(long, value_name = "TABLE", conflicts_with = "full")]
    base: Option<PathBuf>,
    /// Directory for the table pushed last [default: $XDG_STATE_HOME/rollcall or ~/.local/state/rollcall]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Write the outcome as one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    /// `table`, `delta`, or `nothing` where the agent runs it already.
    sent: &'a str,
    bytes: usize,
    #[serde(flatten)]
    outcome: &'a PushOutcome,
}

impl Push {
    /// Runs it.
    pub async fn run(&self) -> Result<(), Failure> {
        let client = Client::new(&self.agent)?;
        let mut progress = Progress::new();
        let table = self.table(&mut progress)?;
        let cache = Cache::new(self.cache.as_deref(), &client.file_name());
        progress.wait("asking the agent which table it runs");
        let status = client.status().await?;
        let running = status.digest.parse::<Digest>().ok();
        if running == Some(table.digest()) && status.generation > 0 {
            cache.store(&table);
            let outcome = PushOutcome {
                generation: status.generation,
                digest: status.digest,
                addresses: table.len() as u64,
                added: 0,
                removed: 0,
                changed: 0,
                unchanged: table.len() as u64,
                warnings: vec![],
            };
            drop(progress);
            return self.tell("nothing", 0, &outcome);
        }
        let mut delta = None;
        if !self.full {
            delta = self.base(&cache, running)?.map(|base| Delta::between(&base, &table));
        }
        if let Some(delta) = delta.filter(|delta| delta.bytes().len() < table.bytes().len()) {
            progress.wait(format!("sending a delta of {} bytes", delta.bytes().len()));
            match client.push(delta.bytes().to_vec()).await? {
                Pushed::Done(outcome) => {
                    cache.store(&table);
                    drop(progress);
                    return self.tell("delta", delta.bytes().len(), &outcome);
                }
                // Somebody else pushed in between.
                Pushed::OtherBase(_) => {}
            }
        }
        progress.wait(format!("sending a table of {} bytes", table.bytes().len()));
        match client.push(table.bytes().to_vec()).await? {
            Pushed::Done(outcome) => {
                cache.store(&table);
                drop(progress);
                self.tell("table", table.bytes().len(), &outcome)
            }
            Pushed::OtherBase(problem) => Err(anyhow!("the agent at {} refuses the table: {}", self.agent.agent, describe(problem)).into()),
        }
    }

    fn table(&self, progress: &mut Progress) -> Result<Table, Failure> {
        if let Some(path) = &self.table {
            return Ok(Table::open(path).map_err(|error| anyhow!(error).context(path.display().to_string()))?);
        }
        let Some(policy) = &self.policy else {
            return Err(Failure::Usage("--hosts needs --policy".to_owned()));
        };
        let roll = Lists { hosts: self.hosts.clone(), policy: policy.clone() }.compile(progress)?;
        let table = table(&roll, 0, progress)?;
        tell(&warnings(&roll, &count_by_policy(&roll)));
        Ok(table)
    }

    /// The table that the agent runs, if it is at hand.
    fn base(&self, cache: &Cache, running: Option<Digest>) -> Result<Option<Table>, Failure> {
        let is_running = |table: &Table| running == Some(table.digest());
        if let Some(path) = &self.base {
            let base = Table::open(path).map_err(|error| anyhow!(error).context(path.display().to_string()))?;
            if !is_running(&base) {
                eprintln!("warning: the agent does not run {}: sending the whole table", path.display());
            }
            return Ok(Some(base).filter(is_running));
        }
        Ok(cache.load().filter(is_running))
    }

    fn tell(&self, sent: &str, bytes: usize, outcome: &PushOutcome) -> Result<(), Failure> {
        tell(&outcome.warnings.iter().map(|warning| printable(warning)).collect::<Vec<_>>());
        let mut screen = Screen::new();
        if self.json {
            screen.json(&Report { sent, bytes, outcome })?;
            return Ok(screen.flush()?);
        }
        let how = match sent {
            "nothing" => "it runs this table already".to_owned(),
            sent => format!("sent a {sent} of {bytes} bytes"),
        };
        let PushOutcome { generation, addresses, added, removed, changed, unchanged, .. } = outcome;
        writeln!(
            screen,
            "{}: {how}; generation {generation}, {}: {added} added, {removed} removed, {changed} changed, {unchanged} unchanged",
            self.agent.agent,
            plural(*addresses, "address", "addresses"),
        )?;
        Ok(screen.flush()?)
    }
}
