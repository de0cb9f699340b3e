//! Answers of a real cloud that are no lists of hosts, read as what they are.

use std::fs;

use rollcall_control::source::openstack::model::{FloatingIp, Network};
use rollcall_control::source::openstack::notify::changes;
use serde_json::Value;

use crate::transcript::{directory, golden};

/// All samples of this kind.
pub(crate) const READ: [&str; 9] = [
    // Beside the code that reads them, which is nobody else's: `source/openstack/auth.rs` and `client.rs`.
    "keystone-401.txt",
    "keystone-token-appcred.json",
    "keystone-token-headers.txt",
    "keystone-token-password.json",
    "neutron-401.txt",
    // Here.
    "neutron-floatingips.json",
    "neutron-networks.json",
    "neutron-notifications-bulk-fip.jsonl",
    "neutron-notifications.jsonl",
];

fn sample(name: &str) -> String {
    fs::read_to_string(directory().join("samples").join(name)).unwrap()
}

#[test]
fn notifications_of_the_samples_tell_what_happened_with_and_without_an_envelope() {
    for name in ["neutron-notifications", "neutron-notifications-bulk-fip"] {
        let mut text = String::new();
        for line in sample(&format!("{name}.jsonl")).lines() {
            let recorded: Value = serde_json::from_str(line).unwrap();
            let message = recorded["msg"].to_string();
            let told = changes(message.as_bytes()).unwrap();
            let wrapped = serde_json::json!({"oslo.version": "2.0", "oslo.message": message}).to_string();
            assert_eq!(changes(wrapped.as_bytes()).as_ref(), Some(&told), "{name}");
            text.push_str(&format!("{}: {told:#?}\n", recorded["msg"]["event_type"].as_str().unwrap()));
        }
        golden(&format!("golden/told-{name}.txt"), &text);
    }
}

#[test]
fn floating_ips_and_networks_of_the_samples_are_read() {
    let list = |name: &str, key: &str| serde_json::from_str::<Value>(&sample(name)).unwrap()[key].take();
    let ips: Vec<FloatingIp> = serde_json::from_value(list("neutron-floatingips.json", "floatingips")).unwrap();
    let networks: Vec<Network> = serde_json::from_value(list("neutron-networks.json", "networks")).unwrap();
    let (public, tenant) = (&networks[0], &networks[1]);
    assert_eq!((public.name.as_str(), tenant.name.as_str(), networks.len()), ("public", "tenant", 2));
    let shown: Vec<_> = ips.iter().map(|ip| (ip.floating_ip_address.as_str(), ip.port_id.as_deref())).collect();
    assert_eq!(shown, [("198.51.100.43", None), ("198.51.100.65", Some("a0691e59-ff8b-4725-a5e8-bc4e7e443fbd"))]);
    assert!(ips.iter().all(|ip| ip.floating_network_id == public.id));
}
