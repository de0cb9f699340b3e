//! Sending: what is due, under the cap, sorted by network into batches.

use std::io;
use std::time::Duration;

use rollcall_agent_ebpf::run::DUE_MAX;
use tracing::warn;

use super::Engine;
use super::cell::Mark;
use crate::clock::{self, Mono};
use crate::reply::{leads, prefetch};
use crate::schedule::LAG_MAX;
use crate::unit::{Blind, Family};
use crate::verdict::Outcome;
use crate::view::VERY_LATE;

/// A batch that takes longer than this was held up: it takes well under a millisecond.
const SEND_STALL: Duration = Duration::from_millis(20);

/// Probes of one turn: after a standstill the next turn goes on at once, and what else the engine has to do is not kept waiting.
const MOST: usize = DUE_MAX;

/// How many slots ahead of the one in hand memory is asked for: memory answers within the time that so many take.
pub(super) const AHEAD: usize = 16;

/// Probes of one network and family that are sent together. What does not leave stays for the next turn.
#[derive(Default)]
pub(super) struct Batch {
    slots: Vec<u32>,
    notes: Vec<Due>,
}

/// What is noted of a probe until it has left: what stands in the cells is out of the cache by then.
#[derive(Clone, Copy)]
struct Due {
    at: Mono,
    group: u16,
}

impl Batch {
    /// Gives back what a larger batch took.
    pub(super) fn slim(&mut self) {
        if self.slots.len() < DUE_MAX {
            self.slots.shrink_to(DUE_MAX);
            self.notes.shrink_to(DUE_MAX);
        }
    }

    /// Whether all of it has left.
    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    fn drop_first(&mut self, count: usize) {
        self.slots.drain(..count);
        self.notes.drain(..count);
    }
}

impl Engine {
    pub(super) fn send(&mut self, now: Mono) {
        let mut skipped = std::mem::take(&mut self.skipped);
        self.schedule.advance(now, self.step, |slot| skipped.push(slot));
        let allowance = self.throttle.allowance(now).min(MOST);
        let mut taken = 0;
        // What stands at the front of the queue is about to be looked at.
        (0..AHEAD).filter_map(|by| self.schedule.ahead(by)).for_each(|slot| self.prefetch(slot));
        while taken < allowance {
            if let Some(ahead) = self.schedule.ahead(AHEAD)
                && leads(self.schedule.ahead(AHEAD - 1), ahead)
            {
                self.prefetch(ahead);
            }
            let Some((slot, due)) = self.schedule.next_due(now, |slot| skipped.push(slot)) else { break };
            taken += usize::from(self.enqueue(slot, due, now));
        }
        self.throttle.spend(taken);
        for number in 0..self.networks.len() {
            Family::ALL.into_iter().for_each(|family| self.flush(number, family, now, &mut skipped));
        }
        for slot in skipped.drain(..) {
            self.skip(slot, Blind::Overload, now);
        }
        self.skipped = skipped;
    }

    fn prefetch(&self, slot: u32) {
        self.arrays.prefetch_sent(slot);
        self.schedule.prefetch(slot);
        if let Some(cell) = self.cells.get(slot as usize) {
            prefetch(cell);
        }
    }

    /// Puts a slot into the batch of its network, if it can be probed now at all.
    fn enqueue(&mut self, slot: u32, due: Mono, now: Mono) -> bool {
        let Some(cell) = self.cells.get(slot as usize).filter(|cell| cell.is_live()) else { return false };
        let group = cell.group;
        let Some(class) = self.classes.get(group) else { return false };
        let Some(network) = class.network.and_then(|number| self.networks.get_mut(usize::from(number))) else { return false };
        // Only what makes probing impossible: any other blindness ends with the next probe that says something.
        let nowhere = matches!(cell.judgement.blind(), Some(Blind::NoMac | Blind::NoNetwork | Blind::NoSource));
        if network.blind.is_some() || nowhere || (cell.has(Mark::Routed) && !network.has_gateway(cell.family())) {
            return false;
        }
        let Some(traces) = self.arrays.sent(slot) else { return false };
        let newest = traces.newest();
        let open = newest.wrapping_sub(cell.judged);
        let elapsed = |sequence| traces.elapsed(sequence, now.nanos()).map(Duration::from_nanos);
        let confirms = self.schedule.is_confirming(slot);
        if confirms {
            // Enough is under way to settle it, or the last one left just now and a second would say nothing more.
            // Where layers take turns, what is under way may be of the one that says nothing new.
            let enough = open >= u16::from(cell.judgement.open(class.thresholds)) && !cell.has(Mark::Both);
            if enough || elapsed(newest).is_some_and(|elapsed| elapsed < class.timing.confirm_interval / 2) {
                return false;
            }
        }
        // Only two send times are remembered: a third probe must not overwrite one that can still be answered, that waits for somebody to
        // be heard, or whose answer may lie in a socket that was not read yet.
        if open >= 2 && (cell.has(Mark::Doubted) || network.ear().is_some()) {
            return false;
        }
        if open >= 2 && elapsed(newest.wrapping_sub(1)).is_some_and(|elapsed| elapsed <= class.timing.timeout) {
            return false;
        }
        let batch = &mut network.batches[cell.family() as usize];
        batch.slots.push(slot);
        batch.notes.push(Due { at: due, group });
        true
    }

    fn flush(&mut self, number: usize, family: Family, now: Mono, skipped: &mut Vec<u32>) {
        let Some(network) = self.networks.get_mut(number) else { return };
        if network.batches[family as usize].slots.is_empty() {
            return;
        }
        let mut batch = std::mem::take(&mut network.batches[family as usize]);
        let outdated = batch.notes.iter().take_while(|note| now.since(note.at) > LAG_MAX).count();
        skipped.extend(&batch.slots[..outdated]);
        batch.drop_first(outdated);
        if !batch.slots.is_empty() {
            let Some(tap) = &mut network.tap else { return };
            tap.transmitter.gateway(family, network.gateways[family as usize].mac);
            let before = self.clock.now();
            let departure = tap.transmitter.transmit(&self.program, &batch.slots, family, self.id, &|| self.clock.now());
            let after = self.clock.now();
            if after.since(before) > SEND_STALL {
                // Stopped between noting a send time and sending: what was under way then says nothing.
                self.stalls.note(before, after);
            }
            if departure.dropped > 0 {
                network.losses.note(before, after);
                network.lost(departure.dropped, now);
                if let Some(view) = self.view.networks.get(number) {
                    view.send_errors.add(departure.dropped as u64);
                }
            }
            let taken = departure.sent.saturating_sub(departure.dropped);
            let refused = network.departed(taken, now);
            self.schedule.left(&batch.slots[..departure.sent], now);
            self.departed(&batch, departure.sent, before);
            batch.drop_first(departure.sent);
            if taken > 0 {
                self.show_sight(number as u16);
            }
            if let Some(error) = departure.error {
                self.send_failed(number, &error, refused, now);
            } else if refused {
                self.send_failed(number, &io::Error::from_raw_os_error(libc::ENOBUFS), refused, now);
            }
        }
        if let Some(network) = self.networks.get_mut(number) {
            network.batches[family as usize] = batch;
        }
    }

    /// Counts probes that left, the first `sent` of a batch.
    fn departed(&mut self, batch: &Batch, sent: usize, now: Mono) {
        // What stood together on the dial is counted together.
        for run in batch.notes[..sent].chunk_by(|note, next| (note.at, note.group) == (next.at, next.group)) {
            let late = now.since(run[0].at);
            let count = run.len() as u64;
            let _ = self.late.record_n(clock::nanos(late), count);
            if late > VERY_LATE {
                self.view.late_10ms.add(count);
            }
            if let Some(class) = self.classes.get(run[0].group) {
                class.series.sent.add(count);
                self.view.totals.sent.add(count);
            }
        }
    }

    /// The driver's queue is full: the rest goes with the next turn. Anything else, and a queue that stays full: the
    /// network cannot be probed.
    fn send_failed(&mut self, number: usize, error: &io::Error, refused: bool, now: Mono) {
        let (Some(network), Some(view)) = (self.networks.get_mut(number), self.view.networks.get(number)) else { return };
        view.send_errors.add(1);
        let passing = matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::EAGAIN | libc::ENOMEM));
        if passing && !refused {
            return;
        }
        if network.send_told.now(now) {
            warn!(target: "wire", network = %network.name, interface = %network.interface_name(), %error, "probes cannot be sent: the verdicts of this network are unknown until they can");
        }
        self.go_blind(number as u16, Blind::SendError, now);
        self.show_sight(number as u16);
    }

    /// A turn that was lost on our side.
    fn skip(&mut self, slot: u32, reason: Blind, now: Mono) {
        let live = self.cells.get(slot as usize).is_some_and(|cell| cell.is_live());
        let seen = || {
            let class = self.classes.get(self.cells[slot as usize].group)?;
            let network = self.networks.get(usize::from(class.network?))?;
            Some(network.blind.is_none())
        };
        if live && seen() == Some(true) {
            self.view.skipped.add(1);
            self.late_behind += 1;
            let _ = self.late.record(clock::nanos(LAG_MAX));
            self.view.late_10ms.add(1);
            self.outcome(slot, None, Outcome::Void(reason), now, now);
        }
    }
}
