//! `load`: from a host list to probes, and from one table to the next.

use std::fs::{self, File};
use std::io::BufWriter;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rollcall_agent::policy::{Method, Policy};
use rollcall_agent::table::{Delta, Table};
use rollcall_agent_ebpf::fleet::Outcome;
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::burden;
use super::options::Options;
use super::sheet::{Sheet, number, rounded};
use super::spread::median;
use super::stand::{self, Stand};
use crate::agent::Agent;
use crate::voice::{Voice, grouped, megabytes};
use crate::{population, programs};

const HOSTS: [u32; 3] = [10_000, 100_000, 1_000_000];
/// How often each is measured: the median counts.
const TIMES: usize = 3;
const DELTAS: usize = 7;
/// Changes of one delta.
const CHANGES: u32 = 1000;
const PATIENCE: Duration = Duration::from_secs(60);

/// The figures of the largest number of hosts, and of each.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Load {
    #[serde(flatten)]
    largest: Row,
    rows: Vec<Row>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Row {
    hosts: u32,
    csv_bytes: u64,
    table_bytes: u64,
    /// `rollcall compile`, the whole process.
    compile_s: f64,
    /// `Table::open`: read and check.
    open_ms: f64,
    /// From the start of the agent's process to its first probe at the fleet.
    first_probe_ms: f64,
    /// `PUT` of the whole table to an agent without one, answered when the engine follows it.
    push_s: f64,
    /// The same of a delta.
    delta_ms: f64,
    delta_changes: u32,
}

/// Measures each number of hosts.
pub(super) async fn run(options: &Options, voice: &Voice) -> Result<Load> {
    let mut load = Load::default();
    for hosts in options.sizes_or(&HOSTS) {
        let row = measure(options, voice, hosts).await.with_context(|| format!("{hosts} hosts"))?;
        voice.step(
            "load",
            &format!(
                "{} hosts: compile {} s, open {} ms, first probe {} ms, push {} s, delta {} ms",
                grouped(hosts.into()),
                number(row.compile_s, 2),
                number(row.open_ms, 1),
                number(row.first_probe_ms, 0),
                number(row.push_s, 2),
                number(row.delta_ms, 1)
            ),
            None,
        );
        load.largest = row.clone();
        load.rows.push(row);
    }
    Ok(load)
}

async fn measure(options: &Options, voice: &Voice, hosts: u32) -> Result<Row> {
    // ICMP: the agent's first ARP request is for the gateway's MAC, and the first echo request is a probe.
    let policy = options.policy(options.method.unwrap_or(Method::Icmp));
    let stand = Stand::of(hosts)?;
    let csv = write_lists(&stand, &policy)?;
    let path = stand.path("bench.table");
    let (mut compiles, mut opens) = (Vec::new(), Vec::new());
    for _ in 0..TIMES {
        voice.progress("load", &format!("compiling {hosts} hosts"));
        let began = Instant::now();
        compile(&stand).await?;
        compiles.push(began.elapsed().as_secs_f64());
        let began = Instant::now();
        let table = Table::open(&path)?;
        opens.push(began.elapsed().as_secs_f64() * 1e3);
        ensure!(table.len() == hosts as usize, "the table has {} addresses, the list {hosts}", table.len());
    }
    let table = Table::open(&path)?;
    let mut row = Row {
        hosts,
        csv_bytes: csv,
        table_bytes: table.bytes().len() as u64,
        compile_s: middle(compiles),
        open_ms: middle(opens),
        delta_changes: CHANGES.min(hosts),
        ..Row::default()
    };
    row.first_probe_ms = first_probe(options, &stand).await?;
    (row.push_s, row.delta_ms) = push(options, &stand, &table).await?;
    Ok(row)
}

fn middle(values: Vec<f64>) -> f64 {
    median(values).map_or(0.0, rounded)
}

/// Host list and policies, as an operator has them: length of the list.
fn write_lists(stand: &Stand, policy: &Policy) -> Result<u64> {
    let path = stand.path("hosts.csv");
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    population::write_csv(stand.lab.fleet().cloud(), BufWriter::new(file)).with_context(|| format!("cannot write {}", path.display()))?;
    fs::write(stand.path("policies.toml"), crate::policy::toml(policy))?;
    Ok(fs::metadata(&path)?.len())
}

async fn compile(stand: &Stand) -> Result<()> {
    let arguments = ["compile", "--hosts", "hosts.csv", "--policy", "policies.toml", "--out", "bench.table"];
    let output = Command::new(programs::path(programs::CONTROL)?)
        .args(arguments)
        .current_dir(stand.path(""))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .context("cannot run rollcall")?;
    ensure!(output.status.success(), "`rollcall {}` failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// Starts the agent on the table until the fleet hears of it, several times.
async fn first_probe(options: &Options, stand: &Stand) -> Result<f64> {
    let config = stand.config(options, Some(&stand.path("bench.table")))?;
    let heard = || -> Result<u64> {
        let counters = stand.lab.fleet().counters()?;
        let of = |outcome: Outcome| counters.get(outcome.label()).copied().unwrap_or_default();
        let probes = if options.method == Some(Method::Arp) { Outcome::ArpAnswered } else { Outcome::IcmpAnswered };
        Ok(of(probes))
    };
    let mut times = Vec::new();
    for _ in 0..TIMES {
        // A restart would begin with its own table and verdicts.
        let _ = fs::remove_dir_all(stand.path("state"));
        let before = heard()?;
        let mut command = stand.lab.agent().command(programs::path(programs::AGENT)?);
        let log = File::create(stand.path("first.log"))?;
        command.args(["run", "--config"]).arg(&config).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let began = Instant::now();
        let mut child = Command::from(command).kill_on_drop(true).spawn().context("cannot start the agent")?;
        while heard()? == before {
            ensure!(began.elapsed() < PATIENCE, "no probe within {} s of the agent's start", PATIENCE.as_secs());
            if let Some(status) = child.try_wait()? {
                anyhow::bail!(
                    "the agent ended at once ({status}): {}",
                    fs::read_to_string(stand.path("first.log")).unwrap_or_default().trim()
                );
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        times.push(began.elapsed().as_secs_f64() * 1e3);
        child.kill().await.context("cannot end the agent")?;
    }
    Ok(middle(times))
}

/// Seconds of full pushes, milliseconds of deltas: each from the first byte sent to the answer.
async fn push(options: &Options, stand: &Stand, table: &Table) -> Result<(f64, f64)> {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(300)).build()?;
    let (mut pushes, mut deltas) = (Vec::new(), Vec::new());
    for time in 0..TIMES {
        let _ = fs::remove_dir_all(stand.path("state"));
        let mut agent = stand.agent(options, None).await?;
        let bytes = table.bytes().to_vec();
        let began = Instant::now();
        let outcome = burden::put(&client, &agent, bytes).await?;
        pushes.push(began.elapsed().as_secs_f64());
        ensure!(outcome.added as usize == table.len(), "the push added {} addresses of {}", outcome.added, table.len());
        if time + 1 == TIMES {
            stand::all_up(&mut agent, table.len() as u32, options.interval, |_| {}).await?;
            deltas = push_deltas(&client, &agent, stand, options, table).await?;
        }
        stand::end(agent).await?;
    }
    Ok((middle(pushes), middle(deltas)))
}

/// Deltas that move some hosts between two policies and back.
async fn push_deltas(client: &reqwest::Client, agent: &Agent, stand: &Stand, options: &Options, table: &Table) -> Result<Vec<f64>> {
    let policy = table.policies().first().context("a table without a policy")?;
    let changes = CHANGES.min(table.len() as u32);
    let (plain, moved) = (retimed(stand, policy, 0)?, retimed(stand, policy, changes)?);
    // What is in force has only one policy: this brings the second one, and is not counted.
    let mut present = table.with_generation(agent.status().await?.generation);
    let mut times = Vec::new();
    for round in 0..=DELTAS {
        let next = if round % 2 == 0 { &moved } else { &plain }.with_generation(present.generation() + 1);
        let delta = Delta::between(&present, &next);
        let began = Instant::now();
        let outcome = burden::put(client, agent, delta.bytes().to_vec()).await?;
        let took = began.elapsed().as_secs_f64() * 1e3;
        ensure!(outcome.changed == u64::from(changes), "the delta changed {} addresses of {changes}", outcome.changed);
        if round > 0 {
            times.push(took);
        }
        present = next;
        tokio::time::sleep(options.interval.min(Duration::from_secs(1))).await;
    }
    Ok(times)
}

/// The table with every so-manieth host on a policy of another interval.
fn retimed(stand: &Stand, policy: &Policy, changes: u32) -> Result<Table> {
    use rollcall_agent::table::Writer;
    let cloud = stand.lab.fleet().cloud();
    let mut writer = Writer::sized(cloud.on_link as usize, cloud.on_link as usize);
    let usual = writer.policy(policy.clone());
    let slower = Policy { name: "slower".into(), interval: policy.interval * 2, ..policy.clone() };
    let slower = (changes > 0).then(|| writer.policy(slower));
    let step = cloud.on_link.checked_div(changes).unwrap_or_default();
    let mut left = changes;
    for host in population::hosts(cloud) {
        let chosen = slower.filter(|_| left > 0 && (host.station - 1) % step == 0);
        left -= u32::from(chosen.is_some());
        let row = writer.host(&host.id, &host.name, host.project, host.tags);
        writer.address(row, population::NETWORK, host.address.into(), host.mac, chosen.unwrap_or(usual));
    }
    writer.finish().context("the changed table")
}

impl Load {
    /// For people.
    pub(super) fn sheets(&self) -> Vec<Sheet> {
        let mut sheet = Sheet::new(
            "Load: from a host list to probes",
            &[
                "hosts",
                "CSV",
                "table",
                "compile, s",
                "open, ms",
                "start to first probe, ms",
                "full push to effect, s",
                "delta to effect, ms",
            ],
        );
        for row in &self.rows {
            sheet.row([
                grouped(row.hosts.into()),
                megabytes(row.csv_bytes),
                megabytes(row.table_bytes),
                number(row.compile_s, 3),
                number(row.open_ms, 1),
                number(row.first_probe_ms, 0),
                number(row.push_s, 3),
                number(row.delta_ms, 1),
            ]);
        }
        sheet.note(format!(
            "Medians. compile: the whole process of `rollcall compile` on CSV. open: read and check. first probe: from the agent's start until the \
             fleet hears it, looked for every millisecond. full push: to an agent without a table, until it answers, which it does when the engine \
             follows. delta: {} addresses to another policy, while all others are probed.",
            self.largest.delta_changes
        ));
        vec![sheet]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_has_the_keys_that_were_promised_and_is_read_again() {
        let row = Row { hosts: 7, ..Row::default() };
        let load = Load { largest: row.clone(), rows: vec![row] };
        let json = serde_json::to_value(&load).unwrap();
        for key in ["hosts", "compile_s", "open_ms", "first_probe_ms", "push_s", "delta_ms"] {
            assert!(json.get(key).is_some(), "{key}");
        }
        assert_eq!(serde_json::from_value::<Load>(json).unwrap(), load);
    }
}
