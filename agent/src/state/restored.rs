//! What was known of addresses before a restart.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::unit::{Mac, Verdict, mapped};

/// What was known of an address before a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Before {
    /// Its verdict: up or down; else pending.
    pub verdict: Verdict,
    /// Since when, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// Its MAC, where the agent had to learn it. Nobody answers the question for it who died meanwhile.
    pub mac: Option<Mac>,
}

/// What was known of all addresses before a restart.
///
/// Sorted by address, as tables are: a million lookups in the order of a table cost little.
#[derive(Default)]
pub struct Restored {
    networks: HashMap<String, Vec<Row>>,
}

type Row = ([u8; 16], Before);

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

    /// The rows of a network, for [`Restored::find`].
    pub fn network(&self, name: &str) -> &[Row] {
        self.networks.get(name).map_or(&[], Vec::as_slice)
    }

    /// What was known of one address of a network.
    pub fn find(rows: &[Row], octets: [u8; 16]) -> Option<Before> {
        rows.binary_search_by_key(&octets, |row| row.0).ok().map(|at| rows[at].1)
    }

    /// Sets the verdicts of those that are down to what `firing` says: who is not among them is probed anew.
    pub fn set_down(&mut self, mut firing: Vec<(&str, IpAddr, u64)>) {
        for rows in self.networks.values_mut() {
            rows.retain_mut(|(_, before)| {
                if before.verdict == Verdict::Down {
                    before.verdict = Verdict::Pending;
                }
                before.verdict != Verdict::Pending || before.mac.is_some()
            });
        }
        firing.sort_unstable();
        for (network, address, since) in firing {
            let rows = match self.networks.get_mut(network) {
                Some(rows) => rows,
                None => self.networks.entry(network.to_owned()).or_default(),
            };
            let octets = mapped(address);
            let down = |mac| Before { verdict: Verdict::Down, since_ms: since, mac };
            match rows.binary_search_by_key(&octets, |row| row.0) {
                Ok(at) => rows[at].1 = down(rows[at].1.mac),
                Err(at) => rows.insert(at, (octets, down(None))),
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
        let known = |verdict, since_ms, mac| Before { verdict, since_ms, mac };
        let mac = Some(Mac([2, 0, 0, 0, 0, 4]));
        let rows = vec![
            (mapped(at(2)), known(Verdict::Down, 20, None)),
            (mapped(at(1)), known(Verdict::Up, 10, None)),
            (mapped(at(3)), known(Verdict::Down, 30, mac)),
            (mapped(at(4)), known(Verdict::Down, 40, mac)),
        ];
        let mut restored = Restored::from_networks([("a".to_owned(), rows)]);
        restored.set_down(vec![("b", at(9), 90), ("a", at(3), 33), ("a", at(1), 11)]);
        let found = |network: &str, octet| Restored::find(restored.network(network), mapped(at(octet)));
        assert_eq!(found("a", 1), Some(known(Verdict::Down, 11, None)));
        assert_eq!(found("a", 2), None, "no alarm fires for it: it is probed anew");
        assert_eq!(found("a", 3), Some(known(Verdict::Down, 33, mac)));
        assert_eq!(found("a", 4), Some(known(Verdict::Pending, 40, mac)), "likewise, and its MAC is known all the same");
        assert_eq!(found("b", 9), Some(known(Verdict::Down, 90, None)));
        assert_eq!(found("c", 9), None);
    }
}
