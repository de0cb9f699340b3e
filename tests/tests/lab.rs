//! The lab itself: it comes up, answers the kernel's own ping, and leaves nothing behind.

use std::path::Path;
use std::process::Command;

use rollcall_agent_ebpf::fleet::Cloud;
use rollcall_tests::fleet::{Mode, Program};
use rollcall_tests::lab::{AGENT_INTERFACE, Lab};
use rollcall_tests::netns::Namespace;

const CLOUD: Cloud = Cloud { on_link: 50, routed: 5 };

/// Whether the test can run here; if not, that was said.
fn possible(test: &str) -> bool {
    let reason = if !nix::unistd::geteuid().is_root() {
        "making network namespaces needs root"
    } else if Command::new("ping").arg("-V").output().is_err() {
        "there is no `ping` (apt-get install iputils-ping)"
    } else {
        return true;
    };
    println!("SKIPPED: {test}: {reason}");
    false
}

fn ping(namespace: &Namespace, address: &str) -> bool {
    let output = namespace.command("ping").args(["-n", "-c", "2", "-i", "0.1", "-W", "1", address]).output().unwrap();
    output.status.success()
}

#[test]
fn a_generic_fleet_answers_ping_until_a_host_is_silenced_and_the_lab_leaves_nothing_behind() {
    if !possible("a_generic_fleet_answers_ping_until_a_host_is_silenced_and_the_lab_leaves_nothing_behind") {
        return;
    }
    let lab = Lab::scratch("test-generic", CLOUD, Mode::Generic).unwrap();
    let (agent, fleet) = (lab.agent(), lab.fleet_side());
    for address in ["10.128.1.1", "10.128.1.50", "10.64.1.5", "10.128.0.2"] {
        assert!(ping(&agent, address), "{address}");
    }
    assert!(!ping(&agent, "10.128.1.51"), "there are only 50 hosts");
    lab.fleet().kill(7);
    assert!(!ping(&agent, "10.128.1.7"));
    assert!(ping(&agent, "10.128.1.8"));
    // Another process would open the same lab by its name.
    let other = Lab::open(lab.name()).unwrap();
    other.fleet().revive(7);
    drop(other);
    assert!(ping(&agent, "10.128.1.7"), "opening a lab and letting it go removes nothing");

    let name = lab.name().to_owned();
    drop(lab);
    assert!(!agent.exists() && !fleet.exists());
    assert!(!Path::new("/run").join(format!("rollcall-{name}")).exists());
    assert!(Lab::down(&name).unwrap().is_empty(), "there was nothing left to remove");
    assert!(Lab::open(&name).is_err());
}

#[test]
fn a_native_fleet_answers_only_while_the_other_end_has_a_program_too() {
    if !possible("a_native_fleet_answers_only_while_the_other_end_has_a_program_too") {
        return;
    }
    let lab = Lab::scratch("test-native", CLOUD, Mode::Native).unwrap();
    let agent = lab.agent();
    assert!(!ping(&agent, "10.128.1.1"));
    // A fleet without hosts passes all frames on.
    let mut passer = Program::load(Cloud { on_link: 0, routed: 0 }).unwrap();
    agent.within(|| passer.attach(AGENT_INTERFACE, Mode::Native)).unwrap();
    assert_eq!(Lab::xdp_mode(&agent, AGENT_INTERFACE).unwrap(), Some("native"));
    for address in ["10.128.1.1", "10.128.1.50", "10.64.1.5", "10.128.0.2"] {
        assert!(ping(&agent, address), "{address}");
    }
    drop(passer);
    assert_eq!(Lab::xdp_mode(&agent, AGENT_INTERFACE).unwrap(), None);
}

#[test]
fn two_labs_live_side_by_side_and_a_third_of_the_same_name_is_refused() {
    if !possible("two_labs_live_side_by_side_and_a_third_of_the_same_name_is_refused") {
        return;
    }
    let one = Lab::scratch("test-one", CLOUD, Mode::Generic).unwrap();
    let other = Lab::scratch("test-other", CLOUD, Mode::Generic).unwrap();
    one.fleet().kill(1);
    assert!(!ping(&one.agent(), "10.128.1.1"));
    assert!(ping(&other.agent(), "10.128.1.1"));
    let refused = Lab::up(one.name(), CLOUD, Mode::Generic).err().unwrap().to_string();
    assert!(refused.contains("lab down"), "{refused}");
    assert!(ping(&one.agent(), "10.128.1.2"), "the refusal left the lab alone");
}
