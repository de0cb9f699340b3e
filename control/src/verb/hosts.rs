//! `rollcall hosts`: what an agent says of many addresses.

use std::io::Write;

use anyhow::Context;
use clap::Args;
use rollcall_agent::api::AddressReport;
use rollcall_agent::unit::{Condition, Verdict};

use crate::client::{AgentArgs, Client};
use crate::failure::{EXIT_CODES, Failure};
use crate::screen::{Screen, Sheet};

/// List addresses and their verdicts
#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES)]
pub struct Hosts {
    #[command(flatten)]
    agent: AgentArgs,
    /// Only this verdict: pending, up, suspect, down, unknown
    #[arg(long)]
    verdict: Option<Verdict>,
    /// Only with this condition: conflict, flapping, icmp-filtered, asymmetric
    #[arg(long)]
    condition: Option<Condition>,
    /// Only this network
    #[arg(long, value_name = "NAME")]
    network: Option<String>,
    /// Only this project
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    /// Only this policy
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
    /// Only where id, name or address contains this
    #[arg(short = 'q', long = "query", value_name = "TEXT")]
    query: Option<String>,
    /// At most so many addresses
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Write one JSON array
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Write CSV
    #[arg(long)]
    csv: bool,
}

impl Hosts {
    /// Runs it.
    pub async fn run(&self) -> Result<(), Failure> {
        let client = Client::new(&self.agent)?;
        let query: Vec<(&str, String)> = [
            ("verdict", self.verdict.map(|verdict| verdict.to_string())),
            ("condition", self.condition.map(|condition| condition.to_string())),
            ("network", self.network.clone()),
            ("project", self.project.clone()),
            ("policy", self.policy.clone()),
            ("q", self.query.clone()),
            ("limit", self.limit.map(|limit| limit.to_string())),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
        .collect();
        let mut screen = Screen::new();
        if self.csv {
            let mut response = client.hosts_csv(&query).await?;
            while let Some(piece) = response.chunk().await.context("the answer broke off")? {
                screen.write_all(&piece)?;
            }
            return Ok(screen.flush()?);
        }
        let reports = client.hosts(&query).await?;
        match self.json {
            true => screen.json(&reports)?,
            false => screen.sheet(&sheet(&reports))?,
        }
        Ok(screen.flush()?)
    }
}

/// A verdict with its reason.
pub(super) fn verdict(report: &AddressReport) -> String {
    match report.reason {
        Some(reason) => format!("{} ({reason})", report.verdict),
        None => report.verdict.to_string(),
    }
}

/// A time in milliseconds, from seconds.
pub(super) fn milliseconds(seconds: Option<f64>) -> String {
    seconds.map_or_else(String::new, |seconds| format!("{:.3}", seconds * 1e3))
}

fn sheet(reports: &[AddressReport]) -> Sheet {
    let mut sheet =
        Sheet::new(&["VERDICT", "HOST", "NAME", "PROJECT", "NETWORK", "ADDRESS", "POLICY", "SINCE", ">RTT MS", ">MISSES", "CONDITIONS"]);
    for report in reports {
        sheet.row([
            verdict(report),
            report.id.clone(),
            report.name.clone(),
            report.project.clone(),
            report.network.clone(),
            report.address.to_string(),
            report.policy.clone(),
            report.since.clone(),
            milliseconds(report.rtt_seconds),
            report.misses.to_string(),
            report.conditions.to_string(),
        ]);
    }
    sheet
}
