//! The files that an operator would write, in a folder that goes away: host list, policies, the agent's configuration.

use std::fs::{self, File};
use std::io::BufWriter;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use rollcall_agent_ebpf::fleet::Cloud;
use tempfile::TempDir;
use tokio::process::Command;

use super::options::Options;
use crate::lab::AGENT_INTERFACE;
use crate::{population, programs};

pub(super) struct Scene {
    folder: TempDir,
}

impl Scene {
    pub(super) fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("rollcall-demo-").tempdir().context("cannot make a folder for the demo")?;
        Ok(Self { folder })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn table(&self) -> PathBuf {
        self.path("demo.table")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.path("agent.log")
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// The host list and the policies.
    pub(super) fn write_lists(&self, cloud: Cloud, options: &Options) -> Result<()> {
        let hosts = self.path("hosts.csv");
        let file = File::create(&hosts).with_context(|| format!("cannot write {}", hosts.display()))?;
        population::write_csv(cloud, BufWriter::new(file)).with_context(|| format!("cannot write {}", hosts.display()))?;
        self.write("policies.toml", &crate::policy::toml(&options.policy()))?;
        Ok(())
    }

    /// The agent's configuration.
    pub(super) fn write_config(&self, options: &Options, listen: SocketAddr, webhook: &str) -> Result<PathBuf> {
        let state = self.path("state");
        // Twice what the schedule needs leaves room for confirmations, should many fall silent at once.
        let needed = f64::from(options.hosts) / options.interval.as_secs_f64();
        let pps = (2.0 * needed).max(20_000.0) as u64;
        let receive = if options.generic { "generic" } else { "native" };
        // However small the cloud, each of the silenced hosts is to be told by itself.
        self.write(
            "agent.toml",
            &format!(
                "listen = \"{listen}\"\nstate_directory = {state:?}\npps = {pps}\nreceive = \"{receive}\"\n\n\
                 [storm]\nshare = 1.0\n\n\
                 [[network]]\nname = \"{}\"\ninterface = \"{AGENT_INTERFACE}\"\n\n\
                 [[route]]\nname = \"oncall\"\ntype = \"webhook\"\nurl = \"{webhook}\"\n",
                population::NETWORK
            ),
        )
    }

    /// `rollcall ARGUMENTS` in the folder, as an operator would type it; what it printed.
    pub(super) async fn rollcall<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Result<String> {
        let arguments: Vec<&str> = arguments.into_iter().collect();
        let program = programs::path(programs::CONTROL)?;
        let output = Command::new(program)
            .args(&arguments)
            .current_dir(self.folder.path())
            .env("XDG_STATE_HOME", self.folder.path())
            .kill_on_drop(true)
            .output()
            .await;
        let output = output.context("cannot run rollcall")?;
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "`rollcall {}` failed ({}):\n{}", arguments.join(" "), output.status, said.trim());
        Ok(said)
    }
}

/// Size of a file in bytes.
pub(super) fn size(path: &Path) -> Result<u64> {
    Ok(fs::metadata(path).with_context(|| format!("there is no {}", path.display()))?.len())
}
