//! Sending: what is due, under the cap, sorted by network into batches.

use std::io;

use tracing::warn;

use super::Engine;
use super::network::Network;
use crate::clock::{self, Mono};
use crate::schedule::LAG_MAX;
use crate::unit::Blind;
use crate::verdict::Outcome;

/// Probes of one network that are sent together.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) slots: Vec<u32>,
    pub(super) due: Vec<Mono>,
}

impl Batch {
    fn clear(&mut self) {
        self.slots.clear();
        self.due.clear();
    }
}

impl Engine {
    pub(super) fn send(&mut self, now: Mono) {
        let mut skipped = Vec::new();
        self.schedule.advance(now, |slot| skipped.push(slot));
        let allowance = self.throttle.allowance(now);
        let mut taken = 0;
        while taken < allowance {
            let Some((slot, due)) = self.schedule.next_due(now, |slot| skipped.push(slot)) else { break };
            taken += usize::from(self.enqueue(slot, due, now));
        }
        self.throttle.spend(taken);
        for number in 0..self.networks.len() {
            self.flush(number, now);
        }
        for slot in skipped {
            self.skip(slot, Blind::Overload, now);
        }
    }

    /// Puts a slot into the batch of its network, if it can be probed now at all.
    fn enqueue(&mut self, slot: u32, due: Mono, now: Mono) -> bool {
        let Some(cell) = self.cells.get(slot as usize).filter(|cell| cell.live) else { return false };
        let Some(class) = self.classes.get(&cell.group) else { return false };
        let Some(network) = class.network.and_then(|number| self.networks.get_mut(usize::from(number))) else { return false };
        if network.blind.is_some() || cell.judgement.blind().is_some_and(|blind| blind != Blind::Overload && blind != Blind::SendError) {
            return false;
        }
        let Some(traces) = self.arrays.traces(slot) else { return false };
        let newest = traces.newest();
        let open = newest.wrapping_sub(cell.judged);
        if self.schedule.is_confirming(slot) && open >= u16::from(cell.judgement.open(class.thresholds)) {
            // Enough is under way to settle it.
            return false;
        }
        // Only two send times are remembered: a third probe must not overwrite one that can still be answered.
        if open >= 2 && traces.elapsed(newest.wrapping_sub(1), now.nanos()).is_some_and(|ns| ns <= clock::nanos(class.timing.timeout)) {
            return false;
        }
        network.batch.slots.push(slot);
        network.batch.due.push(due);
        true
    }

    fn flush(&mut self, number: usize, now: Mono) {
        let Some(network) = self.networks.get_mut(number) else { return };
        let mut batch = std::mem::take(&mut network.batch);
        if batch.slots.is_empty() {
            network.batch = batch;
            return;
        }
        let departure = network.transmitter.transmit(&self.arrays, &batch.slots, self.id, &clock::now);
        for (slot, due) in batch.slots[..departure.sent].iter().zip(&batch.due) {
            let _ = self.late.record(now.since(*due).as_nanos() as u64);
            let cell = &self.cells[*slot as usize];
            if let Some(class) = self.classes.get(&cell.group) {
                class.series.sent.add(1);
                // The dial judges on its own what left in its turn; re-probes and late ones are asked for here.
                if self.schedule.is_confirming(*slot) || now.since(*due) > super::TICK {
                    self.schedule.deadline(*slot, now + class.timing.timeout + super::MARGIN);
                }
            }
        }
        if let Some(error) = departure.error {
            let rest = batch.slots[departure.sent..].iter().copied().zip(batch.due[departure.sent..].iter().copied());
            self.schedule.put_back(rest);
            self.send_failed(number, &error, now);
        }
        batch.clear();
        if let Some(network) = self.networks.get_mut(number) {
            network.batch = batch;
        }
    }

    /// The driver's queue is full: the rest goes with the next turn. Anything else: the network cannot be probed.
    fn send_failed(&mut self, number: usize, error: &io::Error, now: Mono) {
        let (Some(network), Some(view)) = (self.networks.get_mut(number), self.view.networks.get(number)) else { return };
        view.send_errors.add(1);
        let passing = matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::EAGAIN | libc::ENOMEM));
        if passing {
            return;
        }
        let Network { name, interface, .. } = network;
        warn!(target: "wire", network = %name, interface = %interface.name, %error, "probes cannot be sent: the verdicts of this network are unknown until they can");
        network.blind(Blind::SendError, now);
        view.set_blind(network.blind);
    }

    /// A turn that was lost on our side.
    fn skip(&mut self, slot: u32, reason: Blind, now: Mono) {
        let live = self.cells.get(slot as usize).is_some_and(|cell| cell.live);
        let seen = || {
            let class = self.classes.get(&self.cells[slot as usize].group)?;
            let network = self.networks.get(usize::from(class.network?))?;
            Some(network.blind.is_none())
        };
        if live && seen() == Some(true) {
            self.view.skipped.add(1);
            self.late_behind += 1;
            let _ = self.late.record(LAG_MAX.as_nanos() as u64);
            self.outcome(slot, Outcome::Void(reason), now, now);
        }
    }
}
