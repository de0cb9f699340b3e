//! `rollcall sync`: an agent follows a list, and only as far as the list can be believed.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use rollcall_agent::unit::Verdict;
use rollcall_control::hosts::Monitor;
use rollcall_control::source::{Entry, spot};
use rollcall_tests::fleet::Mode;
use rollcall_tests::population::{self, NETWORK};
use rollcall_tests::programs;
use rollcall_tests::webhook::Receiver;
use tokio::process::{Child, Command};

use crate::stage::{PATIENCE, Stage, a_while, cloud};

/// The list as text: a line for each of these stations.
fn list(stage: &Stage, stations: impl Fn(u32) -> Option<Monitor>) -> String {
    let hosts = population::hosts(stage.cloud).filter_map(|host| {
        let mac = host.mac.map(|mac| mac.to_string());
        let addresses = vec![spot(NETWORK, &host.address.to_string(), mac.as_deref())?];
        Some(Entry { id: host.id.clone(), name: host.name.clone(), monitor: stations(host.station)?, addresses, ..Entry::default() })
    });
    hosts.map(|host| serde_json::to_string(&host).unwrap() + "\n").collect()
}

/// Files of a controller.
struct Desk<'a> {
    stage: &'a Stage,
    config: PathBuf,
    list: PathBuf,
    log: PathBuf,
}

impl<'a> Desk<'a> {
    fn new(stage: &'a Stage, agent: &str) -> Result<Self> {
        let (config, list, log, policy) =
            (stage.path("sync.toml"), stage.path("hosts.jsonl"), stage.path("sync.log"), stage.path("policies.toml"));
        fs::write(
            &policy,
            "[defaults]\ninterval = \"500ms\"\ntimeout = \"250ms\"\nconfirm_interval = \"150ms\"\nalarm = [\"oncall\"]\nexpected_silent = \"1s\"\n",
        )?;
        fs::write(
            &config,
            format!(
                "policy = \"policies.toml\"\ninterval = \"1s\"\nlisten = \"127.0.0.1:9799\"\n\
                 [[source]]\ntype = \"file\"\nname = \"list\"\npath = \"hosts.jsonl\"\nformat = \"hosts\"\n\
                 [[agent]]\nname = \"here\"\nurl = \"{agent}\"\nnetworks = [\"{NETWORK}\"]\n\
                 [[agent]]\nname = \"away\"\nurl = \"http://127.0.0.1:1\"\nnetworks = [\"elsewhere\"]\n"
            ),
        )?;
        Ok(Desk { stage, config, list, log })
    }

    fn write(&self, text: &str) -> Result<()> {
        rollcall_control::lists::write(&self.list, text.as_bytes())
    }

    fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = self.stage.lab.agent().command(programs::path(programs::CONTROL)?);
        command.arg("sync").arg("--config").arg(&self.config).args(arguments).stdin(Stdio::null());
        let mut command = Command::from(command);
        command.kill_on_drop(true);
        Ok(command)
    }

    fn start(&self) -> Result<Child> {
        let log = fs::File::options().create(true).append(true).open(&self.log)?;
        self.command(&[])?.stdout(log.try_clone()?).stderr(log).spawn().context("cannot start rollcall sync")
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    async fn until_said(&self, what: &str) -> Result<()> {
        let began = std::time::Instant::now();
        while !self.said().contains(what) {
            ensure!(began.elapsed() < PATIENCE, "it never said {what:?}: {}", self.said());
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

#[test]
fn agent_follows_a_list_as_hosts_come_fall_silent_by_intent_and_go_and_only_a_real_silence_is_told() {
    let Some(stage) = Stage::new("sync", cloud(12, 0), Mode::Native) else { return };
    stage.play(async {
        let receiver = Receiver::start().await?;
        let mut agent = stage.agent(Some(&receiver), "").await?;
        let desk = Desk::new(&stage, agent.url())?;
        let watched = |stations: u32| list(&stage, move |station| (station <= stations).then_some(Monitor::On));
        desk.write(&watched(10))?;
        let mut sync = desk.start()?;
        stage.until(&mut agent, Verdict::Up, 10).await.with_context(|| desk.said())?;
        // The other agent is away, and holds up nobody; it is said once.
        desk.until_said("agent away: ").await?;
        // The owner stops one host and deletes another: both fall silent, and nobody is told.
        let stopped = |station| match station {
            3 => Some(Monitor::Silent),
            4 | 11.. => None,
            _ => Some(Monitor::On),
        };
        desk.write(&list(&stage, stopped))?;
        desk.until_said("1 removed, 1 changed").await?;
        assert_eq!(
            agent.host("vm-000003").await?.context("it is watched all the same")?.addresses[0].now.policy,
            "default+expected-silent"
        );
        let fleet = stage.lab.fleet();
        fleet.kill(3);
        fleet.kill(4);
        fleet.kill(5);
        receiver.beyond(0, PATIENCE).await;
        stage.until_host(&agent, "vm-000003", Verdict::Down).await?;
        a_while().await;
        let told: Vec<String> = receiver.arrivals().iter().map(|arrival| arrival.alarm.host.id.clone()).collect();
        assert_eq!(told, ["vm-000005"], "{}", desk.said());
        // Killed and started anew it goes on where the agent is.
        sync.kill().await?;
        desk.write(&watched(12))?;
        fleet.revive(3);
        let mut sync = desk.start()?;
        stage.until(&mut agent, Verdict::Up, 10).await.with_context(|| desk.said())?;
        let second = desk.command(&[])?.output().await?;
        assert!(!second.status.success() && String::from_utf8_lossy(&second.stderr).contains("another rollcall sync"), "{second:?}");
        let metrics = reqwest::Client::builder().no_proxy().build()?.get("http://127.0.0.1:9799/metrics").send().await?.text().await?;
        for line in [
            "rollcall_sync_source_hosts{source=\"list\"} 12",
            "rollcall_sync_agent_in_step{agent=\"here\"} 1",
            "rollcall_sync_agent_up{agent=\"away\"} 0",
        ] {
            assert!(metrics.contains(line), "{line}: {metrics}");
        }
        sync.kill().await?;
        Ok(())
    });
}

#[test]
fn list_that_is_cut_empty_or_suddenly_short_removes_nobody_until_that_is_allowed() {
    let Some(stage) = Stage::new("shrink", cloud(30, 0), Mode::Native) else { return };
    stage.play(async {
        let mut agent = stage.agent(None, "").await?;
        let desk = Desk::new(&stage, agent.url())?;
        let watched = |stations: u32| list(&stage, move |station| (station <= stations).then_some(Monitor::On));
        desk.write(&watched(30))?;
        let mut sync = desk.start()?;
        stage.until(&mut agent, Verdict::Up, 30).await.with_context(|| desk.said())?;
        let whole = watched(30);
        for (text, why) in [(&whole[..whole.len() - 40], "hosts.jsonl"), ("", "hosts.jsonl"), (&watched(3)[..], "27 of 30 addresses")] {
            desk.write(text)?;
            desk.until_said(why).await?;
            a_while().await;
            assert_eq!(agent.status().await?.addresses, 30, "{}", desk.said());
            desk.write(&whole)?;
            fs::write(&desk.log, "")?;
            desk.until_said("is well again").await?;
        }
        sync.kill().await?;
        // A start compares with what the agents hold: the list may have lost its hosts meanwhile.
        desk.write(&watched(3))?;
        let refused = desk.command(&["--once"])?.output().await?;
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains("27 of 30 addresses") && said.contains("--allow-shrink"), "{said}");
        assert_eq!(agent.status().await?.addresses, 30);
        let shown = desk.command(&["--dry-run", "--allow-shrink"])?.output().await?;
        let said = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert!(said.contains("here: 0 added, 27 removed, 0 changed, 3 unchanged") && said.contains("- lab "), "{said} {shown:?}");
        assert_eq!(agent.status().await?.addresses, 30, "a dry run changes nothing");
        // The agent that is away makes the round fail, after the other one got its table.
        let allowed = desk.command(&["--once", "--allow-shrink"])?.output().await?;
        assert_eq!(allowed.status.code(), Some(3), "{allowed:?}");
        assert_eq!(agent.status().await?.addresses, 3);
        Ok(())
    });
}

#[test]
fn two_controllers_of_one_agent_bring_it_to_the_same_table_and_leave_it_there() {
    let Some(stage) = Stage::new("two", cloud(20, 0), Mode::Native) else { return };
    stage.play(async {
        let mut agent = stage.agent(None, "").await?;
        let desk = Desk::new(&stage, agent.url())?;
        let config = stage.path("other.toml");
        fs::write(&config, fs::read_to_string(&desk.config)?.replace("listen = \"127.0.0.1:9799\"\n", ""))?;
        let other = Desk { stage: &stage, config, list: desk.list.clone(), log: stage.path("other.log") };
        let watched = |stations: u32| list(&stage, move |station| (station <= stations).then_some(Monitor::On));
        desk.write(&watched(20))?;
        let mut controllers = [desk.start()?, other.start()?];
        stage.until(&mut agent, Verdict::Up, 20).await.with_context(|| desk.said() + &other.said())?;
        desk.write(&watched(18))?;
        stage.until(&mut agent, Verdict::Up, 18).await.with_context(|| desk.said() + &other.said())?;
        a_while().await;
        let before = agent.status().await?;
        a_while().await;
        let after = agent.status().await?;
        assert_eq!((after.generation, after.addresses), (before.generation, 18), "{}{}", desk.said(), other.said());
        for controller in &mut controllers {
            controller.kill().await?;
        }
        Ok(())
    });
}
