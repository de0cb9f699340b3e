//! The agent's own fault is never a host's: links that go, gateways that go silent, an agent that stands still.

use std::time::Duration;

use nix::sys::signal::Signal;
use rollcall_agent::table::Writer;
use rollcall_agent::unit::{Blind, Verdict};
use rollcall_tests::fleet::{Mode, Program};
use rollcall_tests::lab::{AGENT_INTERFACE, FLEET_INTERFACE};
use rollcall_tests::population;
use rollcall_tests::webhook::Receiver;

use crate::stage::{PATIENCE, Stage, a_while, cloud, fleet_mode, policy};

#[test]
fn link_that_goes_down_makes_unknown_and_is_the_agents_own_alarm_alone() {
    let Some(stage) = Stage::new("link", cloud(30, 0), Mode::Native) else { return };
    stage.play(async {
        let receiver = Receiver::start().await?;
        let mut agent = stage.agent(Some(&receiver), "").await?;
        stage.push(&agent, &stage.table(30, 0)).await?;
        stage.until(&mut agent, Verdict::Up, 30).await?;
        stage.lab.fleet_side().ip(["link", "set", FLEET_INTERFACE, "down"])?;
        stage.until(&mut agent, Verdict::Unknown, 30).await?;
        // The driver refuses frames at once, and is tried again; of the carrier the kernel tells up to a second later.
        let reason = async || Ok::<_, anyhow::Error>(agent.host("vm-000001").await?.and_then(|host| host.addresses[0].now.reason));
        let began = std::time::Instant::now();
        while reason().await? != Some(Blind::LinkDown) {
            assert!(began.elapsed() < PATIENCE, "{:?}\n{}", reason().await?, stage.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(agent.get("/-/ready").await?.0, 503);
        stage.own(&receiver, &["firing"]).await;
        stage.lab.fleet_side().ip(["link", "set", FLEET_INTERFACE, "up"])?;
        stage.until(&mut agent, Verdict::Up, 30).await?;
        stage.own(&receiver, &["firing", "resolved"]).await;
        assert_eq!(receiver.arrivals().len(), 0, "{:?}", receiver.arrivals().first());
        assert_eq!(agent.get("/-/ready").await?.0, 200);
        // It sees again: a host that dies now is told.
        stage.lab.fleet().kill(1);
        assert_eq!(receiver.beyond(0, PATIENCE).await.len(), 1);
        Ok(())
    });
}

#[test]
fn host_down_before_the_link_went_stays_down_after_it_and_is_told_once() {
    let Some(stage) = Stage::new("down", cloud(10, 0), Mode::Native) else { return };
    stage.play(async {
        let receiver = Receiver::start().await?;
        let mut agent = stage.agent(Some(&receiver), "").await?;
        stage.push(&agent, &stage.table(10, 0)).await?;
        stage.until(&mut agent, Verdict::Up, 10).await?;
        stage.lab.fleet().kill(1);
        receiver.beyond(0, PATIENCE).await;
        stage.lab.fleet_side().ip(["link", "set", FLEET_INTERFACE, "down"])?;
        stage.until(&mut agent, Verdict::Unknown, 10).await?;
        assert_eq!(agent.status().await?.alarms_firing, 1);
        stage.lab.fleet_side().ip(["link", "set", FLEET_INTERFACE, "up"])?;
        stage.until(&mut agent, Verdict::Up, 9).await?;
        stage.until(&mut agent, Verdict::Down, 1).await?;
        a_while().await;
        assert_eq!(receiver.arrivals().len(), 1);
        Ok(())
    });
}

#[test]
fn gateway_that_falls_silent_makes_what_lies_behind_it_unknown() {
    let Some(stage) = Stage::new("gateway", cloud(5, 20), Mode::Native) else { return };
    stage.play(async {
        let receiver = Receiver::start().await?;
        let mut agent = stage.agent(Some(&receiver), "").await?;
        stage.push(&agent, &stage.table(5, 20)).await?;
        stage.until(&mut agent, Verdict::Up, 25).await?;
        stage.lab.fleet().kill(0);
        (6..=25).for_each(|station| stage.lab.fleet().kill(station));
        stage.until(&mut agent, Verdict::Unknown, 20).await?;
        let host = agent.host("rt-000001").await?.unwrap();
        assert_eq!(host.addresses[0].now.reason, Some(Blind::NoGateway));
        assert_eq!(agent.host("vm-000001").await?.unwrap().addresses[0].now.verdict, Verdict::Up);
        (6..=25).for_each(|station| stage.lab.fleet().revive(station));
        stage.lab.fleet().revive(0);
        stage.until(&mut agent, Verdict::Up, 25).await?;
        assert_eq!(receiver.arrivals().len(), 0, "{:?}", receiver.arrivals().first());
        // With the gateway there, a host behind it that dies is told.
        stage.lab.fleet().kill(6);
        assert_eq!(receiver.beyond(0, PATIENCE).await[0].alarm.host.id, "rt-000001");
        Ok(())
    });
}

#[test]
fn agent_that_stood_still_blames_nobody() {
    let Some(stage) = Stage::new("still", cloud(200, 20), Mode::Native) else { return };
    stage.play(async {
        let receiver = Receiver::start().await?;
        let mut agent = stage.agent(Some(&receiver), "").await?;
        stage.push(&agent, &stage.table(200, 20)).await?;
        stage.until(&mut agent, Verdict::Up, 220).await?;
        for _ in 0..3 {
            agent.signal(Signal::SIGSTOP)?;
            tokio::time::sleep(Duration::from_millis(1200)).await;
            agent.signal(Signal::SIGCONT)?;
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
        a_while().await;
        assert!(receiver.arrivals().is_empty());
        stage.until(&mut agent, Verdict::Up, 220).await?;
        let metrics = agent.get("/metrics").await?.1;
        let stalls = metrics.lines().find(|line| line.starts_with("rollcall_engine_stalls_total")).unwrap();
        assert!(stalls.rsplit(' ').next().unwrap().parse::<u64>()? >= 3, "{stalls}");
        Ok(())
    });
}

#[test]
fn network_in_which_nobody_answers_any_more_is_unknown_and_not_down() {
    let Some(stage) = Stage::new("deaf", cloud(60, 5), Mode::Native) else { return };
    stage.play(async {
        let receiver = Receiver::start().await?;
        let mut agent = stage.agent(Some(&receiver), "").await?;
        stage.push(&agent, &stage.table(60, 5)).await?;
        stage.until(&mut agent, Verdict::Up, 65).await?;
        let fleet = stage.lab.fleet();
        // The link is up, probes leave, and nothing comes back: a receiver that died looks like that.
        (0..=65).for_each(|station| fleet.kill(station));
        stage.until(&mut agent, Verdict::Unknown, 65).await?;
        assert_eq!(agent.host("vm-000001").await?.unwrap().addresses[0].now.reason, Some(Blind::Silent));
        assert_eq!(agent.host("rt-000001").await?.unwrap().addresses[0].now.reason, Some(Blind::NoGateway));
        a_while().await;
        assert!(receiver.arrivals().is_empty(), "{:?}", receiver.arrivals());
        // The gateway is back, and with it the proof that the agent hears: whoever is silent now is down.
        fleet.revive(0);
        (1..=50).for_each(|station| fleet.revive(station));
        stage.until(&mut agent, Verdict::Up, 50).await?;
        stage.until(&mut agent, Verdict::Down, 15).await?;
        // All hosts, but not the gateway: that is no fault of ours.
        (1..=65).for_each(|station| fleet.kill(station));
        stage.until(&mut agent, Verdict::Down, 65).await?;
        Ok(())
    });
}

#[test]
fn addresses_that_the_agent_cannot_probe_are_unknown_and_say_why() {
    let Some(stage) = Stage::new("nonet", cloud(5, 0), Mode::Native) else { return };
    stage.play(async {
        let receiver = Receiver::start().await?;
        let agent = stage.agent(Some(&receiver), "").await?;
        let mut writer = rollcall_agent::table::Writer::new();
        let policy = writer.policy(crate::stage::policy("near"));
        let host = writer.host("stray", "stray", "p", []);
        writer.address(host, "elsewhere", "10.9.9.9".parse()?, None, policy);
        let host = writer.host("six", "six", "p", []);
        writer.address(host, "lab", "2001:db8::9".parse()?, None, policy);
        let host = writer.host("nomac", "nomac", "p", []);
        writer.address(host, "lab", "10.128.9.9".parse()?, None, policy);
        stage.push(&agent, &writer.finish()?).await?;
        for (id, reason) in [("stray", Blind::NoNetwork), ("six", Blind::NoMac), ("nomac", Blind::NoMac)] {
            let host = stage.until_host(&agent, id, Verdict::Unknown).await?;
            assert_eq!(host.addresses[0].now.reason, Some(reason), "{id}");
        }
        a_while().await;
        assert_eq!(receiver.arrivals().len(), 0);
        Ok(())
    });
}

#[test]
fn fast_policy_goes_on_after_a_flap_of_the_link() {
    let Some(stage) = Stage::new("flap", cloud(20, 10), Mode::Native) else { return };
    stage.play(async {
        let receiver = Receiver::start().await?;
        let mut agent = stage.agent(Some(&receiver), "").await?;
        // So fast that several probes of an address fall into the grace after each flap.
        stage
            .push(
                &agent,
                &stage.table_with(20, 10, |_, policy| {
                    policy.interval = Duration::from_millis(150);
                    policy.timeout = Duration::from_millis(100);
                    policy.confirm_interval = Duration::from_millis(60);
                }),
            )
            .await?;
        stage.until(&mut agent, Verdict::Up, 30).await?;
        for round in 1..=4 {
            let fleet = stage.lab.fleet_side();
            fleet.ip(["link", "set", FLEET_INTERFACE, "down"])?;
            tokio::time::sleep(Duration::from_millis(300 * round)).await;
            // Nobody answers for a while after the carrier is back, as behind a switch that still learns.
            (1..=30).for_each(|station| stage.lab.fleet().kill(station));
            fleet.ip(["link", "set", FLEET_INTERFACE, "up"])?;
            tokio::time::sleep(Duration::from_millis(1500)).await;
            (1..=30).for_each(|station| stage.lab.fleet().revive(station));
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        stage.until(&mut agent, Verdict::Up, 30).await?;
        assert_eq!(receiver.arrivals().len(), 0, "{:?}", receiver.arrivals().first());
        (1..=30).for_each(|station| stage.lab.fleet().kill(station));
        stage.until(&mut agent, Verdict::Down, 30).await?;
        Ok(())
    });
}

#[test]
fn interface_that_is_made_anew_is_taken_up_again() {
    let Some(stage) = Stage::new("anew", cloud(20, 5), Mode::Native) else { return };
    let mut fleet = Program::load(stage.cloud).unwrap();
    stage.play(async {
        let receiver = Receiver::start().await?;
        let mut agent = stage.agent(Some(&receiver), "").await?;
        stage.push(&agent, &stage.table(20, 5)).await?;
        stage.until(&mut agent, Verdict::Up, 25).await?;
        let (near, far) = (stage.lab.agent(), stage.lab.fleet_side());
        near.ip(["link", "del", AGENT_INTERFACE])?;
        stage.until(&mut agent, Verdict::Unknown, 25).await?;
        a_while().await;
        near.ip(["link", "add", AGENT_INTERFACE, "type", "veth", "peer", "name", FLEET_INTERFACE, "netns", far.name()])?;
        far.within(|| fleet.attach(FLEET_INTERFACE, fleet_mode(Mode::Native)))?;
        far.ip(["link", "set", FLEET_INTERFACE, "up"])?;
        near.ip(["address", "add", "10.128.0.1/9", "dev", AGENT_INTERFACE])?;
        near.ip(["link", "set", AGENT_INTERFACE, "up"])?;
        near.ip(["route", "add", "default", "via", "10.128.0.2"])?;
        stage.until(&mut agent, Verdict::Up, 25).await?;
        assert_eq!(receiver.arrivals().len(), 0, "{:?}", receiver.arrivals().first());
        Ok(())
    });
}

#[test]
fn network_without_a_gateway_is_not_believed_to_be_silent_where_its_canary_fell_silent_too() {
    let Some(stage) = Stage::with_vlans("canary", cloud(6, 0), 1, Mode::Native) else { return };
    stage.play(async {
        let receiver = Receiver::start().await?;
        let canary = population::hosts(stage.cloud).nth(5).map(|host| host.address).unwrap();
        let red = format!("[[network]]\nname = \"red\"\ninterface = \"rc-agent\"\nvlan = 101\ncanary = [\"{canary}\"]\n");
        let mut agent = stage.agent(Some(&receiver), &red).await?;
        let mut writer = Writer::new();
        let near = writer.policy(policy("near"));
        for host in population::hosts(stage.cloud).take(5) {
            let row = writer.host(&host.id, &host.name, host.project, host.tags);
            writer.address(row, "red", host.address.into(), host.mac, near);
        }
        stage.push(&agent, &writer.finish()?).await?;
        stage.until(&mut agent, Verdict::Up, 5).await?;
        let fleet = stage.lab.fleet();
        // While the canary answers, silence is silence.
        fleet.kill(fleet.in_vlan(1, 1));
        stage.until_host(&agent, "vm-000001", Verdict::Down).await?;
        (1..=6).for_each(|station| fleet.kill(fleet.in_vlan(1, station)));
        stage.until(&mut agent, Verdict::Unknown, 5).await?;
        let reason = agent.host("vm-000002").await?.and_then(|host| host.addresses[0].now.reason);
        assert_eq!(reason, Some(Blind::Silent), "{}", stage.log());
        a_while().await;
        assert_eq!(receiver.arrivals().len(), 1, "{:?}", receiver.arrivals());
        // It hears somebody again: who is still silent is down.
        (1..=4).for_each(|station| fleet.revive(fleet.in_vlan(1, station)));
        stage.until(&mut agent, Verdict::Up, 4).await?;
        stage.until_host(&agent, "vm-000005", Verdict::Down).await?;
        Ok(())
    });
}
