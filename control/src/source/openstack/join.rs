//! Hosts of what is known: ports of one server are one host. Pure.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use globset::GlobSet;

use super::super::{Entry, Listing, curb, spot, wish};
use super::allowed::allow;
use super::life;
use super::model::{Port, Server};
use super::world::World;
use crate::hosts::Monitor;
use crate::mistake::quoted;
use crate::warning::plural;

pub(super) type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// Whom of a cloud is watched, and how networks are called.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Which owners of ports count.
    pub owners: GlobSet,
    /// Whether those are watched whose owner says nothing.
    pub watched: bool,
    /// Names for networks and subnets, by their ids.
    pub networks: BTreeMap<String, String>,
    /// Whether floating IPs are addresses of their hosts.
    pub floating_ips: bool,
}

/// The hosts, in the order of their ports' ids.
pub fn listing(world: &World, rules: &Rules, now: Instant) -> Listing {
    let mut ports: Vec<&Port> = world.ports.values().collect();
    ports.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    let mut owners: Map<&str, bool> = Map::default();
    let (mut hosts, mut of_host, mut of_port): (Vec<Entry>, Map<&str, usize>, Map<&str, usize>) = Default::default();
    let (mut orphans, mut odd) = (0, vec![]);
    for port in &ports {
        let counts = *owners.entry(&port.device_owner).or_insert_with(|| rules.owners.is_match(&port.device_owner));
        if !counts || port.fixed_ips.is_empty() || !port.admin_state_up || world.is_gone(&port.device_id) {
            continue;
        }
        // Another project's server says only whether anything can answer there.
        let runs_on = world.servers.get(&port.device_id);
        let server = world.server_of(port);
        let wished = wish::of_tags(&port.tags).or_else(|| server.and_then(wished));
        let life = match runs_on {
            Some(server) => life::monitor(&server.status, server.task_state.as_deref()),
            None if port.is_novas() => Monitor::Silent,
            // Whoever else has it, a router, an appliance, Nova knows nothing of it.
            None => Monitor::On,
        };
        if !wished.unwrap_or(rules.watched) || life == Monitor::Off {
            continue;
        }
        // It may be that of a server which is being deleted, or made; and some are left over. Nobody is woken for them.
        orphans += u64::from(runs_on.is_none() && port.is_novas());
        let id = world.host_of(port);
        let at = *of_host.entry(id).or_insert_with(|| {
            let monitor = if world.is_fresh(id, now) { Monitor::Silent } else { life };
            hosts.push(Entry { id: id.to_owned(), monitor, ..about(port, server) });
            hosts.len() - 1
        });
        of_port.insert(&port.id, at);
        let host = &mut hosts[at];
        host.tags.extend(port.tags.iter().cloned());
        for fixed in &port.fixed_ips {
            let network =
                [&fixed.subnet_id, &port.network_id].into_iter().find_map(|id| rules.networks.get(id)).unwrap_or(&port.network_id);
            match spot(network, &fixed.ip_address, Some(&port.mac_address)) {
                Some(spot) => host.addresses.push(spot),
                None => {
                    odd.push(format!("port {}: {} with MAC {}", quoted(&port.id), quoted(&fixed.ip_address), quoted(&port.mac_address)))
                }
            }
        }
    }
    if rules.floating_ips {
        float(world, rules, &of_port, &mut hosts);
    }
    allow(&ports, rules, &mut hosts);
    let mut warnings = idle(world, rules);
    if orphans > 0 {
        let ports = plural(orphans, "port belongs to a server", "ports belong to servers");
        warnings
            .push(format!("{ports} that Nova does not list: expected to be silent (may the credential list the servers of all projects?)"));
    }
    if let Some(first) = odd.first() {
        warnings
            .push(format!("{} left out, which no host can have (first: {first})", plural(odd.len() as u64, "address is", "addresses are")));
    }
    let hosts = hosts.into_iter().filter(|host| !host.addresses.is_empty()).map(Entry::tidy);
    let (mut hosts, nameless): (Vec<Entry>, Vec<Entry>) = hosts.partition(|host| !host.id.is_empty());
    if !nameless.is_empty() {
        let hosts = plural(nameless.len() as u64, "host has", "hosts have");
        warnings.push(format!("{hosts} an id of nothing but blanks and control characters, and is left out"));
    }
    warnings.extend(curb(&mut hosts));
    Listing { hosts, warnings }
}

/// What is said of a host, but for its addresses.
fn about(port: &Port, server: Option<&Server>) -> Entry {
    let host = server.and_then(|server| server.host.as_deref()).filter(|host| !host.is_empty()).unwrap_or(&port.host);
    let hypervisor = (!host.is_empty()).then(|| format!("hypervisor={host}"));
    match server {
        Some(server) => Entry {
            name: server.name.clone(),
            project: server.tenant_id.clone(),
            tags: tags(server).chain(hypervisor).collect(),
            ..Entry::default()
        },
        None => {
            Entry { name: port.name.clone(), project: port.project_id.clone(), tags: hypervisor.into_iter().collect(), ..Entry::default() }
        }
    }
}

/// The metadata of a server as tags.
pub(crate) fn tags(server: &Server) -> impl Iterator<Item = String> {
    server.metadata.iter().filter(|(_, value)| !value.is_empty()).map(|(key, value)| format!("{key}={value}"))
}

fn wished(server: &Server) -> Option<bool> {
    wish::wish(server.metadata.iter().map(|(key, value)| (key.as_str(), value.as_str())))
}

/// Floating IPs are addresses of the hosts that they lead to, in the network that they are of. No MAC: a router answers for them.
fn float(world: &World, rules: &Rules, of_port: &Map<&str, usize>, hosts: &mut [Entry]) {
    let mut ips: Vec<_> = world.floating_ips.values().collect();
    ips.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    for ip in ips {
        let Some(at) = ip.port_id.as_deref().and_then(|port| of_port.get(port)) else { continue };
        let network = rules.networks.get(&ip.floating_network_id).unwrap_or(&ip.floating_network_id);
        hosts[*at].addresses.extend(spot(network, &ip.floating_ip_address, None));
    }
}

/// Names for networks that are of no use: mostly a typing error, or a name in place of an id.
fn idle(world: &World, rules: &Rules) -> Vec<String> {
    let ids = || world.ports.values().flat_map(|port| port.fixed_ips.iter().map(|fixed| &fixed.subnet_id).chain([&port.network_id]));
    let unknown =
        rules.networks.keys().filter(|id| !world.networks.iter().any(|network| network.id == **id) && !ids().any(|known| known == *id));
    unknown
        .take(10)
        .map(|id| {
            let mut named = world.networks.iter().filter(|network| network.name == *id);
            let hint = named.next().map_or_else(String::new, |network| {
                format!(" (networks are named by their ids: {} is that of {})", quoted(&network.id), quoted(id))
            });
            format!("networks: there is no network or subnet {}{hint}", quoted(id))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::super::Spot;
    use super::super::world::List;
    use super::*;
    use crate::source::format::{OWNERS, owners};

    fn rules() -> Rules {
        Rules { owners: owners(&[OWNERS]).unwrap(), watched: true, networks: BTreeMap::new(), floating_ips: false }
    }

    /// Ports and servers as the services write them.
    fn listed(ports: &str, servers: &str, rules: &Rules) -> Listing {
        let list = List { ports: serde_json::from_str(ports).unwrap(), servers: serde_json::from_str(servers).unwrap(), ..List::default() };
        let (mut world, now) = (World::new(Duration::from_secs(60)), Instant::now());
        world.replace(list, now);
        listing(&world, rules, now)
    }

    /// One line a host.
    fn shown(listing: &Listing) -> Vec<String> {
        let spot = |spot: &Spot| format!("{}/{}", spot.network, spot.address);
        let host = |host: &Entry| {
            let addresses: Vec<String> = host.addresses.iter().map(spot).collect();
            format!("{} {} {} [{}] {}", host.id, host.name, host.monitor.name(), host.tags.join(" "), addresses.join(" "))
        };
        listing.hosts.iter().map(host).collect()
    }

    fn port(id: &str, server: &str, address: &str, more: &str) -> String {
        format!(
            r#"{{"id": "{id}", "network_id": "net", "mac_address": "fa:16:3e:00:00:0{}", "device_id": "{server}", "device_owner": "compute:nova", "fixed_ips": [{{"subnet_id": "sub", "ip_address": "{address}"}}]{more}}}"#,
            id.len()
        )
    }

    fn server(id: &str, more: &str) -> String {
        format!(r#"{{"id": "{id}", "name": "vm-{id}", "tenant_id": "shop", "status": "ACTIVE", "OS-EXT-SRV-ATTR:host": "c1"{more}}}"#)
    }

    #[test]
    fn ports_of_one_server_are_one_host_with_its_name_metadata_and_hypervisor() {
        let ports = format!("[{}, {}]", port("p", "a", "10.0.0.1", r#", "tags": ["edge"]"#), port("pp", "a", "2001:db8::1", ""));
        let servers = format!("[{}]", server("a", r#", "metadata": {"rollcall-policy": "gold", "note": ""}"#));
        let listing = listed(&ports, &servers, &rules());
        assert_eq!(shown(&listing), ["a vm-a true [edge hypervisor=c1 rollcall-policy=gold] net/10.0.0.1 net/2001:db8::1"]);
        assert!(listing.warnings.is_empty(), "{:?}", listing.warnings);
    }

    #[test]
    fn port_that_names_another_projects_server_is_a_host_of_its_own_and_changes_nothing_of_that_servers() {
        let mine = port("p", "a", "10.0.0.1", r#", "project_id": "shop""#);
        let theirs =
            port("pp", "a", "10.0.0.2", r#", "project_id": "thief", "tags": ["rollcall-policy=none", "allowed-mac=fa:16:3e:00:00:09"]"#);
        let listing = listed(&format!("[{mine}, {theirs}]"), &format!("[{}]", server("a", "")), &rules());
        let shown = shown(&listing);
        assert_eq!(shown[0], "a vm-a true [hypervisor=c1] net/10.0.0.1");
        assert!(shown[1].starts_with("pp ") && shown[1].contains(" true ") && shown[1].ends_with("net/10.0.0.2"), "{shown:?}");
        // Nor does its coming give that server's host a grace.
        let list = |ports: &str| List {
            ports: serde_json::from_str(ports).unwrap(),
            servers: serde_json::from_str(&format!("[{}]", server("a", ""))).unwrap(),
            ..List::default()
        };
        let (mut world, now) = (World::new(Duration::from_secs(60)), Instant::now());
        world.replace(list(&format!("[{mine}]")), now);
        world.replace(list(&format!("[{mine}, {theirs}]")), now);
        assert_eq!([world.is_fresh("a", now), world.is_fresh("pp", now)], [false, true]);
    }

    #[test]
    fn users_say_on_their_server_or_port_whether_it_is_watched_and_the_port_goes_before() {
        let with = |server_says: &str, port_says: &str, watched| {
            let ports = format!("[{}]", port("p", "a", "10.0.0.1", &format!(r#", "tags": [{port_says}]"#)));
            let servers = format!("[{}]", server("a", &format!(r#", "metadata": {{{server_says}}}"#)));
            listed(&ports, &servers, &Rules { watched, ..rules() }).hosts.len()
        };
        assert_eq!([with("", "", true), with("", "", false)], [1, 0]);
        assert_eq!([with(r#""rollcall": "OFF""#, "", true), with(r#""rollcall": "on""#, "", false)], [0, 1]);
        assert_eq!([with(r#""rollcall": "off""#, r#""rollcall=on""#, true), with("", r#""rollcall=off""#, true)], [1, 0]);
        assert_eq!(with(r#""rollcall": "perhaps""#, "", true), 1);
    }

    #[test]
    fn whoever_does_not_run_is_expected_silent_and_whoever_is_gone_is_not_there() {
        let of = |server_is: &str, port_is: &str| {
            let ports = format!("[{}]", port("p", "a", "10.0.0.1", port_is));
            let found = listed(&ports, &format!("[{}]", server("a", server_is)), &rules());
            found.hosts.first().map(|host| host.monitor)
        };
        assert_eq!(of("", ""), Some(Monitor::On));
        assert_eq!(of(r#", "OS-EXT-STS:task_state": "deleting""#, ""), Some(Monitor::Silent));
        assert_eq!(of(r#", "OS-EXT-STS:task_state": "migrating""#, ""), Some(Monitor::Silent));
        assert_eq!(of("", r#", "admin_state_up": false"#), None);
        let silent = listed(&format!("[{}]", port("p", "nobody", "10.0.0.1", "")), "[]", &rules());
        assert_eq!(shown(&silent), ["nobody  silent [] net/10.0.0.1"]);
        assert!(silent.warnings[0].starts_with("1 port belongs to a server that Nova does not list"), "{:?}", silent.warnings);
    }

    #[test]
    fn port_of_a_router_is_watched_though_nova_knows_nothing_of_it() {
        let of = |owner: &str| {
            let ports = format!("[{}]", port("p", "r1", "10.0.0.1", "").replace("compute:nova", owner));
            let listing = listed(&ports, "[]", &Rules { owners: owners(&["*"]).unwrap(), ..rules() });
            (listing.hosts[0].monitor, listing.warnings.len())
        };
        assert_eq!(of("network:router_interface"), (Monitor::On, 0));
        assert_eq!(of(""), (Monitor::On, 0));
        assert_eq!(of("compute:az1"), (Monitor::Silent, 1));
    }

    #[test]
    fn port_whose_device_is_blank_is_a_host_of_its_own_and_none_has_an_empty_id() {
        let ports = format!("[{}, {}]", port("p", " ", "10.0.0.1", ""), port("pp", "\\u0001", "10.0.0.2", ""));
        let listing = listed(&ports, "[]", &rules());
        assert_eq!(shown(&listing), ["p  silent [] net/10.0.0.1"]);
        assert!(listing.warnings.iter().any(|said| said.starts_with("1 host has an id of nothing but blanks")), "{:?}", listing.warnings);
    }

    #[test]
    fn tags_of_three_ports_and_a_server_are_no_more_than_a_table_holds() {
        let tags = |port: &str| {
            let tags: Vec<String> = (0..100).map(|n| format!("\"{port}-{n}\"")).collect();
            format!(r#", "tags": [{}]"#, tags.join(", "))
        };
        let ports = ["p", "pp", "ppp"].map(|id| port(id, "a", &format!("10.0.0.{}", id.len()), &tags(id)));
        let listing = listed(&format!("[{}]", ports.join(", ")), &format!("[{}]", server("a", "")), &rules());
        assert_eq!(listing.hosts[0].tags.len(), 256);
        assert!(listing.hosts[0].tags.contains(&"hypervisor=c1".to_owned()));
        assert_eq!(listing.warnings, ["1 host has more than 256 tags (first: \"a\" with 301): the others are left out"]);
    }

    #[test]
    fn addresses_that_others_may_use_as_well_allow_their_macs() {
        let ports = format!(
            "[{}, {}, {}]",
            port("p", "a", "10.0.0.1", r#", "allowed_address_pairs": [{"ip_address": "10.0.0.9", "mac_address": "fa:16:3e:00:00:01"}]"#),
            port("pp", "b", "10.0.0.2", r#", "allowed_address_pairs": [{"ip_address": "10.0.0.8/29"}]"#),
            port("ppp", "vip", "10.0.0.9", "")
        );
        let listing = listed(&ports, "[]", &rules());
        assert_eq!(shown(&listing)[2], "vip  silent [allowed-mac=fa:16:3e:00:00:01 allowed-mac=fa:16:3e:00:00:02] net/10.0.0.9");
        assert!(shown(&listing)[..2].iter().all(|line| !line.contains("allowed-mac")), "{:?}", shown(&listing));
    }

    #[test]
    fn floating_ips_are_addresses_of_their_hosts_in_their_own_network() {
        let list = List {
            ports: serde_json::from_str(&format!("[{}]", port("p", "a", "10.0.0.1", ""))).unwrap(),
            servers: serde_json::from_str(&format!("[{}]", server("a", ""))).unwrap(),
            floating_ips: serde_json::from_str(
                r#"[{"id": "f", "floating_ip_address": "198.51.100.7", "floating_network_id": "ext", "port_id": "p"},
                    {"id": "g", "floating_ip_address": "198.51.100.8", "floating_network_id": "ext", "port_id": null}]"#,
            )
            .unwrap(),
            ..List::default()
        };
        let (mut world, now) = (World::new(Duration::ZERO), Instant::now());
        world.replace(list, now);
        let names = BTreeMap::from([("ext".to_owned(), "internet".to_owned()), ("sub".to_owned(), "red".to_owned())]);
        let rules = Rules { floating_ips: true, networks: names, ..rules() };
        assert_eq!(shown(&listing(&world, &rules, now)), ["a vm-a true [hypervisor=c1] red/10.0.0.1 internet/198.51.100.7"]);
    }

    #[test]
    fn a_name_in_place_of_an_id_is_told() {
        let (mut world, now) = (World::new(Duration::ZERO), Instant::now());
        let networks = serde_json::from_str(r#"[{"id": "0a1b", "name": "blue"}]"#).unwrap();
        world.replace(List { networks, ..List::default() }, now);
        let names = BTreeMap::from([("blue".to_owned(), "x".to_owned()), ("0a1b".to_owned(), "y".to_owned())]);
        let warnings = listing(&world, &Rules { networks: names, ..rules() }, now).warnings;
        assert_eq!(
            warnings,
            ["networks: there is no network or subnet \"blue\" (networks are named by their ids: \"0a1b\" is that of \"blue\")"]
        );
    }
}
