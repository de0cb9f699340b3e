//! Replies of addresses that are up and well: nearly all that is ever judged, so they go the shortest way and are counted together.

use super::Engine;
use super::cell::Mark;
use crate::clock::Mono;

/// Such replies of one group that were not counted yet.
#[derive(Default)]
pub(super) struct Well {
    group: u16,
    replies: u64,
    /// When the last of their probes was sent.
    sent: Mono,
}

impl Engine {
    /// Takes the reply to the only open probe of an address to which one more reply means nothing new. False: this is no such address,
    /// or no such reply, and it must be judged ([`Engine::settle`]).
    pub(super) fn take_if_well(&mut self, slot: u32, now: Mono, well: &mut Well) -> bool {
        let Some(cell) = self.cells.get_mut(slot as usize) else { return false };
        if !cell.is_live() || cell.has(Mark::Both) || !cell.judgement.is_well() {
            return false;
        }
        let Some(traces) = self.arrays.traces(slot) else { return false };
        let sequence = cell.judged.wrapping_add(1);
        if traces.newest() != sequence || !traces.answered(sequence) {
            return false;
        }
        let Some(elapsed) = traces.elapsed(sequence, now.nanos()) else { return false };
        let group = cell.group;
        let Some(class) = self.classes.get_mut(group) else { return false };
        if let Some(rtt) = traces.rtt(sequence) {
            class.rtt.saturating_record(rtt);
        }
        cell.judged = sequence;
        let sent = Mono::from_nanos(now.nanos().saturating_sub(elapsed));
        self.view.note_reply(slot, self.stamp(sent));
        if well.group != group {
            self.count_well(std::mem::take(well));
            well.group = group;
        }
        well.replies += 1;
        well.sent = well.sent.max(sent);
        true
    }

    /// Counts what [`Engine::take_if_well`] took.
    pub(super) fn count_well(&mut self, Well { group, replies, sent }: Well) {
        let Some(class) = self.classes.get(group).filter(|_| replies > 0) else { return };
        class.series.replies.add(replies);
        self.view.totals.replies.add(replies);
        if let Some(network) = class.network.and_then(|number| self.networks.get_mut(usize::from(number))) {
            network.proven(sent, replies);
        }
    }
}
