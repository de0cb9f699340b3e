//! What time brings: groups that break or calm down, alarms that have waited long enough.

use super::super::Outbreak;
use super::member::{NONE, Silence};
use super::{Census, Mono, Outage, Storm, Told};
use crate::alarm::matter::NAMED;

impl Storm {
    /// What there is to tell by now. Outages begin and end here alone.
    pub(in super::super) fn tick(&mut self, census: &mut impl Census, now: Mono, wall_ms: u64, told: &mut Vec<Told>) {
        while let Some(&(_, who)) = self.fresh.first().filter(|(until, _)| *until <= now) {
            self.refresh(who, None);
            self.trim(who);
        }
        self.calm(census, now, wall_ms, told);
        self.break_out(census, now, wall_ms, told);
        self.release(census, now, wall_ms, told);
    }

    /// Outages of which few are left are over; those that nobody follows any more take nobody in.
    fn calm(&mut self, census: &mut impl Census, now: Mono, wall_ms: u64, told: &mut Vec<Told>) {
        let mut over = Vec::new();
        for (id, outage) in &mut self.outages {
            if outage.settles.is_some_and(|until| until > now) {
                continue;
            }
            outage.settles = None;
            let Some(noise) = &mut self.groups[outage.group as usize] else { continue };
            if noise.raging.contains(id) && !noise.smells(&self.config, census, now) {
                noise.raging.retain(|raging| raging != id);
            }
            if !outage.is_calm(self.config.share) {
                outage.calm = None;
            } else if outage.left == 0 || now.since(*outage.calm.get_or_insert(now)) >= outage.patience {
                over.push(*id);
            }
        }
        for id in over {
            self.end(id, now, wall_ms, told);
        }
    }

    fn end(&mut self, id: u32, now: Mono, wall_ms: u64, told: &mut Vec<Told>) {
        let Some(Outage { group: number, wave, .. }) = self.outages.get(&id) else { return };
        let (number, wave) = (*number, *wave);
        let Some(noise) = &mut self.groups[number as usize] else { return };
        noise.raging.retain(|raging| *raging != id);
        noise.outages -= 1;
        told.push(Told::Over { group: noise.group.clone(), wave, at_ms: wall_ms });
        let members = noise.members.clone();
        for who in members {
            let Some(member) = self.members.get(&who).filter(|member| member.outage == Some(id)) else { continue };
            let own = member.state == Silence::Down && !member.told;
            self.edit(who, |member| member.outage = None);
            if own {
                self.tell(who, now, told);
            } else {
                self.trim(who);
            }
        }
        self.outages.remove(&id);
        self.leave(number);
    }

    /// Groups that broke, the widest first. A narrow one waits while its network smells: it may be a part of something larger.
    fn break_out(&mut self, census: &mut impl Census, now: Mono, wall_ms: u64, told: &mut Vec<Told>) {
        let mut broken: Vec<(crate::alarm::matter::Scope, u32)> = Vec::new();
        for number in &self.noisy {
            let Some(noise) = &mut self.groups[*number as usize] else { continue };
            if !noise.breaks(&self.config, census) {
                noise.settle();
            } else if noise.stands(now) {
                broken.push((noise.group.scope(), *number));
            }
        }
        broken.sort_unstable();
        for (_, number) in broken {
            // An outage that began just now may have taken its members.
            let still = self.groups[number as usize].as_mut().is_some_and(|noise| noise.breaks(&self.config, census));
            if still && !self.network_smells(number, census, now) {
                self.begin(number, census, wall_ms, told);
            }
        }
    }

    /// Whether a network other than this group smells, in which members of this group wait.
    fn network_smells(&mut self, number: u32, census: &mut impl Census, now: Mono) -> bool {
        let Some(noise) = self.noise(number) else { return false };
        let waiting = noise.members.iter().filter_map(|who| self.members.get(who)).filter(|member| member.held.is_some());
        let mut networks: Vec<u32> =
            waiting.map(|member| member.groups[0]).filter(|network| *network != number && *network != NONE).collect();
        networks.sort_unstable();
        networks.dedup();
        let mut smells = |network: u32| self.groups[network as usize].as_mut().is_some_and(|noise| noise.smells(&self.config, census, now));
        networks.into_iter().any(&mut smells)
    }

    fn begin(&mut self, number: u32, census: &mut impl Census, wall_ms: u64, told: &mut Vec<Told>) {
        let Some(noise) = &mut self.groups[number as usize] else { return };
        let Some(size) = noise.size(census) else { return };
        let group = noise.group.clone();
        let members: Vec<u32> = noise.members.clone();
        let mut fallen: Vec<u32> = members
            .into_iter()
            .filter(|who| self.members.get(who).is_some_and(|member| member.outage.is_none() && member.counts().1))
            .filter(|who| !self.members.get(who).is_some_and(|member| self.is_unseen(member.groups[0])))
            .collect();
        if fallen.len() < self.config.at_least as usize {
            return;
        }
        let key = |who: &u32| self.members.get(who).map(|member| (member.fall.at_ms, *who));
        fallen.sort_unstable_by_key(key);
        let mut routes: Vec<String> = Vec::new();
        for member in fallen.iter().filter_map(|who| self.members.get(who)) {
            for route in &member.policy.alarm {
                if !routes.contains(route) {
                    routes.push(route.clone());
                }
            }
        }
        let since_ms = fallen.iter().filter_map(|who| self.members.get(who)).map(|member| member.fall.since_ms).min().unwrap_or(wall_ms);
        let taken = |wave: u32| self.outages.values().any(|outage| outage.group == number && outage.wave == wave);
        let wave = (1..).find(|wave| !taken(*wave)).unwrap_or(1);
        let id = self.next;
        self.next += 1;
        let intervals = fallen.iter().filter_map(|who| self.members.get(who)).map(|member| member.policy.interval);
        let patience = intervals.max().unwrap_or_default().max(self.config.hold);
        let silent = fallen.len() as u32;
        let watched = size.members.max(silent);
        self.outages
            .insert(id, Outage { group: number, wave, watched, routes: routes.clone(), left: 0, settles: None, calm: None, patience });
        if let Some(noise) = &mut self.groups[number as usize] {
            noise.outages += 1;
            noise.raging.push(id);
            noise.settle();
        }
        let hosts = fallen[..fallen.len().min(NAMED)].to_vec();
        let outbreak = Outbreak { group, wave, silent, watched, hosts, routes, since_ms, at_ms: wall_ms };
        told.push(Told::Outage { outbreak, covered: fallen.clone() });
        for who in fallen {
            self.cover(who, id);
        }
    }

    /// Alarms whose groups are quiet again, and those that have waited long enough. One that waited in vain for its network may be a
    /// case of a narrower group that broke.
    fn release(&mut self, census: &mut impl Census, now: Mono, wall_ms: u64, told: &mut Vec<Told>) {
        let mut quiet = Vec::new();
        for number in &self.smelling {
            if !self.groups[*number as usize].as_mut().is_some_and(|noise| noise.smells(&self.config, census, now)) {
                quiet.push(*number);
            }
        }
        for number in quiet {
            self.smelling.remove(&number);
            let members = self.noise(number).map(|noise| noise.members.clone()).unwrap_or_default();
            for who in members {
                let waits =
                    |member: &super::Member| member.held.is_some() && !member.groups.iter().any(|number| self.smelling.contains(number));
                if self.members.get(&who).is_some_and(waits) {
                    self.tell(who, now, told);
                }
            }
        }
        while let Some(&(_, who)) = self.held.first().filter(|(until, _)| *until <= now) {
            let Some(member) = self.members.get(&who) else { return };
            let groups = member.groups;
            let broke = groups.into_iter().filter(|number| *number != NONE).find(|number| {
                let noise = self.groups[*number as usize].as_mut();
                noise.is_some_and(|noise| noise.breaks(&self.config, census))
            });
            if let Some(number) = broke {
                self.begin(number, census, wall_ms, told);
            }
            // Also where it is told on routes that hear of no outage.
            if self.members.get(&who).is_some_and(|member| member.held.is_some()) {
                self.tell(who, now, told);
            }
        }
    }
}
