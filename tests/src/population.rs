//! Who lives in the simulated cloud: the host list, and how people name its stations.

use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result, bail};
use rollcall_agent::unit::Mac;
use rollcall_agent_ebpf::fleet::{Cloud, GATEWAY, V6_LINK_LOCAL, V6_ON_LINK, V6_ROUTED, mac, v6};

/// Name of the cloud's only network. The routed hosts belong to it too: they are reached through its gateway.
pub const NETWORK: &str = "lab";

/// Projects and roles, given to the hosts in turn.
const PROJECTS: [&str; 4] = ["shop", "bank", "media", "search"];
const ROLES: [&str; 3] = ["web", "app", "db"];

/// One host, as the platform would list it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its number in the fleet.
    pub station: u32,
    /// `vm-000001` on-link, `rt-000001` behind the gateway.
    pub id: String,
    /// Name that people use.
    pub name: String,
    /// Project (tenant).
    pub project: &'static str,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its MAC; a routed host has none that the agent could use.
    pub mac: Option<Mac>,
    /// Its role, and `onlink` or `routed`.
    pub tags: [&'static str; 2],
}

impl Host {
    /// The host with this station number; `None` for the gateway and beyond the last host.
    pub fn of(cloud: Cloud, station: u32) -> Option<Host> {
        let index = usize::try_from(station.checked_sub(1)?).ok()?;
        let octets = cloud.address(station)?;
        let routed = station > cloud.on_link;
        let number = if routed { station - cloud.on_link } else { station };
        let role = ROLES[index % ROLES.len()];
        Some(Host {
            station,
            id: format!("{}-{number:06}", if routed { "rt" } else { "vm" }),
            name: format!("{role}-{number}{}", if routed { "-far" } else { "" }),
            project: PROJECTS[index / ROLES.len() % PROJECTS.len()],
            address: octets.into(),
            mac: (!routed).then(|| Mac(mac(octets))),
            tags: [role, if routed { "routed" } else { "onlink" }],
        })
    }
}

impl Host {
    /// Its IPv6 address.
    pub fn v6(&self) -> Ipv6Addr {
        v6(if self.mac.is_some() { V6_ON_LINK } else { V6_ROUTED }, self.address.octets()).into()
    }

    /// Its link-local address, of a host on the link.
    pub fn link_local(&self) -> Ipv6Addr {
        v6(V6_LINK_LOCAL, self.address.octets()).into()
    }
}

/// All hosts of a cloud, on-link ones first.
pub fn hosts(cloud: Cloud) -> impl Iterator<Item = Host> {
    (1..cloud.stations()).filter_map(move |station| Host::of(cloud, station))
}

/// Writes the host list as the CSV that `rollcall compile --hosts` takes.
pub fn write_csv(cloud: Cloud, mut to: impl Write) -> io::Result<()> {
    writeln!(to, "id,name,project,network,address,mac,tags,monitor")?;
    for host in hosts(cloud) {
        let mac = host.mac.map(|mac| mac.to_string()).unwrap_or_default();
        let Host { id, name, project, address, tags: [role, place], .. } = host;
        writeln!(to, "{id},{name},{project},{NETWORK},{address},{mac},{role};{place},true")?;
    }
    to.flush()
}

/// The station that a person means: a host's id or address, or `gateway`.
pub fn station(cloud: Cloud, text: &str) -> Result<u32> {
    if text == "gateway" {
        return Ok(0);
    }
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return match cloud.station(address.octets()) {
            Some(station) => Ok(station.number),
            None => bail!("no host of this lab has the address {address}: it has {}", extent(cloud)),
        };
    }
    let number = |prefix: &str, count: u32, before: u32| {
        let number: u32 = text.strip_prefix(prefix)?.parse().ok()?;
        (1..=count).contains(&number).then_some(before + number)
    };
    number("vm-", cloud.on_link, 0)
        .or_else(|| number("rt-", cloud.routed, cloud.on_link))
        .with_context(|| format!("no host of this lab is called {text:?}: it has {}, and gateway", extent(cloud)))
}

/// A station as people see it: `vm-000001 (10.128.1.1)`.
pub fn label(cloud: Cloud, station: u32) -> String {
    match Host::of(cloud, station) {
        Some(host) => format!("{} ({})", host.id, host.address),
        None => format!("gateway ({})", Ipv4Addr::from(GATEWAY)),
    }
}

/// The ids and addresses there are, for people.
pub fn extent(cloud: Cloud) -> String {
    let range = |first: u32, last: u32| {
        let (first, last) = (Host::of(cloud, first)?, Host::of(cloud, last)?);
        Some(format!("{} to {} ({} to {})", first.id, last.id, first.address, last.address))
    };
    let on_link = (cloud.on_link > 0).then(|| range(1, cloud.on_link)).flatten();
    let routed = (cloud.routed > 0).then(|| range(cloud.on_link + 1, cloud.on_link + cloud.routed)).flatten();
    match (on_link, routed) {
        (Some(on_link), Some(routed)) => format!("{on_link}, {routed}"),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => "no hosts".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_host_is_found_by_its_id_and_by_its_address() {
        let cloud = Cloud { on_link: 300, routed: 20 };
        assert_eq!(hosts(cloud).count(), 320);
        for host in hosts(cloud) {
            assert_eq!(station(cloud, &host.id).unwrap(), host.station);
            assert_eq!(station(cloud, &host.address.to_string()).unwrap(), host.station);
        }
        assert_eq!(station(cloud, "gateway").unwrap(), 0);
        assert_eq!(station(cloud, "10.128.0.2").unwrap(), 0);
    }

    #[test]
    fn a_name_that_nobody_has_is_answered_with_those_there_are() {
        let cloud = Cloud { on_link: 3, routed: 0 };
        for text in ["vm-000004", "vm-0", "rt-000001", "10.128.1.4", "vm-", "web"] {
            let error = station(cloud, text).unwrap_err().to_string();
            assert!(error.contains("vm-000001 to vm-000003 (10.128.1.1 to 10.128.1.3)"), "{error}");
        }
    }

    #[test]
    fn the_csv_has_one_row_for_each_host_and_a_mac_only_where_it_helps() {
        let mut csv = Vec::new();
        write_csv(Cloud { on_link: 1, routed: 1 }, &mut csv).unwrap();
        assert_eq!(
            String::from_utf8(csv).unwrap(),
            "id,name,project,network,address,mac,tags,monitor\n\
             vm-000001,web-1,shop,lab,10.128.1.1,02:52:0a:80:01:01,web;onlink,true\n\
             rt-000001,app-1-far,shop,lab,10.64.1.1,,app;routed,true\n"
        );
    }
}
