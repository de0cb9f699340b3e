//! IPv6: neighbour discovery and ICMPv6 echo, on the link and behind the gateway.

use std::net::IpAddr;

use rollcall_agent::policy::{Method, Policy};
use rollcall_agent::table::{Table, Writer};
use rollcall_agent::unit::{Blind, Mac, Verdict};
use rollcall_agent_ebpf::fleet::Behaviour;
use rollcall_tests::fleet::Mode;
use rollcall_tests::population::{self, Host, NETWORK};

use crate::stage::{Stage, cloud, policy};

/// Each host with the addresses that the question names, and how they are probed.
fn table(stage: &Stage, of: impl Fn(&Host) -> Vec<(IpAddr, Option<Mac>, Method)>) -> Table {
    let mut writer = Writer::new();
    let near = writer.policy(policy("neighbour"));
    let echo = writer.policy(Policy { method: Method::Icmp, ..policy("echo") });
    for host in population::hosts(stage.cloud) {
        for (n, (address, mac, method)) in of(&host).into_iter().enumerate() {
            let id = if n == 0 { host.id.clone() } else { format!("{}-{n}", host.id) };
            let row = writer.host(&id, &host.name, host.project, host.tags);
            writer.address(row, NETWORK, address, mac, if method == Method::Arp { near } else { echo });
        }
    }
    writer.finish().unwrap()
}

#[test]
fn both_methods_and_both_families_side_by_side() {
    let Some(stage) = Stage::new("v6", cloud(40, 10), Mode::Native) else { return };
    stage.play(async {
        let mut agent = stage.agent(None, "").await?;
        let rows = table(&stage, |host| match host.mac {
            Some(mac) if host.station % 4 == 0 => {
                vec![(host.v6().into(), Some(mac), Method::Icmp), (host.address.into(), Some(mac), Method::Arp)]
            }
            Some(mac) if host.station % 4 == 1 => vec![(host.link_local().into(), Some(mac), Method::Arp)],
            Some(mac) if host.station % 4 == 2 => vec![(host.link_local().into(), Some(mac), Method::Icmp)],
            Some(mac) => vec![(host.v6().into(), Some(mac), Method::Arp)],
            None => vec![(host.v6().into(), None, Method::Icmp)],
        });
        stage.push(&agent, &rows).await?;
        stage.until(&mut agent, Verdict::Up, 60).await?;
        let metrics = agent.get("/metrics").await?.1;
        assert!(metrics.lines().filter(|line| line.starts_with("rollcall_misses_total")).all(|line| line.ends_with(" 0")), "{metrics}");
        // vm-000004 has two addresses here, 5 is asked for its link-local one, 6 pinged there; rt-000003 lies behind the gateway.
        let fleet = stage.lab.fleet();
        for station in [4, 5, 6, 43] {
            fleet.kill(station);
        }
        stage.until(&mut agent, Verdict::Down, 5).await?;
        for id in ["vm-000004", "vm-000004-1", "vm-000005", "vm-000006", "rt-000003"] {
            stage.until_host(&agent, id, Verdict::Down).await?;
        }
        // A security group that drops ICMP silences echo, not neighbour discovery.
        fleet.change(8, |behaviour| behaviour.with(Behaviour::ICMP_FILTERED, true));
        stage.until_host(&agent, "vm-000008", Verdict::Down).await?;
        stage.until_host(&agent, "vm-000008-1", Verdict::Up).await?;
        for station in [4, 5, 6, 43] {
            fleet.revive(station);
        }
        stage.until(&mut agent, Verdict::Down, 1).await?;
        Ok(())
    });
}

#[test]
fn method_auto_asks_on_the_link_and_pings_behind_the_gateway() {
    let Some(stage) = Stage::new("auto", cloud(20, 10), Mode::Native) else { return };
    stage.play(async {
        let mut agent = stage.agent(None, "").await?;
        let mut writer = Writer::new();
        let auto = writer.policy(Policy { method: Method::Auto, ..policy("auto") });
        for host in population::hosts(stage.cloud) {
            for (n, address) in [IpAddr::from(host.address), host.v6().into()].into_iter().enumerate() {
                let row = writer.host(&format!("{}-{n}", host.id), &host.name, host.project, host.tags);
                // Every third MAC has to be learned.
                writer.address(row, NETWORK, address, host.mac.filter(|_| !host.station.is_multiple_of(3)), auto);
            }
        }
        stage.push(&agent, &writer.finish()?).await?;
        stage.until(&mut agent, Verdict::Up, 60).await?;
        // On the link nobody is pinged: a filter that drops ICMP changes nothing there.
        let fleet = stage.lab.fleet();
        (1..=30).for_each(|station| fleet.change(station, |behaviour| behaviour.with(Behaviour::ICMP_FILTERED, true)));
        stage.until(&mut agent, Verdict::Down, 20).await?;
        stage.until_host(&agent, "rt-000001-0", Verdict::Down).await?;
        stage.until_host(&agent, "rt-000001-1", Verdict::Down).await?;
        stage.until(&mut agent, Verdict::Up, 40).await?;
        Ok(())
    });
}

#[test]
fn gateway_that_falls_silent_makes_the_far_hosts_of_both_families_unknown() {
    let Some(stage) = Stage::new("v6-gateway", cloud(5, 10), Mode::Native) else { return };
    stage.play(async {
        let mut agent = stage.agent(None, "").await?;
        let rows = table(&stage, |host| match host.mac {
            Some(mac) => vec![(host.v6().into(), Some(mac), Method::Icmp)],
            None => vec![(host.v6().into(), None, Method::Icmp), (host.address.into(), None, Method::Icmp)],
        });
        stage.push(&agent, &rows).await?;
        stage.until(&mut agent, Verdict::Up, 25).await?;
        stage.lab.fleet().kill(0);
        stage.until(&mut agent, Verdict::Unknown, 20).await?;
        assert_eq!(agent.host("rt-000001").await?.unwrap().addresses[0].now.reason, Some(Blind::NoGateway));
        stage.lab.fleet().revive(0);
        stage.until(&mut agent, Verdict::Up, 25).await?;
        Ok(())
    });
}

#[test]
fn missing_macs_are_learned_by_solicitation_and_anew_from_the_silent() {
    let Some(stage) = Stage::new("v6-learn", cloud(20, 0), Mode::Native) else { return };
    stage.play(async {
        let mut agent = stage.agent(None, "").await?;
        let method = |host: &Host| if host.station.is_multiple_of(2) { Method::Icmp } else { Method::Arp };
        stage.push(&agent, &table(&stage, |host| vec![(host.v6().into(), None, method(host))])).await?;
        stage.until(&mut agent, Verdict::Up, 20).await?;
        let expected = population::hosts(stage.cloud).next().and_then(|host| host.mac).map(|mac| mac.to_string());
        assert_eq!(agent.host("vm-000001").await?.unwrap().addresses[0].now.mac, expected);
        // The address of one that is asked, and of one that is pinged, goes to another machine.
        let before = agent.host("vm-000002").await?.unwrap().addresses[0].now.mac.clone();
        for station in [1, 2] {
            stage.lab.fleet().change(station, |behaviour| behaviour.with(Behaviour::WRONG_MAC, true));
        }
        stage.until_host(&agent, "vm-000001", Verdict::Down).await?;
        let host = stage.until_host(&agent, "vm-000001", Verdict::Up).await?;
        assert_eq!(host.addresses[0].now.mac.as_deref(), Some("02:57:0a:80:01:01"), "{host:?}");
        assert!(stage.log().contains("has another MAC now"), "{}", stage.log());
        // Echo replies are known by what is in them, whichever MAC they come from.
        assert_eq!(agent.host("vm-000002").await?.unwrap().addresses[0].now.mac, before);
        // One that is dead stays down, though a switch answers the question to all in its name.
        stage.lab.fleet().change(3, |behaviour| behaviour.with(Behaviour::PROXIED, true).with(Behaviour::DEAD, true));
        stage.until_host(&agent, "vm-000003", Verdict::Down).await?;
        crate::stage::a_while().await;
        stage.until_host(&agent, "vm-000003", Verdict::Down).await?;
        stage.until(&mut agent, Verdict::Up, 19).await?;
        assert_eq!(stage.lab.agent().ip(["-6", "neigh", "show"])?.trim(), "");
        Ok(())
    });
}

#[test]
fn echo_without_an_address_of_the_agent_is_unknown_and_says_so() {
    let Some(stage) = Stage::new("v6-source", cloud(4, 0), Mode::Native) else { return };
    stage.lab.agent().ip(["-6", "address", "flush", "dev", "rc-agent"]).unwrap();
    stage.play(async {
        let agent = stage.agent(None, "").await?;
        let method = |host: &Host| if host.station.is_multiple_of(2) { Method::Icmp } else { Method::Arp };
        stage.push(&agent, &table(&stage, |host| vec![(host.v6().into(), host.mac, method(host))])).await?;
        stage.until_host(&agent, "vm-000001", Verdict::Up).await?;
        let host = stage.until_host(&agent, "vm-000002", Verdict::Unknown).await?;
        assert_eq!(host.addresses[0].now.reason, Some(Blind::NoSource));
        // Another policy, and back again.
        stage.push(&agent, &table(&stage, |host| vec![(host.v6().into(), host.mac, Method::Arp)]).with_generation(2)).await?;
        stage.until_host(&agent, "vm-000002", Verdict::Up).await?;
        stage.push(&agent, &table(&stage, |host| vec![(host.v6().into(), host.mac, method(host))]).with_generation(3)).await?;
        let host = stage.until_host(&agent, "vm-000002", Verdict::Unknown).await?;
        assert_eq!(host.addresses[0].now.reason, Some(Blind::NoSource));
        stage.until_host(&agent, "vm-000001", Verdict::Up).await?;
        Ok(())
    });
}
