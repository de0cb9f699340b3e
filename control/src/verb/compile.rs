//! `rollcall compile`: a table from host lists and policies.

use std::io::Write;
use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use rollcall_agent::table::Table;
use serde::Serialize;

use crate::compile::Roll;
use crate::failure::{EXIT_CODES, Failure};
use crate::lists::{self, Lists};
use crate::progress::Progress;
use crate::screen::Screen;
use crate::warning::{count_by_policy, plural, tell, warnings};

/// Compile host lists and policies into a table
#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES)]
pub struct Compile {
    #[command(flatten)]
    lists: Lists,
    /// Where the table goes; `-` is standard output
    #[arg(short = 'o', long, value_name = "FILE")]
    out: PathBuf,
    /// Number of this table; 0 leaves the numbering to the agent
    #[arg(long, value_name = "N", default_value_t = 0)]
    generation: u64,
    /// Write the summary as one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Summary {
    digest: String,
    generation: u64,
    hosts: u64,
    addresses: u64,
    networks: u64,
    policies: u64,
    hosts_left_out: u64,
    bytes: u64,
}

impl Compile {
    /// Runs it.
    pub fn run(&self) -> Result<(), Failure> {
        let mut progress = Progress::new();
        let roll = self.lists.compile(&mut progress)?;
        let table = table(&roll, self.generation, &mut progress)?;
        progress.step(format!("writing {}", self.out.display()));
        lists::write(&self.out, table.bytes())?;
        drop(progress);
        tell(&warnings(&roll, &count_by_policy(&roll)));
        let summary = Summary {
            digest: table.digest().to_string(),
            generation: table.generation(),
            hosts: table.hosts() as u64,
            addresses: table.len() as u64,
            networks: table.networks().len() as u64,
            policies: table.policies().len() as u64,
            hosts_left_out: roll.left_out,
            bytes: table.bytes().len() as u64,
        };
        // Nothing may follow a table on standard output.
        if self.out.as_os_str() == "-" {
            return Ok(());
        }
        let mut screen = Screen::new();
        match self.json {
            true => screen.json(&summary)?,
            false => writeln!(
                screen,
                "{}: {}, {}, {}, {}, {} left out by monitor=false, {} bytes, digest {}",
                self.out.display(),
                plural(summary.hosts, "host", "hosts"),
                plural(summary.addresses, "address", "addresses"),
                plural(summary.networks, "network", "networks"),
                plural(summary.policies, "policy", "policies"),
                plural(summary.hosts_left_out, "host", "hosts"),
                summary.bytes,
                summary.digest
            )?,
        }
        Ok(screen.flush()?)
    }
}

/// The table of a roll.
pub(super) fn table(roll: &Roll, generation: u64, progress: &mut Progress) -> Result<Table, Failure> {
    progress.step(format!("writing a table of {} addresses", roll.addresses.len()));
    Ok(roll.table(generation).map_err(|error| anyhow!(error).context("cannot make a table"))?)
}
