//! Several networks on one interface, told apart by their VLAN tags: the same addresses in each.

use rollcall_agent::policy::{Method, Policy};
use rollcall_agent::table::Writer;
use rollcall_agent::unit::{Blind, Verdict};
use rollcall_tests::fleet::Mode;
use rollcall_tests::population;

use crate::stage::{Stage, cloud, policy};

const HOSTS: u32 = 20;

#[test]
fn same_addresses_in_three_networks_are_judged_each_for_itself() {
    let Some(stage) = Stage::with_vlans("vlan", cloud(HOSTS, 0), 2, Mode::Native) else { return };
    stage.play(async {
        // One tag, two tags, and those without a tag: network `lab`, which every stage has.
        let networks = "[[network]]\nname = \"red\"\ninterface = \"rc-agent\"\nvlan = 101\nsource = \"10.128.0.1\"\non_link = [\"10.128.0.0/9\"]\n\
                        [[network]]\nname = \"blue\"\ninterface = \"rc-agent\"\nvlan = [7, 102]\nsource = \"10.128.0.1\"\non_link = [\"10.128.0.0/9\"]\n";
        let mut agent = stage.agent(None, networks).await?;
        let mut writer = Writer::new();
        let near = writer.policy(policy("near"));
        let echo = writer.policy(Policy { method: Method::Icmp, ..policy("echo") });
        for network in ["lab", "red", "blue"] {
            for host in population::hosts(stage.cloud) {
                let row = writer.host(&format!("{network}-{}", host.station), &host.name, host.project, host.tags);
                let policy = if host.station.is_multiple_of(2) { near } else { echo };
                // Without a MAC from the list for a third of them: the question goes out with the tags too.
                writer.address(row, network, host.address.into(), host.mac.filter(|_| !host.station.is_multiple_of(3)), policy);
            }
            for host in population::hosts(stage.cloud).filter(|host| host.station.is_multiple_of(2)) {
                let row = writer.host(&format!("{network}-six-{}", host.station), &host.name, host.project, host.tags);
                writer.address(row, network, host.v6().into(), host.mac, near);
            }
        }
        stage.push(&agent, &writer.finish()?).await?;
        stage.until(&mut agent, Verdict::Up, 90).await?;
        let fleet = stage.lab.fleet();
        fleet.kill(4);
        fleet.kill(fleet.in_vlan(1, 5));
        fleet.kill(fleet.in_vlan(2, 6));
        stage.until(&mut agent, Verdict::Down, 5).await?;
        for id in ["lab-4", "lab-six-4", "red-5", "blue-6", "blue-six-6"] {
            stage.until_host(&agent, id, Verdict::Down).await?;
        }
        let metrics = agent.get("/metrics").await?.1;
        for (network, down) in [("lab", 2), ("red", 1), ("blue", 2)] {
            let of = |line: &&str| line.starts_with("rollcall_addresses{") && line.contains(&format!("network=\"{network}\""));
            let lines = metrics.lines().filter(of).filter(|line| line.contains("verdict=\"down\""));
            let sum: u64 = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum();
            assert_eq!(sum, down, "{network}: {metrics}");
        }
        // An address names no host where several have it.
        let (status, text) = agent.get("/v1/hosts/10.128.1.1").await?;
        assert_eq!(status, 409, "{text}");
        assert!(["blue-1", "lab-1", "red-1"].iter().all(|id| text.contains(id)), "{text}");
        // A whole network goes dark: nobody else's verdict turns.
        (1..=HOSTS).for_each(|station| fleet.kill(fleet.in_vlan(1, station)));
        stage.until(&mut agent, Verdict::Down, 5 + 19 + 10).await?;
        (1..=HOSTS).for_each(|station| fleet.revive(fleet.in_vlan(1, station)));
        stage.until(&mut agent, Verdict::Down, 4).await?;
        Ok(())
    });
}

#[test]
fn tagged_network_without_a_source_asks_neighbours_and_cannot_ping() {
    let Some(stage) = Stage::with_vlans("vlan-source", cloud(4, 0), 1, Mode::Native) else { return };
    stage.play(async {
        let agent = stage.agent(None, "[[network]]\nname = \"red\"\ninterface = \"rc-agent\"\nvlan = 101\n").await?;
        let mut writer = Writer::new();
        let near = writer.policy(policy("near"));
        let echo = writer.policy(Policy { method: Method::Icmp, ..policy("echo") });
        for host in population::hosts(stage.cloud) {
            let row = writer.host(&host.id, &host.name, host.project, host.tags);
            writer.address(row, "red", host.address.into(), host.mac, if host.station == 1 { echo } else { near });
        }
        stage.push(&agent, &writer.finish()?).await?;
        let host = stage.until_host(&agent, "vm-000001", Verdict::Unknown).await?;
        assert_eq!(host.addresses[0].now.reason, Some(Blind::NoSource));
        stage.until_host(&agent, "vm-000002", Verdict::Up).await?;
        Ok(())
    });
}

#[test]
fn driver_that_takes_tags_out_is_noticed_and_no_network_of_its_interface_is_heard_by_xdp() {
    // The driver of a veth says of itself that it does, and nothing in this lab tells it not to.
    let Some(stage) = Stage::new("vlan-hidden", cloud(4, 0), Mode::Generic) else { return };
    stage.play(async {
        let red = "[[network]]\nname = \"red\"\ninterface = \"rc-agent\"\nvlan = 101\n";
        let has_program = crate::RECEIVE != "socket";
        if has_program {
            let wish = if crate::RECEIVE == "auto" { "native" } else { crate::RECEIVE };
            let refused = stage.agent(None, &format!("receive = \"{wish}\"\n{red}")).await.err().map(|error| format!("{error:#}"));
            let text = refused.unwrap_or_default() + &stage.log();
            assert!(text.contains("takes VLAN tags out") && text.contains("ethtool -K rc-agent rxvlan off"), "{text}");
        }
        let wish = if has_program { "auto" } else { crate::RECEIVE };
        let mut agent = stage.agent(None, &format!("receive = \"{wish}\"\n{red}")).await?;
        assert_eq!(stage.log().contains("ethtool -K rc-agent rxvlan off"), has_program, "{}", stage.log());
        let metrics = agent.get("/metrics").await?.1;
        for network in ["lab", "red"] {
            let line = metrics
                .lines()
                .find(|line| line.starts_with("rollcall_datapath_info{") && line.contains(&format!("network=\"{network}\"")));
            assert!(line.is_some_and(|line| line.contains("receive=\"socket\"")), "{network}: {metrics}");
        }
        stage.push(&agent, &stage.table(4, 0)).await?;
        stage.until(&mut agent, Verdict::Up, 4).await
    });
}
