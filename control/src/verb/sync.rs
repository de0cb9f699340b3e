//! `rollcall sync`: the controller between a platform and the agents.

use std::io::Write;
use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use serde_json::json;

use crate::failure::{EXIT_CODES, Failure};
use crate::screen::{Screen, printable};
use crate::sync::config::Config;
use crate::sync::controller::{Controller, Preview};
use crate::sync::difference::Line;
use crate::sync::lock::Lock;

/// Lines of a difference that people are shown of one kind.
const SHOWN: usize = 50;

/// Follow a platform: ask its lists again and again, and bring each agent what changed
#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES)]
pub struct Sync {
    /// Sources, agents, policy (TOML)
    #[arg(short = 'c', long, value_name = "FILE")]
    config: PathBuf,
    /// One round, for cron
    #[arg(long, conflicts_with = "dry_run")]
    once: bool,
    /// Show what would change at each agent, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Believe the first lists, even if they are much shorter than what the agents watch
    #[arg(long)]
    allow_shrink: bool,
    /// With --dry-run: as one JSON object
    #[arg(long, requires = "dry_run")]
    json: bool,
}

impl Sync {
    /// Runs it.
    pub async fn run(&self) -> Result<(), Failure> {
        let config = Config::read(&self.config)?;
        if self.dry_run {
            return self.show(Controller::new(config, self.allow_shrink)?).await;
        }
        let lock = Lock::take(&self.config)?;
        let mut controller = Controller::new(config, self.allow_shrink)?;
        if self.once { controller.once().await } else { controller.run(lock).await }
    }

    async fn show(&self, mut controller: Controller) -> Result<(), Failure> {
        let mut screen = Screen::new();
        let mut failed = Ok(());
        let mut object = serde_json::Map::new();
        for Preview { agent: name, difference, refused } in controller.dry_run().await? {
            if let Some(why) = refused {
                // Just then what would change is of interest.
                eprintln!("rollcall sync: agent {name}: {why}");
                failed = Err(Failure::Refused(anyhow!("agent {name}: without --allow-shrink this would not be pushed")));
            }
            let difference = match difference {
                Ok(difference) => difference,
                Err(failure) => {
                    eprintln!("rollcall sync: agent {name}: {failure}");
                    failed = Err(failure);
                    continue;
                }
            };
            if self.json {
                object.insert(name, json!(difference));
                continue;
            }
            let (added, removed, changed) = (difference.added.len(), difference.removed.len(), difference.changed.len());
            writeln!(screen, "{name}: {added} added, {removed} removed, {changed} changed, {} unchanged", difference.unchanged)?;
            for (sign, lines) in [('+', &difference.added), ('-', &difference.removed), ('~', &difference.changed)] {
                for Line { network, address, id, policy, .. } in lines.iter().take(SHOWN) {
                    writeln!(screen, "  {sign} {} {address} {} {}", printable(network), printable(id), printable(policy))?;
                }
                if lines.len() > SHOWN {
                    writeln!(screen, "  {sign} ... and {} more (--json has them all)", lines.len() - SHOWN)?;
                }
            }
        }
        if self.json {
            screen.json(&object)?;
        }
        screen.flush()?;
        failed
    }
}
