//! What the engine itself keeps of each slot.

use crate::layers::Layer;
use crate::unit::Family;
use crate::verdict::Judgement;

/// The engine's own state of one slot. 16 bytes: four in a cache line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    pub(super) judgement: Judgement,
    marks: u8,
    /// Number of its group.
    pub(super) group: u16,
    /// Sequence of the last probe that was judged.
    pub(super) judged: u16,
    /// In the engine's stamps: when the first of the present misses was sent; 0: never.
    pub(super) first_miss: u32,
}

const _: () = assert!(size_of::<Cell>() == 16);

/// What can be marked in a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Mark {
    /// An address sits in the slot.
    Live = 1 << 0,
    /// Behind a gateway: its MAC is the gateway's.
    Routed = 1 << 1,
    /// A deadline stands in the schedule.
    Armed = 1 << 2,
    /// A miss waits for the gateway to show that it is there.
    Doubted = 1 << 3,
    /// An IPv6 address.
    V6 = 1 << 4,
    /// Asked on the link and pinged in turn.
    Both = 1 << 5,
    /// Pinged through the gateway, though it is asked on the link.
    Far = 1 << 6,
}

impl Cell {
    /// Of a slot that nobody sits in.
    pub(super) const EMPTY: Cell = Cell { judgement: Judgement::NEW, marks: 0, group: 0, judged: 0, first_miss: 0 };

    /// Of a slot in which an address sits from now on.
    pub(super) fn new(judgement: Judgement, group: u16, first_miss: u32) -> Self {
        Cell { judgement, marks: Mark::Live as u8, group, judged: 0, first_miss }
    }

    pub(super) fn has(&self, mark: Mark) -> bool {
        self.marks & mark as u8 != 0
    }

    pub(super) fn is_live(&self) -> bool {
        self.has(Mark::Live)
    }

    /// By which family's gateway the probe with that sequence goes.
    pub(super) fn gateway(&self, sequence: u16) -> Option<Family> {
        let pings = self.has(Mark::Far) && Layer::of(sequence) == Layer::Echo;
        (self.has(Mark::Routed) || pings).then(|| self.family())
    }

    pub(super) fn family(&self) -> Family {
        if self.has(Mark::V6) { Family::V6 } else { Family::V4 }
    }

    /// Sets or clears a mark; returns whether it was set.
    pub(super) fn mark(&mut self, mark: Mark, on: bool) -> bool {
        let before = self.has(mark);
        self.marks = if on { self.marks | mark as u8 } else { self.marks & !(mark as u8) };
        before
    }
}
