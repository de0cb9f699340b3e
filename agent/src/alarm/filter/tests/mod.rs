//! A cloud in virtual time: hosts that die at any moment of their interval, and what is told of them.

mod lives;
mod storms;
mod worst;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::alarm::Scope;
use crate::policy::{Method, Policy};

const TICK: u64 = 100;

/// Hosts with their networks, tags and policies.
#[derive(Clone)]
struct Host {
    network: Arc<str>,
    address: IpAddr,
    tag: Option<Arc<str>>,
    policy: Arc<Policy>,
    verdict: Verdict,
}

struct Cloud {
    hosts: Vec<Host>,
    filter: Filter,
    census: Counts,
    /// Turns to come: when, who, what.
    turns: BTreeSet<(u64, u32, u8)>,
    ms: u64,
    told: Vec<(u64, Told)>,
}

/// Counted by a look at all.
#[derive(Default)]
struct Counts {
    sizes: BTreeMap<(Scope, String, String), (u32, f64)>,
    tables: u64,
    asked: RefCell<u32>,
    silent: bool,
}

impl Census for Counts {
    fn epoch(&self) -> u64 {
        2 * self.tables + u64::from(self.silent)
    }
    fn size(&mut self, group: &Group) -> Option<Size> {
        *self.asked.borrow_mut() += 1;
        let key = (group.scope(), group.name(), group.network().unwrap_or_default().to_owned());
        let (members, per_second) = self.sizes.get(&key).copied().unwrap_or_default();
        (!self.silent || group.scope() != Scope::Tag).then_some(Size { members, per_second })
    }
}

fn policy(interval: Duration) -> Policy {
    Policy {
        name: "gold".into(),
        interval,
        timeout: Duration::from_millis(300),
        confirm_interval: Duration::from_millis(200),
        down_after: 3,
        down_of: 3,
        up_after: 2,
        up_of: 2,
        method: Method::Arp,
        alarm: vec!["pager".into()],
    }
}

const EVENTS: [Verdict; 4] = [Verdict::Suspect, Verdict::Down, Verdict::Up, Verdict::Unknown];

impl Cloud {
    /// So many hosts of one network, one after the other, ten to a hypervisor.
    fn new(hosts: u32, interval: Duration) -> Cloud {
        let (network, policy): (Arc<str>, _) = ("net-a".into(), Arc::new(policy(interval)));
        let host = |n: u32| Host {
            network: network.clone(),
            address: IpAddr::from((0x0a00_0000 + n).to_be_bytes()),
            tag: Some(format!("hypervisor={}", n / 10).into()),
            policy: policy.clone(),
            verdict: Verdict::Up,
        };
        Cloud::of((0..hosts).map(host).collect())
    }

    fn of(hosts: Vec<Host>) -> Cloud {
        let mut cloud = Cloud {
            hosts,
            filter: Filter::new(StormConfig::default(), FlapConfig::default()),
            census: Counts::default(),
            turns: BTreeSet::new(),
            ms: 10_000_000,
            told: vec![],
        };
        cloud.count();
        cloud
    }

    fn count(&mut self) {
        self.census.sizes.clear();
        for host in &self.hosts {
            let subnet = Group::subnet(host.network.clone(), host.address);
            let tag = host.tag.clone().map(Group::Tag);
            for group in [Some(Group::Network(host.network.clone())), tag, Some(subnet)].into_iter().flatten() {
                let key = (group.scope(), group.name(), group.network().unwrap_or_default().to_owned());
                let size = self.census.sizes.entry(key).or_default();
                *size = (size.0 + 1, size.1 + 1.0 / host.policy.interval.as_secs_f64());
            }
        }
    }

    /// Where in its interval a host is probed: spread evenly, without order.
    fn phase(&self, who: u32) -> u64 {
        u64::from(who.wrapping_mul(2_654_435_761) >> 8) % (self.hosts[who as usize].policy.interval.as_millis() as u64)
    }

    /// They die now: suspect after the next probe's timeout, down after two more.
    fn kill(&mut self, who: impl IntoIterator<Item = u32>) {
        for who in who {
            let miss = self.ms + self.phase(who) + 300;
            self.turns.insert((miss, who, 0));
            self.turns.insert((miss + 400, who, 1));
        }
    }

    /// They live again now: up after two answers.
    fn revive(&mut self, who: impl IntoIterator<Item = u32>) {
        for who in who {
            self.turns.retain(|(at, other, _)| *other != who || *at <= self.ms);
            self.turns.insert((self.ms + self.phase(who) + 200, who, 2));
        }
    }

    /// The agent cannot tell any more of them.
    fn blind(&mut self, who: impl IntoIterator<Item = u32>) {
        let who: BTreeSet<u32> = who.into_iter().collect();
        self.turns.retain(|(_, other, _)| !who.contains(other));
        let now = self.ms;
        self.turns.extend(who.into_iter().map(|who| (now, who, 3)));
    }

    /// Whether the agent sees their network.
    fn sight(&mut self, sees: bool) {
        self.filter.sight("net-a", sees, Mono::from_nanos(self.ms * 1_000_000));
    }

    fn turn(&mut self, who: u32, to: Verdict) {
        self.turn_since(who, to, self.ms - 700);
    }

    fn turn_since(&mut self, who: u32, to: Verdict, since_ms: u64) {
        let host = &mut self.hosts[who as usize];
        let from = std::mem::replace(&mut host.verdict, to);
        if from == to {
            return;
        }
        let host = host.clone();
        let fall = Fall { at_ms: self.ms, since_ms, last_reply_ms: None, misses: 3 };
        let place = || Place { network: host.network.clone(), address: host.address, tag: host.tag.clone(), policy: host.policy.clone() };
        let mut told = Vec::new();
        self.filter.turn(Turn { who, from, to, fall }, place, &mut self.census, Mono::from_nanos(self.ms * 1_000_000), &mut told);
        self.told.extend(told.into_iter().map(|told| (self.ms, told)));
    }

    fn run(&mut self, ms: u64) {
        let end = self.ms + ms;
        while self.ms < end {
            let tick = (self.ms / TICK + 1) * TICK;
            while let Some(&(at, who, event)) = self.turns.first().filter(|(at, ..)| *at < tick.min(end)) {
                self.turns.pop_first();
                self.ms = self.ms.max(at);
                self.turn(who, EVENTS[usize::from(event)]);
            }
            self.ms = tick.min(end);
            let mut told = Vec::new();
            self.filter.tick(&mut self.census, Mono::from_nanos(self.ms * 1_000_000), self.ms, &mut told);
            self.told.extend(told.into_iter().map(|told| (self.ms, told)));
        }
    }

    fn run_s(&mut self, seconds: u64) {
        self.run(seconds * 1_000);
    }

    fn downs(&self) -> Vec<u32> {
        self.told.iter().filter_map(|(_, told)| if let Told::Down { who, .. } = told { Some(*who) } else { None }).collect()
    }

    fn outages(&self) -> Vec<&Outbreak> {
        self.told.iter().filter_map(|(_, told)| if let Told::Outage { outbreak, .. } = told { Some(outbreak) } else { None }).collect()
    }

    fn over(&self) -> usize {
        self.told.iter().filter(|(_, told)| matches!(told, Told::Over { .. })).count()
    }

    /// Whose own alarm fires by what was told.
    fn firing(&self) -> BTreeSet<u32> {
        let mut firing = BTreeSet::new();
        for (_, told) in &self.told {
            match told {
                Told::Down { who, .. } => drop(firing.insert(*who)),
                Told::Up { who, .. } => drop(firing.remove(who)),
                _ => {}
            }
        }
        firing
    }
}

const SECOND: Duration = Duration::from_secs(1);
