//! Network namespaces, by `ip` of iproute2, and running things inside them.

use std::ffi::OsStr;
use std::fs::File;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};
use nix::sched::{CloneFlags, setns};

/// A named network namespace of this machine. Dropping it removes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// The namespace of this name, whether it exists or not.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }

    /// Its name, as `ip netns` shows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where `ip netns` keeps it.
    pub fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    /// Whether it exists.
    pub fn exists(&self) -> bool {
        self.path().exists()
    }

    /// Makes it, with its loopback interface up.
    pub fn create(&self) -> Result<()> {
        ip(["netns", "add", &self.name])?;
        self.ip(["link", "set", "lo", "up"])?;
        Ok(())
    }

    /// Removes it. Its interfaces go with it once no process is in it any more.
    pub fn delete(&self) -> Result<()> {
        ip(["netns", "del", &self.name]).map(drop)
    }

    /// `ip ARGUMENTS` inside it; returns what it printed.
    pub fn ip<'a>(&'a self, arguments: impl IntoIterator<Item = &'a str>) -> Result<String> {
        ip(["-n", &self.name].into_iter().chain(arguments))
    }

    /// A command that runs a program inside it, to be given its arguments. The child is the program itself.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Moves the calling thread, and the threads that it makes from now on, into it for good.
    pub fn enter(&self) -> Result<()> {
        let file = File::open(self.path()).with_context(|| format!("there is no network namespace {}", self.name))?;
        setns(file, CloneFlags::CLONE_NEWNET).with_context(|| format!("cannot enter the network namespace {}", self.name))
    }

    /// Runs a function inside it, on a thread of its own, and waits for it.
    pub fn within<T: Send>(&self, function: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    self.enter()?;
                    function()
                })
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs a future inside it, on a runtime of its own whose threads are all inside too.
    pub fn block_on<T: Send>(&self, future: impl Future<Output = Result<T>> + Send) -> Result<T> {
        self.within(|| {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
            runtime.block_on(future)
        })
    }
}

/// `ip ARGUMENTS` where we are; returns what it printed. The error says the command and what it said.
pub fn ip<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Result<String> {
    let arguments: Vec<&str> = arguments.into_iter().collect();
    let output = Command::new("ip")
        .args(&arguments)
        .output()
        .map_err(|error| anyhow!("cannot run `ip`: {error}; install it: apt-get install iproute2"))?;
    if !output.status.success() {
        bail!("`ip {}` failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Fails unless we are root, with the command that would run the same as root.
pub fn need_root(what: &str) -> Result<()> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    let program = std::env::current_exe().unwrap_or_default();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    bail!("{what} needs root, to make network namespaces and to load XDP programs; run: sudo {} {}", program.display(), arguments.join(" "))
}
