//! A scenario in the lab: the real agent, by each of its ways on and off the wire, in real time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use rollcall_agent::policy::Policy;
use rollcall_agent::table::Writer;
use rollcall_agent_ebpf::fleet::{Behaviour, Cloud};

use super::memory::{addresses, id};
use super::text::{Event, Expectation, Scenario, What};
use super::{Outcome, differs, flag};
use crate::agent::Agent;
use crate::fleet::Mode;
use crate::lab::{AGENT_INTERFACE, FLEET_INTERFACE, Lab};
use crate::population::{self, Host};
use crate::webhook::Receiver;

/// Longer scenarios are for the simulated clock.
const LONGEST: Duration = Duration::from_secs(60);
/// How much later than by the clock something may be seen on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9798);

/// A way on the wire and a way off it, as the agent's configuration names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ways {
    /// `transmit`.
    pub transmit: &'static str,
    /// `receive`.
    pub receive: &'static str,
}

/// All that there are together.
pub const WAYS: [Ways; 4] = [
    Ways { transmit: "kernel", receive: "native" },
    Ways { transmit: "socket", receive: "native" },
    Ways { transmit: "socket", receive: "generic" },
    Ways { transmit: "socket", receive: "socket" },
];

/// Why a scenario cannot be played there; `None`: it can.
pub fn only_in_memory(scenario: &Scenario) -> Option<&'static str> {
    if scenario.lasts() > LONGEST {
        return Some("it takes longer than a minute");
    }
    if scenario.network.len() > 1 {
        return Some("it has several networks, which other tests of the lab have");
    }
    let has = |what| scenario.at.iter().any(|event| event.what == what);
    match () {
        () if has(What::AnswersLate) => Some("the fleet answers at once"),
        () if has(What::Refused) => Some("the lab's interface takes all probes"),
        () if has(What::PassedBy) => Some("another test of the lab detaches the receiver"),
        () if has(What::ClockSet) => Some("this machine's clock is not ours to set"),
        () if has(What::Sleeps) => Some("this machine cannot be suspended"),
        () => None,
    }
}

/// Plays it. What was not as expected is no error.
pub fn in_lab(scenario: &Scenario, ways: Ways, number: usize) -> Result<Outcome> {
    let network = &scenario.network[0];
    let cloud = Cloud { on_link: network.hosts, routed: network.behind_gateway };
    // In the driver the fleet answers only where the agent's end has an XDP program in the driver too.
    let mode = if ways.receive == "native" { Mode::Native } else { Mode::Generic };
    let lab = Lab::scratch(&format!("play-{number}-{}-{}", ways.transmit, ways.receive), cloud, mode)?;
    let folder = tempfile::tempdir()?;
    let home = lab.agent();
    home.block_on(async {
        let receiver = Receiver::start().await?;
        let (config, log) = (folder.path().join("agent.toml"), folder.path().join("agent.log"));
        let Ways { transmit, receive } = ways;
        let settings = format!(
            "listen = \"{LISTEN}\"\nstate_directory = {:?}\npps = {}\ntransmit = \"{transmit}\"\nreceive = \"{receive}\"\n\
             [[network]]\nname = \"{}\"\ninterface = \"{AGENT_INTERFACE}\"\n\
             [[route]]\nname = \"oncall\"\ntype = \"webhook\"\nurl = \"{}\"\nretry_min = \"100ms\"\nretry_max = \"500ms\"\n",
            folder.path().join("state"),
            scenario.pps,
            network.name,
            receiver.url(),
        );
        std::fs::write(&config, settings)?;
        let agent = Agent::start(&home, &config, LISTEN, &log).await?;
        let client = reqwest::Client::builder().no_proxy().build()?;
        let mut stage = Stage { scenario, cloud, lab: &lab, agent, receiver, client, dead: BTreeSet::new() };
        let name = format!("{} ({transmit}, {receive})", scenario.name);
        let began = Instant::now();
        let failures = stage.play().await.with_context(|| format!("{name}: {}", std::fs::read_to_string(&log).unwrap_or_default()))?;
        Ok(Outcome { name, describe: scenario.describe.clone(), failures, lasted: began.elapsed() })
    })
}

struct Stage<'a> {
    scenario: &'a Scenario,
    cloud: Cloud,
    lab: &'a Lab,
    agent: Agent,
    receiver: Receiver,
    client: reqwest::Client,
    /// Who died by itself: when everything is heard again, they are not.
    dead: BTreeSet<u32>,
}

impl Stage<'_> {
    async fn play(&mut self) -> Result<Vec<String>> {
        let network = &self.scenario.network[0];
        let mut writer = Writer::new();
        let policy = writer.policy(Policy { alarm: vec!["oncall".into()], ..Policy::from(&self.scenario.policy) });
        for host in population::hosts(self.cloud) {
            let row = writer.host(&id(&network.name, &host), &host.name, host.project, host.tags);
            for address in addresses(network.family, &host) {
                writer.address(row, &network.name, address, host.mac.filter(|_| !network.without_macs), policy);
            }
        }
        self.agent.push(&writer.finish()?).await?;
        let start = Instant::now();
        let (mut events, mut failures) = (self.scenario.at.iter().peekable(), Vec::new());
        for expectation in &self.scenario.expect {
            while let Some(event) = events.next_if(|event| event.time <= expectation.by) {
                tokio::time::sleep_until((start + event.time).into()).await;
                self.happen(event).await?;
            }
            tokio::time::sleep_until((start + expectation.by).into()).await;
            let began = Instant::now();
            let wrong = loop {
                match self.look(expectation).await? {
                    wrong if wrong.is_empty() || began.elapsed() > PATIENCE => break wrong,
                    _ => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            };
            failures.extend(wrong);
        }
        Ok(failures)
    }

    async fn happen(&mut self, event: &Event) -> Result<()> {
        let who = self.scenario.who(event.who.as_deref().unwrap_or("everybody"))?;
        let fleet = self.lab.fleet();
        let all = || 0..self.cloud.stations();
        match event.what {
            What::Loses => {
                let per_mille = (event.percent * 10.0).round() as u32;
                who.iter().for_each(|(_, station)| fleet.change(*station, |behaviour| behaviour.with_loss_per_mille(per_mille)));
            }
            What::IsDeleted => {
                let ids: Vec<String> = who
                    .iter()
                    .filter_map(|(_, station)| Some(id(&self.scenario.network[0].name, &Host::of(self.cloud, *station)?)))
                    .collect();
                let url = format!("{}/v1/stop", self.agent.url());
                let answer = self.client.post(url).json(&serde_json::json!({ "hosts": ids })).send().await?;
                ensure!(answer.status().is_success(), "the stop was refused: {}", answer.text().await?);
            }
            What::LinkDown => drop(self.lab.fleet_side().ip(["link", "set", FLEET_INTERFACE, "down"])?),
            What::LinkUp => drop(self.lab.fleet_side().ip(["link", "set", FLEET_INTERFACE, "up"])?),
            What::Silent => all().for_each(|station| fleet.kill(station)),
            What::Heard => all().filter(|station| !self.dead.contains(station)).for_each(|station| fleet.revive(station)),
            What::StandsStill => {
                self.agent.signal(Signal::SIGSTOP)?;
                tokio::time::sleep(event.by).await;
                self.agent.signal(Signal::SIGCONT)?;
            }
            what => {
                let (flag, on) = flag(what).with_context(|| format!("{what:?} cannot happen in the lab"))?;
                if flag == Behaviour::DEAD {
                    self.dead.retain(|station| !who.iter().any(|(_, other)| other == station));
                    self.dead.extend(who.iter().map(|(_, station)| *station).filter(|_| on));
                }
                who.iter().for_each(|(_, station)| fleet.change(*station, |behaviour: Behaviour| behaviour.with(flag, on)));
            }
        }
        Ok(())
    }

    async fn look(&self, expectation: &Expectation) -> Result<Vec<String>> {
        let mut failures = Vec::new();
        let at = humantime::format_duration(expectation.by);
        if let Some(verdict) = expectation.what {
            for (_, station) in self.scenario.who(expectation.who.as_deref().unwrap_or("everybody"))? {
                let host = Host::of(self.cloud, station).context("a gateway has no verdict")?;
                let seen = self.agent.host(&id(&self.scenario.network[0].name, &host)).await?;
                let addresses = seen.map(|host| host.addresses).unwrap_or_default();
                let right = |now: &rollcall_agent::api::AddressReport| {
                    now.verdict == verdict && (expectation.reason.is_none() || now.reason == expectation.reason)
                };
                if addresses.is_empty() || !addresses.iter().all(|address| right(&address.now)) {
                    failures.push(format!(
                        "{at}: vm {station} is not {verdict}: {:?}",
                        addresses.first().map(|address| (address.now.verdict, address.now.reason))
                    ));
                }
            }
        }
        if let Some(wanted) = &expectation.alarms {
            let mut told: BTreeMap<String, usize> = BTreeMap::new();
            for arrival in self.receiver.arrivals().into_iter().chain(self.receiver.of_agent()) {
                let end = match arrival.alarm.status.as_str() {
                    "firing" => "",
                    "resolved" => "-over",
                    _ => "-forgotten",
                };
                *told.entry(format!("{}{end}", arrival.alarm.kind)).or_default() += 1;
            }
            failures.extend(differs(&told, wanted).map(|how| format!("{at}: alarms {how}")));
        }
        if let Some(wanted) = &expectation.conditions {
            let seen = self.agent.status().await?.conditions.into_iter().map(|(condition, count)| (condition, count as usize)).collect();
            let wanted = wanted.iter().map(|(condition, count)| (condition.name().to_owned(), *count)).collect();
            failures.extend(differs(&seen, &wanted).map(|how| format!("{at}: conditions {how}")));
        }
        Ok(failures)
    }
}
