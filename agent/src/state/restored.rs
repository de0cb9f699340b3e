//! Verdicts from before a restart.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::unit::{Verdict, mapped};

/// Verdicts from before a restart, with the moment since when they hold, in milliseconds since the Unix epoch.
///
/// Sorted by address, as tables are: a million lookups in the order of a table cost little.
#[derive(Default)]
pub struct Restored {
    networks: HashMap<String, Vec<Row>>,
}

/// Address, verdict, since when.
type Row = ([u8; 16], Verdict, u64);

impl Restored {
    /// Verdicts of nobody.
    pub fn new() -> Self {
        Self::default()
    }

    /// From rows in any order; of two for one address the last one counts.
    pub(super) fn from_networks(networks: impl IntoIterator<Item = (String, Vec<Row>)>) -> Self {
        let mut restored = Restored::new();
        for (name, mut rows) in networks {
            if !rows.is_sorted_by(|a, b| a.0 < b.0) {
                rows.reverse();
                rows.sort_by_key(|row| row.0);
                rows.dedup_by_key(|row| row.0);
            }
            restored.networks.insert(name, rows);
        }
        restored
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.networks.values().all(Vec::is_empty)
    }

    /// The rows of a network, for [`Restored::verdict`].
    pub fn network(&self, name: &str) -> &[Row] {
        self.networks.get(name).map_or(&[], Vec::as_slice)
    }

    /// The verdict of one address of a network.
    pub fn verdict(rows: &[Row], octets: [u8; 16]) -> Option<(Verdict, u64)> {
        rows.binary_search_by_key(&octets, |row| row.0).ok().map(|at| (rows[at].1, rows[at].2))
    }

    /// Sets the verdicts of those that are down to what `firing` says: who is not among them is probed anew.
    pub fn set_down(&mut self, mut firing: Vec<(&str, IpAddr, u64)>) {
        for rows in self.networks.values_mut() {
            rows.retain(|(_, verdict, _)| *verdict != Verdict::Down);
        }
        firing.sort_unstable();
        for (network, address, since) in firing {
            let rows = match self.networks.get_mut(network) {
                Some(rows) => rows,
                None => self.networks.entry(network.to_owned()).or_default(),
            };
            let row = (mapped(address), Verdict::Down, since);
            match rows.binary_search_by_key(&row.0, |row| row.0) {
                Ok(at) => rows[at] = row,
                Err(at) => rows.insert(at, row),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_down_is_who_has_an_alarm() {
        let at = |octet: u8| IpAddr::from([10, 0, 0, octet]);
        let rows = vec![(mapped(at(2)), Verdict::Down, 20), (mapped(at(1)), Verdict::Up, 10), (mapped(at(3)), Verdict::Down, 30)];
        let mut restored = Restored::from_networks([("a".to_owned(), rows)]);
        restored.set_down(vec![("b", at(9), 90), ("a", at(3), 33), ("a", at(1), 11)]);
        let verdict = |network: &str, octet| Restored::verdict(restored.network(network), mapped(at(octet)));
        assert_eq!(verdict("a", 1), Some((Verdict::Down, 11)));
        assert_eq!(verdict("a", 2), None, "no alarm fires for it: it is probed anew");
        assert_eq!(verdict("a", 3), Some((Verdict::Down, 33)));
        assert_eq!(verdict("b", 9), Some((Verdict::Down, 90)));
        assert_eq!(verdict("c", 9), None);
    }
}
