//! Whole storms in virtual time: hosts that die at any moment of their interval, and what is told of them.

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
    routes: Vec<String>,
    asked: RefCell<u32>,
    silent: bool,
}

impl Census for Counts {
    fn epoch(&self) -> u64 {
        u64::from(self.silent)
    }
    fn size(&mut self, group: &Group) -> Option<Size> {
        *self.asked.borrow_mut() += 1;
        let key = (group.scope(), group.name(), group.network().unwrap_or_default().to_owned());
        let (members, per_second) = self.sizes.get(&key).copied().unwrap_or_default();
        (!self.silent || group.scope() != Scope::Tag).then_some(Size { members, per_second })
    }
    fn routes(&self, _: &Group) -> Vec<String> {
        self.routes.clone()
    }
}

fn policy(interval: Duration) -> Policy {
    Policy {
        name: "gold".into(),
        interval,
        timeout: Duration::from_millis(300),
        confirm_interval: Duration::from_millis(200),
        down_after: 3,
        up_after: 2,
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

#[test]
fn one_that_dies_alone_is_told_the_moment_it_is_down() {
    for hosts in [1, 20, 100, 10_000] {
        let mut cloud = Cloud::new(hosts, SECOND);
        cloud.kill([0]);
        let down = cloud.ms + cloud.phase(0) + 700;
        cloud.run_s(5);
        assert_eq!(
            cloud.told,
            [(down, Told::Down { who: 0, fall: Fall { at_ms: down, since_ms: down - 700, last_reply_ms: None, misses: 3 } })]
        );
        cloud.revive([0]);
        cloud.run_s(2);
        assert!(matches!(cloud.told[1], (_, Told::Up { who: 0, .. })), "{:?}", cloud.told);
        cloud.run_s(700);
        assert!(cloud.filter.is_idle() && cloud.filter.is_empty(), "nothing is left of it");
    }
}

#[test]
fn several_that_die_alone_within_a_large_network_wait_for_nobody() {
    let mut cloud = Cloud::new(10_000, SECOND);
    let dead: Vec<u32> = (0..37).map(|n| n * 270 + 5).collect();
    cloud.kill(dead.clone());
    cloud.run_s(3);
    assert_eq!(cloud.told.len(), 37);
    for (at, told) in &cloud.told {
        assert!(matches!(told, Told::Down { fall, .. } if fall.at_ms == *at), "{told:?} at {at}");
    }
}

#[test]
fn a_network_that_falls_silent_is_one_alarm_whatever_its_size_and_interval() {
    for (hosts, interval) in [(20, 1), (21, 5), (100, 1), (1000, 1), (1000, 10), (5000, 60), (2000, 300)] {
        let mut cloud = Cloud::new(hosts, Duration::from_secs(interval));
        cloud.kill(0..hosts);
        cloud.run_s(2 * interval + 10);
        let outages = cloud.outages();
        assert_eq!(outages.len(), 1, "{hosts} hosts every {interval} s: {outages:?}");
        let Outbreak { group, silent, watched, hosts: named, wave, routes, .. } = outages[0];
        assert_eq!((group, *watched, *wave, &routes[..]), (&Group::Network("net-a".into()), hosts, 1, &["pager".to_owned()][..]));
        assert!(*silent >= 20 && *silent > hosts * 3 / 10, "{silent} of {hosts}");
        assert_eq!(named.len(), (*silent).min(100) as usize);
        // Before so many are silent that it cannot be chance those that fell are alone.
        let singly = cloud.downs().len();
        let few = if interval <= 60 { 7 } else { hosts as usize / 8 };
        assert!(singly <= few, "{hosts} hosts every {interval} s: {singly} told singly");
        cloud.revive(0..hosts);
        cloud.run_s(2 * interval + 5);
        assert_eq!((cloud.over(), cloud.firing().len()), (1, 0), "{hosts} hosts every {interval} s");
        cloud.run_s(1200);
        assert!(cloud.filter.is_idle(), "nothing is left of it");
    }
}

#[test]
fn nineteen_of_twenty_in_a_tiny_network_are_told_one_by_one_soon() {
    let mut cloud = Cloud::new(20, SECOND);
    cloud.kill(0..19);
    cloud.run_s(8);
    assert_eq!((cloud.downs().len(), cloud.outages().len()), (19, 0));
    let latest =
        cloud.told.iter().filter_map(|(at, told)| if let Told::Down { fall, .. } = told { Some(at - fall.at_ms) } else { None }).max();
    assert!(latest.unwrap() <= 5_000 + TICK, "{latest:?}");
}

#[test]
fn fewer_than_the_share_are_told_one_by_one_and_no_later_than_the_hold() {
    let mut cloud = Cloud::new(100, SECOND);
    cloud.kill(0..30);
    cloud.run_s(8);
    assert_eq!((cloud.downs().len(), cloud.outages().len()), (30, 0), "30 of 100 are not more than 30 %");
    cloud.kill(30..31);
    cloud.run_s(3);
    assert_eq!(cloud.outages().len(), 1);
    assert_eq!(cloud.outages()[0].silent, 31, "those that were told before count too");
}

#[test]
fn a_hypervisor_that_dies_is_one_alarm_of_its_tag() {
    let mut hosts = Cloud::new(1000, SECOND).hosts;
    // Forty guests, over all subnets.
    for n in (0..1000).step_by(25) {
        hosts[n].tag = Some("hypervisor=big".into());
    }
    let mut cloud = Cloud::of(hosts);
    cloud.kill((0..1000).step_by(25));
    cloud.run_s(4);
    let outages = cloud.outages();
    assert_eq!(outages.len(), 1, "{outages:?}");
    assert_eq!((&outages[0].group, outages[0].watched), (&Group::Tag("hypervisor=big".into()), 40));
    assert!(cloud.downs().len() <= 5, "{:?}", cloud.downs());
}

#[test]
fn a_subnet_that_dies_in_a_large_network_is_one_alarm_of_the_subnet() {
    let mut cloud = Cloud::new(10_000, SECOND);
    cloud.kill(512..768);
    cloud.run_s(7);
    let outages = cloud.outages();
    assert_eq!(outages.len(), 1, "{outages:?}");
    assert_eq!(outages[0].group.name(), "10.0.2.0/24");
    assert!(cloud.downs().len() <= 5, "{:?}", cloud.downs());
    // Its neighbours are told as ever meanwhile.
    cloud.kill([9_000]);
    cloud.run_s(3);
    assert!(cloud.firing().contains(&9_000));
}

#[test]
fn a_network_of_many_subnets_that_dies_is_one_alarm_and_not_one_for_each_subnet() {
    let mut cloud = Cloud::new(20_000, Duration::from_secs(2));
    cloud.kill(0..20_000);
    cloud.run_s(10);
    let outages = cloud.outages();
    assert_eq!(outages.len(), 1, "{:?}", outages.iter().map(|outage| &outage.group).collect::<Vec<_>>());
    assert_eq!(outages[0].group, Group::Network("net-a".into()));
    assert!(cloud.downs().is_empty(), "{} told singly", cloud.downs().len());
}

#[test]
fn those_still_silent_when_an_outage_is_over_are_told_one_by_one() {
    let mut cloud = Cloud::new(100, SECOND);
    cloud.kill(0..100);
    cloud.run_s(10);
    let before = cloud.downs().len();
    cloud.revive(8..100);
    cloud.run_s(3);
    assert_eq!(cloud.over(), 1);
    assert_eq!(cloud.firing(), (0..8).collect(), "each of them once");
    assert_eq!(cloud.downs().len(), cloud.downs().iter().collect::<BTreeSet<_>>().len());
    assert!(before <= 5);
    cloud.revive(0..8);
    cloud.run_s(3);
    assert!(cloud.firing().is_empty());
}

#[test]
fn an_outage_lasts_until_fewer_than_half_the_share_are_silent() {
    let mut cloud = Cloud::new(100, SECOND);
    cloud.kill(0..100);
    cloud.run_s(10);
    cloud.revive(15..100);
    cloud.run_s(30);
    assert_eq!(cloud.over(), 0, "15 of 100 are half the share");
    cloud.revive(14..15);
    cloud.run_s(3);
    assert_eq!(cloud.over(), 1);
}

#[test]
fn a_host_stopped_in_a_storm_is_told_by_nobody() {
    let mut cloud = Cloud::new(100, SECOND);
    cloud.kill(0..25);
    cloud.run_s(2);
    assert!(cloud.downs().len() < 10, "they wait: {:?}", cloud.downs());
    let waiting: Vec<u32> = (0..25).filter(|who| !cloud.downs().contains(who)).collect();
    waiting.iter().for_each(|who| cloud.filter.forget(*who));
    cloud.run_s(20);
    assert!(waiting.iter().all(|who| !cloud.downs().contains(who)));
    // And one that an outage tells of.
    let mut cloud = Cloud::new(100, SECOND);
    cloud.kill(0..100);
    cloud.run_s(10);
    (0..3).for_each(|who| cloud.filter.forget(who));
    cloud.revive(3..100);
    cloud.run_s(5);
    assert_eq!((cloud.over(), cloud.firing().len()), (1, 0));
}

#[test]
fn hosts_that_come_back_while_their_alarm_waits_are_nobodys_business() {
    let mut cloud = Cloud::new(100, SECOND);
    cloud.kill(0..28);
    cloud.run_s(3);
    let told = cloud.downs().len();
    assert!(told < 10, "{told}");
    cloud.revive(0..28);
    cloud.run_s(10);
    // The last few of them are few enough to be alone again, for a moment.
    assert!(cloud.downs().len() <= told + 7 && cloud.firing().is_empty(), "{:?}", cloud.downs());
}

#[test]
fn an_agent_that_goes_blind_drops_what_waits_and_tells_it_when_it_sees_it_again() {
    let mut cloud = Cloud::new(100, SECOND);
    cloud.kill(0..28);
    cloud.run_s(3);
    let told = cloud.downs().len();
    cloud.blind(0..100);
    cloud.run_s(30);
    assert_eq!(cloud.downs().len(), told, "no host alarm while it is blind");
    // It sees: 28 are down as before, long since; that is no storm of now, and each is told.
    let since = cloud.ms - 32_000;
    (0..28).for_each(|who| cloud.turn_since(who, Verdict::Down, since));
    (28..100).for_each(|who| cloud.turn(who, Verdict::Up));
    cloud.run_s(8);
    assert_eq!((cloud.firing().len(), cloud.outages().len()), (28, 0));
    cloud.revive(0..28);
    cloud.run_s(5);
    assert!(cloud.firing().is_empty());
}

#[test]
fn what_was_told_before_blindness_ends_also_when_an_outage_takes_it_in_after_it() {
    let mut cloud = Cloud::new(100, SECOND);
    cloud.kill([0]);
    cloud.run_s(3);
    assert_eq!(cloud.firing(), [0].into());
    cloud.blind(0..100);
    cloud.run_s(5);
    let since = cloud.ms - 8_000;
    cloud.turn_since(0, Verdict::Down, since);
    (1..100).for_each(|who| cloud.turn(who, Verdict::Up));
    cloud.kill(1..100);
    cloud.run_s(10);
    assert_eq!(cloud.outages().len(), 1);
    cloud.revive(0..100);
    cloud.run_s(5);
    assert!(cloud.firing().is_empty());
}

#[test]
fn hosts_that_were_down_long_before_a_blip_of_the_link_make_no_outage() {
    let mut cloud = Cloud::new(60, SECOND);
    for who in 0..30 {
        cloud.kill([who]);
        cloud.run_s(30);
    }
    assert_eq!((cloud.downs().len(), cloud.outages().len()), (30, 0));
    cloud.run_s(200);
    cloud.blind(0..60);
    cloud.run_s(10);
    let since = cloud.ms - 300_000;
    (0..30).for_each(|who| cloud.turn_since(who, Verdict::Down, since));
    (30..60).for_each(|who| cloud.turn(who, Verdict::Up));
    cloud.run_s(10);
    assert_eq!(cloud.outages().len(), 0);
}

#[test]
fn a_new_death_in_a_network_whose_old_outage_still_lasts_is_told() {
    let mut cloud = Cloud::new(100, SECOND);
    cloud.kill(0..40);
    cloud.run_s(300);
    assert_eq!((cloud.outages().len(), cloud.over()), (1, 0));
    cloud.kill([90]);
    cloud.run_s(3);
    assert!(cloud.firing().contains(&90), "the storm is over, though its hosts are not back");
    // And when the others fall as well that is another outage.
    cloud.kill(40..90);
    cloud.run_s(10);
    assert_eq!(cloud.outages().iter().map(|outage| outage.wave).collect::<Vec<_>>(), [1, 2]);
    cloud.revive(0..100);
    cloud.run_s(10);
    assert_eq!((cloud.over(), cloud.firing().len()), (2, 0));
}

#[test]
fn whoever_would_not_hear_of_the_outage_is_told_of_the_host() {
    let mut hosts = Cloud::new(100, SECOND).hosts;
    let other = Arc::new(Policy { alarm: vec!["customer".into()], ..policy(SECOND) });
    hosts[99].policy = other;
    let mut cloud = Cloud::of(hosts);
    cloud.kill(0..99);
    cloud.run_s(5);
    assert_eq!(cloud.outages()[0].routes, ["pager"]);
    cloud.kill([99]);
    cloud.run_s(8);
    assert!(cloud.downs().contains(&99));
}

#[test]
fn an_outage_of_before_a_restart_goes_on_until_its_members_answer() {
    let until = |cloud: &Cloud, seconds: u64| Mono::from_nanos((cloud.ms + seconds * 1_000) * 1_000_000);
    let group = || Group::Network("net-a".into());
    // They are still silent: no second alarm, and none of their own.
    let mut cloud = Cloud::new(100, SECOND);
    let end = until(&cloud, 62);
    cloud.filter.resume_outage(group(), 1, vec!["pager".into()], end);
    cloud.hosts.iter_mut().for_each(|host| host.verdict = Verdict::Pending);
    cloud.kill(0..100);
    cloud.run_s(200);
    assert_eq!(cloud.told, []);
    cloud.revive(5..100);
    cloud.run_s(5);
    assert_eq!((cloud.over(), cloud.firing()), (1, (0..5).collect()));
    // They came back meanwhile: it ends when that is sure.
    let mut cloud = Cloud::new(100, SECOND);
    let end = until(&cloud, 62);
    cloud.filter.resume_outage(group(), 1, vec!["pager".into()], end);
    cloud.run_s(61);
    assert_eq!(cloud.over(), 0);
    cloud.run_s(2);
    assert!(matches!(&cloud.told[..], [(_, Told::Over { wave: 1, .. })]), "{:?}", cloud.told);
    assert!(cloud.filter.is_idle());
    // The agent is blind: it cannot say that it is over.
    let mut cloud = Cloud::new(100, SECOND);
    let end = until(&cloud, 62);
    cloud.filter.resume_outage(group(), 1, vec!["pager".into()], end);
    cloud.blind(0..100);
    cloud.run_s(200);
    assert_eq!(cloud.over(), 0);
    (0..100).for_each(|who| cloud.turn(who, Verdict::Up));
    cloud.run_s(1);
    assert_eq!(cloud.over(), 1);
}

#[test]
fn one_that_flaps_is_told_once_and_when_it_is_stable_again() {
    let mut cloud = Cloud::new(100, SECOND);
    for _ in 0..20 {
        cloud.turn(0, Verdict::Suspect);
        cloud.run_s(1);
        cloud.turn(0, Verdict::Down);
        cloud.run_s(20);
        cloud.turn(0, Verdict::Up);
        cloud.run_s(20);
    }
    let kinds = |cloud: &Cloud| -> Vec<&str> {
        cloud
            .told
            .iter()
            .filter_map(|(_, told)| match told {
                Told::Down { .. } => Some("down"),
                Told::Up { .. } => None,
                Told::Flapping { .. } => Some("flapping"),
                Told::Stable { .. } => Some("stable"),
                Told::Outage { .. } | Told::Over { .. } => Some("outage"),
            })
            .collect()
    };
    assert_eq!(kinds(&cloud), ["down", "down", "down", "flapping"], "the sixth turn is its third return");
    cloud.run_s(620);
    assert_eq!(kinds(&cloud)[4..], ["stable"]);
    // Again, and this time it stays down.
    for _ in 0..6 {
        cloud.turn(0, Verdict::Down);
        cloud.run_s(10);
        cloud.turn(0, Verdict::Up);
        cloud.run_s(10);
    }
    cloud.turn(0, Verdict::Down);
    cloud.run_s(620);
    assert_eq!(kinds(&cloud)[5..], ["down", "down", "down", "flapping", "stable", "down"]);
    assert_eq!(cloud.firing(), [0].into());
    cloud.turn(0, Verdict::Up);
    assert!(cloud.firing().is_empty());
}

#[test]
fn a_network_that_goes_and_comes_again_and_again_makes_no_flapping_hosts() {
    let mut cloud = Cloud::new(200, SECOND);
    for _ in 0..8 {
        cloud.kill(0..200);
        cloud.run_s(20);
        cloud.revive(0..200);
        cloud.run_s(20);
    }
    let flapping = cloud.told.iter().filter(|(_, told)| matches!(told, Told::Flapping { .. })).count();
    assert!(flapping <= 5, "{flapping} of 200");
    assert_eq!((cloud.outages().len(), cloud.over()), (8, 8));
}

#[test]
fn a_tag_whose_size_is_not_known_yet_makes_its_hosts_wait_no_longer_than_the_hold() {
    let mut hosts = Cloud::new(10_000, SECOND).hosts;
    (0..6).for_each(|n| hosts[n * 300].tag = Some("hypervisor=slow".into()));
    let mut cloud = Cloud::of(hosts);
    cloud.census.silent = true;
    cloud.kill((0..6).map(|n| n * 300));
    cloud.run_s(8);
    assert_eq!(cloud.downs().len(), 6);
}

#[test]
fn whatever_happens_every_host_that_is_down_is_told_by_itself_or_by_an_outage() {
    use rand::{Rng, SeedableRng};
    for seed in 0..60 {
        let mut random = rand::rngs::StdRng::seed_from_u64(seed);
        let size = random.random_range(20..300);
        let mut cloud = Cloud::new(size, Duration::from_millis(random.random_range(500..8_000)));
        let mut gone = BTreeSet::new();
        for _ in 0..40 {
            let (from, to) = (random.random_range(0..size), random.random_range(0..size));
            let some = (from.min(to)..=from.max(to)).filter(|who| !gone.contains(who)).collect::<Vec<_>>();
            match random.random_range(0..10) {
                0..4 => {
                    let alive = |who: &u32| cloud.hosts[*who as usize].verdict == Verdict::Up;
                    let alive: Vec<u32> = some.into_iter().filter(alive).collect();
                    cloud.revive(alive.clone());
                    cloud.turns.retain(|(_, who, _)| !alive.contains(who));
                    cloud.kill(alive);
                }
                4..8 => cloud.revive(some),
                8 => {
                    let unknown: Vec<u32> = some.into_iter().take(20).collect();
                    cloud.blind(unknown);
                }
                _ => {
                    if let Some(who) = some.first() {
                        cloud.turns.retain(|(_, other, _)| other != who);
                        cloud.filter.forget(*who);
                        gone.insert(*who);
                    }
                }
            }
            cloud.run(random.random_range(100..20_000));
        }
        // Whoever is unknown is seen again; then all is given time.
        for who in 0..size {
            if cloud.hosts[who as usize].verdict == Verdict::Unknown && !gone.contains(&who) {
                cloud.turn(who, Verdict::Up);
            }
        }
        cloud.run_s(1_300);
        let down: BTreeSet<u32> =
            (0..size).filter(|who| cloud.hosts[*who as usize].verdict == Verdict::Down && !gone.contains(who)).collect();
        let firing: BTreeSet<u32> = cloud.firing().difference(&gone).copied().collect();
        assert!(firing.is_subset(&down), "seed {seed}: alarms of hosts that are up: {:?}", firing.difference(&down).collect::<Vec<_>>());
        let lasting = cloud.outages().len() - cloud.over();
        if lasting == 0 {
            assert_eq!(firing, down, "seed {seed}");
        }
        // All answer: nothing fires, nothing is held.
        cloud.revive(down);
        cloud.run_s(1_300);
        let firing: BTreeSet<u32> = cloud.firing().difference(&gone).copied().collect();
        assert!(firing.is_empty(), "seed {seed}: {firing:?}");
        assert_eq!(cloud.outages().len(), cloud.over(), "seed {seed}");
        assert!(cloud.filter.is_idle(), "seed {seed}: {} are remembered", cloud.filter.len());
    }
}

#[test]
fn a_million_addresses_that_go_down_at_once_are_one_alarm_in_seconds_of_work() {
    let mut cloud = Cloud::new(1_000_000, SECOND);
    cloud.kill(0..1_000_000);
    let began = Instant::now();
    cloud.run_s(3);
    let took = began.elapsed();
    println!("a million down: {took:?}");
    assert_eq!((cloud.outages().len(), cloud.downs().len()), (1, 0));
    assert!(took < Duration::from_secs(60), "{took:?}");
    let asked = *cloud.census.asked.borrow();
    assert!(asked < 150_000, "each group's size is asked once: {asked}");
}
