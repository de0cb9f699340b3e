//! A large cloud's lists, as Neutron and Nova write them, made into a table: what that takes of time and memory.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use rollcall_control::source::format::{Format, Networks, OWNERS, Options, owners};

use super::churn::table;

/// What it took.
#[derive(Clone, Copy, Debug)]
pub struct Bulk {
    /// Bytes of both lists.
    pub bytes: usize,
    /// Lists to table.
    pub took: Duration,
    /// The most memory that this process had, in bytes; the lists themselves are in it.
    pub peak: u64,
}

/// Makes so many ports with their servers, and a table of them.
pub fn run(ports: u32) -> Result<Bulk> {
    let (list, servers) = lists(ports);
    let bytes = list.len() + servers.len();
    let began = Instant::now();
    let owners = owners(&[OWNERS]).map_err(|error| anyhow!("{error}"))?;
    let options = Options { networks: Networks::default(), owners, servers: Some(("servers".into(), servers)), ..Options::default() };
    let listing = Format::Neutron.read("ports", &list, &options).map_err(|error| anyhow!("{error}"))?;
    let table = table(&listing.hosts, b"[defaults]\ninterval = \"10s\"\n", 1)?;
    let took = began.elapsed();
    ensure!(table.len() == ports as usize, "{} addresses of {ports} are in the table", table.len());
    Ok(Bulk { bytes, took, peak: peak()? })
}

/// All fields of a port and most of a server's, as the services have them.
fn lists(ports: u32) -> (Vec<u8>, Vec<u8>) {
    let (mut list, mut servers) = (String::from("{\"ports\": ["), String::from("{\"servers\": ["));
    for n in 0..ports {
        let comma = if n == 0 { "" } else { ", " };
        let [_, b, c, d] = (0x0a00_0000 + n + 16).to_be_bytes();
        let (port, server) = (format!("{n:08x}-1111-4111-8111-{n:012x}"), format!("{n:08x}-2222-4222-8222-{n:012x}"));
        list.push_str(&format!(
            "{comma}{{\"id\": \"{port}\", \"name\": \"\", \"network_id\": \"a3d74850-bd50-4207-867e-186c7c2ae82f\", \"project_id\": \"a94277a120b548c68bf1c659306b5e06\", \
             \"mac_address\": \"fa:16:3e:{b:02x}:{c:02x}:{d:02x}\", \"admin_state_up\": true, \"status\": \"ACTIVE\", \"device_id\": \"{server}\", \"device_owner\": \"compute:nova\", \
             \"fixed_ips\": [{{\"subnet_id\": \"7f8c9f9b-656f-4c52-b669-8c6757e2927e\", \"ip_address\": \"10.{b}.{c}.{d}\"}}], \"allowed_address_pairs\": [], \"extra_dhcp_opts\": [], \
             \"security_groups\": [\"96d4f856-f6bd-4620-b858-bbc0b6abe421\"], \"description\": \"\", \"binding:vnic_type\": \"normal\", \"binding:profile\": {{}}, \
             \"binding:host_id\": \"compute-{:03}\", \"binding:vif_type\": \"ovs\", \"binding:vif_details\": {{}}, \"port_security_enabled\": true, \"tags\": [], \
             \"created_at\": \"2026-11-22T17:29:10Z\", \"updated_at\": \"2026-11-22T17:29:10Z\", \"revision_number\": 1, \"tenant_id\": \"a94277a120b548c68bf1c659306b5e06\"}}",
            n % 400
        ));
        servers.push_str(&format!(
            "{comma}{{\"id\": \"{server}\", \"name\": \"vm-{n}\", \"status\": \"ACTIVE\", \"tenant_id\": \"a94277a120b548c68bf1c659306b5e06\", \"metadata\": {{\"customer\": \"acme\"}}, \
             \"flavor\": {{\"vcpus\": 1, \"ram\": 512, \"disk\": 1}}, \"OS-EXT-STS:task_state\": null, \"OS-EXT-STS:vm_state\": \"active\", \
             \"OS-EXT-SRV-ATTR:host\": \"compute-{:03}\", \"updated\": \"2026-11-22T17:48:55Z\"}}",
            n % 400
        ));
    }
    list.push_str("]}");
    servers.push_str("]}");
    (list.into_bytes(), servers.into_bytes())
}

/// `VmHWM` of proc(5).
fn peak() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let kilobytes = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    Ok(kilobytes.context("the kernel does not say how much memory this took")? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_of_a_large_cloud_is_an_address() {
        let bulk = run(2_000).unwrap();
        assert!(bulk.bytes > 2_000 * 1_000 && bulk.peak > bulk.bytes as u64, "{bulk:?}");
    }
}
