//! How long a change takes from the platform's answer until the agent runs it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command as Program, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use reqwest::Method;
use rollcall_agent_ebpf::fleet::Cloud;
use serde_json::json;
use tokio::process::{Child, Command};

use super::site::Site;
use crate::agent::Agent;
use crate::fleet::Mode;
use crate::lab::{AGENT_INTERFACE, Lab};
use crate::programs;

/// Nobody else listens there, and nothing but loopback hears of it.
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 19_798);
/// Between two looks at the agent.
const LOOK: Duration = Duration::from_millis(5);
/// How long a change may take, or a first table.
const PATIENCE: Duration = Duration::from_secs(300);

/// An agent in a lab, and a controller that follows a cloud.
pub struct Follower {
    /// The agent; its API is on loopback, its network in the lab.
    pub agent: Agent,
    sync: Child,
    log: PathBuf,
    _lab: Lab,
}

impl Follower {
    /// Starts both, and waits until the agent runs the first table.
    pub async fn start(site: &Site, folder: &Path, interval: &str, notifications: bool) -> Result<Follower> {
        let network = site.text("/networks/blue")?;
        let lab = Lab::scratch("cloud", Cloud { on_link: 10, routed: 0 }, Mode::Generic)?;
        let (config, state) = (folder.join("agent.toml"), folder.join("state"));
        let namespace = lab.agent().path();
        std::fs::write(
            &config,
            format!(
                "listen = \"{LISTEN}\"\nstate_directory = {state:?}\n\
                 [[network]]\nname = \"{network}\"\nnamespace = {namespace:?}\ninterface = \"{AGENT_INTERFACE}\"\n"
            ),
        )?;
        let agent = Agent::start_by(Program::new(programs::path(programs::AGENT)?), &config, LISTEN, &folder.join("agent.log")).await?;
        std::fs::write(folder.join("policies.toml"), "[defaults]\ninterval = \"10s\"\n")?;
        let listens = if notifications {
            format!("[source.notifications]\nurl_file = {:?}\n", site.text("/rabbit/url_file")?)
        } else {
            String::new()
        };
        let sync = folder.join("sync.toml");
        std::fs::write(
            &sync,
            format!(
                "policy = \"policies.toml\"\ninterval = \"{interval}\"\n\
                 [[source]]\ntype = \"openstack\"\nname = \"cloud\"\ncloud = \"monitor\"\nclouds_file = {:?}\n{listens}\
                 [[agent]]\nname = \"here\"\nurl = \"{}\"\nnetworks = [\"{network}\"]\n",
                site.clouds_file()?,
                agent.url()
            ),
        )?;
        let log = folder.join("sync.log");
        let output = std::fs::File::create(&log)?;
        let mut command = Command::new(programs::path(programs::CONTROL)?);
        command.arg("sync").arg("--config").arg(&sync).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).kill_on_drop(true);
        let sync = command.spawn().context("cannot start rollcall sync")?;
        let mut follower = Follower { agent, sync, log, _lab: lab };
        let began = Instant::now();
        while follower.agent.status().await?.addresses == 0 {
            ensure!(began.elapsed() < PATIENCE, "the agent got no table: {}", follower.said());
            ensure!(follower.sync.try_wait()?.is_none(), "rollcall sync has ended: {}", follower.said());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(follower)
    }

    /// What the controller said.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until the controller said this.
    pub async fn until_said(&self, what: &str) -> Result<()> {
        let began = Instant::now();
        while !self.said().contains(what) {
            ensure!(began.elapsed() < PATIENCE, "it never said {what:?}: {}", self.said());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// The addresses that the agent has of a host; none: it does not know it.
    async fn addresses(&self, host: &str) -> Result<Vec<String>> {
        let host = self.agent.host(host).await?;
        Ok(host.into_iter().flat_map(|host| host.addresses).map(|address| address.now.address.to_string()).collect())
    }

    /// How long it takes until the agent has these addresses of a host, and no other.
    pub async fn until(&self, host: &str, wanted: &[String]) -> Result<Duration> {
        let began = Instant::now();
        let mut wanted = wanted.to_vec();
        wanted.sort_unstable();
        loop {
            let mut found = self.addresses(host).await?;
            found.sort_unstable();
            if found == wanted {
                return Ok(began.elapsed());
            }
            if began.elapsed() > PATIENCE {
                bail!("{host}: the agent has {found:?} instead of {wanted:?}: {}", self.said());
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// A port that is made, gets another address, and is deleted: how long each takes.
pub async fn round(site: &Site, follower: &Follower, number: u32) -> Result<[Duration; 3]> {
    let host = format!("{:08x}-0000-4000-8000-{:012x}", std::process::id(), number);
    let body = json!({"port": {"network_id": site.text("/networks/blue")?, "device_id": host, "device_owner": "compute:nova",
        "fixed_ips": [{"subnet_id": site.text("/subnets/blue-4")?}]}});
    let made = site.call(Method::POST, "network", "/v2.0/ports", Some(body)).await?;
    let created = follower.until(&host, &addresses(&made)?).await?;
    let id = made.pointer("/port/id").and_then(|id| id.as_str()).context("a port has an id")?.to_owned();
    let body = json!({"port": {"fixed_ips": [{"subnet_id": site.text("/subnets/blue-4")?}, {"subnet_id": site.text("/subnets/blue-6")?}]}});
    let changed = site.call(Method::PUT, "network", &format!("/v2.0/ports/{id}"), Some(body)).await?;
    let changed = follower.until(&host, &addresses(&changed)?).await?;
    site.call(Method::DELETE, "network", &format!("/v2.0/ports/{id}"), None).await?;
    let gone = follower.until(&host, &[]).await?;
    Ok([created, changed, gone])
}

fn addresses(port: &serde_json::Value) -> Result<Vec<String>> {
    let fixed = port.pointer("/port/fixed_ips").and_then(|fixed| fixed.as_array()).context("a port has addresses")?;
    Ok(fixed.iter().filter_map(|fixed| Some(fixed.get("ip_address")?.as_str()?.to_owned())).collect())
}
