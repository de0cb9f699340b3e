//! The listings of all sources as one: each host once, each address once.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::net::IpAddr;

use crate::mistake::quoted;
use crate::source::{Entry, Listing, curb};

/// Warnings of one kind that are told one by one; of more only the number.
const TOLD: usize = 20;

/// All hosts, and what is odd about them. Where two sources, or two hosts, say different things the first is believed: one bad row must not
/// end the monitoring of all.
pub fn merge<'a>(listings: impl Iterator<Item = (&'a str, &'a Listing)>) -> Listing {
    let mut merged = Listing::default();
    let mut known: HashMap<&str, usize, foldhash::fast::RandomState> = HashMap::default();
    let mut taken: HashMap<(&str, IpAddr), &str, foldhash::fast::RandomState> = HashMap::default();
    let mut doubles = Vec::new();
    for (source, listing) in listings {
        merged.warnings.extend(listing.warnings.iter().map(|warning| format!("source {}: {warning}", quoted(source))));
        for host in &listing.hosts {
            let mut addresses = Vec::with_capacity(host.addresses.len());
            for spot in &host.addresses {
                match taken.entry((&spot.network, spot.address)) {
                    Slot::Vacant(place) => {
                        place.insert(&host.id);
                        addresses.push(spot.clone());
                    }
                    Slot::Occupied(first) => doubles.push((source, host, spot, *first.get())),
                }
            }
            match known.entry(&host.id) {
                Slot::Vacant(place) => {
                    place.insert(merged.hosts.len());
                    merged.hosts.push(Entry { addresses, ..host.clone() });
                }
                Slot::Occupied(place) => {
                    let first = &mut merged.hosts[*place.get()];
                    first.addresses.extend(addresses);
                    first.tags.extend(host.tags.iter().cloned());
                    first.tags.sort_unstable();
                    first.tags.dedup();
                }
            }
        }
    }
    merged.hosts.retain(|host| !host.addresses.is_empty());
    merged.warnings.extend(curb(&mut merged.hosts));
    for (source, host, spot, first) in doubles.iter().take(TOLD) {
        let (address, network) = (spot.address, quoted(&spot.network));
        merged.warnings.push(format!(
            "source {}: {address} in network {network} of host {} is left out: host {} has it already",
            quoted(source),
            quoted(&host.id),
            quoted(first)
        ));
    }
    if doubles.len() > TOLD {
        merged.warnings.push(format!("... and {} more addresses that another host has already", doubles.len() - TOLD));
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::spot;

    fn host(id: &str, addresses: &[&str]) -> Entry {
        let addresses = addresses.iter().map(|address| spot("red", address, None).unwrap()).collect();
        Entry { id: id.into(), addresses, ..Entry::default() }
    }

    #[test]
    fn tags_of_two_sources_together_are_no_more_than_a_table_holds() {
        let tagged = |prefix: &str, address| {
            let tags = (0..200).map(|n| format!("{prefix}{n}")).collect();
            Listing { hosts: vec![Entry { tags, ..host("a", &[address]) }], warnings: vec![] }
        };
        let (first, second) = (tagged("x", "10.0.0.1"), tagged("y", "10.0.0.2"));
        let merged = merge([("one", &first), ("two", &second)].into_iter());
        assert_eq!(merged.hosts[0].tags.len(), 256);
        assert_eq!(merged.warnings, ["1 host has more than 256 tags (first: \"a\" with 400): the others are left out"]);
    }

    #[test]
    fn host_of_two_sources_is_one_and_an_address_belongs_to_whom_it_came_from_first() {
        let first = Listing { hosts: vec![host("a", &["10.0.0.1"]), host("b", &["10.0.0.2"])], warnings: vec!["odd".into()] };
        let second = Listing { hosts: vec![host("a", &["10.0.0.3"]), host("c", &["10.0.0.2"])], warnings: vec![] };
        let merged = merge([("one", &first), ("two", &second)].into_iter());
        let shown: Vec<String> = merged.hosts.iter().map(|host| format!("{} {}", host.id, host.addresses.len())).collect();
        assert_eq!(shown, ["a 2", "b 1"]);
        assert_eq!(
            merged.warnings,
            ["source \"one\": odd", "source \"two\": 10.0.0.2 in network \"red\" of host \"c\" is left out: host \"b\" has it already"]
        );
    }
}
