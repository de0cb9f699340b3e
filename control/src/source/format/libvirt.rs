//! Tables of `virsh`. They are for people, and translated: only the rule below the header and the order of the columns are relied on.

use super::super::{Entry, Listing, SourceError};
use super::document::broken;
use super::gather::{Address, Gather};
use super::{Options, guest};
use crate::mistake::quoted;

/// The rows below the rule, with their lines.
fn rows<'a>(what: &str, text: &'a str, expected: &str) -> Result<Vec<(String, &'a str)>, SourceError> {
    let mut lines = text.lines().enumerate();
    let rule = |line: &str| line.trim().len() >= 10 && line.trim().bytes().all(|b| b == b'-');
    if !lines.by_ref().any(|(_, line)| rule(line)) {
        let found = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        return Err(broken(what, format!("{} and no table below it", quoted(found.trim())), expected));
    }
    Ok(lines.filter(|(_, line)| !line.trim().is_empty() && !rule(line)).map(|(at, line)| (format!("line {}", at + 1), line)).collect())
}

/// `virsh net-dhcp-leases`: a host for each MAC, for the table does not know domains.
pub(super) fn leases(what: &str, text: &str, options: &Options) -> Result<Listing, SourceError> {
    let expected = "the table of `virsh net-dhcp-leases NETWORK`, with at least one lease";
    let mut gather = Gather::new(what, text.len(), &options.networks);
    for (place, row) in rows(what, text, expected)? {
        gather.record();
        // Date, time, MAC, protocol, address, host name, client id.
        let cells: Vec<&str> = row.split_whitespace().collect();
        let [_, _, mac, _, address, rest @ ..] = &cells[..] else {
            gather.warn(&place, &format!("{} is no lease: date, time, MAC, protocol, address, host name", quoted(row.trim())));
            continue;
        };
        let name = rest.first().filter(|name| **name != "-").map_or("", |name| *name);
        let entry = Entry { id: mac.to_ascii_lowercase(), name: name.to_owned(), ..Entry::default() };
        if !crate::hosts::mac(mac).is_ok_and(|mac| mac.is_some()) {
            gather.warn(&place, &format!("a lease of {} is left out, expected a MAC", quoted(mac)));
            continue;
        }
        let address = address.split('/').next().unwrap_or_default();
        gather.take(&place, entry, [Address { address, mac: Some(mac), own: None, said: &[] }]);
    }
    gather.finish(expected)
}

/// `virsh domifaddr`: all of it is one host.
pub(super) fn domain(what: &str, text: &str, options: &Options) -> Result<Listing, SourceError> {
    let expected = "the table of `virsh domifaddr DOMAIN`, with at least one address that others can reach";
    let rows = rows(what, text, expected)?;
    let host = guest::host(what, options, "the UUID that `virsh domuuid DOMAIN` tells")?;
    let mut gather = Gather::new(what, text.len(), &options.networks);
    let (mut name, mut mac) = (String::new(), String::new());
    for (place, row) in rows {
        gather.record();
        // Name, MAC, protocol, address; a name may have blanks in it and a MAC may be missing, so from the right.
        let mut cells: Vec<&str> = row.split_whitespace().collect();
        let (Some(address), Some(protocol)) = (cells.pop(), cells.pop()) else {
            gather.warn(&place, &format!("{} is no interface: name, MAC, protocol, address", quoted(row.trim())));
            continue;
        };
        let is_mac = |cell: &&str| ["-", "N/A"].contains(cell) || cell.matches(':').count() == 5;
        let own = cells.pop_if(|cell| is_mac(cell)).unwrap_or_default();
        if own != "-" || cells[..] != ["-"] {
            (name, mac) = (cells.join(" "), own.to_owned());
        }
        match (protocol, address) {
            ("N/A", _) | (_, "N/A") => gather.leave_out(&place, "without an address"),
            _ => guest::take(&mut gather, &place, &host, &name, &mac, address),
        }
    }
    gather.finish(expected)
}
