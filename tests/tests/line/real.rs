//! A real stack instead of the simulated cloud: the addresses of a Linux kernel in another namespace.

use rollcall_agent::policy::{Method, Policy};
use rollcall_agent::table::Writer;
use rollcall_agent::unit::Verdict;
use rollcall_tests::fleet::Mode;
use rollcall_tests::lab::{AGENT_INTERFACE, FLEET_INTERFACE};
use rollcall_tests::population::NETWORK;

use crate::stage::{Stage, cloud, policy};

#[test]
fn addresses_of_a_linux_kernel_are_up_by_every_method_and_down_when_they_are_taken_away() {
    // The fleet is taken off its interface, and what is behind it answers itself.
    let Some(stage) = Stage::new("real", cloud(1, 0), Mode::Generic) else { return };
    stage.lab.unplug_fleet().unwrap();
    let (near, far) = (stage.lab.agent(), stage.lab.fleet_side());
    for (side, interface, four, six) in
        [(&near, AGENT_INTERFACE, "192.0.2.1/24", "2001:db8:77::1/64"), (&far, FLEET_INTERFACE, "192.0.2.2/24", "2001:db8:77::2/64")]
    {
        side.ip(["address", "flush", "dev", interface]).unwrap();
        side.ip(["address", "add", four, "dev", interface]).unwrap();
        side.ip(["address", "add", six, "dev", interface, "nodad"]).unwrap();
    }
    far.ip(["address", "add", "192.0.2.3/24", "dev", FLEET_INTERFACE]).unwrap();
    far.ip(["address", "add", "2001:db8:77::3/64", "dev", FLEET_INTERFACE, "nodad"]).unwrap();
    stage.play(async {
        let mut agent = stage.agent(None, "").await?;
        let mut writer = Writer::new();
        let near = writer.policy(policy("near"));
        let echo = writer.policy(Policy { method: Method::Icmp, ..policy("echo") });
        for (id, address, policy) in [
            ("arp", "192.0.2.3", near),
            ("echo", "192.0.2.2", echo),
            ("neighbour", "2001:db8:77::2", near),
            ("echo-six", "2001:db8:77::3", echo),
        ] {
            let row = writer.host(id, id, "", []);
            // The kernel's MAC is not in any list: it is learned.
            writer.address(row, NETWORK, address.parse()?, None, policy);
        }
        stage.push(&agent, &writer.finish()?).await?;
        stage.until(&mut agent, Verdict::Up, 4).await?;
        // The secondary one: with the first the kernel would take away both.
        far.ip(["address", "del", "192.0.2.3/24", "dev", FLEET_INTERFACE])?;
        far.ip(["address", "del", "2001:db8:77::3/64", "dev", FLEET_INTERFACE])?;
        for id in ["arp", "echo-six"] {
            stage.until_host(&agent, id, Verdict::Down).await?;
        }
        assert_eq!(agent.status().await?.verdicts["up"], 2);
        Ok(())
    });
}
