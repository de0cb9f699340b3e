//! The play itself, scene by scene.

use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;
use rollcall_agent::api::Status;
use rollcall_agent::policy::Policy;

use super::expectation::{self, Ended};
use super::options::{Options, SILENCED};
use super::scene::{self, Scene};
use super::silence::{self, Heard, Ledger, Silenced};
use super::summary::Summary;
use super::{LISTEN, PATIENCE, verdicts};
use crate::agent::{Agent, Cost};
use crate::lab::{AGENT_INTERFACE, Lab};
use crate::population::Host;
use crate::voice::{Voice, grouped, seconds};
use crate::webhook::Receiver;

/// Plays it, the caller being inside the agent's namespace.
pub(super) async fn play(options: &Options, voice: &Voice, lab: &Lab) -> Result<Summary> {
    let policy = options.policy();
    let cloud = lab.fleet().cloud();
    let scene = Scene::new()?;
    voice.step("lab", &format!("two namespaces, a veth pair, {} hosts that answer", grouped(options.hosts.into())), None);
    scene.write_lists(cloud, options)?;
    voice.step(
        "policy",
        &format!(
            "{} every {}, timeout {}, down after {} misses: within {} at most",
            options.method,
            humantime::format_duration(policy.interval),
            humantime::format_duration(policy.timeout),
            policy.down_after,
            humantime::format_duration(policy.detection_bound())
        ),
        None,
    );

    let began = Instant::now();
    scene.rollcall(["compile", "--hosts", "hosts.csv", "--policy", "policies.toml", "--out", "demo.table"]).await?;
    let text = format!("hosts.csv and policies.toml into demo.table, {} bytes", grouped(scene::size(&scene.table())?));
    voice.step("compile", &text, Some(began.elapsed()));

    let receiver = Receiver::start().await?;
    let config = scene.write_config(options, LISTEN, &receiver.url())?;
    let began = Instant::now();
    let agent = Agent::start(&lab.agent(), &config, LISTEN, &scene.log()).await?;
    let mut run = Run { options, voice, lab, policy, scene, receiver, agent, ledger: Ledger::default(), heard: 0 };
    let status = run.agent.status().await?;
    let paths: Vec<String> = status.networks.iter().map(|network| format!("{} out, {} in", network.transmit, network.receive)).collect();
    voice.step("agent", &format!("pid {}, {LISTEN}, {}", run.agent.pid(), paths.join("; ")), Some(began.elapsed()));

    match run.scenes().await {
        Ok((figures, end)) => run.finish(figures, end).await,
        Err(error) => {
            voice.line(&format!("the agent's last words:\n{}", run.agent.last_words()));
            Err(error)
        }
    }
}

struct Run<'a> {
    options: &'a Options,
    voice: &'a Voice,
    lab: &'a Lab,
    policy: Policy,
    scene: Scene,
    receiver: Receiver,
    agent: Agent,
    ledger: Ledger,
    /// Messages of the receiver that the ledger has.
    heard: usize,
}

/// What the scenes measured.
struct Figures {
    all_up: Duration,
    steady: Duration,
    cores: f64,
    /// Stopped hosts that the agent no longer knows.
    gone: usize,
}

impl Run<'_> {
    async fn scenes(&mut self) -> Result<(Figures, Status)> {
        let all_up = self.push().await?;
        let (steady, cores) = self.steady().await?;
        self.silence().await?;
        let gone = self.stop().await?;
        let end = self.revive().await?;
        Ok((Figures { all_up, steady, cores, gone }, end))
    }

    async fn push(&mut self) -> Result<Duration> {
        let began = Instant::now();
        let url = self.agent.url().to_owned();
        self.scene.rollcall(["push", "demo.table", "--agent", &url]).await?;
        let status = self.agent.status().await?;
        let text = format!("generation {}: {} addresses to probe", status.generation, grouped(status.addresses));
        self.voice.step("push", &text, Some(began.elapsed()));

        let began = Instant::now();
        let patience = self.policy.interval * 2 + PATIENCE + Duration::from_micros(50) * self.options.hosts;
        let (voice, hosts) = (self.voice, u64::from(self.options.hosts));
        let progress = |status: &Status| voice.progress("up", &verdicts(&status.verdicts));
        let all_up = |status: &Status| status.verdicts.get("up") == Some(&hosts);
        self.agent.wait_for("every host answers", patience, progress, all_up).await?;
        let took = began.elapsed();
        voice.step("up", &format!("all {} hosts answer", grouped(hosts)), Some(took));
        Ok(took)
    }

    /// Everybody is alive: whatever is said to be down now is not.
    async fn steady(&mut self) -> Result<(Duration, f64)> {
        let (before, cost) = (self.agent.status().await?, self.agent.cost()?);
        let (began, wanted) = (Instant::now(), Duration::from_secs(self.options.steady));
        while began.elapsed() < wanted {
            tokio::time::sleep(Duration::from_millis(250).min(wanted.saturating_sub(began.elapsed()))).await;
            let status = self.agent.status().await?;
            let left = wanted.saturating_sub(began.elapsed()).as_secs();
            self.voice.progress("steady", &format!("{}, {left} s to go", verdicts(&status.verdicts)));
        }
        let (after, took) = (self.agent.status().await?, began.elapsed());
        let cores = (self.agent.cost()?.cpu.saturating_sub(cost.cpu)).as_secs_f64() / took.as_secs_f64().max(1e-3);
        self.listen();
        let text = format!(
            "nobody is silent: {} probes, {} answered in time, {} false downs",
            grouped(after.probes_sent - before.probes_sent),
            grouped(after.replies - before.replies),
            self.ledger.false_down
        );
        self.voice.step("steady", &text, Some(took));
        Ok((took, cores))
    }

    async fn silence(&mut self) -> Result<()> {
        let seed = self.options.seed.unwrap_or_else(rand::random);
        let text = format!("{SILENCED} hosts, at random moments within an interval (seed {seed})");
        self.voice.step("silence", &text, None);
        let began = Instant::now();
        let cloud = self.lab.fleet().cloud();
        for (moment, station) in silence::choose(seed, self.options.hosts, self.policy.interval) {
            tokio::time::sleep_until((began + moment).into()).await;
            let Some(host) = Host::of(cloud, station) else {
                continue;
            };
            self.lab.fleet().kill(station);
            let silenced = Silenced { host, at: Instant::now(), clock: SystemTime::now() };
            self.ledger.silenced.insert(silenced.host.id.clone(), silenced);
        }
        let patience = self.policy.detection_bound() + PATIENCE;
        self.listen_until(patience, |ledger| ledger.detections().len() == ledger.silenced.len()).await;
        Ok(())
    }

    /// Deletes some hosts while they are silent. How many the agent then no longer knows.
    async fn stop(&mut self) -> Result<usize> {
        let began = Instant::now();
        let stopped = self.ledger.choose_stopped();
        let url = self.agent.url().to_owned();
        let words = ["stop"].into_iter().chain(stopped.iter().map(String::as_str)).chain(["--agent", &url]);
        self.scene.rollcall(words).await?;
        self.voice.step("stop", &format!("the platform deletes {}", stopped.join(", ")), Some(began.elapsed()));
        let mut gone = 0;
        for id in &stopped {
            gone += usize::from(self.agent.host(id).await?.is_none());
        }
        self.listen_until(PATIENCE, |ledger| ledger.forgotten.len() == ledger.stopped.len()).await;
        let left = self.agent.status().await?.addresses;
        self.voice.detail(&format!("{gone} of {} are unknown to the agent now; {} addresses left", stopped.len(), grouped(left)));
        Ok(gone)
    }

    /// Revives those that were not deleted.
    async fn revive(&mut self) -> Result<Status> {
        let alive: Vec<u32> = self
            .ledger
            .silenced
            .values()
            .filter(|silenced| !self.ledger.stopped.contains(&silenced.host.id))
            .map(|silenced| silenced.host.station)
            .collect();
        let began = Instant::now();
        for station in &alive {
            self.lab.fleet().revive(*station);
        }
        self.voice.step("revive", &format!("the other {}", alive.len()), None);
        let patience = self.policy.interval * (u32::from(self.policy.up_after) + 1) + PATIENCE;
        let wanted = alive.len();
        self.listen_until(patience, |ledger| ledger.recovered.len() == wanted).await;
        let text = format!("{} alarms resolved", self.ledger.recovered.len());
        self.voice.step("", &text, Some(began.elapsed()));
        // One more round: what was stopped must stay unheard of.
        tokio::time::sleep(self.policy.interval + self.policy.timeout).await;
        self.listen();
        self.agent.status().await
    }

    /// Files what arrived, and tells it.
    fn listen(&mut self) {
        for arrival in self.receiver.arrivals().split_off(self.heard) {
            self.heard += 1;
            let alarm = &arrival.alarm;
            let address = alarm.address.map(|address| address.to_string()).unwrap_or_default();
            let who = format!("{:<10} {address:<15}", alarm.host.id);
            match self.ledger.hear(&arrival) {
                Heard::Detected(arrived, verdict) => {
                    let times = format!("{} after it fell silent (verdict after {})", seconds(arrived), seconds(verdict));
                    self.voice.detail(&format!("{who} {} alarm {times}", self.voice.red("down")));
                }
                Heard::Recovered => self.voice.detail(&format!("{who} {}, alarm resolved", self.voice.green("up"))),
                Heard::Forgotten => self.voice.detail(&format!("{who} forgotten, alarm closed")),
                Heard::Stray => {
                    let what = self.ledger.strays.last().cloned().unwrap_or_default();
                    self.voice.detail(&self.voice.red(&what));
                }
            }
        }
    }

    async fn listen_until(&mut self, patience: Duration, enough: impl Fn(&Ledger) -> bool) {
        let deadline = Instant::now() + patience;
        loop {
            self.listen();
            let left = deadline.saturating_duration_since(Instant::now());
            if enough(&self.ledger) || left.is_zero() {
                return;
            }
            self.receiver.beyond(self.heard, left).await;
        }
    }

    /// Ends the agent, and says what came of it all.
    async fn finish(self, figures: Figures, end: Status) -> Result<Summary> {
        let Run { options, lab, policy, agent, ledger, voice, .. } = self;
        let cost: Cost = agent.cost()?;
        let (status, took) = agent.terminate().await?;
        voice.step("shutdown", &format!("the agent ended: {status}"), Some(took));
        let ended = Ended {
            addresses: end.addresses,
            up: end.verdicts.get("up").copied().unwrap_or_default(),
            alarms_firing: end.alarms_firing,
            gone: figures.gone,
            well: status.success(),
            shutdown: took,
            xdp_left: Lab::xdp_mode(&lab.agent(), AGENT_INTERFACE)?,
        };
        Ok(Summary {
            hosts: options.hosts,
            all_up: figures.all_up,
            probes_sent: end.probes_sent,
            replies: end.replies,
            steady: figures.steady,
            cores: figures.cores,
            cost,
            bound: policy.detection_bound(),
            expectations: expectation::of(&ledger, &ended, options.hosts, policy.detection_bound()),
            ledger,
        })
    }
}
