//! An hour of a cloud's life by a simulated clock: owners stop, start, migrate, reboot, delete and make servers, Nova and Neutron tell of it
//! as they do, and now and then a machine really dies. Who is woken, and who should have been?
//!
//! The platform's messages, what is known of it, the join, the policies, the table, the engine and the stages of the alarms are the real
//! ones; the clock, the network and the messages' delays are not.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use rollcall_agent::schedule::Pps;
use rollcall_agent::table::Table;
use rollcall_agent_ebpf::fleet::{Behaviour, Cloud};
use rollcall_control::compile::Roll;
use rollcall_control::hosts::HostList;
use rollcall_control::mistake::Mistakes;
use rollcall_control::policies::PolicyFile;
use rollcall_control::source::format::owners;
use rollcall_control::source::openstack::change::{Change, ServerChange};
use rollcall_control::source::openstack::join::{Rules, listing};
use rollcall_control::source::openstack::model::{FixedIp, Port, Server};
use rollcall_control::source::openstack::world::{List, World};

use crate::population::{self, Host};
use crate::simulation::{Random, Simulation};

const NETWORK: &str = "net-blue";
/// Servers at the beginning, and such that may be made.
const SERVERS: u32 = 400;
const SPARE: u32 = 400;
/// Between two things that happen, on average.
const PACE: Duration = Duration::from_secs(4);
const GRACE: Duration = Duration::from_secs(60);
/// How long an alarm may take from a death on, beside what the policy takes: those of a storm wait.
const PATIENCE: Duration = Duration::from_secs(10);
/// So late a message comes at most; most come much sooner.
const DELAY: Duration = Duration::from_millis(400);
const POLICIES: &str =
    "[defaults]\ninterval = \"1s\"\ntimeout = \"300ms\"\nconfirm_interval = \"200ms\"\ndown_after = 3\nalarm = [\"oncall\"]\n";

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Churn {
    /// What owners did.
    pub acts: u32,
    /// Machines that really died.
    pub deaths: u32,
    /// Tables that were made.
    pub tables: u32,
    /// Alarms of machines that did not die.
    pub wrong: u32,
    /// Deaths without an alarm.
    pub missed: u32,
}

/// Something that happens to a station at a moment.
enum Step {
    /// It answers, or does not any more.
    Lives(bool),
    /// The platform tells of it.
    Told(Change),
}

struct Stage {
    world: World,
    rules: Rules,
    policies: Vec<u8>,
    simulation: Simulation,
    random: Random,
    begin: Instant,
    /// What is still to happen, by time.
    ahead: BTreeMap<(Duration, u32), (u32, Step)>,
    /// Until when a station is busy with what happens to it.
    busy: HashMap<u32, Duration>,
    /// Who is in the table in force.
    watched: HashSet<IpAddr>,
    /// Real deaths: since when, until when an alarm may come, whether one came.
    deaths: Vec<(u32, Duration, Duration, bool)>,
    /// Alarms that were looked at.
    seen: usize,
    numbers: u32,
    next: u32,
    result: Churn,
}

fn cloud() -> Cloud {
    Cloud { on_link: SERVERS + SPARE, routed: 0 }
}

/// Lives for so long.
pub fn run(seed: u64, lasts: Duration) -> Result<Churn> {
    let mut stage = Stage::new(seed)?;
    let start = Duration::from_secs(10);
    stage.go(start)?;
    let mut now = start;
    while now < lasts {
        stage.happen(now);
        now += PACE.mul_f64(0.2 + 1.6 * stage.random.below(1_000) as f64 / 1_000.0);
        stage.go(now)?;
    }
    // Until all that began is over.
    let last = stage.deaths.iter().map(|(_, _, to, _)| *to).max().unwrap_or_default();
    stage.go(last.max(now + 3 * GRACE))?;
    let missed = stage.deaths.iter().filter(|(.., told)| !told).count();
    Ok(Churn { missed: missed as u32, deaths: stage.deaths.len() as u32, ..stage.result })
}

impl Stage {
    fn new(seed: u64) -> Result<Stage> {
        let pps = Pps::new(1_000_000).context("a cap")?;
        let mut simulation = Simulation::new(seed, &[(NETWORK.to_owned(), cloud())], cloud().stations() as usize, pps)?;
        simulation.cloud(|air| {
            let unborn = &mut air.nets[0].health[SERVERS as usize + 1..];
            unborn.iter_mut().for_each(|health| health.behaviour = health.behaviour.with(Behaviour::DEAD, true));
        });
        let owners = owners(&["compute:*"]).map_err(|error| anyhow!("{error}"))?;
        let rules = Rules { owners, watched: true, networks: BTreeMap::new(), floating_ips: false };
        let begin = Instant::now();
        let mut world = World::new(GRACE);
        let hosts: Vec<Host> = population::hosts(cloud()).take(SERVERS as usize).collect();
        let servers = hosts.iter().map(|host| Server {
            id: server(host.station),
            name: host.name.clone(),
            status: "ACTIVE".into(),
            ..Server::default()
        });
        let (ports, servers) = (hosts.iter().map(|host| port(host, 1)).collect(), servers.collect());
        world.replace(List { ports, servers, ..List::default() }, begin);
        let mut stage = Stage {
            world,
            rules,
            policies: POLICIES.as_bytes().to_vec(),
            simulation,
            random: Random::new(seed),
            begin,
            ahead: BTreeMap::new(),
            busy: HashMap::new(),
            watched: HashSet::new(),
            deaths: vec![],
            seen: 0,
            numbers: 0,
            next: SERVERS + 1,
            result: Churn::default(),
        };
        stage.push()?;
        Ok(stage)
    }

    /// Makes the table of what is known, and hands it to the agent.
    fn push(&mut self) -> Result<()> {
        let now = self.begin + self.simulation.elapsed();
        let listing = listing(&self.world, &self.rules, now);
        self.watched = listing.hosts.iter().flat_map(|host| host.addresses.iter().map(|spot| spot.address)).collect();
        self.result.tables += 1;
        self.simulation.push(table(&listing.hosts, &self.policies, u64::from(self.result.tables))?)
    }

    /// Something happens to somebody.
    fn happen(&mut self, now: Duration) {
        let what = self.random.below(10);
        if what == 0 && self.next <= SERVERS + SPARE {
            self.result.acts += 1;
            return self.make(now);
        }
        let station = 1 + self.random.below(u64::from(self.next) - 1) as u32;
        if self.busy.get(&station).is_some_and(|until| *until > now) {
            return;
        }
        let seconds = Duration::from_secs;
        let (name, task, stopped, dark) = match what {
            1 | 2 => {
                // It really dies, and is found and mended a while later.
                let bound = Duration::from_secs(2) + PATIENCE;
                self.deaths.push((station, now, now + bound, false));
                self.at(now, station, Step::Lives(false));
                self.at(now + seconds(30), station, Step::Lives(true));
                self.busy.insert(station, now + seconds(60));
                return;
            }
            3 => {
                self.result.acts += 1;
                self.tell(now, station, Some("ACTIVE"), Some("deleting"));
                self.at(now + DELAY + seconds(1), station, Step::Lives(false));
                let gone = now + DELAY + seconds(2);
                self.at(gone, station, Step::Told(Change::PortGone(format!("port-{station}"))));
                self.at(gone, station, Step::Told(Change::ServerGone(server(station))));
                // Nobody is born twice.
                self.busy.insert(station, Duration::MAX);
                return;
            }
            4 => ("ACTIVE", "migrating", false, seconds(3)),
            5 => ("ACTIVE", "rebooting", false, seconds(25)),
            6 => ("PAUSED", "pausing", true, seconds(1)),
            7 => ("SUSPENDED", "suspending", true, seconds(5)),
            _ => ("SHUTOFF", "powering-off", true, seconds(20)),
        };
        self.result.acts += 1;
        self.tell(now, station, Some("ACTIVE"), Some(task));
        let silent = now + DELAY + seconds(1);
        self.at(silent, station, Step::Lives(false));
        let mut back = silent + seconds(2);
        self.tell(back, station, Some(name), None);
        if stopped {
            back += seconds(30 + self.random.below(200));
            self.tell(back, station, Some(name), Some("powering-on"));
            back += seconds(2);
            self.tell(back, station, Some("ACTIVE"), None);
        }
        // One in ten of them does not come up again: that is a death like any other, once its grace is over.
        let up = back + dark;
        if self.random.below(10) == 0 {
            let judged = back + GRACE;
            self.deaths.push((station, judged, judged + Duration::from_secs(4) + PATIENCE, false));
            self.at(judged + seconds(30), station, Step::Lives(true));
        } else {
            self.at(up, station, Step::Lives(true));
        }
        self.busy.insert(station, back + GRACE + seconds(60));
    }

    /// A server is made: it boots while it is ACTIVE already.
    fn make(&mut self, now: Duration) {
        let station = self.next;
        self.next += 1;
        let Some(host) = Host::of(cloud(), station) else { return };
        self.at(now, station, Step::Told(Change::Port(Box::new(port(&host, 1)))));
        self.tell(now + DELAY, station, Some("BUILD"), Some("spawning"));
        self.tell(now + 3 * DELAY, station, Some("ACTIVE"), None);
        self.at(now + Duration::from_secs(25), station, Step::Lives(true));
        self.busy.insert(station, now + 2 * GRACE);
    }

    /// Nova tells of a server, sooner or later.
    fn tell(&mut self, at: Duration, station: u32, status: Option<&str>, task: Option<&str>) {
        let late = Duration::from_millis(14 + self.random.below(DELAY.as_millis() as u64 - 14));
        let change = ServerChange {
            id: server(station),
            status: status.map(str::to_owned),
            task_state: Some(task.map(str::to_owned)),
            ..ServerChange::default()
        };
        self.at(at + late, station, Step::Told(Change::Server(change)));
    }

    fn at(&mut self, at: Duration, station: u32, step: Step) {
        self.numbers += 1;
        self.ahead.insert((at, self.numbers), (station, step));
    }

    /// Goes on until then, with all that happens on the way.
    fn go(&mut self, until: Duration) -> Result<()> {
        loop {
            let grace = self.world.next_grace().map(|at| at.saturating_duration_since(self.begin));
            let step = self.ahead.first_key_value().map(|(key, _)| key.0);
            let Some(next) = [grace, step].into_iter().flatten().min().filter(|next| *next <= until) else { break };
            self.simulation.run_until(next);
            self.look();
            let now = self.begin + self.simulation.elapsed();
            while let Some(entry) = self.ahead.first_entry().filter(|entry| entry.key().0 <= next) {
                let (station, step) = entry.remove();
                match step {
                    Step::Lives(alive) => self.simulation.cloud(|air| {
                        let health = &mut air.nets[0].health[station as usize];
                        health.behaviour = health.behaviour.with(Behaviour::DEAD, !alive);
                    }),
                    Step::Told(change) => self.world.apply(change, now),
                }
            }
            if self.world.take_change(now) {
                self.push()?;
            }
        }
        self.simulation.run_until(until);
        self.look();
        Ok(())
    }

    /// Looks at the alarms that were told since the last look.
    fn look(&mut self) {
        let told = &self.simulation.ledger.told;
        for one in told.iter().skip(self.seen).filter(|one| one.what == "down" && !one.routes.is_empty()) {
            let at = one.at.since(self.simulation.begin());
            // Of whom is told that is not in the table, or is nobody, does not die either: he was deleted.
            let address = one.who.split(' ').nth(1).and_then(|text| text.parse().ok()).filter(|address| self.watched.contains(address));
            let station = address.and_then(|address| match address {
                IpAddr::V4(address) => cloud().station(address.octets()),
                IpAddr::V6(_) => None,
            });
            let number = station.map(|station| station.number);
            let deaths = self.deaths.iter_mut();
            let death = deaths.filter(|(who, ..)| Some(*who) == number).find(|(_, from, to, _)| (*from..=*to).contains(&at));
            match death {
                Some(death) => death.3 = true,
                None => self.result.wrong += 1,
            }
        }
        self.seen = told.len();
    }
}

/// The table of these hosts, as `rollcall sync` makes it.
pub fn table(hosts: &[rollcall_control::source::Entry], policies: &[u8], generation: u64) -> Result<Table> {
    let mut mistakes = Mistakes::default();
    let policies = PolicyFile::read("policies", policies, &mut mistakes);
    let mut list = HostList::default();
    list.take("hosts", hosts, &mut mistakes);
    let roll = Roll::compile(list, policies, mistakes).map_err(|mistakes| anyhow!("{mistakes}"))?;
    Ok(roll.table(generation)?)
}

fn server(station: u32) -> String {
    format!("server-{station}")
}

fn port(host: &Host, revision: u64) -> Port {
    Port {
        id: format!("port-{}", host.station),
        network_id: NETWORK.into(),
        mac_address: host.mac.map(|mac| mac.to_string()).unwrap_or_default(),
        admin_state_up: true,
        device_id: server(host.station),
        device_owner: "compute:nova".into(),
        fixed_ips: vec![FixedIp { subnet_id: "subnet".into(), ip_address: host.address.to_string() }],
        revision_number: revision,
        ..Port::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_woken_for_what_owners_do_and_somebody_for_every_machine_that_dies() {
        for seed in 1..=3 {
            let churn = run(seed, Duration::from_secs(1_800)).unwrap();
            assert_eq!((churn.wrong, churn.missed), (0, 0), "seed {seed}: {churn:?}");
            assert!(churn.acts > 200 && churn.deaths > 50, "seed {seed}: {churn:?}");
        }
    }
}
