//! rollcall's own host lists. What `rollcall compile` refuses a source refuses too: a list that is being written ends with such a row. To
//! `rollcall import` it is a warning.

use super::super::{Entry, Listing, SourceError};
use super::Options;
use super::document::broken;
use super::gather::{Address, Gather};
use crate::hosts::HostList;
use crate::mistake::Mistakes;

/// CSV, JSON lines, or a JSON array.
pub(super) fn read(what: &str, bytes: &[u8], options: &Options) -> Result<Listing, SourceError> {
    let (mut list, mut mistakes) = (HostList::default(), Mistakes::default());
    list.read(what, bytes, &mut mistakes);
    mistakes.sort();
    if list.rows.is_empty() {
        let found = mistakes.0.first().map_or_else(|| "nothing".to_owned(), ToString::to_string);
        return Err(broken(what, format!("no host that can be used (first: {found})"), "a host list with at least one host"));
    }
    if let (true, Some(first)) = (options.whole, mistakes.0.first()) {
        return Err(broken(what, format!("{} mistakes (first: {first})", mistakes.0.len()), "a host list without a mistake"));
    }
    let mut gather = Gather::new(what, bytes.len(), &options.networks);
    for warning in &list.warnings {
        gather.say(warning.clone());
    }
    for mistake in &mistakes.0 {
        gather.say(format!("{mistake}; left out"));
    }
    for row in &list.rows {
        gather.record();
        let entry = Entry {
            id: list.id(row).to_owned(),
            name: list.name(row).to_owned(),
            project: list.strings.text(row.project).to_owned(),
            tags: list.tags(row.tags).map(str::to_owned).collect(),
            monitor: row.monitor,
            addresses: Vec::new(),
        };
        let (address, mac) = (row.address.to_string(), row.mac.map(|mac| mac.to_string()));
        let own = Some(list.strings.text(row.network));
        let place = format!("line {}", row.place.line);
        gather.take(&place, entry, [Address { address: &address, mac: mac.as_deref(), own, said: &[] }]);
    }
    gather.finish("a host list with at least one host")
}
