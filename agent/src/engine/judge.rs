//! Judging: what became of the probes, and what the verdict is then. In the first turn ten milliseconds after a probe left it is looked whether it
//! was answered; nearly all were. Whose was not is looked at again when the deadline has passed.

use std::time::Duration;

use super::cell::Mark;
use super::send::AHEAD;
use super::well::Well;
use super::{Engine, LOOK, MARGIN, Note, TICK, Turned};
use crate::clock::Mono;
use crate::layers::Layer;
use crate::reply::{leads, prefetch};
use crate::unit::{Blind, Verdict};
use crate::verdict::{Outcome, Turn};
use crate::view::Shown;

/// A miss in whose network nobody was heard since waits so long for somebody who is.
const HEARD_WAIT: Duration = Duration::from_secs(1);
/// Between two looks whether it is.
const HEARD_LOOK: Duration = Duration::from_millis(100);

impl Engine {
    pub(super) fn judge(&mut self, now: Mono) {
        let mut due = std::mem::take(&mut self.due);
        // Turns do not come to the microsecond.
        self.schedule.look(now + TICK / 2 - self.step_max.min(LOOK), |slots| due.extend_from_slice(slots));
        let mut well = Well::default();
        for (at, slot) in due.iter().enumerate() {
            self.prefetch_answer(&due, at + AHEAD);
            self.take(*slot, now, &mut well);
        }
        due.clear();
        self.schedule.deadlines(now, |slot| due.push(slot));
        for (at, slot) in due.iter().enumerate() {
            self.prefetch_answer(&due, at + AHEAD);
            if let Some(cell) = self.cells.get_mut(*slot as usize) {
                cell.mark(Mark::Armed, false);
                self.take(*slot, now, &mut well);
            }
        }
        self.count_well(well);
        due.clear();
        self.due = due;
        self.settle_heard(now);
    }

    /// Judges one slot. Who was heard before it in this turn is known by then.
    fn take(&mut self, slot: u32, now: Mono, well: &mut Well) {
        if !self.take_if_well(slot, now, well) {
            self.count_well(std::mem::take(well));
            self.settle(slot, now);
        }
    }

    /// Begins to fetch what judging one of these slots and its neighbours touches.
    fn prefetch_answer(&self, due: &[u32], at: usize) {
        let Some(&slot) = due.get(at) else { return };
        if !leads(due.get(at - 1).copied(), slot) {
            return;
        }
        self.arrays.prefetch_traces(slot);
        self.view.prefetch(slot);
        if let Some(cell) = self.cells.get(slot as usize) {
            prefetch(cell);
        }
    }

    /// Sees to it that the oldest open probe of a slot is judged when its deadline has passed. A slot has one such
    /// deadline at a time; when it has come, the next open probe gets its own.
    pub(super) fn arm(&mut self, slot: u32, now: Mono) {
        let Some(cell) = self.cells.get_mut(slot as usize).filter(|cell| cell.is_live() && !cell.has(Mark::Armed)) else { return };
        let (Some(class), Some(traces)) = (self.classes.get(cell.group), self.arrays.traces(slot)) else { return };
        if cell.judged != traces.newest() {
            let elapsed = traces.elapsed(cell.judged.wrapping_add(1), now.nanos()).map(Duration::from_nanos);
            let left = elapsed.map_or(Duration::ZERO, |elapsed| class.timing.timeout.saturating_sub(elapsed));
            cell.mark(Mark::Armed, true);
            let at = now + left + MARGIN;
            self.schedule.deadline(slot, at);
            // One more miss of who is down is no news.
            if cell.judgement.verdict() != Verdict::Down {
                self.awaiting = self.awaiting.max(at);
            }
        }
    }

    /// Judges every probe of a slot that was answered or whose deadline has passed, in their order.
    pub(super) fn settle(&mut self, slot: u32, now: Mono) {
        loop {
            let Some(cell) = self.cells.get(slot as usize).filter(|cell| cell.is_live()) else { return };
            let (Some(class), Some(traces)) = (self.classes.get(cell.group), self.arrays.traces(slot)) else { return };
            if cell.judged == traces.newest() {
                return;
            }
            let sequence = cell.judged.wrapping_add(1);
            let elapsed = traces.elapsed(sequence, now.nanos()).map(Duration::from_nanos);
            let sent = now - elapsed.unwrap_or_default();
            let (network, timeout) = (class.network, class.timing.timeout);
            let routed = cell.gateway(sequence);
            let layer = cell.has(Mark::Both).then(|| Layer::of(sequence));
            let answered = traces.answered(sequence);
            if !answered && elapsed.is_some_and(|elapsed| elapsed <= timeout) {
                self.arm(slot, now);
                return;
            }
            // Of one whose send time is not known any more nothing is waited for: it is void.
            if !answered && elapsed.is_some() && !self.has_read(network, sent + timeout) {
                self.arm(slot, now);
                return;
            }
            let outcome = if answered {
                Some(Outcome::Reply)
            } else if traces.excused(sequence) {
                None
            } else {
                let blind = self.blindness(network, routed, elapsed.map(|_| sent), timeout, now);
                Some(blind.map_or(Outcome::Miss, Outcome::Void))
            };
            if outcome == Some(Outcome::Void(Blind::Silent)) && now.since(sent + timeout) < HEARD_WAIT {
                self.wait_to_hear(network, slot, now);
                return;
            }
            if outcome == Some(Outcome::Miss) {
                if self.doubts(network, routed, slot, sent, timeout, now) {
                    return;
                }
                self.arrays.age(slot, sequence);
            }
            if answered
                && let Some(rtt) = traces.rtt(sequence)
                && let Some(class) = self.classes.get_mut(self.cells[slot as usize].group)
            {
                class.rtt.saturating_record(rtt);
            }
            self.cells[slot as usize].judged = sequence;
            if let Some(outcome) = outcome {
                self.outcome(slot, layer, outcome, sent, now);
            }
            if sequence == traces.newest() {
                return;
            }
        }
    }

    /// Whether all that came in before a moment was judged. The program is always at it; a socket must be read, and where nobody
    /// reads it any more waiting would not end.
    fn has_read(&self, network: Option<u16>, up_to: Mono) -> bool {
        let ear = network.and_then(|number| self.networks.get(usize::from(number))).and_then(|network| network.ear());
        ear.is_none_or(|ear| ear.has_read(up_to) || ear.was_deaf(up_to, up_to, self.last))
    }

    /// Has a slot judged again once somebody in its network is heard, or a little later.
    fn wait_to_hear(&mut self, network: Option<u16>, slot: u32, now: Mono) {
        let Some(network) = network.and_then(|number| self.networks.get_mut(usize::from(number))) else { return };
        let Some(cell) = self.cells.get_mut(slot as usize) else { return };
        if !cell.mark(Mark::Doubted, true) {
            network.unheard.push(slot);
        }
        if !cell.mark(Mark::Armed, true) {
            self.schedule.deadline(slot, now + HEARD_LOOK);
        }
    }

    /// Takes one outcome of a probe sent at `sent` into account; of which layer, where both are probed in turn.
    pub(super) fn outcome(&mut self, slot: u32, layer: Option<Layer>, outcome: Outcome, sent: Mono, now: Mono) {
        let stamp = self.stamp(sent);
        let cell = &mut self.cells[slot as usize];
        let Some(class) = self.classes.get(cell.group) else { return };
        // Since when the address is so; `None`: that says nothing of it, for the other layer shows that it is there.
        let since = match layer.and_then(|layer| Some((layer, self.pairs.get_mut(slot)?))) {
            Some((layer, layers)) => layers.take(layer, outcome, stamp, class.thresholds),
            None => Some(stamp),
        };
        match outcome {
            Outcome::Reply => {
                class.series.replies.add(1);
                self.view.totals.replies.add(1);
                if let Some(network) = class.network.and_then(|number| self.networks.get_mut(usize::from(number))) {
                    network.proven(sent, 1);
                }
                self.view.note_reply(slot, stamp);
            }
            Outcome::Miss => {
                class.series.misses.add(1);
                self.view.totals.misses.add(1);
                if let Some(since) = since {
                    // A down address that answered once and then not is down since its first silence.
                    if cell.judgement.misses() == 0 && cell.judgement.frozen() != Verdict::Down {
                        cell.first_miss = since;
                    }
                    self.view.note_miss(slot);
                }
            }
            Outcome::Void(why) => {
                class.series.voids.add(1);
                self.view.totals.voids.add(1);
                if let Some(network) = class.network.and_then(|number| self.networks.get_mut(usize::from(number))) {
                    network.haze.void(why);
                }
            }
        }
        if since.is_some() {
            self.weigh(slot, outcome, now);
        }
        if layer.is_some() {
            self.conditions(slot);
        }
    }

    /// Lets an outcome count for the verdict.
    fn weigh(&mut self, slot: u32, outcome: Outcome, now: Mono) {
        let cell = &mut self.cells[slot as usize];
        let Some(class) = self.classes.get(cell.group) else { return };
        // With its gateway gone the verdict is frozen: what was under way changes nothing any more.
        if cell.judgement.blind() == Some(Blind::NoGateway) && cell.has(Mark::Routed) && !self.has_gateway(slot) {
            return;
        }
        let cell = &mut self.cells[slot as usize];
        let misses = cell.judgement.misses();
        let turn = cell.judgement.judge(outcome, class.thresholds, self.view.recent(slot));
        let judgement = cell.judgement;
        match turn {
            Some(turn) => self.turned(slot, turn),
            None if judgement.misses() != misses => {
                let shown = Shown::from_word(self.view.verdicts.at(slot).load(std::sync::atomic::Ordering::Relaxed));
                self.view.show(slot, Shown { misses: judgement.misses(), ..shown });
            }
            None => {}
        }
        if judgement.wants_confirmation() {
            self.schedule.confirm(slot, now);
        } else {
            self.schedule.settle(slot);
        }
    }

    /// Shows a verdict that turned, and tells of it.
    pub(super) fn turned(&mut self, slot: u32, turn: Turn) {
        let Some(cell) = self.cells.get(slot as usize) else { return };
        let judgement = cell.judgement;
        // Down since the first miss, as people count it; anything else since now.
        let since_ms = match judgement.verdict() {
            Verdict::Down | Verdict::Suspect => self.stamp_ms(cell.first_miss).unwrap_or(self.wall_ms),
            _ => self.wall_ms,
        };
        let (misses, blind) = (judgement.misses(), judgement.blind());
        self.view.show(slot, Shown { verdict: judgement.verdict(), blind, misses, since_ms });
        let last_reply_ms = self.stamp_ms(self.view.last_reply(slot));
        let Turn { from, to } = turn;
        self.doubt_mac(slot, turn);
        self.tell(Note::Turn(Turned { slot, from, to, blind, misses, at_ms: self.wall_ms, since_ms, last_reply_ms }));
    }
}
