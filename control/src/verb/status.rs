//! `rollcall status`: an agent as a whole.

use std::io::Write;

use clap::Args;
use rollcall_agent::unit::Verdict;

use crate::client::{AgentArgs, Client};
use crate::failure::{EXIT_CODES, Failure};
use crate::screen::{Screen, Sheet, printable};

/// Show what an agent does: its table, verdicts, networks
#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES)]
pub struct Status {
    #[command(flatten)]
    agent: AgentArgs,
    /// Write one JSON object
    #[arg(long)]
    json: bool,
}

impl Status {
    /// Runs it.
    pub async fn run(&self) -> Result<(), Failure> {
        let status = Client::new(&self.agent)?.status().await?;
        let mut screen = Screen::new();
        if self.json {
            screen.json(&status)?;
            return Ok(screen.flush()?);
        }
        writeln!(screen, "agent       {} {}", self.agent.agent, printable(&status.version))?;
        writeln!(screen, "started     {}", printable(&status.started))?;
        match status.generation {
            0 => writeln!(screen, "table       none (rollcall push)")?,
            generation => writeln!(screen, "table       generation {generation}, digest {}", printable(&status.digest))?,
        }
        writeln!(screen, "hosts       {}", status.hosts)?;
        writeln!(screen, "addresses   {}", status.addresses)?;
        for verdict in Verdict::ALL {
            let count = status.verdicts.get(verdict.name()).copied().unwrap_or_default();
            let padded = " ".repeat(10 - verdict.name().len());
            writeln!(screen, "  {}{padded}{count}", screen.verdict(verdict))?;
        }
        for (condition, count) in &status.conditions {
            writeln!(screen, "  {:<13} {count}", printable(condition))?;
        }
        writeln!(screen, "alarms      {} firing", status.alarms_firing)?;
        let under_way = status.probes_sent.saturating_sub(status.replies + status.misses + status.voids);
        writeln!(
            screen,
            "probes      {} sent: {} answered in time, {} missed, {} void, {under_way} under way",
            status.probes_sent, status.replies, status.misses, status.voids
        )?;
        let mut sheet = Sheet::new(&["NETWORK", "INTERFACE", "TRANSMIT", "RECEIVE", ">ADDRESSES", "STATE"]);
        for network in &status.networks {
            sheet.row([
                network.name.clone(),
                network.interface.clone(),
                network.transmit.clone(),
                network.receive.clone(),
                network.addresses.to_string(),
                network.blind.map_or("ok".to_owned(), |blind| blind.to_string()),
            ]);
        }
        writeln!(screen)?;
        screen.sheet(&sheet)?;
        Ok(screen.flush()?)
    }
}
