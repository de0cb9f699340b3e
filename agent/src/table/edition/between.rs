//! How many addresses lie between two, without a look at each.

use super::Edition;
use crate::table::{Record, Table};

impl Edition {
    /// How many addresses of a network lie from one to another, both included, as [`crate::unit::mapped`] writes them.
    /// O(log addresses).
    pub fn count_between(&self, network: u16, first: [u8; 16], last: [u8; 16]) -> usize {
        let within = |table: &Table, networks: &[u16]| {
            let Some(own) = networks.iter().position(|number| *number == network) else { return 0..0 };
            let key = |octets: [u8; 16]| (own as u16, u128::from_be_bytes(octets));
            let records: &[Record] = table.records();
            let begin = records.partition_point(|record| record.key() < key(first));
            begin..records.partition_point(|record| record.key() <= key(last)).max(begin)
        };
        let base = within(&self.base, &self.base_networks);
        let hidden = |end: usize| self.hidden.partition_point(|id| (*id as usize) < end);
        base.len() - (hidden(base.end) - hidden(base.start)) + within(&self.patch, &self.patch_networks).len()
    }
}

#[cfg(all(test, feature = "dataplane"))]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::table::Delta;
    use crate::table::edition::tests::{Cloud, Random};
    use crate::unit::mapped;

    #[test]
    fn the_count_is_that_of_a_look_at_each_also_in_an_edition_that_was_changed() {
        let mut random = Random(7);
        let mut cloud = Cloud::default();
        (0..200).for_each(|_| cloud.step(&mut random));
        let first = Arc::new(cloud.table());
        (0..30).for_each(|_| cloud.step(&mut random));
        let changed = Edition::of(first.clone()).amended(&Delta::between(&first, &cloud.table())).unwrap();
        assert!(changed.weight() > 0);
        for edition in [Edition::of(first), changed] {
            let records: Vec<Record> = edition.iter().map(|(_, record)| record).collect();
            for pair in records.windows(2) {
                let all = (mapped([0, 0, 0, 0].into()), [0xff; 16]);
                for (from, to) in [(pair[0].octets(), pair[1].octets()), (pair[1].octets(), pair[0].octets()), all] {
                    let network = pair[0].network();
                    let looked = records.iter().filter(|record| record.network() == network && (from..=to).contains(&record.octets()));
                    assert_eq!(edition.count_between(network, from, to), looked.count());
                }
            }
        }
    }
}
