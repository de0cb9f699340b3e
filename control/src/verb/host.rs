//! `rollcall host`: one host, with the recent history of its addresses.

use std::io::Write;

use clap::Args;

use super::hosts::{milliseconds, verdict};
use super::watch::condition;
use crate::client::{AgentArgs, Client};
use crate::failure::{EXIT_CODES, Failure};
use crate::screen::{Screen, Sheet, printable};

/// Explain one host in plain words, with the recent history of its addresses
#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES)]
pub struct Host {
    /// Id of the host, or an address of it
    id: String,
    #[command(flatten)]
    agent: AgentArgs,
    /// Write one JSON object
    #[arg(long)]
    json: bool,
}

impl Host {
    /// Runs it.
    pub async fn run(&self) -> Result<(), Failure> {
        let host = Client::new(&self.agent)?.host(&self.id).await?;
        let mut screen = Screen::new();
        if self.json {
            screen.json(&host)?;
            return Ok(screen.flush()?);
        }
        writeln!(screen, "host        {}", printable(&host.id))?;
        writeln!(screen, "name        {}", printable(&host.name))?;
        writeln!(screen, "project     {}", printable(&host.project))?;
        writeln!(screen, "tags        {}", printable(&host.tags.join(";")))?;
        let mut sheet = Sheet::new(&[
            "VERDICT",
            "CONDITIONS",
            "NETWORK",
            "ADDRESS",
            "MAC",
            "OTHER MAC",
            "POLICY",
            "METHOD",
            "SINCE",
            ">RTT MS",
            ">MISSES",
            "RECENT (! answered, . missed)",
        ]);
        let mut changes = Sheet::new(&["AT", "NETWORK", "ADDRESS", "FROM", "TO", "REASON OR CONDITION"]);
        for address in &host.addresses {
            let now = &address.now;
            sheet.row([
                verdict(now),
                now.conditions.to_string(),
                now.network.clone(),
                now.address.to_string(),
                now.mac.clone().unwrap_or_default(),
                address.other_mac.clone().unwrap_or_default(),
                now.policy.clone(),
                now.method.to_string(),
                now.since.clone(),
                milliseconds(now.rtt_seconds),
                now.misses.to_string(),
                address.recent.clone(),
            ]);
            for event in &address.changes {
                changes.row([
                    event.at.clone(),
                    event.network.clone(),
                    event.address.to_string(),
                    event.from.to_string(),
                    event.to.to_string(),
                    condition(event).or(event.reason.map(|reason| reason.to_string())).unwrap_or_default(),
                ]);
            }
        }
        writeln!(screen)?;
        screen.sheet(&sheet)?;
        for address in &host.addresses {
            writeln!(screen, "\n{} in {}", address.now.address, printable(&address.now.network))?;
            for sentence in &address.explanation {
                writeln!(screen, "  {}", printable(sentence))?;
            }
        }
        if host.addresses.iter().any(|address| !address.changes.is_empty()) {
            writeln!(screen)?;
            screen.sheet(&changes)?;
        }
        Ok(screen.flush()?)
    }
}
