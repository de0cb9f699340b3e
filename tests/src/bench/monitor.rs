//! Monitors that watch the same hosts: rollcall's agent, fping in its loop, smokeping_prober, blackbox_exporter. Each is
//! asked in its own way whom it shows as failing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rollcall_agent::policy::Method;

use super::blackbox::Driver;
use super::events::Watcher;
use super::options::Options;
use super::stand::{self, Stand};
use super::tool::{self, Tool};
use crate::agent::Agent;

/// Where the exporters listen, inside the agent's namespace.
const LISTEN: &str = "127.0.0.1:9374";
/// Until an exporter answers.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Rollcall,
    Fping,
    Smokeping,
    Blackbox,
}

impl Kind {
    pub(super) const ALL: [Kind; 4] = [Kind::Rollcall, Kind::Fping, Kind::Smokeping, Kind::Blackbox];

    /// Its name in the tables; Debian's name of its program.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Rollcall => "rollcall-agent",
            Kind::Fping => "fping",
            Kind::Smokeping => "prometheus-smokeping-prober",
            Kind::Blackbox => "prometheus-blackbox-exporter",
        }
    }

    fn program(self) -> Result<PathBuf> {
        let name = self.name();
        tool::find(name).with_context(|| format!("{name} is not there; apt-get install {name}, or run `cargo xtask bench` as root"))
    }
}

/// A monitor that runs.
pub(super) enum Monitor {
    Rollcall { agent: Box<Agent>, watcher: Watcher, seen: usize },
    Fping { tool: Tool, log: PathBuf, seen: usize },
    Smokeping { tool: Tool, client: reqwest::Client, before: BTreeMap<Ipv4Addr, Count> },
    Blackbox { tool: Tool, driver: Driver },
}

/// Requests and responses of one host so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    requests: u64,
    responses: u64,
}

impl Monitor {
    /// Starts it on all hosts of the stand, which are routed ones, and waits until it is at work.
    pub(super) async fn start(kind: Kind, options: &Options, stand: &Stand) -> Result<Self> {
        let cloud = stand.lab.fleet().cloud();
        let hosts: Vec<Ipv4Addr> = (1..cloud.stations()).filter_map(|station| cloud.address(station)).map(Ipv4Addr::from).collect();
        let (out, log) = (stand.path("monitor.out"), stand.path("monitor.log"));
        let start = |arguments: Vec<String>| Tool::start(&stand.lab.agent(), &kind.program()?, &arguments, &out, &log);
        let words = |text: String| text.split(' ').map(String::from).collect::<Vec<_>>();
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()?;
        match kind {
            Kind::Rollcall => {
                let policy = options.policy(Method::Icmp);
                let (_, path) = stand.table(&policy)?;
                let mut agent = Box::new(stand.agent(options, Some(&path)).await?);
                stand::all_up(&mut agent, hosts.len() as u32, options.interval, |_| {}).await?;
                let watcher = Watcher::start(&agent).await?;
                Ok(Self::Rollcall { agent, watcher, seen: 0 })
            }
            Kind::Fping => {
                let targets = stand.path("targets");
                std::fs::write(&targets, hosts.iter().map(|host| format!("{host}\n")).collect::<String>())?;
                let interval = options.interval.as_millis();
                let seconds = options.interval.as_secs().max(1);
                let tool = start(words(format!("-l -q -Q {seconds} -i 0 -r 0 -t 300 -p {interval} -f {}", targets.display())))?;
                Ok(Self::Fping { tool, log, seen: 0 })
            }
            Kind::Smokeping => {
                let config = stand.path("smokeping.yml");
                let list: String = hosts.iter().map(|host| format!("  - {host}\n")).collect();
                let interval = options.interval.as_millis();
                std::fs::write(&config, format!("targets:\n- interval: {interval}ms\n  network: ip4\n  protocol: icmp\n  hosts:\n{list}"))?;
                // Its ping sockets cost it a fraction of its raw ones. The setting is the namespace's own and goes with it.
                stand.lab.agent().within(|| {
                    std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647").context("cannot allow ping sockets in the lab")
                })?;
                let mut tool = start(words(format!("--no-privileged --config.file={} --web.listen-address={LISTEN}", config.display())))?;
                until_it_answers(&mut tool, &client, kind).await?;
                Ok(Self::Smokeping { tool, client, before: BTreeMap::new() })
            }
            Kind::Blackbox => {
                let config = stand.path("blackbox.yml");
                std::fs::write(
                    &config,
                    "modules:\n  icmp:\n    prober: icmp\n    timeout: 300ms\n    icmp:\n      preferred_ip_protocol: ip4\n",
                )?;
                let mut tool = start(words(format!("--config.file={} --log.level=error --web.listen-address={LISTEN}", config.display())))?;
                until_it_answers(&mut tool, &client, kind).await?;
                let driver = Driver::start(&format!("http://{LISTEN}"), hosts, options.interval)?;
                Ok(Self::Blackbox { tool, driver })
            }
        }
    }

    /// Its process.
    pub(super) fn pid(&self) -> Result<u32> {
        let tool = match self {
            Self::Rollcall { agent, .. } => return Ok(agent.pid() as u32),
            Self::Fping { tool, .. } | Self::Smokeping { tool, .. } | Self::Blackbox { tool, .. } => tool,
        };
        tool.pid().with_context(|| format!("it ended; it said:\n{}", tool.last_words()))
    }

    /// Forgets whom it showed as failing so far.
    pub(super) async fn mark(&mut self) -> Result<()> {
        match self {
            Self::Rollcall { watcher, seen, .. } => *seen = watcher.heard()?.downs.len(),
            Self::Fping { log, seen, .. } => *seen = std::fs::read(log)?.len(),
            Self::Smokeping { client, before, .. } => *before = scrape(client).await?,
            Self::Blackbox { driver, .. } => driver.mark(),
        }
        Ok(())
    }

    /// Whom it showed as failing since then.
    pub(super) async fn failing(&mut self) -> Result<BTreeSet<Ipv4Addr>> {
        match self {
            Self::Rollcall { watcher, seen, .. } => {
                let v4 = |address| match address {
                    std::net::IpAddr::V4(v4) => Some(v4),
                    std::net::IpAddr::V6(_) => None,
                };
                Ok(watcher.heard()?.downs[*seen..].iter().filter_map(|down| v4(down.address)).collect())
            }
            Self::Fping { tool, log, seen } => {
                ensure!(tool.runs()?, "it ended; it said:\n{}", tool.last_words());
                let text = std::fs::read(log)?;
                Ok(String::from_utf8_lossy(text.get(*seen..).unwrap_or_default()).lines().filter_map(unanswered).collect())
            }
            Self::Smokeping { client, before, .. } => {
                let after = scrape(client).await?;
                let lost = |(host, after): (Ipv4Addr, Count)| {
                    let before = before.get(&host).copied().unwrap_or_default();
                    let (asked, answered) = (after.requests - before.requests, after.responses - before.responses);
                    // One may be under way.
                    (answered + 1 < asked).then_some(host)
                };
                Ok(after.into_iter().filter_map(lost).collect())
            }
            Self::Blackbox { driver, .. } => driver.failing(),
        }
    }

    /// Ends it.
    pub(super) async fn end(self) -> Result<()> {
        match self {
            Self::Rollcall { agent, watcher, .. } => {
                drop(watcher);
                stand::end(*agent).await
            }
            Self::Blackbox { tool, driver } => {
                drop(driver);
                tool.kill().await
            }
            Self::Fping { tool, .. } | Self::Smokeping { tool, .. } => tool.kill().await,
        }
    }
}

async fn until_it_answers(tool: &mut Tool, client: &reqwest::Client, kind: Kind) -> Result<()> {
    let began = Instant::now();
    while client.get(format!("http://{LISTEN}/")).send().await.is_err() {
        ensure!(tool.runs()?, "{} ended at once; it said:\n{}", kind.name(), tool.last_words());
        if began.elapsed() > PATIENCE {
            bail!("{} does not answer; it said:\n{}", kind.name(), tool.last_words());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// The host of a line of fping's that says that none of its requests was answered.
fn unanswered(line: &str) -> Option<Ipv4Addr> {
    let (host, rest) = line.split_once(':')?;
    let mut counts = rest.split_once("xmt/rcv/%loss = ")?.1.split('/');
    let (sent, received): (u64, u64) = (counts.next()?.parse().ok()?, counts.next()?.parse().ok()?);
    (sent > 0 && received == 0).then_some(host.trim().parse().ok()?)
}

/// Requests and responses of each host.
async fn scrape(client: &reqwest::Client) -> Result<BTreeMap<Ipv4Addr, Count>> {
    let text = client.get(format!("http://{LISTEN}/metrics")).send().await?.error_for_status()?.text().await?;
    Ok(counts(&text))
}

fn counts(text: &str) -> BTreeMap<Ipv4Addr, Count> {
    let mut counts: BTreeMap<Ipv4Addr, Count> = BTreeMap::new();
    for line in text.lines() {
        let requests = line.starts_with("smokeping_requests_total{");
        if !requests && !line.starts_with("smokeping_response_duration_seconds_count{") {
            continue;
        }
        let host = line.split("ip=\"").nth(1).and_then(|rest| rest.split('"').next()?.parse().ok());
        let value = line.rsplit(' ').next().and_then(|text| text.parse::<f64>().ok());
        if let (Some(host), Some(value)) = (host, value) {
            let count = counts.entry(host).or_default();
            *(if requests { &mut count.requests } else { &mut count.responses }) = value as u64;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fpings_lines_tell_who_did_not_answer() {
        let lines = [
            "[12:00:01]",
            "10.64.1.1   : xmt/rcv/%loss = 1/1/0%, min/avg/max = 0.01/0.01/0.01",
            "10.64.1.2   : xmt/rcv/%loss = 1/0/100%",
            "10.64.1.3   : xmt/rcv/%loss = 0/0/0%",
            "fping error: not enough sequence numbers available! (expire_timeout=10000000000)",
        ];
        let silent: Vec<Ipv4Addr> = lines.into_iter().filter_map(unanswered).collect();
        assert_eq!(silent, [Ipv4Addr::new(10, 64, 1, 2)]);
    }

    #[test]
    fn smokepings_metrics_tell_requests_and_responses_of_each_host() {
        let text = "smokeping_requests_total{host=\"a\",ip=\"10.64.1.1\",source=\"\"} 12\n\
                    smokeping_response_duration_seconds_bucket{host=\"a\",ip=\"10.64.1.1\",source=\"\",le=\"5e-05\"} 3\n\
                    smokeping_response_duration_seconds_count{host=\"a\",ip=\"10.64.1.1\",source=\"\"} 11\n\
                    smokeping_requests_total{host=\"b\",ip=\"10.64.1.2\",source=\"\"} 1.2e+06\n";
        let counts = counts(text);
        assert_eq!(counts[&Ipv4Addr::new(10, 64, 1, 1)], Count { requests: 12, responses: 11 });
        assert_eq!(counts[&Ipv4Addr::new(10, 64, 1, 2)], Count { requests: 1_200_000, responses: 0 });
    }
}
