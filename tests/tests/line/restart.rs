//! Restarts: what was known is known again, what was told is not told again.

use rollcall_agent::policy::{Method, Policy};
use rollcall_agent::table::Writer;
use rollcall_agent::unit::Verdict;
use rollcall_tests::fleet::Mode;
use rollcall_tests::lab::{AGENT_INTERFACE, Lab};
use rollcall_tests::population::{self, NETWORK};
use rollcall_tests::webhook::Receiver;

use crate::stage::{PATIENCE, Stage, a_while, cloud, policy};

#[test]
fn kill_9_forgets_no_alarm_and_tells_none_twice() {
    let Some(stage) = Stage::new("kill9", cloud(20, 0), Mode::Native) else { return };
    stage.play(async {
        let receiver = Receiver::start().await?;
        let mut agent = stage.agent(Some(&receiver), "").await?;
        stage.push(&agent, &stage.table(20, 0)).await?;
        stage.until(&mut agent, Verdict::Up, 20).await?;
        stage.lab.fleet().kill(1);
        stage.lab.fleet().kill(2);
        receiver.beyond(1, PATIENCE).await;
        stage.until_taken(&agent).await?;
        let since = agent.host("vm-000001").await?.unwrap().addresses[0].now.since.clone();
        agent.crash().await?;
        assert_eq!(Lab::xdp_mode(&stage.lab.agent(), AGENT_INTERFACE)?, None, "a crash leaves no program behind");

        // While nobody watches: one comes back, another dies.
        stage.lab.fleet().revive(2);
        stage.lab.fleet().kill(3);
        let mut agent = stage.agent(Some(&receiver), "").await?;
        let status = agent.status().await?;
        assert_eq!((status.addresses, status.generation, status.alarms_firing), (20, 1, 2), "table and alarms are known again");
        stage.until(&mut agent, Verdict::Up, 18).await?;
        stage.until(&mut agent, Verdict::Down, 2).await?;
        let host = agent.host("vm-000001").await?.unwrap();
        assert_eq!(host.addresses[0].now.since, since, "still down since then");
        a_while().await;
        let mut told: Vec<_> = receiver.arrivals().into_iter().map(|arrival| (arrival.alarm.host.id, arrival.alarm.status)).collect();
        told.sort();
        let expected = [("vm-000001", "firing"), ("vm-000002", "firing"), ("vm-000002", "resolved"), ("vm-000003", "firing")];
        assert_eq!(told, expected.map(|(id, status)| (id.to_owned(), status.to_owned())));
        Ok(())
    });
}

#[test]
fn sigterm_ends_cleanly_and_the_next_start_goes_on_where_it_was() {
    let Some(stage) = Stage::new("term", cloud(20, 0), Mode::Native) else { return };
    stage.play(async {
        let receiver = Receiver::start().await?;
        let mut agent = stage.agent(Some(&receiver), "").await?;
        stage.push(&agent, &stage.table(20, 0)).await?;
        stage.until(&mut agent, Verdict::Up, 20).await?;
        stage.stop(&agent, &["vm-000009"]).await?;
        let since = agent.host("vm-000005").await?.unwrap().addresses[0].now.since.clone();
        let (status, took) = agent.terminate().await?;
        println!("ended within {took:?}");
        assert!(status.success(), "{status}: {}", stage.log());
        assert_eq!(Lab::xdp_mode(&stage.lab.agent(), AGENT_INTERFACE)?, None, "the program is detached");
        let agent = stage.agent(Some(&receiver), "").await?;
        let host = agent.host("vm-000005").await?.unwrap();
        assert_eq!((host.addresses[0].now.verdict, &host.addresses[0].now.since), (Verdict::Up, &since));
        assert!(agent.host("vm-000009").await?.is_none(), "a stopped host does not rise with the restart");
        assert_eq!(agent.status().await?.generation, 2);
        Ok(())
    });
}

#[test]
fn host_stopped_while_its_alarm_fires_is_not_told_after_a_crash() {
    let Some(stage) = Stage::new("crash", cloud(5, 0), Mode::Native) else { return };
    stage.play(async {
        let receiver = Receiver::start().await?;
        let mut agent = stage.agent(Some(&receiver), "").await?;
        stage.push(&agent, &stage.table(5, 0)).await?;
        stage.until(&mut agent, Verdict::Up, 5).await?;
        stage.lab.fleet().kill(1);
        receiver.beyond(0, PATIENCE).await;
        stage.stop(&agent, &["vm-000001"]).await?;
        agent.crash().await?;
        let agent = stage.agent(Some(&receiver), "").await?;
        a_while().await;
        assert_eq!(agent.status().await?.alarms_firing, 0);
        let told: Vec<_> = receiver.arrivals().into_iter().map(|arrival| arrival.alarm.status).collect();
        assert_eq!(told.iter().filter(|status| *status == "firing").count(), 1, "{told:?}");
        assert!(told[1..].iter().all(|status| status == "forgotten"), "{told:?}");
        Ok(())
    });
}

#[test]
fn host_without_a_mac_in_the_list_that_dies_while_nobody_watches_is_told_after_the_restart() {
    let Some(stage) = Stage::new("learned", cloud(20, 0), Mode::Native) else { return };
    stage.play(async {
        let receiver = Receiver::start().await?;
        let mut agent = stage.agent(Some(&receiver), "").await?;
        let mut writer = Writer::new();
        let near = writer.policy(policy("near"));
        let echo = writer.policy(Policy { method: Method::Icmp, ..policy("echo") });
        for host in population::hosts(stage.cloud) {
            let row = writer.host(&host.id, &host.name, host.project, host.tags);
            writer.address(row, NETWORK, host.address.into(), None, if host.station.is_multiple_of(2) { echo } else { near });
        }
        stage.push(&agent, &writer.finish()?).await?;
        stage.until(&mut agent, Verdict::Up, 20).await?;
        let mac = agent.host("vm-000001").await?.unwrap().addresses[0].now.mac.clone();
        agent.terminate().await?;
        // Nobody answers a question for their MACs any more.
        (1..=4).for_each(|station| stage.lab.fleet().kill(station));
        let mut agent = stage.agent(Some(&receiver), "").await?;
        stage.until(&mut agent, Verdict::Down, 4).await?;
        stage.until(&mut agent, Verdict::Up, 16).await?;
        assert_eq!(agent.host("vm-000001").await?.unwrap().addresses[0].now.mac, mac);
        receiver.beyond(3, PATIENCE).await;
        // And once more, down as they are.
        agent.terminate().await?;
        let mut agent = stage.agent(Some(&receiver), "").await?;
        stage.until(&mut agent, Verdict::Down, 4).await?;
        (1..=4).for_each(|station| stage.lab.fleet().revive(station));
        stage.until(&mut agent, Verdict::Up, 20).await
    });
}
