//! What is known of an OpenStack: the last whole list, and what was told since. Time is an argument.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant, SystemTime};

use super::change::{Change, ServerChange};
use super::model::{FloatingIp, Network, Port, Server};
use super::{grace, life};
use crate::hosts::Monitor;

/// What was deleted stays deleted for so long, whatever a message or a page that was on its way says of it. Ids are never given again.
const REST: Duration = Duration::from_secs(600);

type Map<T> = HashMap<String, T, foldhash::fast::RandomState>;

/// Everything, as it was listed.
#[derive(Debug, Default)]
pub struct List {
    /// Networks.
    pub networks: Vec<Network>,
    /// Ports.
    pub ports: Vec<Port>,
    /// Servers; listed after the ports.
    pub servers: Vec<Server>,
    /// Floating IPs.
    pub floating_ips: Vec<FloatingIp>,
    /// The platform's clock when the servers were listed, where it is known.
    pub clock: Option<SystemTime>,
}

/// What is known.
#[derive(Clone, Debug, Default)]
pub struct World {
    pub(super) networks: Vec<Network>,
    pub(super) ports: Map<Port>,
    pub(super) servers: Map<Server>,
    pub(super) floating_ips: Map<FloatingIp>,
    /// Hosts (a server's id, or that of a port without one) that are new or active again, and until when their silence means nothing.
    graces: Map<Instant>,
    /// What was deleted, and when.
    gone: Map<Instant>,
    grace: Duration,
    listed: bool,
    /// Up to when graces that ended were shown.
    shown: Option<Instant>,
    /// Changes were lost: only a list tells.
    pub(super) lost: bool,
    /// Something changed since that was shown last.
    pub(super) dirty: bool,
}

impl World {
    /// Nothing is known. So long may hosts take that are new or active again.
    pub fn new(grace: Duration) -> World {
        World { grace, ..World::default() }
    }

    /// Whether there was a list.
    pub fn is_known(&self) -> bool {
        self.listed
    }

    /// Takes a whole list. Of the first one only those are new that changed just before: whoever watches may have been started anew.
    pub fn replace(&mut self, list: List, now: Instant) {
        self.gone.retain(|_, at| now.saturating_duration_since(*at) < REST);
        self.graces.retain(|_, until| *until > now);
        let gone = std::mem::take(&mut self.gone);
        let mut servers = Map::with_capacity_and_hasher(list.servers.len(), Default::default());
        for mut server in list.servers.into_iter().filter(|server| !gone.contains_key(&server.id)) {
            let before = self.servers.remove(&server.id);
            // A cell that Nova cannot reach says nothing new of its servers.
            if let Some(before) = before.as_ref().filter(|_| server.status == "UNKNOWN") {
                (server.status, server.task_state) = (before.status.clone(), before.task_state.clone());
            }
            match list.clock {
                Some(clock) if !self.listed && runs(&server) => {
                    let left = grace::left(self.grace, &server, clock);
                    if !left.is_zero() {
                        self.graces.insert(server.id.clone(), now + left);
                    }
                }
                _ => self.admit(before.as_ref(), &server, now),
            }
            servers.insert(server.id.clone(), server);
        }
        self.servers = servers;
        let before = std::mem::take(&mut self.ports);
        let mut ports = Map::with_capacity_and_hasher(list.ports.len(), Default::default());
        for port in list.ports.into_iter().filter(|port| !gone.contains_key(&port.id)) {
            // A notification may have overtaken a page.
            let older = before.get(&port.id).filter(|known| known.revision_number > port.revision_number);
            let port = older.cloned().unwrap_or(port);
            if grace::arrives(before.get(&port.id), &port) {
                self.arrive(&port, now);
            }
            ports.insert(port.id.clone(), port);
        }
        self.ports = ports;
        self.networks = list.networks;
        let floating_ips = list.floating_ips.into_iter().filter(|ip| !gone.contains_key(&ip.id));
        self.floating_ips = floating_ips.map(|ip| (ip.id.clone(), ip)).collect();
        self.gone = gone;
        (self.listed, self.lost, self.dirty, self.shown) = (true, false, false, Some(now));
    }

    /// Takes one change. One that is older than what is known says nothing.
    pub fn apply(&mut self, change: Change, now: Instant) {
        let old = |id: &str| self.gone.contains_key(id);
        match change {
            Change::Lost => {
                self.lost = true;
                return;
            }
            Change::Port(port) => {
                let known = self.ports.get(&port.id);
                if old(&port.id) || known.is_some_and(|known| known.revision_number > port.revision_number) {
                    return;
                }
                if grace::arrives(known, &port) {
                    self.arrive(&port, now);
                }
                self.ports.insert(port.id.clone(), *port);
            }
            Change::PortGone(id) => {
                self.ports.remove(&id);
                self.gone.insert(id, now);
            }
            Change::FloatingIp(ip) if !old(&ip.id) => drop(self.floating_ips.insert(ip.id.clone(), ip)),
            Change::FloatingIp(_) => return,
            Change::FloatingIpGone(id) => {
                self.floating_ips.remove(&id);
                self.gone.insert(id, now);
            }
            Change::Server(change) if !old(&change.id) => self.alter(change, now),
            Change::Server(_) => return,
            Change::ServerGone(id) => {
                self.servers.remove(&id);
                self.gone.insert(id, now);
            }
        }
        self.dirty = true;
    }

    fn alter(&mut self, change: ServerChange, now: Instant) {
        let before = self.servers.get(&change.id).cloned();
        let ServerChange { id, name, project, status, task_state, metadata, host, fixed_ips: _ } = change;
        // Of one that is new and does not say how it is, it is not known that it runs.
        let mut server = before.clone().unwrap_or_else(|| Server { id: id.clone(), status: "BUILD".to_owned(), ..Server::default() });
        name.into_iter().for_each(|name| server.name = name);
        project.into_iter().for_each(|project| server.tenant_id = project);
        status.into_iter().for_each(|status| server.status = status);
        task_state.into_iter().for_each(|task| server.task_state = task);
        metadata.into_iter().for_each(|metadata: BTreeMap<String, String>| server.metadata = metadata);
        server.host = host.or(server.host);
        self.admit(before.as_ref(), &server, now);
        self.servers.insert(id, server);
    }

    /// A server that was not running, or not there, runs: it has its grace.
    fn admit(&mut self, before: Option<&Server>, server: &Server, now: Instant) {
        if self.listed && runs(server) && !before.is_some_and(runs) {
            self.graces.insert(server.id.clone(), now + self.grace);
        }
    }

    /// A port is new, or something of it: whoever has it does not know its address yet.
    fn arrive(&mut self, port: &Port, now: Instant) {
        if self.listed {
            self.graces.insert(self.host_of(port).to_owned(), now + self.grace);
        }
    }

    /// The server of a port; `None` as well where another project has it.
    pub(super) fn server_of(&self, port: &Port) -> Option<&Server> {
        self.servers.get(&port.device_id).filter(|_| !self.is_strange(port))
    }

    /// The host that a port is of: its server's, or one of its own.
    pub(super) fn host_of<'a>(&self, port: &'a Port) -> &'a str {
        if self.is_strange(port) { &port.id } else { port.whose() }
    }

    /// Whether a port says to be of another project's server. Every tenant may write that into a port of his own: it must change nothing
    /// of that server's host, neither tags nor grace.
    fn is_strange(&self, port: &Port) -> bool {
        let (theirs, known) = (&port.project_id, |server: &&Server| !server.tenant_id.is_empty());
        self.servers.get(&port.device_id).filter(known).is_some_and(|server| !theirs.is_empty() && server.tenant_id != *theirs)
    }

    /// Whether silence of a host means nothing yet.
    pub(super) fn is_fresh(&self, host: &str, now: Instant) -> bool {
        self.graces.get(host).is_some_and(|until| *until > now)
    }

    /// Whether it was deleted.
    pub(super) fn is_gone(&self, id: &str) -> bool {
        self.gone.contains_key(id)
    }

    /// When the next grace ends that was not shown to have ended.
    pub fn next_grace(&self) -> Option<Instant> {
        self.graces.values().filter(|until| self.shown.is_none_or(|shown| **until > shown)).min().copied()
    }

    /// Whether there is anything to show that was not shown before; it is now.
    pub fn take_change(&mut self, now: Instant) -> bool {
        let changed = self.dirty || self.next_grace().is_some_and(|at| at <= now);
        if changed {
            (self.dirty, self.shown) = (false, Some(now));
        }
        changed
    }
}

fn runs(server: &Server) -> bool {
    life::monitor(&server.status, server.task_state.as_deref()) == Monitor::On
}

#[cfg(test)]
mod tests {
    use super::super::model::FixedIp;
    use super::*;

    const GRACE: Duration = Duration::from_secs(60);

    fn port(id: &str, server: &str, revision: u64) -> Port {
        Port { id: id.into(), device_id: server.into(), revision_number: revision, ..Port::default() }
    }

    fn server(id: &str, status: &str) -> Server {
        Server { id: id.into(), status: status.into(), ..Server::default() }
    }

    fn told(id: &str, status: &str) -> Change {
        Change::Server(ServerChange { id: id.into(), status: Some(status.into()), ..ServerChange::default() })
    }

    fn list(ports: &[Port], servers: &[Server]) -> List {
        List { ports: ports.to_vec(), servers: servers.to_vec(), ..List::default() }
    }

    #[test]
    fn servers_of_the_first_list_are_watched_at_once_and_later_ones_after_their_grace() {
        let (mut world, now) = (World::new(GRACE), Instant::now());
        world.replace(list(&[port("p1", "a", 1)], &[server("a", "ACTIVE"), server("b", "SHUTOFF")]), now);
        assert!(!world.is_fresh("a", now) && world.next_grace().is_none());
        let later = now + GRACE;
        let all = list(&[port("p1", "a", 1), port("p2", "c", 1)], &[server("a", "ACTIVE"), server("b", "ACTIVE"), server("c", "ACTIVE")]);
        world.replace(all, later);
        assert_eq!(["a", "b", "c"].map(|id| world.is_fresh(id, later)), [false, true, true]);
        assert_eq!(world.next_grace(), Some(later + GRACE));
        assert!(!world.is_fresh("b", later + GRACE));
        assert!(world.take_change(later + GRACE) && !world.take_change(later + GRACE));
        assert_eq!(world.next_grace(), None, "its end is shown once");
    }

    #[test]
    fn server_that_changed_just_before_the_first_list_has_what_is_left_of_its_grace() {
        let clock = humantime::parse_rfc3339("2026-11-22T18:00:00Z").unwrap();
        let changed = |id: &str, status: &str, at: &str| Server { updated: Some(at.into()), ..server(id, status) };
        let servers = [
            changed("young", "ACTIVE", "2026-11-22T17:59:40Z"),
            changed("old", "ACTIVE", "2026-11-22T17:00:00Z"),
            changed("off", "SHUTOFF", "2026-11-22T17:59:40Z"),
        ];
        let (mut world, now) = (World::new(GRACE), Instant::now());
        // Who was told of before the first list came is no older for that.
        world.apply(told("young", "ACTIVE"), now);
        world.replace(List { clock: Some(clock), ..list(&[port("p", "young", 1)], &servers) }, now);
        assert_eq!(["young", "old", "off"].map(|id| world.is_fresh(id, now)), [true, false, false]);
        assert_eq!(world.next_grace(), Some(now + Duration::from_secs(40)));
        // It is no younger at the next list.
        world.replace(List { clock: Some(clock), ..list(&[port("p", "young", 1)], &servers) }, now + Duration::from_secs(30));
        assert_eq!(world.next_grace(), Some(now + Duration::from_secs(40)));
    }

    #[test]
    fn port_that_is_plugged_into_a_running_server_or_gets_an_address_gives_it_a_grace_by_message_and_by_list() {
        let changed = |change: fn(&mut Port)| {
            let mut port = port("p", "", 2);
            port.admin_state_up = true;
            change(&mut port);
            port
        };
        let free: fn(&mut Port) = |_| {};
        let plugged: fn(&mut Port) = |port| port.device_id = "a".into();
        let addressed: fn(&mut Port) = |port| {
            port.device_id = "a".into();
            port.fixed_ips = vec![FixedIp { ip_address: "10.0.0.1".into(), ..FixedIp::default() }];
        };
        let off: fn(&mut Port) = |port| (port.device_id, port.admin_state_up) = ("a".into(), false);
        for (before, after) in [(free, plugged), (plugged, addressed), (off, plugged)] {
            for by_list in [false, true] {
                let (mut world, now) = (World::new(GRACE), Instant::now());
                world.replace(list(&[changed(before)], &[server("a", "ACTIVE")]), now);
                assert!(!world.is_fresh("a", now));
                let port = Port { revision_number: 3, ..changed(after) };
                match by_list {
                    true => world.replace(list(&[port], &[server("a", "ACTIVE")]), now),
                    false => world.apply(Change::Port(Box::new(port)), now),
                }
                assert!(world.is_fresh("a", now), "{before:?} {after:?} {by_list}");
            }
        }
    }

    #[test]
    fn changes_make_and_end_silence_at_once_and_a_return_has_its_grace() {
        let (mut world, now) = (World::new(GRACE), Instant::now());
        world.replace(list(&[port("p", "a", 1)], &[server("a", "ACTIVE")]), now);
        world.apply(told("a", "SHUTOFF"), now);
        assert!(world.dirty && !world.is_fresh("a", now));
        world.apply(told("a", "ACTIVE"), now);
        assert!(world.is_fresh("a", now));
        // Said twice, the grace goes on from where it began.
        world.apply(told("a", "ACTIVE"), now + GRACE / 2);
        assert!(!world.is_fresh("a", now + GRACE));
        // A port that is plugged in later gives its server a grace too.
        world.apply(Change::Port(Box::new(port("q", "a", 1))), now + 2 * GRACE);
        assert!(world.is_fresh("a", now + 2 * GRACE));
    }

    #[test]
    fn what_is_older_than_what_is_known_says_nothing_in_whatever_order_it_comes() {
        let (mut world, now) = (World::new(GRACE), Instant::now());
        world.replace(list(&[port("p", "a", 5)], &[]), now);
        world.apply(Change::Port(Box::new(port("p", "old", 4))), now);
        assert_eq!(world.ports["p"].device_id, "a");
        assert!(!world.dirty);
        world.apply(Change::Port(Box::new(port("p", "new", 6))), now);
        assert_eq!(world.ports["p"].device_id, "new");
        // A list whose pages were read before that.
        world.replace(list(&[port("p", "a", 5)], &[]), now);
        assert_eq!(world.ports["p"].device_id, "new");
    }

    #[test]
    fn what_is_deleted_stays_so_whoever_comes_late() {
        let (mut world, now) = (World::new(GRACE), Instant::now());
        world.replace(list(&[port("p", "a", 1)], &[server("a", "ACTIVE")]), now);
        world.apply(Change::ServerGone("a".into()), now);
        world.apply(Change::PortGone("p".into()), now);
        world.apply(Change::Port(Box::new(port("p", "a", 9))), now);
        world.apply(told("a", "ACTIVE"), now);
        world.replace(list(&[port("p", "a", 1)], &[server("a", "ACTIVE")]), now + Duration::from_secs(30));
        assert!(world.ports.is_empty() && world.servers.is_empty() && world.is_gone("a"));
        // After a while nobody is late any more, and nothing is remembered.
        world.replace(list(&[port("q", "b", 1)], &[]), now + REST);
        assert!(!world.is_gone("a") && world.ports.len() == 1);
    }

    #[test]
    fn server_that_is_only_told_of_runs_once_somebody_says_so() {
        let (mut world, now) = (World::new(GRACE), Instant::now());
        world.replace(List::default(), now);
        world.apply(Change::Server(ServerChange { id: "a".into(), name: Some("web".into()), ..ServerChange::default() }), now);
        assert!(!runs(&world.servers["a"]) && world.servers["a"].name == "web");
        world.apply(told("a", "ACTIVE"), now);
        assert!(runs(&world.servers["a"]) && world.servers["a"].name == "web" && world.is_fresh("a", now));
    }

    #[test]
    fn cell_that_nova_cannot_reach_changes_nothing() {
        let (mut world, now) = (World::new(GRACE), Instant::now());
        world.replace(list(&[], &[server("a", "SHUTOFF"), server("b", "ACTIVE")]), now);
        world.replace(list(&[], &[server("a", "UNKNOWN"), server("b", "UNKNOWN")]), now);
        assert_eq!((world.servers["a"].status.as_str(), world.servers["b"].status.as_str()), ("SHUTOFF", "ACTIVE"));
        assert!(world.next_grace().is_none());
    }

    #[test]
    fn lost_messages_want_a_list_and_a_list_heals_them() {
        let (mut world, now) = (World::new(GRACE), Instant::now());
        world.replace(List::default(), now);
        world.apply(Change::Lost, now);
        assert!(world.lost && !world.dirty);
        world.replace(List::default(), now);
        assert!(!world.lost);
    }
}
