//! Addresses that are asked and pinged in turn: where what their layers say is kept, and the conditions that follow.

use super::cell::Mark;
use super::{Conditioned, Engine, Note};
use crate::layers::Layers;
use crate::unit::Condition;

/// Slots of a piece.
const PIECE: usize = 1 << 10;

/// What the layers say of each slot that is asked and pinged in turn. In pieces, which come and go with the slots in them: nothing
/// is moved while they grow, and an agent without such policies has none.
#[derive(Default)]
pub(super) struct Pairs(Vec<Option<Box<Piece>>>);

struct Piece {
    layers: [Option<Layers>; PIECE],
    count: usize,
}

const _: () = assert!(size_of::<Option<Layers>>() == 32);

impl Pairs {
    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Layers> {
        self.0.get_mut(slot as usize / PIECE)?.as_mut()?.layers[slot as usize % PIECE].as_mut()
    }

    /// Makes room for a slot; what is there already stays.
    fn insert(&mut self, slot: u32) {
        let at = slot as usize / PIECE;
        if self.0.len() <= at {
            self.0.resize_with(at + 1, || None);
        }
        let piece = self.0[at].get_or_insert_with(|| Box::new(Piece { layers: [None; PIECE], count: 0 }));
        let place = &mut piece.layers[slot as usize % PIECE];
        piece.count += usize::from(place.is_none());
        place.get_or_insert_default();
    }

    pub(super) fn remove(&mut self, slot: u32) -> Option<Layers> {
        let place = self.0.get_mut(slot as usize / PIECE)?;
        let piece = place.as_mut()?;
        let layers = piece.layers[slot as usize % PIECE].take()?;
        piece.count -= 1;
        if piece.count == 0 {
            *place = None;
        }
        Some(layers)
    }
}

impl Engine {
    /// A slot is asked and pinged in turn from now on, or is not.
    pub(super) fn pair(&mut self, slot: u32, both: bool) {
        let Some(cell) = self.cells.get_mut(slot as usize) else { return };
        cell.mark(Mark::Both, both);
        if both {
            self.pairs.insert(slot);
        } else if let Some(condition) = self.pairs.remove(slot).and_then(|layers| layers.condition()) {
            self.condition(slot, condition, false);
        }
    }

    /// Tells of the conditions of a slot that began or ended with what its layers said last.
    pub(super) fn conditions(&mut self, slot: u32) {
        while let Some(cell) = self.cells.get(slot as usize)
            && let Some((condition, holds)) = self.pairs.get_mut(slot).and_then(|layers| layers.turned(cell.judgement.frozen()))
        {
            self.condition(slot, condition, holds);
        }
    }

    fn condition(&self, slot: u32, condition: Condition, holds: bool) {
        self.tell(Note::Condition(Conditioned { slot, condition, holds, macs: None, at_ms: self.wall_ms }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_and_go_with_the_slots_in_them() {
        let mut pairs = Pairs::default();
        for slot in [7, 8, 5000] {
            pairs.insert(slot);
        }
        assert!(pairs.get_mut(7).is_some() && pairs.get_mut(5000).is_some());
        assert!([6, 9, 1031, 4999, 1 << 20].iter().all(|slot| pairs.get_mut(*slot).is_none()));
        assert!(pairs.remove(7).is_some() && pairs.remove(7).is_none() && pairs.get_mut(8).is_some());
        pairs.insert(8);
        assert!(pairs.remove(8).is_some());
        assert_eq!(pairs.0.iter().flatten().count(), 1, "the piece of the two is gone");
        pairs.insert(9);
        assert!(pairs.get_mut(9).is_some());
    }
}
