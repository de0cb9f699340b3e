//! What every part needs: a lab of its own, a folder, tables, the real agent.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sched::{CloneFlags, setns};
use rollcall_agent::policy::Policy;
use rollcall_agent::table::{Table, Writer};
use rollcall_agent::unit::Mac;
use rollcall_agent_ebpf::fleet::{Cloud, mac};
use tempfile::TempDir;

use super::options::{Options, Transmit};
use crate::agent::Agent;
use crate::fleet::Mode;
use crate::lab::{AGENT_INTERFACE, Lab};
use crate::population::{self, Host, NETWORK};

/// Name of the benchmark's labs, before the process id.
pub(super) const LAB: &str = "bench";
/// Name of its folders, before the process id.
const FOLDER: &str = "rollcall-bench-";
/// Name of the lab whose fleet is in the network stack.
pub(super) const GENERIC_LAB: &str = "bench-generic";
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9798);

/// A lab that is up, with the calling thread inside the agent's namespace until the stand is dropped.
pub(super) struct Stand {
    pub(super) lab: Lab,
    folder: TempDir,
    home: File,
}

impl Stand {
    /// Brings up a lab with this cloud, all alive, its fleet in the driver.
    pub(super) fn up(cloud: Cloud) -> Result<Self> {
        Self::with(cloud, Mode::Native)
    }

    /// The same with the fleet where it is wanted.
    pub(super) fn with(cloud: Cloud, mode: Mode) -> Result<Self> {
        let home = File::open("/proc/thread-self/ns/net").context("cannot open this thread's network namespace")?;
        let lab = Lab::scratch(LAB, cloud, mode)?;
        let prefix = format!("{FOLDER}{}-", std::process::id());
        let folder = tempfile::Builder::new().prefix(&prefix).tempdir().context("cannot make a folder for the benchmark")?;
        lab.agent().enter()?;
        Ok(Self { lab, folder, home })
    }

    /// With so many hosts on the link.
    pub(super) fn of(hosts: u32) -> Result<Self> {
        Self::up(Cloud { on_link: hosts, routed: 0 })
    }

    /// A file of this run.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The table of all hosts, in a file too.
    pub(super) fn table(&self, policy: &Policy) -> Result<(Table, PathBuf)> {
        let table = table(self.lab.fleet().cloud(), policy, &[], |host| host.name.clone())?;
        let path = self.path("bench.table");
        fs::write(&path, table.bytes()).with_context(|| format!("cannot write {}", path.display()))?;
        Ok((table, path))
    }

    /// Starts the agent with its state in a folder of this run, and a table if one is given.
    pub(super) async fn agent(&self, options: &Options, table: Option<&Path>) -> Result<Agent> {
        let config = self.config(options, table)?;
        Agent::start(&self.lab.agent(), &config, LISTEN, &self.path("agent.log")).await
    }

    /// Writes the agent's configuration.
    pub(super) fn config(&self, options: &Options, table: Option<&Path>) -> Result<PathBuf> {
        let cloud = self.lab.fleet().cloud();
        // Twice what the schedule needs leaves room for confirmations, should many fall silent at once.
        let needed = f64::from(cloud.on_link + cloud.routed) / options.interval.as_secs_f64();
        let pps = (2.0 * needed).max(20_000.0) as u64;
        let mut text = format!("listen = \"{LISTEN}\"\nstate_directory = {:?}\npps = {pps}\nreceive = \"native\"\n", self.path("state"));
        match options.transmit {
            Transmit::Auto => {}
            Transmit::Kernel => text += "transmit = \"kernel\"\n",
            Transmit::Socket => text += "transmit = \"socket\"\n",
        }
        if let Some(table) = table {
            text += &format!("table = {table:?}\n");
        }
        text += &format!("\n[[network]]\nname = \"{NETWORK}\"\ninterface = \"{AGENT_INTERFACE}\"\n");
        let path = self.path("agent.toml");
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        // Otherwise the thread would keep the namespace alive after its name is gone.
        if let Err(error) = setns(&self.home, CloneFlags::CLONE_NEWNET) {
            eprintln!("warning: cannot return to the network namespace of the start: {error}");
        }
    }
}

/// Removes the folders of benchmarks that were killed, and says which.
pub(super) fn remove_folders() -> Result<Vec<PathBuf>> {
    let temporary = std::env::temp_dir();
    let mut removed = Vec::new();
    for entry in fs::read_dir(&temporary).with_context(|| format!("cannot list {}", temporary.display()))? {
        let entry = entry?;
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(FOLDER)?.split_once('-')?.0.parse::<u32>().ok());
        // A link of that name is somebody else's.
        let ours = entry.file_type()?.is_dir() && entry.metadata()?.uid() == nix::unistd::geteuid().as_raw();
        if ours && pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            fs::remove_dir_all(entry.path()).with_context(|| format!("cannot remove {}", entry.path().display()))?;
            removed.push(entry.path());
        }
    }
    Ok(removed)
}

/// Project of the stations with a known delay.
pub(super) const SLOW: &str = "slow";

/// The table of all hosts of a cloud, each named as `name` says, and of stations on the link that are not in it.
pub(super) fn table(cloud: Cloud, policy: &Policy, slow: &[Ipv4Addr], name: impl Fn(&Host) -> String) -> Result<Table> {
    let hosts = cloud.on_link as usize + cloud.routed as usize + slow.len();
    let mut writer = Writer::sized(hosts, hosts);
    let policy = writer.policy(policy.clone());
    for host in population::hosts(cloud) {
        let row = writer.host(&host.id, &name(&host), host.project, host.tags);
        writer.address(row, NETWORK, host.address.into(), host.mac, policy);
    }
    for address in slow {
        let text = address.to_string();
        let row = writer.host(&text, &text, SLOW, []);
        writer.address(row, NETWORK, (*address).into(), Some(Mac(mac(address.octets()))), policy);
    }
    writer.finish().context("the table of the simulated cloud")
}

/// Waits until every host has answered.
pub(super) async fn all_up(
    agent: &mut Agent,
    hosts: u32,
    interval: Duration,
    progress: impl FnMut(&rollcall_agent::api::Status),
) -> Result<()> {
    let patience = interval * 3 + Duration::from_secs(30) + Duration::from_micros(50) * hosts;
    let wanted = u64::from(hosts);
    let all = |status: &rollcall_agent::api::Status| status.verdicts.get("up") == Some(&wanted);
    agent.wait_for("every host answers", patience, progress, all).await.map(drop)
}

/// Ends an agent, which must end well.
pub(super) async fn end(agent: Agent) -> Result<()> {
    let (status, _) = agent.terminate().await?;
    ensure!(status.success(), "the agent ended badly: {status}");
    Ok(())
}
