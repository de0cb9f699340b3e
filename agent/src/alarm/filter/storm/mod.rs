//! Storm: many addresses of one group that fall silent together are one alarm.
//!
//! Whoever is suspect, or went down lately, is a *member* here, and counts in each of its groups. While a group smells of an outage the
//! alarms of its members wait; when it breaks, one outage takes their place and that of those that follow. An address whose groups are
//! quiet passes at once. Memory is bounded by silent addresses.

mod member;
mod noise;
mod outage;
mod tick;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use self::member::{Member, NONE, Silence};
use self::noise::{Noise, floor};
use self::outage::Outage;
use super::group::{Census, Group, Place};
use super::settings::StormConfig;
use super::{Fall, Told};
use crate::clock::Mono;

#[derive(Debug, Default)]
pub(super) struct Storm {
    config: StormConfig,
    members: HashMap<u32, Member>,
    numbers: HashMap<Group, u32>,
    /// By number; those not in use are free.
    groups: Vec<Option<Noise>>,
    free: Vec<u32>,
    outages: BTreeMap<u32, Outage>,
    next: u32,
    /// When whose fall is no longer one of those of now.
    fresh: BTreeSet<(Mono, u32)>,
    /// Until when whose alarm waits.
    held: BTreeSet<(Mono, u32)>,
    /// Groups with enough silent members to be looked at.
    noisy: BTreeSet<u32>,
    /// Groups because of which alarms wait.
    smelling: BTreeSet<u32>,
    /// Networks that the agent cannot see; the empty name: none at all.
    blind: BTreeSet<String>,
}

/// How an address went down.
#[derive(Clone, Copy, Debug)]
pub(super) struct Down {
    pub(super) fall: Fall,
    /// It is never told by itself.
    pub(super) muted: bool,
    /// The agent saw it fall; else it may have been down, and told, before the agent went blind.
    pub(super) seen: bool,
}

/// What becomes of an address that went down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Its alarm is told now.
    Passes,
    /// It waits.
    Waits,
    /// An outage tells of it.
    Covered,
}

impl Storm {
    pub(super) fn new(config: StormConfig) -> Storm {
        Storm { config, ..Storm::default() }
    }

    /// An address missed a probe.
    pub(super) fn suspect(&mut self, who: u32, place: impl FnOnce() -> Place, now: Mono) {
        if !self.members.contains_key(&who) {
            self.enter(who, place(), now);
        }
    }

    /// An address went down.
    pub(super) fn down(&mut self, who: u32, down: Down, place: impl FnOnce() -> Place, census: &mut impl Census, now: Mono) -> Fate {
        let Down { fall, muted, seen } = down;
        if !self.members.contains_key(&who) {
            self.enter(who, place(), now);
        }
        let Some(member) = self.members.get(&who) else { return Fate::Passes };
        let linger = member.linger(&self.config);
        // One that was down all the time, and only the agent could not see it, did not fall now.
        let fresh = u128::from(fall.at_ms.saturating_sub(fall.since_ms)) <= linger.as_millis();
        self.edit(who, |member| {
            (member.state, member.fall) = (Silence::Down, fall);
            member.told |= muted;
            member.fires |= !seen;
        });
        if fresh {
            self.refresh(who, Some(now + linger));
        }
        self.place(who, fresh, census, now)
    }

    /// Its alarm is to be told after all: it is down, and was quiet for a reason that is gone.
    pub(super) fn unmute(&mut self, who: u32, fall: Fall, place: impl FnOnce() -> Place, census: &mut impl Census, now: Mono) -> Fate {
        if !self.members.contains_key(&who) {
            self.enter(who, place(), now);
        }
        self.edit(who, |member| (member.state, member.fall, member.told) = (Silence::Down, fall, false));
        self.place(who, true, census, now)
    }

    /// Passes, waits, or is covered.
    fn place(&mut self, who: u32, fresh: bool, census: &mut impl Census, now: Mono) -> Fate {
        let Some(member) = self.members.get(&who) else { return Fate::Passes };
        if member.outage.is_some() {
            return Fate::Covered;
        }
        let (groups, policy, patience, told) = (member.groups, member.policy.clone(), member.patience(&self.config), member.told);
        let raging = groups.iter().filter_map(|number| self.noise(*number)).flat_map(|noise| noise.raging.iter().copied());
        let covers = |outage: &u32| self.outages.get(outage).is_some_and(|outage| outage.covers(&policy));
        if fresh && let Some(outage) = { raging }.find(covers) {
            self.cover(who, outage);
            return Fate::Covered;
        }
        let mut smells = !told && self.is_unseen(groups[0]);
        if fresh && !told {
            for number in groups.into_iter().filter(|number| *number != NONE) {
                if self.groups[number as usize].as_mut().is_some_and(|noise| noise.smells(&self.config, census, now)) {
                    self.smelling.insert(number);
                    smells = true;
                }
            }
        }
        if smells {
            self.hold(who, Some(now + patience));
            return Fate::Waits;
        }
        self.edit(who, |member| (member.told, member.fires) = (true, true));
        self.trim(who);
        Fate::Passes
    }

    /// An address answers again. False: its end need not be told, for its beginning was not.
    pub(super) fn up(&mut self, who: u32) -> bool {
        let fires = self.members.get(&who).is_none_or(|member| member.fires || member.state == Silence::Suspect);
        self.forget(who);
        fires
    }

    /// Whether an outage tells of it.
    pub(super) fn is_covered(&self, who: u32) -> bool {
        self.members.get(&who).is_some_and(|member| member.outage.is_some())
    }

    /// The agent cannot tell any more. What waits is not told; what an outage tells of stays with it, and what was told stays told.
    pub(super) fn unknown(&mut self, who: u32, place: impl FnOnce() -> Place, now: Mono) {
        if self.members.get(&who).is_some_and(|member| member.state != Silence::Suspect && (member.outage.is_some() || member.fires)) {
            self.hold(who, None);
            self.edit(who, |member| member.state = Silence::Frozen);
            self.trim(who);
            return;
        }
        self.forget(who);
        // After a restart into blindness nobody can say that an outage is over.
        if self.outages.values().any(|outage| outage.settles.is_some()) {
            self.enter(who, place(), now);
            self.edit(who, |member| (member.state, member.fires) = (Silence::Frozen, true));
            let groups = self.members.get(&who).map_or([NONE; 3], |member| member.groups);
            let settles = |number: u32| self.outages.iter().find(|(_, outage)| outage.group == number && outage.settles.is_some());
            match groups.into_iter().find_map(settles).map(|(id, _)| *id) {
                Some(outage) => self.cover(who, outage),
                None => self.trim(who),
            }
        }
    }

    /// An outage that fired before a restart: it lasts until then at least, and goes on if its members are still silent.
    pub(super) fn resume(&mut self, group: Group, wave: u32, watched: u32, routes: Vec<String>, until: Mono) {
        let number = self.number(group);
        let outage = self.next;
        self.next += 1;
        let (settles, patience) = (Some(until), self.config.hold);
        self.outages.insert(outage, Outage { group: number, wave, watched, routes, left: 0, settles, calm: None, patience });
        if let Some(noise) = &mut self.groups[number as usize] {
            noise.outages += 1;
            noise.raging.push(outage);
        }
    }

    /// Nothing is to be told of an address any more, or its silence is over.
    pub(super) fn forget(&mut self, who: u32) {
        self.refresh(who, None);
        self.hold(who, None);
        let Some(member) = self.members.remove(&who) else { return };
        count(&mut self.groups, &mut self.noisy, &self.outages, floor(&self.config), &member, false);
        if let Some(outage) = member.outage.and_then(|outage| self.outages.get_mut(&outage)) {
            outage.left -= 1;
        }
        for (at, number) in member.groups.into_iter().enumerate().filter(|(_, number)| *number != NONE) {
            if let Some(noise) = &mut self.groups[number as usize] {
                let place = member.places[at] as usize;
                noise.members.swap_remove(place);
                if let Some(moved) = noise.members.get(place).and_then(|moved| self.members.get_mut(moved)) {
                    moved.places[at] = place as u32;
                }
            }
            self.leave(number);
        }
    }

    /// The agent cannot see a network (or, without a name, any), or can again. What waits there waits until it can.
    pub(super) fn sight(&mut self, network: &str, sees: bool, now: Mono) {
        if sees {
            self.blind.remove(network)
        } else {
            self.blind.insert(network.to_owned())
        };
        for number in 0..self.groups.len() {
            let Some(noise) = &mut self.groups[number] else { continue };
            let Group::Network(name) = &noise.group else { continue };
            let blind = self.blind.contains(&**name) || self.blind.contains("");
            let was = std::mem::replace(&mut noise.blind, blind);
            let members = if was && !blind { noise.members.clone() } else { vec![] };
            for who in members {
                let Some(member) = self.members.get(&who).filter(|member| member.held.is_some()) else { continue };
                let patience = member.patience(&self.config);
                self.hold(who, Some(now + patience));
                // Looked at with the next tick: it may be alone.
                self.smelling.insert(number as u32);
            }
        }
    }

    /// Whether the agent cannot see the network with this number.
    fn is_unseen(&self, network: u32) -> bool {
        self.noise(network).is_some_and(|noise| noise.blind)
    }

    /// Whether there is nothing that time could change.
    pub(super) fn is_idle(&self) -> bool {
        self.members.is_empty() && self.outages.is_empty()
    }

    /// Silent addresses that are remembered.
    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    fn enter(&mut self, who: u32, place: Place, now: Mono) {
        let mut member = Member {
            groups: [NONE; 3],
            places: [0; 3],
            policy: place.policy.clone(),
            state: Silence::Suspect,
            fresh: None,
            held: None,
            told: false,
            fires: false,
            outage: None,
            fall: Fall::default(),
        };
        for (at, group) in place.groups().into_iter().enumerate() {
            let Some(group) = group else { continue };
            let number = self.number(group);
            member.groups[at] = number;
            if let Some(noise) = &mut self.groups[number as usize] {
                member.places[at] = noise.members.len() as u32;
                noise.members.push(who);
                noise.hear(now);
            }
        }
        count(&mut self.groups, &mut self.noisy, &self.outages, floor(&self.config), &member, true);
        self.members.insert(who, member);
    }

    fn number(&mut self, group: Group) -> u32 {
        if let Some(number) = self.numbers.get(&group) {
            return *number;
        }
        let number = self.free.pop().unwrap_or(self.groups.len() as u32);
        if number as usize == self.groups.len() {
            self.groups.push(None);
        }
        let blind = matches!(&group, Group::Network(name) if self.blind.contains(&**name) || self.blind.contains(""));
        self.groups[number as usize] = Some(Noise::of(group.clone(), blind));
        self.numbers.insert(group, number);
        number
    }

    fn noise(&self, number: u32) -> Option<&Noise> {
        self.groups.get(number as usize)?.as_ref()
    }

    /// Forgets a group of which nothing is left.
    fn leave(&mut self, number: u32) {
        if let Some(noise) = self.groups[number as usize].take_if(|noise| noise.is_quiet()) {
            self.numbers.remove(&noise.group);
            self.noisy.remove(&number);
            self.smelling.remove(&number);
            self.free.push(number);
        }
    }

    /// Changes a member, and keeps the counts of its groups true.
    fn edit(&mut self, who: u32, change: impl FnOnce(&mut Member)) {
        let Some(member) = self.members.get_mut(&who) else { return };
        let least = floor(&self.config);
        count(&mut self.groups, &mut self.noisy, &self.outages, least, member, false);
        change(member);
        count(&mut self.groups, &mut self.noisy, &self.outages, least, member, true);
    }

    fn refresh(&mut self, who: u32, until: Option<Mono>) {
        if let Some(before) = self.members.get(&who).and_then(|member| member.fresh) {
            self.fresh.remove(&(before, who));
        }
        self.fresh.extend(until.map(|until| (until, who)));
        self.edit(who, |member| member.fresh = until);
    }

    fn hold(&mut self, who: u32, until: Option<Mono>) {
        let Some(member) = self.members.get_mut(&who) else { return };
        if let Some(before) = std::mem::replace(&mut member.held, until) {
            self.held.remove(&(before, who));
        }
        self.held.extend(until.map(|until| (until, who)));
    }

    fn cover(&mut self, who: u32, id: u32) {
        self.hold(who, None);
        self.edit(who, |member| member.outage = Some(id));
        if let Some(outage) = self.outages.get_mut(&id) {
            outage.left += 1;
        }
    }

    /// Tells a member's own alarm; where the agent cannot see, it waits on.
    fn tell(&mut self, who: u32, now: Mono, told: &mut Vec<Told>) {
        let Some(member) = self.members.get(&who) else { return };
        if self.is_unseen(member.groups[0]) {
            let patience = member.patience(&self.config);
            self.hold(who, Some(now + patience));
            return;
        }
        told.push(Told::Down { who, fall: member.fall });
        self.hold(who, None);
        self.edit(who, |member| (member.told, member.fires) = (true, true));
        self.trim(who);
    }

    fn trim(&mut self, who: u32) {
        if self.members.get(&who).is_some_and(Member::is_spent) {
            self.forget(who);
        }
    }
}

/// Counts a member in its groups, or takes it out of the count. One that an outage tells of counts in the outage's group alone: no two
/// outages for the same hosts.
fn count(groups: &mut [Option<Noise>], noisy: &mut BTreeSet<u32>, outages: &BTreeMap<u32, Outage>, least: u32, member: &Member, add: bool) {
    let (silent, fallen) = member.counts();
    if !silent {
        return;
    }
    let of = member.outage.map(|outage| outages.get(&outage).map_or(NONE, |outage| outage.group));
    for number in member.groups.into_iter().filter(|number| of.is_none_or(|of| of == *number)) {
        let Some(noise) = groups.get_mut(number as usize).and_then(Option::as_mut) else { continue };
        let one = |count: &mut u32, counts: bool| match (counts, add) {
            (false, _) => {}
            (true, true) => *count += 1,
            (true, false) => *count -= 1,
        };
        one(&mut noise.silent, silent);
        one(&mut noise.fallen, fallen);
        one(&mut noise.alone, fallen && member.outage.is_none());
        if noise.silent >= least {
            noisy.insert(number);
        } else {
            noisy.remove(&number);
        }
    }
}
