//! `rollcall inspect`: what a table or a delta holds.

use std::io::Write;
use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use rollcall_agent::policy::Policy;
use rollcall_agent::table::{Delta, Record, Table, TableError, is_delta};
use serde::{Serialize, Serializer};

use crate::failure::{EXIT_CODES, Failure};
use crate::lists;
use crate::screen::{Screen, Sheet};
use crate::terms::{self, FALSE_DOWN};
use crate::warning::plural;

/// Show what a table holds
#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES)]
pub struct Inspect {
    /// A table, or a delta
    table: PathBuf,
    /// Show at most so many addresses; 0 is all
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// Write one JSON object with all addresses
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Write all addresses as CSV, which is a host list again
    #[arg(long)]
    csv: bool,
}

/// A table as JSON; addresses are written one by one, however many there are.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<DeltaReport>,
    generation: u64,
    digest: String,
    hosts: usize,
    addresses: usize,
    networks: Vec<&'a str>,
    policies: &'a [Policy],
    #[serde(serialize_with = "rows")]
    records: &'a Table,
}

#[derive(Serialize)]
struct DeltaReport {
    base: String,
    result: String,
    generation: u64,
    removed: usize,
}

#[derive(Serialize)]
struct Row<'a> {
    id: &'a str,
    name: &'a str,
    project: &'a str,
    network: &'a str,
    address: std::net::IpAddr,
    mac: Option<String>,
    tags: Vec<&'a str>,
    policy: &'a str,
}

impl Inspect {
    /// Runs it.
    pub fn run(&self) -> Result<(), Failure> {
        let bytes = lists::read(&self.table)?;
        let refused = |error: TableError| anyhow!(error).context(self.table.display().to_string());
        let delta = match is_delta(&bytes) {
            true => Some(Delta::from_bytes(&bytes[..]).map_err(refused)?),
            false => None,
        };
        let whole = match &delta {
            Some(_) => None,
            None => Some(Table::from_bytes(bytes).map_err(refused)?),
        };
        let Some(table) = delta.as_ref().map(Delta::changed).or(whole.as_ref()) else { return Ok(()) };
        let mut screen = Screen::new();
        if self.csv {
            csv(&mut screen, table)?;
        } else if self.json {
            screen.json(&Report {
                delta: delta.as_ref().map(|delta| DeltaReport {
                    base: delta.base().to_string(),
                    result: delta.result().to_string(),
                    generation: delta.generation(),
                    removed: delta.removed(),
                }),
                generation: table.generation(),
                digest: table.digest().to_string(),
                hosts: table.hosts(),
                addresses: table.len(),
                networks: table.networks().collect(),
                policies: table.policies(),
                records: table,
            })?;
        } else {
            self.people(&mut screen, table, delta.as_ref())?;
        }
        Ok(screen.flush()?)
    }

    fn people(&self, screen: &mut Screen, table: &Table, delta: Option<&Delta>) -> Result<(), Failure> {
        if let Some(delta) = delta {
            writeln!(screen, "delta       from {} to {}", delta.base(), delta.result())?;
            writeln!(screen, "removes     {}", plural(delta.removed() as u64, "address", "addresses"))?;
            writeln!(screen, "new or changed:")?;
        } else {
            writeln!(screen, "digest      {}", table.digest())?;
        }
        writeln!(screen, "generation  {}", table.generation())?;
        writeln!(screen, "hosts       {}", table.hosts())?;
        writeln!(screen, "addresses   {}", table.len())?;
        writeln!(screen, "bytes       {}", table.bytes().len())?;
        let mut per_network = vec![0u64; table.networks().len()];
        let mut per_policy = vec![0u64; table.policies().len()];
        for record in table.records() {
            per_network[usize::from(record.network())] += 1;
            per_policy[usize::from(record.policy())] += 1;
        }
        let mut sheet = Sheet::new(&["NETWORK", ">ADDRESSES"]);
        for (network, count) in table.networks().zip(per_network) {
            sheet.row([network.to_owned(), count.to_string()]);
        }
        writeln!(screen)?;
        screen.sheet(&sheet)?;
        let mut sheet = terms::sheet(&[">ADDRESSES"]);
        for (policy, count) in table.policies().iter().zip(per_policy) {
            terms::row(&mut sheet, policy, [count.to_string()]);
        }
        writeln!(screen)?;
        screen.sheet(&sheet)?;
        writeln!(screen, "{FALSE_DOWN}")?;
        let mut sheet = Sheet::new(&["NETWORK", "ADDRESS", "MAC", "HOST", "NAME", "PROJECT", "TAGS", "POLICY"]);
        let limit = if self.limit == 0 { usize::MAX } else { self.limit };
        for record in table.records().iter().take(limit) {
            let row = row(table, record);
            sheet.row([
                row.network.to_owned(),
                row.address.to_string(),
                row.mac.unwrap_or_default(),
                row.id.to_owned(),
                row.name.to_owned(),
                row.project.to_owned(),
                row.tags.join(";"),
                row.policy.to_owned(),
            ]);
        }
        writeln!(screen)?;
        screen.sheet(&sheet)?;
        let more = table.len().saturating_sub(limit);
        if more > 0 {
            writeln!(screen, "... and {} (--limit 0 shows all)", plural(more as u64, "more address", "more addresses"))?;
        }
        Ok(())
    }
}

fn csv(screen: &mut Screen, table: &Table) -> Result<(), Failure> {
    let mut writer = csv::Writer::from_writer(screen);
    writer.write_record(["id", "name", "project", "network", "address", "mac", "tags", "policy"])?;
    for record in table.records() {
        let row = row(table, record);
        let (address, mac, tags) = (row.address.to_string(), row.mac.unwrap_or_default(), row.tags.join(";"));
        writer.write_record([row.id, row.name, row.project, row.network, &address, &mac, &tags, row.policy])?;
    }
    Ok(writer.flush()?)
}

fn rows<S: Serializer>(table: &Table, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(table.records().iter().map(|record| row(table, record)))
}

fn row<'a>(table: &'a Table, record: &Record) -> Row<'a> {
    let host = table.host(record.host());
    Row {
        id: host.id(),
        name: host.name(),
        project: host.project(),
        network: table.network(record.network()),
        address: record.address(),
        mac: record.mac().map(|mac| mac.to_string()),
        tags: host.tags().collect(),
        policy: &table.policies()[usize::from(record.policy())].name,
    }
}
