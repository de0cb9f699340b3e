//! Where an address stands in the flat table: deltas name those that they remove by that.

use super::Edition;

/// What makes positions in the flat table differ from those in the base: before which record of the base it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Edit {
    /// An address of the patch comes before it.
    Insert(u32),
    /// It does not count itself.
    Hide,
}

impl Edition {
    /// The numbers of the addresses at these positions, ascending, of the flat table; or the first position that there is not.
    pub(super) fn at_positions(&self, positions: &[u32]) -> Result<Vec<u32>, u32> {
        let base = self.base.len() as u32;
        let mut edits: Vec<(u32, Edit)> = self.hidden.iter().map(|id| (*id, Edit::Hide)).collect();
        edits.extend(self.patch_iter().map(|(id, record)| {
            let before = |network: u16| self.base_networks[usize::from(network)];
            let place = self.base.records().partition_point(|old| (before(old.network()), old.octets) < (record.network(), record.octets));
            (place as u32, Edit::Insert(id))
        }));
        edits.sort_unstable();
        let mut wanted = positions.iter().copied().peekable();
        let mut found = Vec::with_capacity(positions.len());
        // The next record of the base, and the position that it has unless an edit comes first.
        let (mut next, mut position) = (0, 0);
        for (place, edit) in edits {
            while let Some(at) = wanted.next_if(|at| *at < position + (place - next)) {
                found.push(next + (at - position));
            }
            (next, position) = (place, position + (place - next));
            match edit {
                Edit::Insert(id) => {
                    found.extend(wanted.next_if_eq(&position).map(|_| id));
                    position += 1;
                }
                Edit::Hide => next += 1,
            }
        }
        for at in wanted {
            let id = next + (at - position);
            if id >= base {
                return Err(at);
            }
            found.push(id);
        }
        Ok(found)
    }
}
