//! How long a change takes from the platform's answer until the agent runs it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command as Program, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
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

/// An agent in a lab; its API is on loopback, the network `blue` in the lab.
pub struct Proxy {
    /// The agent.
    pub agent: Agent,
    _lab: Lab,
}

impl Proxy {
    /// Starts it, without a table.
    pub async fn start(site: &Site, folder: &Path) -> Result<Proxy> {
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
        Ok(Proxy { agent, _lab: lab })
    }
}

/// An agent in a lab, and a controller that follows a cloud.
pub struct Follower {
    proxy: Proxy,
    sync: Child,
    log: PathBuf,
}

impl Follower {
    /// Starts both, and waits until the agent runs the first table.
    pub async fn start(site: &Site, folder: &Path, interval: &str, notifications: bool) -> Result<Follower> {
        let network = site.text("/networks/blue")?;
        let proxy = Proxy::start(site, folder).await?;
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
                proxy.agent.url()
            ),
        )?;
        let log = folder.join("sync.log");
        let output = std::fs::File::create(&log)?;
        let mut command = Command::new(programs::path(programs::CONTROL)?);
        command.arg("sync").arg("--config").arg(&sync).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).kill_on_drop(true);
        let sync = command.spawn().context("cannot start rollcall sync")?;
        let mut follower = Follower { proxy, sync, log };
        let began = Instant::now();
        while follower.proxy.agent.status().await?.addresses == 0 {
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

    /// Whether the agent has these addresses of a host, and no other; none: it does not know it.
    async fn has(&self, host: &str, wanted: &[String]) -> Result<bool> {
        let host = self.proxy.agent.host(host).await?;
        let mut found: Vec<_> = host.into_iter().flat_map(|host| host.addresses).map(|address| address.now.address.to_string()).collect();
        let mut wanted = wanted.to_vec();
        found.sort_unstable();
        wanted.sort_unstable();
        Ok(found == wanted)
    }

    /// How long it takes until the agent has these addresses of a host, and no other.
    async fn until(&self, host: &str, wanted: &[String]) -> Result<Duration> {
        let began = Instant::now();
        while !self.has(host, wanted).await? {
            ensure!(began.elapsed() < PATIENCE, "the agent does not have {host} at {wanted:?}: {}", self.said());
            tokio::time::sleep(LOOK).await;
        }
        Ok(began.elapsed())
    }
}

/// What becomes of a port, in this order.
#[derive(Clone, Copy)]
enum Act {
    Make,
    Change,
    Delete,
}

const ACTS: [Act; 3] = [Act::Make, Act::Change, Act::Delete];

/// A port that is made, changed and deleted through the API.
struct Port {
    /// The server that it says it is of.
    host: String,
    id: String,
}

impl Port {
    fn new(kind: u32, number: u32) -> Port {
        Port { host: format!("{:08x}-0000-4000-{kind:04x}-{number:012x}", std::process::id()), id: String::new() }
    }

    /// Makes, changes or deletes it; the addresses that it has then.
    async fn act(&mut self, site: &Site, act: Act) -> Result<Vec<String>> {
        let subnet = |name: &str| Ok::<_, anyhow::Error>(json!({"subnet_id": site.text(&format!("/subnets/{name}"))?}));
        let (method, path, body) = match act {
            Act::Make => {
                let port = json!({"network_id": site.text("/networks/blue")?, "device_id": self.host, "device_owner": "compute:nova",
                    "fixed_ips": [subnet("blue-4")?]});
                (Method::POST, "/v2.0/ports".to_owned(), Some(json!({ "port": port })))
            }
            Act::Change => {
                let port = json!({"fixed_ips": [subnet("blue-4")?, subnet("blue-6")?]});
                (Method::PUT, format!("/v2.0/ports/{}", self.id), Some(json!({ "port": port })))
            }
            Act::Delete => (Method::DELETE, format!("/v2.0/ports/{}", self.id), None),
        };
        let answer = site.call(method, "network", &path, body).await?;
        if let Act::Delete = act {
            return Ok(vec![]);
        }
        answer.pointer("/port/id").and_then(|id| id.as_str()).context("a port has an id")?.clone_into(&mut self.id);
        let fixed = answer.pointer("/port/fixed_ips").and_then(|fixed| fixed.as_array()).context("a port has addresses")?;
        Ok(fixed.iter().filter_map(|fixed| Some(fixed.get("ip_address")?.as_str()?.to_owned())).collect())
    }
}

/// A port that is made, gets another address, and is deleted: how long each takes.
pub async fn round(site: &Site, follower: &Follower, number: u32) -> Result<Vec<Duration>> {
    let mut port = Port::new(0x8000, number);
    let mut times = Vec::new();
    for act in ACTS {
        let addresses = port.act(site, act).await?;
        times.push(follower.until(&port.host, &addresses).await?);
    }
    Ok(times)
}

/// So many ports are made, then changed, then deleted, one after the other with a pause between them: how long each takes, where nobody
/// waits for one before the next.
pub async fn spread(site: &Site, follower: &Follower, ports: u32, pause: Duration) -> Result<Vec<Duration>> {
    let mut ports: Vec<Port> = (0..ports).map(|number| Port::new(0x9000, number)).collect();
    let mut times = Vec::new();
    for act in ACTS {
        let (mut waiting, mut left) = (Vec::new(), ports.iter_mut());
        loop {
            if let Some(port) = left.next() {
                let addresses = port.act(site, act).await?;
                waiting.push((Instant::now(), port.host.clone(), addresses));
            } else if waiting.is_empty() {
                break;
            }
            let mut still = Vec::new();
            for (since, host, addresses) in waiting {
                if follower.has(&host, &addresses).await? {
                    times.push(since.elapsed());
                } else {
                    ensure!(since.elapsed() < PATIENCE, "the agent does not have {host} at {addresses:?}: {}", follower.said());
                    still.push((since, host, addresses));
                }
            }
            waiting = still;
            tokio::time::sleep(pause).await;
        }
    }
    Ok(times)
}
