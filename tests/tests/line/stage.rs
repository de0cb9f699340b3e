//! What every whole-line test needs: a lab of its own, the real agent in it, a webhook receiver, tables.

use std::collections::HashMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use reqwest::{Client, StatusCode};
use rollcall_agent::api::{HostDetail, PushOutcome};
use rollcall_agent::policy::{Method, Policy};
use rollcall_agent::table::{Table, Writer};
use rollcall_agent::unit::Verdict;
use rollcall_agent_ebpf::fleet::Cloud;
use rollcall_tests::agent::Agent;
use rollcall_tests::fleet::Mode;
use rollcall_tests::kernel::{has_live_frames, release};
use rollcall_tests::lab::Lab;
use rollcall_tests::population::{self, Host, NETWORK};
use rollcall_tests::webhook::Receiver;
use tempfile::TempDir;

/// Longer than anything that is waited for takes on a busy machine; a test fails only after it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9798);

/// How the agent's probes leave in this run of the tests, as the agent calls it.
pub(crate) fn transmit() -> &'static str {
    crate::TRANSMIT
}

/// How the fleet answers: in the driver only where the agent's end has an XDP program in the driver too (drivers/net/veth.c).
pub(crate) fn fleet_mode(wanted: Mode) -> Mode {
    if crate::RECEIVE == "auto" { wanted } else { Mode::Generic }
}

pub(crate) struct Stage {
    pub(crate) lab: Lab,
    pub(crate) cloud: Cloud,
    folder: TempDir,
    pub(crate) client: Client,
    /// The agent's setting `transmit`.
    transmit: &'static str,
}

impl Stage {
    /// `None`, said aloud, where this machine cannot have a lab.
    pub(crate) fn new(test: &str, cloud: Cloud, mode: Mode) -> Option<Stage> {
        Self::with_vlans(test, cloud, 0, mode)
    }

    /// The same, with all stations again in each of so many VLANs.
    pub(crate) fn with_vlans(test: &str, cloud: Cloud, vlans: u32, mode: Mode) -> Option<Stage> {
        // An end in generic mode takes no frames from the other end's XDP program.
        let transmit = if mode == Mode::Native { transmit() } else { "auto" };
        if transmit == "kernel" && !has_live_frames() {
            println!("SKIPPED: {test}: the in-kernel transmitter needs Linux 5.18, and this is {}", release());
            return None;
        }
        Self::with(test, cloud, vlans, mode, transmit)
    }

    /// The same, the agent choosing how its probes leave.
    pub(crate) fn choosing(test: &str, cloud: Cloud) -> Option<Stage> {
        Self::with(test, cloud, 0, Mode::Native, "auto")
    }

    fn with(test: &str, cloud: Cloud, vlans: u32, mode: Mode, transmit: &'static str) -> Option<Stage> {
        if !nix::unistd::geteuid().is_root() {
            println!("SKIPPED: {test}: network namespaces and XDP need root");
            return None;
        }
        let lab = Lab::scratch_with(test, cloud, vlans, fleet_mode(mode)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let client = Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        Some(Stage { lab, cloud, folder, client, transmit })
    }

    /// Plays inside the agent's namespace.
    pub(crate) fn play(&self, play: impl Future<Output = Result<()>> + Send) {
        self.lab.agent().block_on(play).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts the agent with a webhook route `oncall`, and more settings in front of the sections.
    pub(crate) async fn agent(&self, receiver: Option<&Receiver>, settings: &str) -> Result<Agent> {
        self.agent_with(receiver, settings, "").await
    }

    /// The same, with settings of the stage's network.
    pub(crate) async fn agent_with(&self, receiver: Option<&Receiver>, settings: &str, network: &str) -> Result<Agent> {
        let state = self.path("state");
        let mut text = format!("listen = \"{LISTEN}\"\nstate_directory = {state:?}\ntransmit = \"{}\"\n", self.transmit);
        if !settings.contains("receive =") {
            text += &format!("receive = \"{}\"\n", crate::RECEIVE);
        }
        text += &format!("{settings}\n");
        text += &format!("[[network]]\nname = \"{NETWORK}\"\ninterface = \"rc-agent\"\n{network}");
        if let Some(receiver) = receiver {
            text += &format!(
                "[[route]]\nname = \"oncall\"\ntype = \"webhook\"\nurl = \"{}\"\nretry_min = \"100ms\"\nretry_max = \"500ms\"\n",
                receiver.url()
            );
        }
        let config = self.path("agent.toml");
        fs::write(&config, text)?;
        Agent::start(&self.lab.agent(), &config, LISTEN, &self.path("agent.log")).await
    }

    /// What the agent logged so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("agent.log")).unwrap_or_default()
    }

    /// A table of the first hosts on the link and behind the gateway.
    pub(crate) fn table(&self, on_link: u32, routed: u32) -> Table {
        self.table_with(on_link, routed, |_, _| {})
    }

    /// The same, each host's policy adjusted.
    pub(crate) fn table_with(&self, on_link: u32, routed: u32, adjust: impl Fn(&Host, &mut Policy)) -> Table {
        let mut writer = Writer::new();
        let mut policies = HashMap::new();
        let wanted =
            |host: &Host| host.station <= on_link || (self.cloud.on_link + 1..=self.cloud.on_link + routed).contains(&host.station);
        for host in population::hosts(self.cloud).filter(wanted) {
            let mut policy = policy(if host.mac.is_some() { "near" } else { "far" });
            policy.method = if host.mac.is_some() { Method::Arp } else { Method::Icmp };
            adjust(&host, &mut policy);
            let policy = *policies.entry(policy.clone()).or_insert_with(|| writer.policy(policy));
            let row = writer.host(&host.id, &host.name, host.project, host.tags);
            writer.address(row, NETWORK, host.address.into(), host.mac, policy);
        }
        writer.finish().unwrap()
    }

    pub(crate) async fn put(&self, agent: &Agent, bytes: &[u8]) -> Result<(StatusCode, String)> {
        let response = self.client.put(format!("{}/v1/table", agent.url())).body(bytes.to_vec()).send().await?;
        Ok((response.status(), response.text().await?))
    }

    /// Pushes a table that must be taken.
    pub(crate) async fn push(&self, agent: &Agent, table: &Table) -> Result<PushOutcome> {
        let (status, body) = self.put(agent, table.bytes()).await?;
        anyhow::ensure!(status == StatusCode::OK, "PUT /v1/table: {status}: {body}");
        serde_json::from_str(&body).context("a push outcome")
    }

    /// Stops hosts.
    pub(crate) async fn stop(&self, agent: &Agent, hosts: &[&str]) -> Result<(StatusCode, String)> {
        let body = serde_json::json!({ "hosts": hosts });
        let response = self.client.post(format!("{}/v1/stop", agent.url())).json(&body).send().await?;
        Ok((response.status(), response.text().await?))
    }

    /// Waits until that many addresses have the verdict.
    pub(crate) async fn until(&self, agent: &mut Agent, verdict: Verdict, count: u64) -> Result<()> {
        let wanted = |status: &rollcall_agent::api::Status| status.verdicts.get(verdict.name()) == Some(&count);
        let what = format!("{count} addresses {verdict}");
        agent.wait_for(&what, PATIENCE, |_| {}, wanted).await.with_context(|| self.log()).map(drop)
    }

    /// Waits until these are the states of the agent's own alarm that were told, in their order.
    pub(crate) async fn own(&self, receiver: &Receiver, states: &[&str]) {
        let began = std::time::Instant::now();
        loop {
            let told: Vec<String> = receiver.of_agent().into_iter().map(|arrival| arrival.alarm.status).collect();
            if told == states {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{told:?} instead of {states:?}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until a host's only address has the verdict.
    pub(crate) async fn until_host(&self, agent: &Agent, id: &str, verdict: Verdict) -> Result<HostDetail> {
        let began = std::time::Instant::now();
        loop {
            if let Some(host) = agent.host(id).await?
                && host.addresses[0].now.verdict == verdict
            {
                return Ok(host);
            }
            anyhow::ensure!(began.elapsed() < PATIENCE, "{id} is not {verdict}: {:?}\n{}", agent.host(id).await?, self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the agent has written down that all it told was taken. Killed before, it must tell again: what the
    /// receiver answered is then known to nobody.
    pub(crate) async fn until_taken(&self, agent: &Agent) -> Result<()> {
        let began = std::time::Instant::now();
        loop {
            let metrics = agent.get("/metrics").await?.1;
            let waiting = metrics.lines().filter(|line| line.starts_with("rollcall_notices_queued{"));
            if waiting.clone().count() > 0 && waiting.clone().all(|line| line.ends_with(" 0")) {
                return Ok(());
            }
            anyhow::ensure!(began.elapsed() < PATIENCE, "notices are still queued: {:?}\n{}", waiting.collect::<Vec<_>>(), self.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Fast enough for a test, slow enough for a busy machine.
pub(crate) fn policy(name: &str) -> Policy {
    Policy {
        name: name.into(),
        interval: Duration::from_millis(500),
        timeout: Duration::from_millis(250),
        confirm_interval: Duration::from_millis(150),
        down_after: 3,
        down_of: 3,
        up_after: 2,
        up_of: 2,
        method: Method::Arp,
        alarm: vec!["oncall".into()],
    }
}

pub(crate) const fn cloud(on_link: u32, routed: u32) -> Cloud {
    Cloud { on_link, routed }
}

/// A while in which something must not happen: some rounds of the policy above.
pub(crate) async fn a_while() {
    tokio::time::sleep(Duration::from_secs(3)).await;
}
