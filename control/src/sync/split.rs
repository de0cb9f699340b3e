//! Which agent probes which host: those who are attached to its network share it evenly, and keep their share when others come or go.
//!
//! By rendezvous hashing (Thaler and Ravishankar, 1998): each agent has a score for each host, and the highest has it. An agent that is
//! new takes only what it wins, of all others the same part; one that leaves gives only its own away.

use std::collections::BTreeMap;

use globset::GlobSet;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::source::Entry;

/// An agent as far as this goes.
pub struct Shareholder {
    seed: u64,
    networks: GlobSet,
}

impl Shareholder {
    /// An agent of that name which is attached to those networks.
    pub fn new(name: &str, networks: GlobSet) -> Self {
        Shareholder { seed: xxh3_64(name.as_bytes()), networks }
    }
}

/// Who gets what.
#[derive(Debug, Default)]
pub struct Shares {
    /// The hosts of each agent, with the addresses that are its own.
    pub shares: Vec<Vec<Entry>>,
    /// Addresses in networks that no agent is attached to, by network.
    pub nobodys: BTreeMap<String, u64>,
}

/// Splits hosts among agents. A host whose addresses in a network are several goes to one agent with all of them.
pub fn split(hosts: &[Entry], agents: &[Shareholder]) -> Shares {
    let mut shares = Shares { shares: agents.iter().map(|_| Vec::new()).collect(), nobodys: BTreeMap::new() };
    // Networks are few, and hosts many.
    let mut attached: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for host in hosts {
        let mut parts: Vec<(usize, Entry)> = Vec::with_capacity(1);
        for spot in &host.addresses {
            let candidates = attached
                .entry(&spot.network)
                .or_insert_with(|| (0..agents.len()).filter(|&agent| agents[agent].networks.is_match(&spot.network)).collect());
            let score = |agent: &&usize| (xxh3_64_with_seed(host.id.as_bytes(), agents[**agent].seed), **agent);
            let Some(&owner) = candidates.iter().max_by_key(score) else {
                *shares.nobodys.entry(spot.network.clone()).or_default() += 1;
                continue;
            };
            match parts.iter_mut().find(|(agent, _)| *agent == owner) {
                Some((_, part)) => part.addresses.push(spot.clone()),
                None => parts.push((owner, Entry { addresses: vec![spot.clone()], ..without_addresses(host) })),
            }
        }
        parts.into_iter().for_each(|(agent, part)| shares.shares[agent].push(part));
    }
    shares
}

fn without_addresses(host: &Entry) -> Entry {
    let Entry { id, name, project, tags, monitor, addresses: _ } = host;
    Entry { id: id.clone(), name: name.clone(), project: project.clone(), tags: tags.clone(), monitor: *monitor, addresses: vec![] }
}

#[cfg(test)]
mod tests {
    use globset::{Glob, GlobSetBuilder};

    use super::*;
    use crate::source::spot;

    fn agent(name: &str, network: &str) -> Shareholder {
        Shareholder::new(name, GlobSetBuilder::new().add(Glob::new(network).unwrap()).build().unwrap())
    }

    fn hosts(count: u32) -> Vec<Entry> {
        let host = |n: u32| Entry {
            id: format!("vm-{n}"),
            addresses: vec![
                spot("red", &format!("10.0.{}.{}", n / 250, n % 250 + 1), None).unwrap(),
                spot("red", &format!("fd00::{n:x}"), None).unwrap(),
            ],
            ..Entry::default()
        };
        (1..=count).map(host).collect()
    }

    fn ids(share: &[Entry]) -> Vec<&str> {
        share.iter().map(|entry| entry.id.as_str()).collect()
    }

    #[test]
    fn agents_of_a_network_share_it_evenly_and_keep_hosts_whole() {
        let shares = split(&hosts(3000), &[agent("a", "red"), agent("b", "r*"), agent("c", "*"), agent("d", "blue")]);
        assert!(shares.shares[3].is_empty() && shares.nobodys.is_empty());
        for share in &shares.shares[..3] {
            assert!((900..1100).contains(&share.len()), "{}", share.len());
            assert!(share.iter().all(|entry| entry.addresses.len() == 2));
        }
    }

    #[test]
    fn agent_that_comes_takes_only_its_share_and_gives_it_back_when_it_goes() {
        let hosts = hosts(3000);
        let two = split(&hosts, &[agent("a", "red"), agent("b", "red")]);
        let three = split(&hosts, &[agent("c", "red"), agent("b", "red"), agent("a", "red")]);
        let of_a = ids(&two.shares[0]);
        assert!(ids(&three.shares[2]).iter().all(|id| of_a.contains(id)), "nobody moves between those who stay");
        let moved = 3000 - three.shares[1].len() - three.shares[2].len();
        assert_eq!(moved, three.shares[0].len());
        assert!((900..1100).contains(&moved), "{moved}");
    }

    #[test]
    fn addresses_that_no_agent_can_reach_are_counted_by_network() {
        let shares = split(&hosts(7), &[agent("d", "blue")]);
        assert!(shares.shares[0].is_empty());
        assert_eq!(shares.nobodys, BTreeMap::from([("red".to_owned(), 14)]));
    }
}
