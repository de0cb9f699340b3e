//! How many addresses each network has of each policy.

use std::collections::BTreeMap;

use crate::table::Record;

/// Counts records. They are sorted by network, and neighbours have the same policy more often than not.
pub(super) fn of<'a>(records: impl Iterator<Item = &'a Record>) -> BTreeMap<(u16, u16), u32> {
    let mut counts = BTreeMap::new();
    let (mut last, mut run) = ((0, 0), 0);
    for record in records {
        let pair = (record.network(), record.policy());
        if pair != last {
            add(&mut counts, last, run);
            (last, run) = (pair, 0);
        }
        run += 1;
    }
    add(&mut counts, last, run);
    counts
}

fn add(counts: &mut BTreeMap<(u16, u16), u32>, pair: (u16, u16), run: u32) {
    if run > 0 {
        *counts.entry(pair).or_default() += run;
    }
}
