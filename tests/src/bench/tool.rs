//! Programs of others: where they are, and running one in the agent's namespace with its cost taken.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::process::{Child, Command};

use crate::netns::Namespace;

/// A program that runs. Dropping it kills it.
pub(super) struct Tool {
    name: String,
    child: Child,
    log: PathBuf,
    children_before: Duration,
}

/// Where a program is: in the `PATH`, among the administrators' programs, or unpacked by `cargo xtask bench`.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target/tools/monitors/usr/bin");
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into(), unpacked])
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

impl Tool {
    /// Starts a program in a namespace, what it prints going to files.
    pub(super) fn start(namespace: &Namespace, program: &Path, arguments: &[String], out: &Path, log: &Path) -> Result<Self> {
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut command = namespace.command(program);
        let file = |path: &Path| File::create(path).with_context(|| format!("cannot write {}", path.display()));
        command.args(arguments).stdin(Stdio::null()).stdout(file(out)?).stderr(file(log)?);
        let children_before = children()?;
        let child = Command::from(command).kill_on_drop(true).spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name, child, log: log.into(), children_before })
    }

    /// Its process, until it ended.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Whether it still runs.
    pub(super) fn runs(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Waits for its end: processor time that it took. Some exit with a failure when a host did not answer: that is
    /// told by `accept`.
    pub(super) async fn end(mut self, patience: Duration, accept: impl Fn(i32) -> bool) -> Result<Duration> {
        let began = Instant::now();
        let status = match tokio::time::timeout(patience, self.child.wait()).await {
            Ok(status) => status?,
            Err(_) => bail!("{} did not end within {} s", self.name, began.elapsed().as_secs()),
        };
        if !status.code().is_some_and(accept) {
            bail!("{} failed ({status}); it said:\n{}", self.name, self.last_words());
        }
        Ok(children()?.saturating_sub(self.children_before))
    }

    /// Kills it.
    pub(super) async fn kill(mut self) -> Result<()> {
        self.child.kill().await.with_context(|| format!("cannot end {}", self.name))
    }

    /// The last lines that it said.
    pub(super) fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }
}

/// Processor time of a running process and its threads, by its own account.
pub(super) fn processor_time(pid: u32) -> Result<Duration> {
    times(&format!("/proc/{pid}/stat"), [14, 15])
}

/// Processor time of all children of ours that ended and were waited for.
fn children() -> Result<Duration> {
    times("/proc/self/stat", [16, 17])
}

/// The sum of two fields of a `stat` file, in ticks of 10 ms (proc(5)).
fn times(path: &str, fields: [usize; 2]) -> Result<Duration> {
    let stat = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    // Counted after the program's name, which may hold anything.
    let parts: Vec<&str> = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
    let ticks = |field: usize| parts.get(field - 3)?.parse::<u64>().ok();
    let sum = ticks(fields[0]).zip(ticks(fields[1])).map(|(user, system)| user + system);
    Ok(Duration::from_millis(10 * sum.with_context(|| format!("cannot understand {path}: {stat}"))?))
}

/// Processor time of the calling thread.
pub(super) fn thread_time() -> Result<Duration> {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).context("no clock of the thread")?;
    Ok(time.into())
}
