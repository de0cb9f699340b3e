//! A receiver that answers pass by while sockets hear them: its gateway must not vouch for it.

use anyhow::{Context, Result};
use aya::maps::{Array, Map, MapData, MapInfo};
use aya::programs::loaded_programs;
use rollcall_agent::offload;
use rollcall_agent::policy::Method;
use rollcall_agent::unit::{Blind, Verdict};
use rollcall_agent_ebpf::config::{NETWORK_WORDS, NETWORKS};
use rollcall_tests::fleet::{Mode, Program};
use rollcall_tests::lab::{AGENT_INTERFACE, FLEET_INTERFACE, Lab};
use rollcall_tests::webhook::Receiver;

use crate::stage::{Stage, a_while, cloud};

/// Has the program on the agent's interface know no network any more: it passes on whatever comes in, as where somebody detached it, or
/// where the driver hides from it what tells networks apart.
fn deafen(stage: &Stage) -> Result<()> {
    let id = Lab::xdp_program(&stage.lab.agent(), AGENT_INTERFACE)?.context("no program is on the agent's interface")?;
    let program = loaded_programs().filter_map(Result::ok).find(|program| program.id() == id).context("the program is gone")?;
    let maps = program.map_ids()?.context("the kernel does not say which maps a program has")?;
    for map in maps {
        if MapInfo::from_id(map)?.name_as_str() == Some("NETWORKS") {
            let mut networks = Array::<_, [u64; NETWORK_WORDS]>::try_from(Map::Array(MapData::from_id(map)?))?;
            return (0..NETWORKS).try_for_each(|place| Ok(networks.set(place, [0; NETWORK_WORDS], 0)?));
        }
    }
    anyhow::bail!("the program has no map NETWORKS")
}

#[test]
fn receiver_that_is_passed_by_is_attached_anew_and_after_that_a_socket_takes_its_place() {
    // In the generic path the fleet answers whatever is on the agent's end.
    let Some(stage) = Stage::new("passed-by", cloud(60, 5), Mode::Generic) else { return };
    stage.play(async {
        let receiver = Receiver::start().await?;
        let mut agent = stage.agent(Some(&receiver), "receive = \"auto\"\n[agent_alarm]\nhold = \"500ms\"").await?;
        // Half of them are only pinged: of those nothing is heard but the gateway's answers.
        let table = stage.table_with(60, 5, |host, policy| {
            if host.station.is_multiple_of(2) {
                (policy.method, policy.name) = (Method::Icmp, format!("echo-{}", policy.name));
            }
        });
        stage.push(&agent, &table).await?;
        stage.until(&mut agent, Verdict::Up, 65).await?;
        assert_eq!(agent.status().await?.networks[0].receive, "xdp-native", "{}", stage.log());
        deafen(&stage)?;
        stage.until(&mut agent, Verdict::Unknown, 65).await?;
        for id in ["vm-000001", "vm-000002", "rt-000001"] {
            let reason = agent.host(id).await?.and_then(|host| host.addresses[0].now.reason);
            assert_eq!(reason, Some(Blind::Deaf), "{id}\n{}", stage.log());
        }
        stage.until(&mut agent, Verdict::Up, 65).await?;
        assert_eq!(agent.status().await?.networks[0].receive, "xdp-native", "{}", stage.log());
        deafen(&stage)?;
        stage.until(&mut agent, Verdict::Unknown, 65).await?;
        stage.until(&mut agent, Verdict::Up, 65).await?;
        assert_eq!(agent.status().await?.networks[0].receive, "socket", "{}", stage.log());
        a_while().await;
        assert_eq!(receiver.arrivals().len(), 0, "{:?}", receiver.arrivals().first());
        assert!(!receiver.of_agent().is_empty(), "{}", stage.log());
        stage.lab.fleet().kill(1);
        stage.until_host(&agent, "vm-000001", Verdict::Down).await?;
        Ok(())
    });
}

#[test]
fn interface_that_is_made_anew_with_its_old_number_is_heard_in_all_its_networks() {
    let Some(stage) = Stage::with_vlans("old-number", cloud(20, 0), 1, Mode::Native) else { return };
    let mut fleet = Program::load_with(stage.cloud, 1).unwrap();
    stage.play(async {
        let receiver = Receiver::start().await?;
        let mut agent = stage.agent(Some(&receiver), "[[network]]\nname = \"red\"\ninterface = \"rc-agent\"\nvlan = 101\n").await?;
        stage.push(&agent, &stage.table(20, 0)).await?;
        stage.until(&mut agent, Verdict::Up, 20).await?;
        let (near, far) = (stage.lab.agent(), stage.lab.fleet_side());
        let index = near.within(|| Ok(nix::net::if_::if_nametoindex(AGENT_INTERFACE)?))?.to_string();
        let mac = near.ip(["-j", "link", "show", "dev", AGENT_INTERFACE])?;
        let mac = serde_json::from_str::<serde_json::Value>(&mac)?[0]["address"].as_str().context("no MAC")?.to_owned();
        near.ip(["link", "del", AGENT_INTERFACE])?;
        stage.until(&mut agent, Verdict::Unknown, 20).await?;
        near.ip([
            "link",
            "add",
            AGENT_INTERFACE,
            "index",
            &index,
            "address",
            &mac,
            "type",
            "veth",
            "peer",
            "name",
            FLEET_INTERFACE,
            "netns",
            far.name(),
        ])?;
        near.within(|| Ok(offload::keep_vlan_tags(AGENT_INTERFACE)?))?;
        far.within(|| fleet.attach(FLEET_INTERFACE, Mode::Native))?;
        far.ip(["link", "set", FLEET_INTERFACE, "up"])?;
        near.ip(["address", "add", "10.128.0.1/9", "dev", AGENT_INTERFACE])?;
        near.ip(["link", "set", AGENT_INTERFACE, "up"])?;
        stage.until(&mut agent, Verdict::Up, 20).await?;
        assert_eq!(agent.status().await?.networks[0].receive, "xdp-native", "{}", stage.log());
        a_while().await;
        assert_eq!(receiver.arrivals().len(), 0, "{:?}", receiver.arrivals().first());
        Ok(())
    });
}

#[test]
fn driver_that_begins_to_take_tags_out_is_noticed_while_the_agent_runs() {
    let Some(stage) = Stage::with_vlans("hides", cloud(20, 0), 1, Mode::Generic) else { return };
    stage.play(async {
        let receiver = Receiver::start().await?;
        let red = "receive = \"auto\"\n[[network]]\nname = \"red\"\ninterface = \"rc-agent\"\nvlan = 101\n";
        let mut agent = stage.agent(Some(&receiver), red).await?;
        stage.push(&agent, &stage.table(20, 0)).await?;
        stage.until(&mut agent, Verdict::Up, 20).await?;
        assert_eq!(agent.status().await?.networks[0].receive, "xdp-native", "{}", stage.log());
        stage.lab.agent().within(|| Ok(offload::take_vlan_tags(AGENT_INTERFACE)?))?;
        let by_socket = |status: &rollcall_agent::api::Status| status.networks.iter().all(|network| network.receive == "socket");
        agent.wait_for("both networks heard by sockets", crate::stage::PATIENCE, |_| {}, by_socket).await.context(stage.log())?;
        stage.until(&mut agent, Verdict::Up, 20).await?;
        assert_eq!(receiver.arrivals().len(), 0, "{:?}", receiver.arrivals().first());
        Ok(())
    });
}
