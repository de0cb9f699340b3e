//! Conflicts: another station answers for an address. The verdict goes on from the expected MAC, and the conflict is told.

use rollcall_agent::policy::Method;
use rollcall_agent::table::Writer;
use rollcall_agent::unit::{Mac, Verdict};
use rollcall_agent_ebpf::fleet::{Behaviour, wrong_mac};
use rollcall_tests::fleet::Mode;
use rollcall_tests::population::{self, NETWORK};
use rollcall_tests::webhook::Receiver;

use crate::stage::{PATIENCE, Stage, a_while, cloud, policy};

#[test]
fn second_owner_is_told_as_a_conflict_unless_the_list_allows_it() {
    let Some(stage) = Stage::new("conflict", cloud(6, 0), Mode::Native) else { return };
    stage.play(async {
        let receiver = Receiver::start().await?;
        let mut agent = stage.agent(Some(&receiver), "").await?;
        let mut writer = Writer::new();
        let near = writer.policy(policy("near"));
        let echo = writer.policy(rollcall_agent::policy::Policy { method: Method::Icmp, ..policy("echo") });
        for host in population::hosts(stage.cloud) {
            let address = host.address.octets();
            // Host 2 shares its address with whoever has that MAC.
            let shared = format!("allowed-mac={}", Mac(wrong_mac(address)));
            let tags: &[&str] = if host.station == 2 { &[&shared] } else { &host.tags };
            let row = writer.host(&host.id, &host.name, host.project, tags.iter().copied());
            writer.address(row, NETWORK, host.address.into(), host.mac, if host.station == 3 { echo } else { near });
        }
        stage.push(&agent, &writer.finish()?).await?;
        stage.until(&mut agent, Verdict::Up, 6).await?;
        let fleet = stage.lab.fleet();
        for station in [1, 2] {
            fleet.change(station, |behaviour| behaviour.with(Behaviour::WRONG_MAC, true));
        }
        // What answers is not the host: that is down, and somebody else is there.
        stage.until(&mut agent, Verdict::Down, 2).await?;
        receiver.beyond(2, PATIENCE).await;
        let arrivals = receiver.arrivals();
        let mut told: Vec<(String, String)> =
            arrivals.iter().map(|arrival| (arrival.alarm.kind.clone(), arrival.alarm.host.id.clone())).collect();
        told.sort();
        let wanted = [("conflict", "vm-000001"), ("down", "vm-000001"), ("down", "vm-000002")];
        assert_eq!(told, wanted.map(|(kind, id)| (kind.to_owned(), id.to_owned())), "{}", stage.log());
        let host = agent.host("vm-000001").await?.unwrap();
        assert_eq!(host.addresses[0].now.conditions.to_string(), "conflict");
        a_while().await;
        assert_eq!(receiver.arrivals().len(), 3);
        Ok(())
    });
}

#[test]
fn census_finds_a_second_owner_that_unicast_questions_do_not_reach() {
    let Some(stage) = Stage::new("census", cloud(6, 0), Mode::Native) else { return };
    stage.play(async {
        let receiver = Receiver::start().await?;
        let mut agent = stage.agent_with(Some(&receiver), "", "conflict_check = \"2s\"\n").await?;
        stage.push(&agent, &stage.table(6, 0)).await?;
        stage.until(&mut agent, Verdict::Up, 6).await?;
        for station in [1, 4] {
            stage.lab.fleet().change(station, |behaviour| behaviour.with(Behaviour::SECOND_OWNER, true));
        }
        receiver.beyond(1, PATIENCE).await;
        let arrivals = receiver.arrivals();
        assert!(arrivals.iter().all(|arrival| arrival.alarm.kind == "conflict"), "{arrivals:?}");
        assert_eq!(arrivals.len(), 2, "{}", stage.log());
        // They answer all the while: nobody is down.
        assert_eq!(agent.status().await?.verdicts["up"], 6);
        Ok(())
    });
}
