//! What came of the engine's notes: what would be told, by the stages that the agent's own teller asks, and by which routes, without queues.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rollcall_agent::alarm::{AgentAlarmConfig, Census, Fall, Filter, FlapConfig, Group, Place, Seen, Sights, Size, StormConfig, Turn};
use rollcall_agent::clock::Mono;
use rollcall_agent::engine::{Conditioned, Note, Turned};
use rollcall_agent::policy::Policy;
use rollcall_agent::roster::Roster;
use rollcall_agent::unit::{Condition, Verdict};

/// Between two looks at what waits to be told, as in the teller.
const TICK: Duration = Duration::from_millis(100);

/// What was told, and when.
#[derive(Clone, Debug)]
pub struct Told {
    /// By the simulation's clock.
    pub at: Mono,
    /// What: the kind of the alarm, as the webhook names it, or the same with `-over` behind it.
    pub what: String,
    /// Of whom: network and address, or the group.
    pub who: String,
    /// By which routes of its policies; none: nobody hears of it.
    pub routes: BTreeSet<String>,
}

/// A verdict that turned to `down`.
#[derive(Clone, Copy, Debug)]
pub struct Fell {
    /// By the simulation's clock.
    pub at: Mono,
    /// Whose.
    pub address: IpAddr,
}

/// The ledger.
pub struct Ledger {
    rolls: Rolls,
    filter: Filter,
    sights: Sights,
    /// Names of the agent's networks.
    networks: Vec<Arc<str>>,
    /// Alarms that fire: kind and whom.
    open: BTreeSet<(&'static str, String)>,
    ticked: Mono,
    /// Of whom which condition holds.
    conditions: BTreeSet<(Condition, String)>,
    /// All that was told, in order.
    pub told: Vec<Told>,
    /// All verdicts `down`, told one by one or not.
    pub fell: Vec<Fell>,
}

impl Ledger {
    pub(super) fn new<'a>(networks: impl Iterator<Item = &'a str>) -> Self {
        Ledger {
            rolls: Rolls::default(),
            filter: Filter::new(StormConfig::default(), FlapConfig::default()),
            sights: Sights::new(AgentAlarmConfig::default().hold),
            networks: networks.map(Arc::from).collect(),
            open: BTreeSet::new(),
            ticked: Mono::default(),
            conditions: BTreeSet::new(),
            told: Vec::new(),
            fell: Vec::new(),
        }
    }

    pub(super) fn roster(&self) -> &Arc<Roster> {
        &self.rolls.roster
    }

    /// Of how many addresses each condition holds that the engine tells of.
    pub fn conditions(&self) -> BTreeMap<Condition, usize> {
        let mut counts = BTreeMap::new();
        self.conditions.iter().for_each(|(condition, _)| *counts.entry(*condition).or_default() += 1);
        counts
    }

    /// Takes one note.
    pub(super) fn take(&mut self, note: Note, now: Mono) {
        match note {
            Note::Roster(roster, gone) => {
                for key in gone {
                    let known = &self.rolls.roster;
                    let slot = known.table.find(&key.network, key.address).and_then(|record| known.slot(record));
                    slot.into_iter().for_each(|slot| self.filter.forget(slot));
                    let who = format!("{} {}", key.network, key.address);
                    for what in ["down", "conflict", "flapping"] {
                        if self.open.remove(&(what, who.clone())) {
                            let routes = BTreeSet::new();
                            self.told.push(Told { at: now, what: format!("{what}-forgotten"), who: who.clone(), routes });
                        }
                    }
                }
                self.rolls.take(roster);
            }
            Note::Turn(turned) => self.turn(turned, now),
            Note::Condition(Conditioned { slot, condition, holds, .. }) => {
                let Some(who) = self.rolls.name(slot) else { return };
                match holds {
                    true => drop(self.conditions.insert((condition, who.clone()))),
                    false => drop(self.conditions.remove(&(condition, who.clone()))),
                }
                if condition == Condition::Conflict {
                    let routes = self.rolls.routes(slot).collect();
                    self.say("conflict", who, routes, holds, now);
                }
            }
            Note::Sight(sight) => {
                let network = sight.network.map_or("".into(), |network| self.networks[usize::from(network)].clone());
                self.filter.sight(&network, sight.blind.is_none(), now);
                self.sights.sight(&network, sight.blind, sight.at_ms, now);
            }
            Note::Done(..) | Note::Spent(_) => {}
        }
    }

    fn turn(&mut self, turned: Turned, now: Mono) {
        let Turned { slot, from, to, misses, at_ms, since_ms, last_reply_ms, .. } = turned;
        let Some(record) = self.rolls.roster.record(slot) else { return };
        let table = &self.rolls.roster.table;
        let place = Place {
            network: table.network(record.network()).into(),
            address: record.address(),
            tag: None,
            policy: self.rolls.policies[usize::from(record.policy())].clone(),
        };
        if to == Verdict::Down {
            self.fell.push(Fell { at: now, address: record.address() });
        }
        let fall = Fall { at_ms, since_ms, last_reply_ms, misses };
        let mut told = Vec::new();
        self.filter.turn(Turn { who: slot, from, to, fall }, || place.clone(), &mut self.rolls, now, &mut told);
        self.say_all(told, now);
    }

    /// What time brings.
    pub(super) fn tick(&mut self, now: Mono) {
        if now.since(self.ticked) < TICK {
            return;
        }
        self.ticked = now;
        if !self.filter.is_idle() {
            let mut told = Vec::new();
            self.filter.tick(&mut self.rolls, now, wall(now), &mut told);
            self.say_all(told, now);
        }
        for seen in self.sights.tick(now, |_| true) {
            let (Seen::Blind(what) | Seen::Sees(what)) = &seen;
            self.say("agent-blind", what.networks.join(" "), BTreeSet::new(), matches!(seen, Seen::Blind(_)), now);
        }
    }

    fn say_all(&mut self, told: Vec<rollcall_agent::alarm::Told>, now: Mono) {
        use rollcall_agent::alarm::Told::{Down, Flapping, Outage, Over, Stable, Up};
        for one in told {
            let routes: BTreeSet<String> = match &one {
                Down { who, .. } | Up { who, .. } | Flapping { who, .. } | Stable { who, .. } => self.rolls.routes(*who).collect(),
                Outage { covered, .. } => covered.iter().flat_map(|slot| self.rolls.routes(*slot)).collect(),
                Over { .. } => BTreeSet::new(),
            };
            // Whoever has no name any more should not have been told of, and is found by that.
            let name = |slot: u32| self.rolls.name(slot).unwrap_or_else(|| format!("slot {slot}"));
            let (what, who, begins) = match one {
                Down { who, .. } => ("down", name(who), true),
                Up { who, .. } => ("down", name(who), false),
                Flapping { who, .. } => ("flapping", name(who), true),
                Stable { who, .. } => ("flapping", name(who), false),
                Outage { outbreak, .. } => ("outage", format!("{} {}", outbreak.group.name(), outbreak.wave), true),
                Over { group, wave, .. } => ("outage", format!("{} {wave}", group.name()), false),
            };
            self.say(what, who, routes, begins, now);
        }
    }

    /// As the alarms' own core does: a second beginning says nothing, and no more does the end of what was not told.
    fn say(&mut self, what: &'static str, who: String, routes: BTreeSet<String>, begins: bool, now: Mono) {
        let news = if begins { self.open.insert((what, who.clone())) } else { self.open.remove(&(what, who.clone())) };
        if news {
            self.told.push(Told { at: now, what: if begins { what.to_owned() } else { format!("{what}-over") }, who, routes });
        }
    }
}

/// Who is watched, and how many of a group.
#[derive(Default)]
struct Rolls {
    roster: Arc<Roster>,
    policies: Vec<Arc<Policy>>,
    epoch: u64,
    sizes: BTreeMap<String, Size>,
}

impl Rolls {
    fn take(&mut self, roster: Arc<Roster>) {
        self.policies = roster.table.policies().iter().cloned().map(Arc::new).collect();
        self.roster = roster;
        self.epoch += 1;
        self.sizes.clear();
    }

    fn name(&self, slot: u32) -> Option<String> {
        let record = self.roster.record(slot)?;
        Some(format!("{} {}", self.roster.table.network(record.network()), record.address()))
    }

    /// Who is told of an address. Of one that is not there any more it is not known.
    fn routes(&self, slot: u32) -> impl Iterator<Item = String> {
        let known = self.roster.record(slot).map(|record| self.policies[usize::from(record.policy())].alarm.clone());
        known.unwrap_or_else(|| vec!["unknown".to_owned()]).into_iter()
    }
}

impl Census for Rolls {
    fn epoch(&self) -> u64 {
        self.epoch
    }

    fn size(&mut self, group: &Group) -> Option<Size> {
        let key = format!("{group:?}");
        if let Some(size) = self.sizes.get(&key) {
            return Some(*size);
        }
        let mut size = Size { members: 0, per_second: 0.0 };
        for (_, record, _) in self.roster.iter() {
            let network: Arc<str> = self.roster.table.network(record.network()).into();
            let member = match group {
                Group::Network(name) => *name == network,
                Group::Subnet(..) => *group == Group::subnet(network, record.address()),
                Group::Tag(_) => false,
            };
            if member {
                size.members += 1;
                size.per_second += 1.0 / self.policies[usize::from(record.policy())].interval.as_secs_f64();
            }
        }
        self.sizes.insert(key, size);
        Some(size)
    }
}

/// The wall clock of a simulation.
pub(super) fn wall(now: Mono) -> u64 {
    now.nanos() / 1_000_000
}
