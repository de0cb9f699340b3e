//! A real `rollcall-agent` in a namespace: started, asked, measured, ended.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::StatusCode;
use rollcall_agent::api::{HostDetail, Status};
use rollcall_agent::table::Table;
use tokio::process::{Child, Command};

use crate::netns::Namespace;
use crate::programs;

/// `USER_HZ`: what `/proc/PID/stat` counts in, the same on every architecture that Rust runs on (`proc(5)`).
const TICKS_PER_SECOND: u64 = 100;

/// How long an agent may take to follow a table.
const FOLLOWS: Duration = Duration::from_secs(120);

/// A running agent. Dropping it kills the process.
pub struct Agent {
    child: Child,
    pid: Pid,
    base: String,
    log: PathBuf,
    client: reqwest::Client,
}

/// What an agent costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Processor time since its start, user and system.
    pub cpu: Duration,
    /// Resident memory, in bytes; its kernel maps are part of it, as far as it maps them.
    pub resident: u64,
    /// Memory of its kernel maps, in bytes, as the kernel charges for them.
    pub maps: u64,
}

impl Agent {
    /// Starts `rollcall-agent run --config CONFIG` inside a namespace, what it logs going to a file, and waits until it
    /// answers at its listen address. The caller must be inside the namespace too (see [`Namespace::block_on`]).
    pub async fn start(namespace: &Namespace, config: &Path, listen: SocketAddr, log: &Path) -> Result<Self> {
        Self::start_by(namespace.command(programs::path(programs::AGENT)?), config, listen, log).await
    }

    /// The same by a command that runs the agent somewhere.
    pub async fn start_by(mut command: std::process::Command, config: &Path, listen: SocketAddr, log: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(log);
        let file = file.with_context(|| format!("cannot write {}", log.display()))?;
        command.args(["run", "--config"]).arg(config);
        // Of a panic the last words are to be its message, not the frames of tokio.
        command.env("RUST_BACKTRACE", "0");
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = Command::from(command).kill_on_drop(true).spawn().context("cannot start the agent")?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).context("the agent ended at once")?;
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?;
        let base = format!("http://{listen}");
        let mut agent = Self { child, pid: Pid::from_raw(pid), base, log: log.into(), client };
        agent.wait_until_it_answers().await?;
        Ok(agent)
    }

    async fn wait_until_it_answers(&mut self) -> Result<()> {
        // The API answers once the table is in force: on a busy machine a million hosts take their time.
        const PATIENCE: Duration = Duration::from_secs(60);
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("the agent ended at once ({status}); it said:\n{}", self.last_words());
            }
            match self.get("/-/healthy").await {
                Ok((StatusCode::OK, _)) => return Ok(()),
                outcome if began.elapsed() > PATIENCE => {
                    let answer = outcome.map_or_else(|error| format!("{error:#}"), |(status, _)| status.to_string());
                    bail!("the agent did not become healthy in {PATIENCE:?} ({answer}); it said:\n{}", self.last_words());
                }
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Its process.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// `http://ADDRESS:PORT`.
    pub fn url(&self) -> &str {
        &self.base
    }

    /// The last lines that it logged.
    pub fn last_words(&self) -> String {
        const LINES: usize = 20;
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }

    /// `GET` of a path: status and body.
    pub async fn get(&self, path: &str) -> Result<(StatusCode, String)> {
        let response = self.client.get(format!("{}{path}", self.base)).send().await?;
        Ok((response.status(), response.text().await?))
    }

    /// `GET /v1/status`.
    pub async fn status(&self) -> Result<Status> {
        let (status, body) = self.get("/v1/status").await?;
        ensure!(status.is_success(), "GET /v1/status: {status}: {body}");
        serde_json::from_str(&body).with_context(|| format!("GET /v1/status answered {body}"))
    }

    /// `PUT /v1/table`: returns when the agent follows it.
    pub async fn push(&self, table: &Table) -> Result<()> {
        let put = self.client.put(format!("{}/v1/table", self.base)).body(table.bytes().to_vec()).timeout(FOLLOWS);
        let answer = put.send().await.context("PUT /v1/table")?;
        ensure!(answer.status().is_success(), "the table was refused: {}", answer.text().await?);
        Ok(())
    }

    /// `GET /v1/hosts/{id}`: `None` where the agent does not know the host.
    pub async fn host(&self, id: &str) -> Result<Option<HostDetail>> {
        let (status, body) = self.get(&format!("/v1/hosts/{id}")).await?;
        match status {
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::OK => Ok(Some(serde_json::from_str(&body).with_context(|| format!("GET /v1/hosts/{id} answered {body}"))?)),
            _ => bail!("GET /v1/hosts/{id}: {status}: {body}"),
        }
    }

    /// Waits until the agent's status is as wanted, looking at it again and again; `progress` sees each look.
    pub async fn wait_for(
        &mut self,
        what: &str,
        patience: Duration,
        mut progress: impl FnMut(&Status),
        wanted: impl Fn(&Status) -> bool,
    ) -> Result<Status> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("the agent ended ({status}) while waiting for {what}; it said:\n{}", self.last_words());
            }
            let status = self.status().await?;
            progress(&status);
            if wanted(&status) {
                return Ok(status);
            }
            ensure!(began.elapsed() < patience, "{what}: not within {patience:?}; the agent's addresses by verdict: {:?}", status.verdicts);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// What it costs, by `/proc`.
    pub fn cost(&self) -> Result<Cost> {
        let folder = PathBuf::from("/proc").join(self.pid.to_string());
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        let stat = read("stat")?;
        // Fields 14 and 15, counted after the program's name, which may hold anything (proc(5)).
        let fields: Vec<&str> = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
        let ticks = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<u64>().ok());
        let ticks = ticks(14).zip(ticks(15)).map(|(user, system)| user + system);
        let ticks = ticks.with_context(|| format!("cannot understand /proc/{}/stat: {stat}", self.pid))?;
        let resident = read("status")?.lines().find_map(|line| kilobytes(line.strip_prefix("VmRSS:")?));
        Ok(Cost {
            cpu: Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND),
            resident: resident.context("no VmRSS in /proc/PID/status")?,
            maps: kernel_maps(&folder.join("fdinfo"))?,
        })
    }

    /// Asks it to end (SIGTERM) and waits: how it ended, and how long that took.
    pub async fn terminate(mut self) -> Result<(ExitStatus, Duration)> {
        const PATIENCE: Duration = Duration::from_secs(10);
        let began = Instant::now();
        self.signal(Signal::SIGTERM)?;
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let status = status.map_err(|_| anyhow!("the agent did not end in {PATIENCE:?} after SIGTERM"))??;
        Ok((status, began.elapsed()))
    }

    /// Kills it as a crash would (SIGKILL), and waits for its end.
    pub async fn crash(mut self) -> Result<()> {
        self.child.kill().await.context("cannot kill the agent")
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        // Until it was waited for, its id is not given to another process.
        kill(self.pid, signal).with_context(|| format!("cannot send {signal} to the agent"))
    }
}

fn kilobytes(text: &str) -> Option<u64> {
    Some(text.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// Sums what the kernel charges for the maps that a process holds open, each once.
fn kernel_maps(fdinfo: &Path) -> Result<u64> {
    let mut maps = std::collections::BTreeMap::new();
    for entry in fs::read_dir(fdinfo).with_context(|| format!("cannot list {}", fdinfo.display()))? {
        // A file descriptor may be closed between the listing and the look.
        let Ok(text) = fs::read_to_string(entry?.path()) else {
            continue;
        };
        let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        if let (Some(id), Some(bytes)) = (value("map_id:"), value("memlock:")) {
            maps.insert(id, bytes);
        }
    }
    Ok(maps.values().sum())
}
