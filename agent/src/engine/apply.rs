//! Following a new table: removals at once, changes and additions piece by piece, so that the hands never wait.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;
use rand::Rng as _;
use rollcall_agent_ebpf::target::{self, Target};
use tokio::sync::oneshot;
use tracing::{error, info};

use super::cell::{Cell, Mark};
use super::class::Class;
use super::hearing::Hearing;
use super::way::Way;
use super::{Engine, Job, Note, STALL, STALL_MIN};
use crate::clock::{self, Mono};
use crate::policy::Method;
use crate::reply::Program;
use crate::roster::{Assignment, Plan, Roster};
use crate::schedule::{STEP_MAX, Timing};
use crate::unit::{Blind, Family, Mac, Verdict};
use crate::verdict::{Judgement, Thresholds};
use crate::view::{self, Series, Shown};

/// How long one turn may go on with a plan: so much later are its probes.
const WORK: Duration = Duration::from_millis(1);
/// Steps between two looks at the clock.
const STEPS: usize = 64;

impl Engine {
    /// Begins to follow a plan. The keeper sends one at a time.
    pub(super) fn begin(&mut self, plan: Plan, larger: Option<Program>, done: oneshot::Sender<Result<(), String>>, now: Mono) {
        if let Some(program) = larger {
            self.grow(program, now);
        }
        for (number, group) in &plan.roster.groups {
            if self.classes.get(*number).is_some_and(|class| class.series.group == *group) {
                continue;
            }
            let series = Arc::new(Series::new(group.clone()));
            let policy = &group.policy;
            let class = Class {
                network: group.number,
                timing: Timing::from(policy),
                thresholds: Thresholds::from(policy),
                method: policy.method,
                series,
                rtt: Histogram::new_from(&view::rtt_histogram()),
            };
            self.classes.insert(*number, class);
        }
        self.mind_timeouts();
        self.tell(Note::Roster(plan.roster.clone(), plan.forgotten));
        let more = (plan.capacity as usize).saturating_sub(self.cells.len());
        self.cells.reserve_exact(more);
        self.schedule.reserve(plan.capacity);
        self.expect(&plan.roster, now);
        let Plan { roster, removed, changed, added, .. } = plan;
        let (removed, changed, added) = (removed.into_iter(), changed.into_iter(), added.into_iter());
        self.roster = roster.clone();
        self.job = Some(Job { roster, removed, changed, added, done });
        self.work();
    }

    /// Tells the schedule how many addresses of each timing the roster has.
    fn expect(&mut self, roster: &Roster, now: Mono) {
        let mut addresses = HashMap::new();
        for (number, count) in roster.sizes() {
            if let Some(class) = self.classes.get(number).filter(|class| class.network.is_some()) {
                *addresses.entry(class.dial(class.method == Method::Both)).or_default() += count;
            }
        }
        self.schedule.expect(&addresses, now);
    }

    /// Swaps in a program with larger arrays.
    fn grow(&mut self, mut program: Program, now: Mono) {
        let (before, after) = (self.arrays.capacity(), program.arrays().capacity());
        let lost = program.take_over(&mut self.program);
        let old = std::mem::replace(&mut self.program, program);
        self.tell(Note::Spent(Box::new(old)));
        self.arrays = self.program.arrays().clone();
        self.view.arrays.store(self.arrays.clone());
        self.networks.iter_mut().for_each(|network| network.hearing = Hearing::anew(now));
        info!(target: "reply", before, after, "the arrays grew");
        for (network, error) in lost {
            self.detached(network, &anyhow::Error::msg(error), now);
        }
    }

    /// Carries out a piece of the plan under way: who is gone first, then who changed, then who is new.
    pub(super) fn work(&mut self) {
        let Some(mut job) = self.job.take() else { return };
        let now = self.clock.now();
        while self.clock.now().since(now) < WORK {
            for _ in 0..STEPS {
                if let Some(slot) = job.removed.next() {
                    self.vacate(slot);
                } else if let Some(assignment) = job.changed.next() {
                    self.change(&job.roster, assignment, now);
                } else if let Some(assignment) = job.added.next() {
                    self.occupy(&job.roster, assignment, now);
                } else {
                    self.finish(job);
                    return;
                }
            }
        }
        self.job = Some(job);
    }

    /// Of how long a pause is a stall, and how long a step may be, says the shortest timeout.
    fn mind_timeouts(&mut self) {
        let shortest = self.classes.iter().map(|(_, class)| class.timing.timeout).min().unwrap_or(STALL);
        self.stall = (shortest / 2).clamp(STALL_MIN, STALL);
        self.step_max = (self.stall / 4).min(STEP_MAX);
    }

    fn finish(&mut self, job: Job) {
        let Job { roster, removed, changed, added, done } = job;
        self.classes.retain(|number| roster.groups.contains_key(&number));
        self.mind_timeouts();
        if let Ok(mut series) = self.view.series.write() {
            *series = self.classes.iter().map(|(number, class)| (number, class.series.clone())).collect();
        }
        self.tell(Note::Done(done, Ok(())));
        self.tell(Note::Spent(Box::new((removed, changed, added))));
    }

    fn vacate(&mut self, slot: u32) {
        let Some(cell) = self.cells.get(slot as usize).copied() else { return };
        if let (Some(network), Some(address)) = (self.classes.get(cell.group).and_then(|class| class.network), self.address(slot)) {
            self.unlearn(network, address, slot);
        }
        self.schedule.remove(slot);
        self.arrays.vacate(slot);
        self.cells[slot as usize] = Cell::EMPTY;
        self.pairs.remove(slot);
        self.view.clear(slot);
        self.view.verdicts.at(slot).store(0, std::sync::atomic::Ordering::Relaxed);
    }

    fn occupy(&mut self, roster: &Roster, assignment: Assignment, now: Mono) {
        let Assignment { slot, restored, group, .. } = assignment;
        if self.cells.len() <= slot as usize {
            self.cells.resize(slot as usize + 1, Cell::EMPTY);
        }
        let known = restored.filter(|before| before.verdict != Verdict::Pending);
        let judgement = known.map_or(Judgement::default(), |before| Judgement::restored(before.verdict));
        let since_ms = known.filter(|before| before.verdict == judgement.verdict()).map_or(self.wall_ms, |before| before.since_ms);
        // Down since before the start, should the verdict be hidden and shown again before the next miss.
        let first_miss = if judgement.verdict() == Verdict::Down { self.stamp_of_wall(since_ms) } else { 0 };
        self.cells[slot as usize] = Cell::new(judgement, group, first_miss);
        self.view.clear(slot);
        self.view.show(slot, Shown { verdict: judgement.verdict(), blind: None, misses: 0, since_ms });
        match self.aim(roster, assignment) {
            Ok((target, Way::Direct(None))) => match restored.and_then(|before| before.mac) {
                Some(mac) => self.settle_learned(slot, target, mac, now),
                None => self.settle_in(slot, target, Way::Direct(None), now),
            },
            Ok((target, way)) => self.settle_in(slot, target, way, now),
            Err(blind) => self.set_blind(slot, Some(blind)),
        }
    }

    /// Begins to probe an address by the MAC that was learned for it before a restart. One that is down may have another by now.
    fn settle_learned(&mut self, slot: u32, target: Target, mac: Mac, now: Mono) {
        let target = Target { mac: mac.0, flags: target.flags | target::LEARNED, ..target };
        self.settle_in(slot, target, Way::Direct(Some(mac)), now);
        if self.cells.get(slot as usize).is_some_and(|cell| cell.judgement.frozen() == Verdict::Down) {
            self.learn(target.network, crate::unit::unmapped(target.address), slot, now);
        }
    }

    /// Begins to probe the address of a slot of which the kernel side knows nothing yet.
    fn settle_in(&mut self, slot: u32, target: Target, way: Way, now: Mono) {
        let mut random = rand::rng();
        let sequence = random.random();
        let target = Target { nonce: random.random(), ..target };
        if let Some(cell) = self.cells.get_mut(slot as usize) {
            cell.judged = sequence;
        }
        if let Err(error) = self.arrays.occupy(slot, &target, sequence) {
            error!(target: "reply", address = ?self.address(slot), %error, "this address cannot be watched: its verdict is unknown; please report it");
            self.set_blind(slot, Some(Blind::Overload));
            return;
        }
        self.follow(slot, way, now);
    }

    pub(super) fn change(&mut self, roster: &Roster, assignment: Assignment, now: Mono) {
        let Assignment { slot, group, .. } = assignment;
        let Some(cell) = self.cells.get_mut(slot as usize).filter(|cell| cell.is_live()) else { return };
        cell.group = group;
        if let Some(class) = self.classes.get(group) {
            cell.judgement.adopt(class.thresholds, self.view.recent(slot));
            if let Some(layers) = self.pairs.get_mut(slot) {
                layers.adopt(class.thresholds);
            }
        }
        let routed = cell.has(Mark::Routed);
        let (mut aim, mut way) = match self.aim(roster, assignment) {
            Ok(aim) => aim,
            Err(blind) => {
                // Perhaps it could be probed before, and cannot be under the new policy.
                if let (Some(network), Some(address)) = (self.classes.get(group).and_then(|class| class.network), self.address(slot)) {
                    self.unlearn(network, address, slot);
                }
                self.schedule.remove(slot);
                // What is under way was asked by the policy before, and its answers are taken no more.
                if let Some(traces) = self.arrays.traces(slot) {
                    self.cells[slot as usize].judged = traces.newest();
                }
                self.arrays.vacate(slot);
                self.pair(slot, false);
                // Nothing is known of its way any more, and no gateway that is found makes it one that is probed.
                self.cells[slot as usize].mark(Mark::Routed, false);
                self.set_blind(slot, Some(blind));
                return;
            }
        };
        let Some(present) = self.arrays.target(slot) else {
            self.settle_in(slot, aim, way, now);
            return;
        };
        match way {
            // The list gives no MAC, but one was learned: it is kept.
            Way::Direct(None) if !routed && present.flags & target::LEARNED != 0 => {
                way = Way::Direct(Some(Mac(present.mac)));
                (aim.mac, aim.flags) = (present.mac, aim.flags | target::LEARNED);
            }
            Way::Direct(None) => {}
            // Whoever was asked for its MAC needs no answer any more.
            Way::Direct(Some(_)) | Way::Gateway(_) => {
                self.unlearn(aim.network, crate::unit::unmapped(aim.address), slot);
            }
        }
        self.arrays.change(slot, |target| *target = Target { nonce: target.nonce, ..aim });
        if (present.flags ^ aim.flags) & !target::LEARNED != 0
            && let Some(traces) = self.arrays.traces(slot)
        {
            // Answers to what was asked in another way are not taken any more.
            self.cells[slot as usize].judged = traces.newest();
        }
        self.follow(slot, way, now);
        // A deadline that stands in the schedule is one by the timeout before.
        if self.cells[slot as usize].mark(Mark::Armed, false) {
            self.arm(slot, now);
        }
    }

    /// What the kernel side must know of an address, and which way its probes go; or why it cannot be probed.
    fn aim(&self, roster: &Roster, assignment: Assignment) -> Result<(Target, Way), Blind> {
        let record = roster.table.record(assignment.record).ok_or(Blind::NoNetwork)?;
        let class = self.classes.get(assignment.group).ok_or(Blind::NoNetwork)?;
        let network = class.network.ok_or(Blind::NoNetwork)?;
        let address = record.address();
        let probing = self.probing(network, address, class.method, record.mac())?;
        let way = self.way(network, address, probing & target::ARP != 0, record.mac());
        let (Way::Direct(mac) | Way::Gateway(mac)) = way;
        let timeout_ms = u16::try_from(clock::nanos(class.timing.timeout) / 1_000_000).unwrap_or(u16::MAX);
        let flags = target::LIVE | probing | if address.is_ipv6() { target::V6 } else { 0 };
        let mac = mac.unwrap_or_default().0;
        Ok((Target { address: record.octets(), mac, network, nonce: 0, timeout_ms, flags }, way))
    }

    /// Puts a slot on its dial and sees to it that its way gets known.
    fn follow(&mut self, slot: u32, way: Way, now: Mono) {
        let Some(cell) = self.cells.get_mut(slot as usize) else { return };
        cell.mark(Mark::Routed, matches!(way, Way::Gateway(_)));
        let flags = self.arrays.target(slot).map_or(0, |target| target.flags);
        cell.mark(Mark::Far, flags & target::FAR != 0);
        cell.mark(Mark::V6, self.arrays.address(slot).is_some_and(|octets| Family::of(crate::unit::unmapped(octets)) == Family::V6));
        let Some(class) = self.classes.get(cell.group) else { return };
        let both = flags & target::BOTH != 0;
        let (timing, network) = (class.dial(both), class.network);
        self.pair(slot, both);
        self.schedule.add(slot, timing, now);
        let blind = match way {
            Way::Direct(Some(_)) | Way::Gateway(Some(_)) => None,
            Way::Direct(None) => {
                if let (Some(network), Some(address)) = (network, self.address(slot)) {
                    self.learn(network, address, slot, now);
                }
                Some(Blind::NoMac)
            }
            Way::Gateway(None) => Some(Blind::NoGateway),
        };
        self.set_blind(slot, blind);
    }
}
