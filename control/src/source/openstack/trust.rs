//! Whether Nova's list goes with Neutron's. One that lost its servers (a role, a cell, a page) would make their hosts expected silent: nobody
//! would be woken any more, and nobody would know.

use std::collections::HashSet;

use super::super::SourceError;
use super::join::Rules;
use super::model::Port;
use super::world::{List, World};

/// So many ports may lose their servers at once: those are being deleted.
const FEW: usize = 5;
/// Of all ports, where that is more.
const SHARE: usize = 5;

/// Refuses a list in which too many ports have no server that had one, or at the first time most of them.
pub(super) fn check(list: &List, world: &World, rules: &Rules) -> Result<(), SourceError> {
    let servers: HashSet<&str> = list.servers.iter().map(|server| server.id.as_str()).collect();
    let (mut ports, mut orphans, mut lost) = (0, 0, 0);
    // Those of routers and DHCP never had one.
    let counts = |port: &&Port| port.is_novas() && port.server().is_some() && rules.owners.is_match(&port.device_owner);
    for port in list.ports.iter().filter(counts) {
        ports += 1;
        if !servers.contains(port.device_id.as_str()) && !world.is_gone(&port.device_id) {
            orphans += 1;
            lost += usize::from(world.servers.contains_key(&port.device_id));
        }
    }
    let too_many = if world.is_known() { lost > FEW.max(ports / SHARE) } else { orphans > FEW && 2 * orphans > ports };
    if !too_many {
        return Ok(());
    }
    let found = format!("{} servers, and {orphans} of {ports} ports belong to others", list.servers.len());
    let expected = "the servers of (nearly) all ports: has the credential lost the right to list those of all projects (GET /servers/detail?all_tenants)?";
    Err(SourceError::Broken { what: "Nova's list".to_owned(), found, expected: expected.to_owned() })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::{Duration, Instant};

    use super::super::model::Server;
    use super::*;
    use crate::source::format::{OWNERS, owners};

    fn list(ports: usize, servers: usize) -> List {
        let port =
            |n: usize| Port { id: format!("p{n}"), device_id: format!("s{n}"), device_owner: "compute:nova".into(), ..Port::default() };
        let server = |n: usize| Server { id: format!("s{n}"), status: "ACTIVE".into(), ..Server::default() };
        List { ports: (0..ports).map(port).collect(), servers: (0..servers).map(server).collect(), ..List::default() }
    }

    #[test]
    fn servers_that_vanish_while_their_ports_stay_are_not_believed_to_be_gone() {
        let rules = Rules { owners: owners(&[OWNERS]).unwrap(), watched: true, networks: BTreeMap::new(), floating_ips: false };
        let mut world = World::new(Duration::ZERO);
        let believed = |world: &World, ports, servers| check(&list(ports, servers), world, &rules).is_ok();
        assert!(believed(&world, 100, 100) && believed(&world, 100, 51) && believed(&world, 5, 0) && believed(&world, 0, 0));
        assert!(!believed(&world, 100, 49) && !believed(&world, 6, 0));
        world.replace(list(100, 100), Instant::now());
        assert!(
            believed(&world, 100, 80) && believed(&world, 10, 5) && believed(&world, 200, 100),
            "new ports may be faster than their servers"
        );
        assert!(!believed(&world, 100, 79) && !believed(&world, 20, 0));
        let error = check(&list(100, 0), &world, &rules).unwrap_err().to_string();
        assert!(error.contains("0 servers, and 100 of 100 ports belong to others"), "{error}");
    }

    #[test]
    fn ports_that_are_not_novas_need_no_server() {
        let rules = Rules { owners: owners(&["*"]).unwrap(), watched: true, networks: BTreeMap::new(), floating_ips: false };
        let mut list = list(100, 0);
        list.ports.iter_mut().for_each(|port| port.device_owner = "network:router_interface".into());
        assert!(check(&list, &World::new(Duration::ZERO), &rules).is_ok());
    }
}
