//! On the wire: receivers, other people's XDP programs, a `ping` beside the agent, MACs that must be learned.

use rollcall_agent::policy::Method;
use rollcall_agent::table::Writer;
use rollcall_agent::unit::Verdict;
use rollcall_tests::fleet::{Mode, Program};
use rollcall_tests::kernel::has_live_frames;
use rollcall_tests::lab::{AGENT_INTERFACE, Lab};
use rollcall_tests::population::{self, NETWORK};

use crate::stage::{Stage, cloud, policy, transmit};

#[test]
fn probes_leave_by_the_transmitter_that_was_asked_for() {
    let Some(stage) = Stage::new("transmit", cloud(10, 5), Mode::Native) else { return };
    stage.play(async {
        let mut agent = stage.agent(None, "").await?;
        stage.push(&agent, &stage.table(10, 5)).await?;
        stage.until(&mut agent, Verdict::Up, 15).await?;
        assert_eq!(agent.status().await?.networks[0].transmit, transmit(), "{}", stage.log());
        Ok(())
    });
}

#[test]
fn agent_that_may_choose_takes_the_best_that_the_kernel_has_and_says_when_that_is_a_socket() {
    let Some(stage) = Stage::choosing("choose", cloud(20, 5)) else { return };
    stage.play(async {
        let mut agent = stage.agent(None, "").await?;
        stage.push(&agent, &stage.table(20, 5)).await?;
        stage.until(&mut agent, Verdict::Up, 25).await?;
        let network = agent.status().await?.networks.remove(0);
        let (receive, can_redirect) = match crate::RECEIVE {
            "socket" => ("socket", false),
            // The other end takes no frames of an XDP program where it has none in the driver itself.
            "generic" => ("xdp-generic", false),
            _ => ("xdp-native", true),
        };
        let transmit = if has_live_frames() && can_redirect { "kernel" } else { "socket" };
        assert_eq!((network.transmit.as_str(), network.receive.as_str()), (transmit, receive), "{}", stage.log());
        let said = stage.log().contains("probes leave by a packet socket") && stage.log().contains("Linux 5.18 or newer");
        assert_eq!(said, !has_live_frames() && receive != "socket", "{}", stage.log());
        stage.lab.fleet().kill(1);
        stage.until_host(&agent, "vm-000001", Verdict::Down).await?;
        Ok(())
    });
}

#[test]
fn generic_receiver_sees_what_the_native_one_sees() {
    let Some(stage) = Stage::new("generic", cloud(50, 10), Mode::Generic) else { return };
    stage.play(async {
        let mut agent = stage.agent(None, "receive = \"generic\"").await?;
        let half_icmp = |host: &population::Host, policy: &mut rollcall_agent::policy::Policy| {
            if host.station.is_multiple_of(2) {
                (policy.method, policy.name) = (Method::Icmp, "echo".into());
            }
        };
        stage.push(&agent, &stage.table_with(50, 10, half_icmp)).await?;
        stage.until(&mut agent, Verdict::Up, 60).await?;
        let network = agent.status().await?.networks.remove(0);
        // The fleet's end takes no frames of an XDP program either: the agent noticed, and said so.
        assert_eq!((network.receive.as_str(), network.transmit.as_str()), ("xdp-generic", "socket"), "{}", stage.log());
        assert!(stage.log().contains("probes leave by a packet socket"), "{}", stage.log());
        stage.lab.fleet().kill(1);
        stage.lab.fleet().kill(2);
        stage.until(&mut agent, Verdict::Down, 2).await?;
        Ok(())
    });
}

#[test]
fn xdp_program_of_somebody_else_is_named_and_left_alone() {
    let Some(stage) = Stage::choosing("foreign", cloud(5, 0)) else { return };
    let mut other = Program::load(cloud(1, 0)).unwrap();
    stage.lab.agent().within(|| other.attach(AGENT_INTERFACE, Mode::Native)).unwrap();
    stage.play(async {
        // Asked for XDP alone the agent does not start.
        let Err(error) = stage.agent(None, "receive = \"native\"").await else { panic!("the agent took an interface that is taken") };
        let error = format!("{error:#}");
        assert!(error.contains("already has an XDP program that is not ours (fleet"), "{error}");
        // Else it takes the next way down, and says why.
        let mut agent = stage.agent(None, "receive = \"auto\"").await?;
        stage.push(&agent, &stage.table(5, 0)).await?;
        stage.until(&mut agent, Verdict::Up, 5).await?;
        let network = agent.status().await?.networks.remove(0);
        assert_eq!((network.receive.as_str(), network.transmit.as_str()), ("socket", "socket"), "{}", stage.log());
        assert!(stage.log().contains("already has an XDP program that is not ours (fleet"), "{}", stage.log());
        assert!(Lab::xdp_mode(&stage.lab.agent(), AGENT_INTERFACE)?.is_some(), "it is still there");
        Ok(())
    });
}

#[test]
fn ping_beside_the_agent_loses_nothing_and_the_agent_neither() {
    let Some(stage) = Stage::new("ping", cloud(50, 20), Mode::Native) else { return };
    if std::process::Command::new("ping").arg("-V").output().is_err() {
        println!("SKIPPED: ping_beside_the_agent_loses_nothing_and_the_agent_neither: no ping: apt-get install iputils-ping");
        return;
    }
    stage.play(async {
        let mut agent = stage.agent(None, "").await?;
        let fast = |host: &population::Host, policy: &mut rollcall_agent::policy::Policy| {
            policy.interval = std::time::Duration::from_millis(250);
            if host.station.is_multiple_of(2) {
                (policy.method, policy.name) = (Method::Icmp, "echo".into());
            }
        };
        stage.push(&agent, &stage.table_with(50, 20, fast)).await?;
        stage.until(&mut agent, Verdict::Up, 70).await?;
        // By ARP, by ICMP, behind the gateway: the kernel resolves and pings the very hosts that are probed.
        for address in ["10.128.1.1", "10.128.1.2", "10.64.1.1"] {
            let mut ping = stage.lab.agent().command("ping");
            let output = tokio::process::Command::from({
                ping.args(["-c", "100", "-i", "0.02", "-W", "5", "-q", address]);
                ping
            });
            let output = { output }.output().await?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(text.contains("100 received"), "{address}: {text}");
        }
        let metrics = agent.get("/metrics").await?.1;
        for line in metrics.lines().filter(|line| line.starts_with("rollcall_misses_total")) {
            assert!(line.ends_with(" 0"), "{line}");
        }
        Ok(())
    });
}

#[test]
fn missing_macs_are_learned_and_the_kernels_neighbour_table_stays_empty() {
    let Some(stage) = Stage::new("learn", cloud(30, 5), Mode::Native) else { return };
    stage.play(async {
        let mut agent = stage.agent(None, "").await?;
        let mut writer = Writer::new();
        let arp = writer.policy(policy("arp"));
        let echo = writer.policy(rollcall_agent::policy::Policy { method: Method::Icmp, ..policy("echo") });
        for host in population::hosts(stage.cloud) {
            let policy = if host.station.is_multiple_of(2) || host.mac.is_none() { echo } else { arp };
            let row = writer.host(&host.id, &host.name, host.project, host.tags);
            writer.address(row, NETWORK, host.address.into(), None, policy);
        }
        stage.push(&agent, &writer.finish()?).await?;
        stage.until(&mut agent, Verdict::Up, 35).await?;
        let host = agent.host("vm-000001").await?.unwrap();
        let expected = population::hosts(stage.cloud).next().and_then(|host| host.mac).map(|mac| mac.to_string());
        assert_eq!(host.addresses[0].now.mac, expected);
        stage.lab.fleet().kill(1);
        stage.until_host(&agent, "vm-000001", Verdict::Down).await?;
        assert_eq!(stage.lab.agent().ip(["neigh", "show"])?.trim(), "");
        Ok(())
    });
}

#[test]
fn probes_keep_under_the_cap() {
    let Some(stage) = Stage::new("cap", cloud(500, 0), Mode::Native) else { return };
    stage.play(async {
        let agent = stage.agent(None, "pps = 200").await?;
        stage.push(&agent, &stage.table(500, 0)).await?;
        let began = std::time::Instant::now();
        let before = agent.status().await?.probes_sent;
        tokio::time::sleep(std::time::Duration::from_secs(4)).await;
        let sent = agent.status().await?.probes_sent - before;
        // What is held back for unevenness is 10 ms of the cap: two packets.
        let most = 200.0 * began.elapsed().as_secs_f64() + 3.0;
        assert!((sent as f64) < most, "{sent} probes, at most {most} allowed");
        assert!(sent > 100, "{sent} probes");
        let status = agent.status().await?;
        assert_eq!(status.verdicts["down"], 0, "what was not probed is not down");
        assert!(stage.log().contains("the cap `pps` is too low"), "{}", stage.log());
        Ok(())
    });
}
