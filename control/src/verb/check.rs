//! `rollcall check`: are the files right, and who gets which policy, and why.

use std::io::Write;

use clap::Args;
use rollcall_agent::policy::Policy;
use serde::Serialize;

use crate::assign::reason;
use crate::compile::{Address, Roll, probes_per_second};
use crate::failure::{EXIT_CODES, Failure};
use crate::lists::Lists;
use crate::mistake::quoted;
use crate::progress::Progress;
use crate::screen::{Screen, Sheet};
use crate::terms::{self, FALSE_DOWN, LOSS};
use crate::warning::{count_by_policy, plural, tell, warnings};

/// Check host lists and policies, and show which policy each address gets and why
#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES)]
pub struct Check {
    #[command(flatten)]
    lists: Lists,
    /// Show only the addresses of this host
    #[arg(long, value_name = "ID")]
    host: Option<String>,
    /// Show at most so many addresses; 0 is all
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// Write one JSON object with all addresses
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    hosts: u64,
    addresses: usize,
    hosts_left_out: u64,
    policies: Vec<PolicyReport<'a>>,
    assignments: Vec<Assignment<'a>>,
    warnings: &'a [String],
}

#[derive(Serialize)]
struct PolicyReport<'a> {
    #[serde(flatten)]
    policy: &'a Policy,
    addresses: u64,
    probes_per_second: f64,
    detection_bound_seconds: f64,
    false_down_rate_at_1_percent_loss: f64,
}

#[derive(Serialize)]
struct Assignment<'a> {
    id: &'a str,
    name: &'a str,
    project: &'a str,
    network: &'a str,
    address: std::net::IpAddr,
    policy: &'a str,
    reason: String,
    line: String,
}

impl Check {
    /// Runs it.
    pub fn run(&self) -> Result<(), Failure> {
        let mut progress = Progress::new();
        let roll = self.lists.compile(&mut progress)?;
        if let Some(id) = self.host.as_ref().filter(|_| self.shown(&roll).next().is_none()) {
            return Err(Failure::NotFound(format!("no watched host {} in the lists", quoted(id))));
        }
        let counts = count_by_policy(&roll);
        let warnings = warnings(&roll, &counts);
        drop(progress);
        let mut screen = Screen::new();
        if self.json {
            let report = Report {
                hosts: roll.watched_hosts(),
                addresses: roll.addresses.len(),
                hosts_left_out: roll.left_out,
                policies: policies(&roll, &counts),
                assignments: self.shown(&roll).map(|address| assignment(&roll, address)).collect(),
                warnings: &warnings,
            };
            screen.json(&report)?;
        } else {
            self.people(&mut screen, &roll, &counts)?;
            tell(&warnings);
        }
        Ok(screen.flush()?)
    }

    fn shown<'a>(&self, roll: &'a Roll) -> impl Iterator<Item = &'a Address> {
        let wanted = self.host.clone();
        roll.addresses
            .iter()
            .filter(move |address| wanted.as_ref().is_none_or(|wanted| roll.id(&roll.hosts[address.host as usize]) == wanted))
    }

    fn people(&self, screen: &mut Screen, roll: &Roll, counts: &[u64]) -> Result<(), Failure> {
        let mut sheet = terms::sheet(&[">ADDRESSES", ">PROBES/S"]);
        for report in policies(roll, counts) {
            terms::row(&mut sheet, report.policy, [report.addresses.to_string(), format!("{:.1}", report.probes_per_second)]);
        }
        screen.sheet(&sheet)?;
        writeln!(screen, "{FALSE_DOWN}")?;
        writeln!(screen)?;
        let mut sheet = Sheet::new(&["HOST", "NAME", "PROJECT", "NETWORK", "ADDRESS", "POLICY", "WHY"]);
        let limit = if self.limit == 0 { usize::MAX } else { self.limit };
        for address in self.shown(roll).take(limit) {
            let row = assignment(roll, address);
            sheet.row([
                row.id.to_owned(),
                row.name.to_owned(),
                row.project.to_owned(),
                row.network.to_owned(),
                row.address.to_string(),
                row.policy.to_owned(),
                row.reason,
            ]);
        }
        screen.sheet(&sheet)?;
        let more = self.shown(roll).count().saturating_sub(limit);
        if more > 0 {
            writeln!(screen, "... and {} (--limit 0 shows all)", plural(more as u64, "more address", "more addresses"))?;
        }
        writeln!(screen)?;
        let probes: f64 = policies(roll, counts).iter().map(|report| report.probes_per_second).sum();
        writeln!(
            screen,
            "ok: {}, {}, {probes:.1} probes a second, {} left out by monitor=false",
            plural(roll.watched_hosts(), "host", "hosts"),
            plural(roll.addresses.len() as u64, "address", "addresses"),
            plural(roll.left_out, "host", "hosts"),
        )?;
        Ok(screen.flush()?)
    }
}

fn policies<'a>(roll: &'a Roll, counts: &[u64]) -> Vec<PolicyReport<'a>> {
    let reports = roll.policies().zip(counts).filter_map(|(policy, &addresses)| {
        let policy = policy?;
        Some(PolicyReport {
            policy,
            addresses,
            probes_per_second: probes_per_second(addresses, policy.pace()),
            detection_bound_seconds: policy.detection_bound().as_secs_f64(),
            false_down_rate_at_1_percent_loss: policy.false_down_rate(LOSS),
        })
    });
    reports.collect()
}

fn assignment<'a>(roll: &'a Roll, address: &Address) -> Assignment<'a> {
    let host = &roll.hosts[address.host as usize];
    let row = &roll.list.rows[address.row as usize];
    Assignment {
        id: roll.id(host),
        name: roll.name(host),
        project: roll.list.strings.text(host.project),
        network: roll.list.strings.text(row.network),
        address: row.address,
        policy: roll.policy(address.policy).map_or("", |policy| &policy.name),
        reason: reason(roll, host, row, address.policy),
        line: roll.list.place(row.place),
    }
}
