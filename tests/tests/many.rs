//! One agent and 64 networks of 1,000 addresses, the same ones in each, in as many network namespaces.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rollcall_agent::policy::{Method, Policy};
use rollcall_agent::table::Writer;
use rollcall_agent_ebpf::fleet::Cloud;
use rollcall_tests::agent::Agent;
use rollcall_tests::fleet::Mode;
use rollcall_tests::lab::{AGENT_INTERFACE, Lab};
use rollcall_tests::population;
use rollcall_tests::webhook::Receiver;

const NETWORKS: usize = 64;
const HOSTS: u32 = 1_000;
const CLOUD: Cloud = Cloud { on_link: HOSTS, routed: 0 };
const PATIENCE: Duration = Duration::from_secs(120);
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9798);

fn name(network: usize) -> String {
    format!("tenant-{network}")
}

/// Addresses by network and verdict, as the metrics have them.
async fn verdicts(agent: &Agent) -> Result<BTreeMap<(String, String), u64>> {
    let metrics = agent.get("/metrics").await?.1;
    let mut sums = BTreeMap::new();
    for line in metrics.lines().filter(|line| line.starts_with("rollcall_addresses{")) {
        let label = |name: &str| {
            line.split_once(&format!("{name}=\"")).and_then(|(_, rest)| rest.split_once('"')).map(|(value, _)| value.to_owned())
        };
        if let (Some(network), Some(verdict), Some(count)) = (label("network"), label("verdict"), line.rsplit(' ').next()) {
            *sums.entry((network, verdict)).or_default() += count.parse::<u64>()?;
        }
    }
    Ok(sums)
}

/// Waits until exactly the hosts of these networks are down and all others up; nobody else may be down meanwhile.
async fn until_dark(agent: &Agent, dark: &[usize], may_be: &[usize], log: &std::path::Path) -> Result<()> {
    let began = Instant::now();
    loop {
        let verdicts = verdicts(agent).await?;
        let count = |network: usize, verdict: &str| verdicts.get(&(name(network), verdict.to_owned())).copied().unwrap_or_default();
        for network in (0..NETWORKS).filter(|network| !dark.contains(network) && !may_be.contains(network)) {
            ensure!(count(network, "down") == 0, "{} has hosts down that are well: {}", name(network), fs::read_to_string(log)?);
        }
        let right = |network: usize| count(network, if dark.contains(&network) { "down" } else { "up" }) == u64::from(HOSTS);
        if (0..NETWORKS).all(right) {
            return Ok(());
        }
        ensure!(began.elapsed() < PATIENCE, "dark: {dark:?}, the agent says {verdicts:?}\n{}", fs::read_to_string(log)?);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[test]
fn whole_networks_of_sixty_four_go_dark_and_come_back_and_no_other_verdict_turns() {
    if !nix::unistd::geteuid().is_root() {
        println!(
            "SKIPPED: whole_networks_of_sixty_four_go_dark_and_come_back_and_no_other_verdict_turns: network namespaces and XDP need root"
        );
        return;
    }
    let labs: Vec<Lab> = (0..NETWORKS).map(|network| Lab::scratch(&format!("many-{network}"), CLOUD, Mode::Native).unwrap()).collect();
    let folder = tempfile::tempdir().unwrap();
    let home = labs[0].agent();
    let mut settings = format!("listen = \"{LISTEN}\"\nstate_directory = {:?}\n", folder.path().join("state"));
    let mut writer = Writer::new();
    let policy = writer.policy(Policy {
        name: "near".into(),
        interval: Duration::from_secs(2),
        timeout: Duration::from_millis(500),
        confirm_interval: Duration::from_millis(300),
        down_after: 3,
        down_of: 3,
        up_after: 2,
        up_of: 2,
        method: Method::Arp,
        alarm: vec!["oncall".into()],
    });
    for (network, lab) in labs.iter().enumerate() {
        let agent = lab.agent();
        // Interfaces of all labs have one number and one MAC; so each gets its own.
        agent.ip(["link", "set", AGENT_INTERFACE, "address", &format!("02:52:00:00:99:{network:02x}")]).unwrap();
        let namespace = agent.name();
        writeln!(settings, "[[network]]\nname = \"{}\"\ninterface = \"{AGENT_INTERFACE}\"\nnamespace = \"{namespace}\"", name(network))
            .unwrap();
        for host in population::hosts(CLOUD) {
            let row = writer.host(&format!("{}-{}", name(network), host.station), &host.name, host.project, host.tags);
            writer.address(row, &name(network), host.address.into(), host.mac, policy);
        }
    }
    let (config, log) = (folder.path().join("agent.toml"), folder.path().join("agent.log"));
    let table = writer.finish().unwrap();
    home.block_on(async {
        let receiver = Receiver::start().await?;
        writeln!(settings, "[[route]]\nname = \"oncall\"\ntype = \"webhook\"\nurl = \"{}\"", receiver.url())?;
        fs::write(&config, settings)?;
        let agent = Agent::start(&home, &config, LISTEN, &log).await?;
        agent.push(&table).await?;
        until_dark(&agent, &[], &[], &log).await?;
        let dark = [0, 7, 63];
        let all = |network: usize, dead: bool| {
            (1..=HOSTS).for_each(|station| if dead { labs[network].fleet().kill(station) } else { labs[network].fleet().revive(station) })
        };
        dark.iter().for_each(|network| all(*network, true));
        until_dark(&agent, &dark, &[], &log).await?;
        // Two come back while two others go.
        all(7, false);
        all(63, false);
        all(20, true);
        all(21, true);
        until_dark(&agent, &[0, 20, 21], &[7, 63], &log).await?;
        [0, 20, 21].iter().for_each(|network| all(*network, false));
        until_dark(&agent, &[], &[0, 20, 21], &log).await?;
        let arrivals = receiver.arrivals();
        let told: BTreeSet<String> = arrivals.iter().map(|arrival| arrival.alarm.network.clone()).collect();
        ensure!(told == [0, 7, 20, 21, 63].map(name).into(), "told of other networks than those that went dark: {arrivals:?}");
        ensure!(receiver.of_agent().is_empty(), "the agent says that it does not see: {:?}", receiver.of_agent());
        let status = agent.status().await?;
        println!(
            "{} networks, {} addresses, {} probes, {} misses, {} void",
            NETWORKS,
            table.len(),
            status.probes_sent,
            status.misses,
            status.voids
        );
        Ok(())
    })
    .unwrap();
}
