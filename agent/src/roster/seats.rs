//! Seats: which slot each record of a table has, and which record each slot.
//!
//! A table that came as one piece gets its slots in one piece, so both ways are a few runs; only where a long life has torn the
//! runs to shreds both are written out.

/// Slots of records, both ways.
pub(super) enum Seats {
    /// By record; and the positions of the same runs by slot.
    Runs(Vec<Run>, Vec<u32>),
    /// Slot of each record, record of each slot.
    Each(Vec<u32>, Vec<u32>),
}

/// Neighbours in neighbouring slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    record: u32,
    slot: u32,
    length: u32,
}

/// No record in this slot, no slot for this record.
pub(super) const VACANT: u32 = u32::MAX;

impl Default for Seats {
    fn default() -> Self {
        Seats::Runs(Vec::new(), Vec::new())
    }
}

impl Seats {
    /// From the slot of each record, [`VACANT`] where it has none.
    pub(super) fn of(slots: Vec<u32>) -> Seats {
        let mut runs: Vec<Run> = Vec::new();
        // A run takes 12 bytes and its place by slot 4: from here on 8 bytes for each record are less.
        let most = slots.len() / 2;
        for (record, slot) in slots.iter().copied().enumerate().filter(|(_, slot)| *slot != VACANT) {
            let (record, known) = (record as u32, runs.len());
            match runs.last_mut() {
                Some(run) if run.record + run.length == record && run.slot + run.length == slot => run.length += 1,
                _ if known > most => return Seats::each(slots),
                _ => runs.push(Run { record, slot, length: 1 }),
            }
        }
        runs.shrink_to_fit();
        let mut by_slot: Vec<u32> = (0..runs.len() as u32).collect();
        by_slot.sort_unstable_by_key(|at| runs[*at as usize].slot);
        Seats::Runs(runs, by_slot)
    }

    fn each(slots: Vec<u32>) -> Seats {
        let end = slots.iter().filter(|slot| **slot != VACANT).max().map_or(0, |last| *last as usize + 1);
        let mut records = vec![VACANT; end];
        for (record, slot) in slots.iter().enumerate().filter(|(_, slot)| **slot != VACANT) {
            records[*slot as usize] = record as u32;
        }
        Seats::Each(slots, records)
    }

    /// The slot of a record.
    pub(super) fn slot(&self, record: u32) -> Option<u32> {
        match self {
            Seats::Runs(runs, _) => {
                let at = runs.partition_point(|run| run.record <= record).checked_sub(1)?;
                runs[at].slot_of(record)
            }
            Seats::Each(slots, _) => slots.get(record as usize).copied().filter(|slot| *slot != VACANT),
        }
    }

    /// The record of a slot.
    pub(super) fn record(&self, slot: u32) -> Option<u32> {
        match self {
            Seats::Runs(runs, by_slot) => {
                let at = by_slot.partition_point(|at| runs[*at as usize].slot <= slot).checked_sub(1)?;
                let run = runs[by_slot[at] as usize];
                (slot - run.slot < run.length).then(|| run.record + (slot - run.slot))
            }
            Seats::Each(_, records) => records.get(slot as usize).copied().filter(|record| *record != VACANT),
        }
    }

    /// [`Seats::slot`] for records that come in order: the run of the last one is looked at first.
    pub(super) fn in_order(&self) -> impl FnMut(u32) -> Option<u32> + '_ {
        let mut last = None;
        move |record| {
            let Seats::Runs(runs, _) = self else { return self.slot(record) };
            if let Some(slot) = last.and_then(|run: Run| run.slot_of(record)) {
                return Some(slot);
            }
            let at = runs.partition_point(|run| run.record <= record).checked_sub(1)?;
            last = Some(runs[at]);
            runs[at].slot_of(record)
        }
    }
}

impl Run {
    fn slot_of(self, record: u32) -> Option<u32> {
        record.checked_sub(self.record).filter(|after| *after < self.length).map(|after| self.slot + after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_both_ways(slots: &[u32]) -> Seats {
        let seats = Seats::of(slots.to_vec());
        let mut in_order = seats.in_order();
        for (record, slot) in slots.iter().enumerate() {
            let wanted = (*slot != VACANT).then_some(*slot);
            assert_eq!(seats.slot(record as u32), wanted);
            assert_eq!(in_order(record as u32), wanted);
        }
        for slot in 0..slots.len() as u32 * 3 {
            let wanted = slots.iter().position(|known| *known == slot).map(|record| record as u32);
            assert_eq!(seats.record(slot), wanted, "slot {slot} of {slots:?}");
        }
        assert_eq!((seats.slot(slots.len() as u32), seats.record(VACANT - 1)), (None, None));
        drop(in_order);
        seats
    }

    #[test]
    fn slots_and_records_are_found_both_ways_in_runs_and_in_shreds() {
        assert!(matches!(assert_both_ways(&[]), Seats::Runs(..)));
        assert!(matches!(assert_both_ways(&[0, 1, 2, 3, 4, 5]), Seats::Runs(runs, _) if runs.len() == 1));
        assert!(matches!(assert_both_ways(&[4, 5, 6, VACANT, 8, 0, 1, 9, VACANT, VACANT]), Seats::Runs(runs, _) if runs.len() == 4));
        assert!(matches!(assert_both_ways(&[9, 7, 5, VACANT, 3, 1, 0, 2]), Seats::Each(..)));
    }
}
