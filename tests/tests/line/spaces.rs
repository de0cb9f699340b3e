//! Networks in network namespaces: one agent, the same addresses in each, namespaces and interfaces that come and go.

use std::fs;
use std::time::Duration;

use anyhow::Result;
use rollcall_agent::policy::{Method, Policy};
use rollcall_agent::table::{Table, Writer};
use rollcall_agent::unit::Verdict;
use rollcall_tests::agent::Agent;
use rollcall_tests::fleet::Mode;
use rollcall_tests::lab::AGENT_INTERFACE;
use rollcall_tests::population::{self, NETWORK};
use rollcall_tests::webhook::Receiver;

use crate::stage::{Stage, a_while, cloud, policy};

const HOSTS: u32 = 20;

/// Every host of both labs, under the same address.
fn table(stage: &Stage) -> Table {
    let mut writer = Writer::new();
    let near = writer.policy(policy("near"));
    let echo = writer.policy(Policy { method: Method::Icmp, ..policy("echo") });
    for network in [NETWORK, "far"] {
        for host in population::hosts(stage.cloud) {
            let row = writer.host(&format!("{network}-{}", host.station), &host.name, host.project, host.tags);
            let policy = if host.station.is_multiple_of(2) { near } else { echo };
            writer.address(row, network, host.address.into(), host.mac, policy);
        }
    }
    writer.finish().unwrap()
}

#[test]
fn same_addresses_in_two_namespaces_are_two_addresses() {
    let Some(stage) = Stage::new("space", cloud(HOSTS, 0), Mode::Native) else { return };
    let Some(other) = Stage::new("space-far", cloud(HOSTS, 0), Mode::Native) else { return };
    // Labs are alike to the interface's number; the MAC tells them apart.
    let far = other.lab.agent();
    far.ip(["link", "set", AGENT_INTERFACE, "address", "02:52:00:00:77:01"]).unwrap();
    stage.play(async {
        let receiver = Receiver::start().await?;
        let settings = format!("[[network]]\nname = \"far\"\ninterface = \"{AGENT_INTERFACE}\"\nnamespace = \"{}\"\n", far.name());
        let mut agent = stage.agent(Some(&receiver), &settings).await?;
        stage.push(&agent, &table(&stage)).await?;
        stage.until(&mut agent, Verdict::Up, 2 * u64::from(HOSTS)).await?;
        let receive: Vec<String> = agent.status().await?.networks.into_iter().map(|network| network.receive).collect();
        let wanted = if crate::RECEIVE == "socket" { "socket" } else { "xdp-native" };
        assert_eq!(receive, [wanted, wanted], "{}", stage.log());
        other.lab.fleet().kill(3);
        stage.lab.fleet().kill(4);
        stage.until(&mut agent, Verdict::Down, 2).await?;
        stage.until_host(&agent, "far-3", Verdict::Down).await?;
        stage.until_host(&agent, &format!("{NETWORK}-4"), Verdict::Down).await?;
        // A whole namespace goes dark: nobody else's verdict turns.
        (1..=HOSTS).for_each(|station| other.lab.fleet().kill(station));
        stage.until(&mut agent, Verdict::Down, u64::from(HOSTS) + 1).await?;
        (1..=HOSTS).for_each(|station| other.lab.fleet().revive(station));
        stage.lab.fleet().revive(4);
        stage.until(&mut agent, Verdict::Up, 2 * u64::from(HOSTS)).await?;
        Ok(())
    });
}

#[test]
fn interfaces_that_cannot_be_told_apart_in_the_driver_are_told_apart_by_sockets() {
    // The network that comes second in the configuration: without an XDP program at the agent's end its fleet must answer in the
    // generic path.
    let Some(stage) = Stage::choosing("twin", cloud(HOSTS, 0)) else { return };
    let Some(mut other) = Stage::new("twin-far", cloud(HOSTS, 0), Mode::Generic) else { return };
    let far = other.lab.agent();
    stage.play(async {
        let second = format!("[[network]]\nname = \"far\"\ninterface = \"{AGENT_INTERFACE}\"\nnamespace = \"{}\"\n", far.name());
        let mut agent = stage.agent_with(None, "", &second).await?;
        stage.push(&agent, &table(&stage)).await?;
        stage.until(&mut agent, Verdict::Up, 2 * u64::from(HOSTS)).await?;
        assert_eq!(agent.status().await?.networks[1].receive, "socket", "{}", stage.log());
        if crate::RECEIVE != "socket" {
            assert!(stage.log().contains("give one of them another MAC"), "{}", stage.log());
        }
        other.lab.fleet().kill(3);
        stage.until(&mut agent, Verdict::Down, 1).await?;
        stage.until_host(&agent, "far-3", Verdict::Down).await?;
        // Who hears for the sockets began while the first of them was opened, over there.
        let inode = nix::sys::stat::stat(&far.path())?.st_ino;
        other.lab.demolish()?;
        until_let_go(&stage, &agent, inode).await
    });
}

/// How long the kernel may take to clean a namespace up: one after the other, and tests beside this one make many.
const CLEANUP: Duration = Duration::from_secs(180);

#[test]
fn namespace_that_comes_later_is_taken_up_and_one_that_goes_is_let_go() {
    let Some(stage) = Stage::new("later", cloud(HOSTS, 0), Mode::Native) else { return };
    let name = format!("rollcall-later-far-{}", std::process::id());
    stage.play(async {
        let receiver = Receiver::start().await?;
        let settings = format!("[[network]]\nname = \"far\"\ninterface = \"{AGENT_INTERFACE}\"\nnamespace = \"{name}\"\n");
        let mut agent = stage.agent(Some(&receiver), &settings).await?;
        stage.push(&agent, &table(&stage)).await?;
        stage.until(&mut agent, Verdict::Up, HOSTS.into()).await?;
        stage.until(&mut agent, Verdict::Unknown, HOSTS.into()).await?;
        let Some(mut other) = Stage::new("later-far", cloud(HOSTS, 0), Mode::Native) else { return Ok(()) };
        let far = other.lab.agent();
        assert_eq!(far.name(), name);
        far.ip(["link", "set", AGENT_INTERFACE, "address", "02:52:00:00:77:02"])?;
        stage.until(&mut agent, Verdict::Up, 2 * u64::from(HOSTS)).await.map_err(|error| error.context("it never came"))?;
        // A pair of interfaces ends with the namespace of either: as long as anything keeps that, the one that is here shows it.
        let here = stage.lab.agent();
        far.ip(["link", "add", "rc-there", "type", "veth", "peer", "name", "rc-here", "netns", here.name()])?;
        // The lab goes, with its namespace: nothing of the agent's keeps it.
        let inode = nix::sys::stat::stat(&far.path())?.st_ino;
        other.lab.demolish()?;
        stage.until(&mut agent, Verdict::Unknown, HOSTS.into()).await?;
        until_let_go(&stage, &agent, inode).await?;
        let began = std::time::Instant::now();
        while here.ip(["link", "show", "dev", "rc-here"]).is_ok() {
            assert!(began.elapsed() < CLEANUP, "the namespace is kept: its end of a pair is there\n{}", stage.log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        a_while().await;
        assert_eq!(receiver.arrivals().len(), 0, "{:?}", receiver.arrivals().first());
        Ok(())
    });
}

/// Waits until the agent keeps a network namespace no more.
async fn until_let_go(stage: &Stage, agent: &Agent, inode: u64) -> Result<()> {
    let began = std::time::Instant::now();
    while in_use(agent.pid(), inode) {
        assert!(began.elapsed() < Duration::from_secs(30), "the agent keeps the namespace\n{}", stage.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Whether a process has a network namespace open, or a thread in it.
fn in_use(pid: i32, inode: u64) -> bool {
    let entries = |folder: &str| fs::read_dir(format!("/proc/{pid}/{folder}")).into_iter().flatten().flatten().map(|entry| entry.path());
    let (open, threads) = (entries("fd"), entries("task").map(|task| task.join("ns/net")));
    // Both are links that lead to the namespace's own inode.
    open.chain(threads).any(|link| fs::metadata(link).is_ok_and(|metadata| std::os::unix::fs::MetadataExt::ino(&metadata) == inode))
}
