//! `method = "both"`: asked on the link and pinged in turn.

use std::net::IpAddr;

use anyhow::Result;
use rollcall_agent::policy::{Method, Policy};
use rollcall_agent::table::{Table, Writer};
use rollcall_agent::unit::{Blind, Verdict};
use rollcall_agent_ebpf::fleet::Behaviour;
use rollcall_tests::agent::Agent;
use rollcall_tests::fleet::Mode;
use rollcall_tests::population::{self, NETWORK};

use crate::stage::{Stage, a_while, cloud, policy};

/// Every host's IPv4 address as host `ID-0`, its IPv6 address as `ID-1`, all by one method.
fn table(stage: &Stage, method: Method) -> Table {
    table_with(stage, method, true)
}

/// The same, with or without every third MAC.
fn table_with(stage: &Stage, method: Method, all_macs: bool) -> Table {
    let mut writer = Writer::new();
    let policy = writer.policy(Policy { method, ..policy("both") });
    for host in population::hosts(stage.cloud) {
        for (n, address) in [IpAddr::from(host.address), host.v6().into()].into_iter().enumerate() {
            let row = writer.host(&format!("{}-{n}", host.id), &host.name, host.project, host.tags);
            writer.address(row, NETWORK, address, host.mac.filter(|_| all_macs || !host.station.is_multiple_of(3)), policy);
        }
    }
    writer.finish().unwrap()
}

/// Sets or clears a behaviour of some stations.
fn change(stage: &Stage, stations: impl IntoIterator<Item = u32>, flag: u64, on: bool) {
    stations.into_iter().for_each(|station| stage.lab.fleet().change(station, |behaviour| behaviour.with(flag, on)));
}

/// Whether a host was ever anything but pending, unknown and up.
async fn was_suspected(agent: &Agent, id: &str) -> Result<bool> {
    let host = agent.host(id).await?.unwrap();
    Ok(host.addresses[0].changes.iter().any(|event| matches!(event.to, Verdict::Suspect | Verdict::Down)))
}

#[test]
fn what_answers_on_either_layer_is_up_and_what_answers_on_none_is_down() {
    let Some(stage) = Stage::new("both", cloud(20, 5), Mode::Native) else { return };
    stage.play(async {
        let mut agent = stage.agent(None, "").await?;
        // Every third MAC has to be learned.
        stage.push(&agent, &table_with(&stage, Method::Both, false)).await?;
        stage.until(&mut agent, Verdict::Up, 50).await?;
        change(&stage, 1..=5, Behaviour::ICMP_FILTERED, true);
        change(&stage, 6..=10, Behaviour::NEIGHBOUR_FILTERED, true);
        a_while().await;
        stage.until(&mut agent, Verdict::Up, 50).await?;
        for id in (1..=10).flat_map(|station| [0, 1].map(|n| format!("vm-{station:06}-{n}"))) {
            assert!(!was_suspected(&agent, &id).await?, "{id}: the layer that answers speaks for it");
        }
        // One of each kind dies, and one behind the gateway, which is only pinged; two filters together are a death as well.
        let dead = [1, 6, 11, 21];
        dead.iter().for_each(|station| stage.lab.fleet().kill(*station));
        change(&stage, [2], Behaviour::NEIGHBOUR_FILTERED, true);
        stage.until(&mut agent, Verdict::Down, 10).await?;
        for id in ["vm-000001", "vm-000002", "vm-000006", "vm-000011", "rt-000001"] {
            for n in [0, 1] {
                stage.until_host(&agent, &format!("{id}-{n}"), Verdict::Down).await?;
            }
        }
        dead.iter().for_each(|station| stage.lab.fleet().revive(*station));
        change(&stage, [2], Behaviour::ICMP_FILTERED, false);
        stage.until(&mut agent, Verdict::Up, 50).await?;
        Ok(())
    });
}

#[test]
fn hosts_on_another_prefix_are_pinged_through_the_gateway_and_asked_directly() {
    let Some(stage) = Stage::new("both-far", cloud(12, 0), Mode::Native) else { return };
    let agent = stage.lab.agent();
    for change in [
        &["address", "add", "10.128.0.1/24", "dev", "rc-agent"][..],
        &["address", "del", "10.128.0.1/9", "dev", "rc-agent"],
        &["route", "replace", "default", "via", "10.128.0.2"],
    ] {
        agent.ip(change.iter().copied()).unwrap();
    }
    stage.play(async {
        let mut agent = stage.agent(None, "").await?;
        let rows = stage.table_with(12, 0, |_, policy| policy.method = Method::Both);
        stage.push(&agent, &rows).await?;
        stage.until(&mut agent, Verdict::Up, 12).await?;
        change(&stage, 1..=4, Behaviour::NEIGHBOUR_FILTERED, true);
        a_while().await;
        stage.until(&mut agent, Verdict::Up, 12).await?;
        // Who is known by its pings alone cannot be told from the dead without the gateway; the others need none.
        stage.lab.fleet().kill(0);
        stage.until(&mut agent, Verdict::Unknown, 4).await?;
        let host = stage.until_host(&agent, "vm-000001", Verdict::Unknown).await?;
        assert_eq!(host.addresses[0].now.reason, Some(Blind::NoGateway));
        a_while().await;
        stage.until(&mut agent, Verdict::Up, 8).await?;
        assert!(!was_suspected(&agent, "vm-000009").await?);
        stage.lab.fleet().revive(0);
        stage.until(&mut agent, Verdict::Up, 12).await?;
        stage.lab.fleet().kill(1);
        stage.lab.fleet().kill(9);
        stage.until(&mut agent, Verdict::Down, 2).await?;
        Ok(())
    });
}

#[test]
fn policy_may_ask_then_do_both_then_ping() {
    let Some(stage) = Stage::new("both-change", cloud(20, 0), Mode::Native) else { return };
    stage.play(async {
        let mut agent = stage.agent(None, "").await?;
        stage.push(&agent, &table(&stage, Method::Arp)).await?;
        stage.until(&mut agent, Verdict::Up, 40).await?;
        change(&stage, 1..=2, Behaviour::ICMP_FILTERED, true);
        stage.push(&agent, &table(&stage, Method::Both).with_generation(2)).await?;
        a_while().await;
        stage.until(&mut agent, Verdict::Up, 40).await?;
        stage.push(&agent, &table(&stage, Method::Icmp).with_generation(3)).await?;
        stage.until(&mut agent, Verdict::Down, 4).await?;
        stage.push(&agent, &table(&stage, Method::Both).with_generation(4)).await?;
        stage.until(&mut agent, Verdict::Up, 40).await?;
        stage.push(&agent, &table(&stage, Method::Arp).with_generation(5)).await?;
        a_while().await;
        stage.until(&mut agent, Verdict::Up, 40).await?;
        Ok(())
    });
}

#[test]
fn without_an_address_to_ping_from_the_questions_are_what_counts() {
    let Some(stage) = Stage::new("both-source", cloud(6, 0), Mode::Native) else { return };
    stage.lab.agent().ip(["-6", "address", "flush", "dev", "rc-agent"]).unwrap();
    stage.play(async {
        let mut agent = stage.agent(None, "").await?;
        stage.push(&agent, &table(&stage, Method::Both)).await?;
        stage.until(&mut agent, Verdict::Up, 12).await?;
        change(&stage, [1], Behaviour::NEIGHBOUR_FILTERED, true);
        change(&stage, [2], Behaviour::ICMP_FILTERED, true);
        stage.until_host(&agent, "vm-000001-1", Verdict::Down).await?;
        a_while().await;
        stage.until(&mut agent, Verdict::Up, 11).await?;
        Ok(())
    });
}
