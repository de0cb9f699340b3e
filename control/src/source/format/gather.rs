//! Records become hosts: those of one host are put together, each address is taken once, and what is left out is told.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, hash_map};
use std::fmt;
use std::net::IpAddr;

use rollcall_agent::table::Strings;

use super::super::{Entry, Listing, SourceError, Spot, curb, spot, wish};
use super::Options;
use super::document::broken;
use super::networks::Networks;
use crate::hosts::Monitor;
use crate::mistake::quoted;
use crate::warning::plural;

/// So many warnings about single records are written out; the rest is counted.
const SHOWN: usize = 20;

/// Few bytes of a list can name many hosts with many tags each. So many bytes of those, and some for each byte of the list, will do.
const MOST_TEXT: usize = 64 << 20;

/// Gathers the hosts of one list.
pub(super) struct Gather<'a> {
    what: &'a str,
    networks: &'a Networks,
    hosts: Vec<Draft>,
    ids: HashMap<String, usize, foldhash::fast::RandomState>,
    /// Who has an address, by network.
    owners: HashMap<(u32, IpAddr), usize, foldhash::fast::RandomState>,
    /// Addresses that are not watched, with their hosts.
    unwatched: HashSet<(usize, u32, IpAddr), foldhash::fast::RandomState>,
    strings: Strings,
    used: BTreeSet<String>,
    /// Which of the names that the user gave were of use.
    named: BTreeSet<String>,
    /// Bytes of names and tags, and how many there may be.
    text: usize,
    most: usize,
    records: u64,
    warnings: Vec<String>,
    more: u64,
    /// Reasons to leave something out that say nothing bad: how often, and where first.
    left_out: BTreeMap<String, (u64, String)>,
    nameless: Option<(u64, String, String)>,
}

struct Draft {
    entry: Entry,
    /// Of each address.
    monitors: Vec<Monitor>,
}

/// An address as a record has it.
pub(super) struct Address<'a> {
    /// The address, without a prefix length.
    pub address: &'a str,
    /// The MAC, if there is one.
    pub mac: Option<&'a str>,
    /// The network as the list calls it.
    pub own: Option<&'a str>,
    /// What else the list says of where it is: a subnet.
    pub said: &'a [&'a str],
}

impl<'a> Gather<'a> {
    pub(super) fn new(what: &'a str, size: usize, networks: &'a Networks) -> Self {
        Gather {
            what,
            networks,
            hosts: Vec::new(),
            ids: HashMap::default(),
            owners: HashMap::default(),
            unwatched: HashSet::default(),
            strings: Strings::default(),
            used: BTreeSet::new(),
            named: BTreeSet::new(),
            text: 0,
            most: MOST_TEXT + 4 * size,
            records: 0,
            warnings: Vec::new(),
            more: 0,
            left_out: BTreeMap::new(),
            nameless: None,
        }
    }

    /// Counts a record, whatever becomes of it.
    pub(super) fn record(&mut self) {
        self.records += 1;
    }

    /// A page of several, the last of which is not here.
    pub(super) fn unfinished(&mut self, what: &str, options: &Options) -> Result<(), SourceError> {
        if options.whole {
            return Err(broken(what, "one page of several", "the whole list (ask for more on one page, or put all pages into one file)"));
        }
        self.say(format!("{what}: this is one page of several: what the pages behind it hold is missing"));
        Ok(())
    }

    /// A record, or a part of one, of which nothing can be made.
    pub(super) fn warn(&mut self, place: &dyn fmt::Display, why: &str) {
        self.say(format!("{}: {place}: {why}", self.what));
    }

    /// The same, by somebody who says himself where.
    pub(super) fn say(&mut self, warning: String) {
        match self.warnings.len() < SHOWN {
            true => self.warnings.push(warning),
            false => self.more += 1,
        }
    }

    /// The network of an address of which the list says no more than this.
    pub(super) fn network<'b>(&'b self, own: Option<&'b str>) -> Option<&'b str> {
        self.networks.of(&[], own)
    }

    /// A warning about the whole list.
    pub(super) fn note(&mut self, why: String) {
        self.warnings.push(format!("{}: {why}", self.what));
    }

    /// Something that is no host to watch: counted by its kind.
    pub(super) fn leave_out(&mut self, place: &dyn fmt::Display, kind: &str) {
        let known = self.left_out.len() < SHOWN || self.left_out.contains_key(kind);
        let kind = if known { kind } else { "of other kinds" };
        self.left_out.entry(kind.to_owned()).or_insert_with(|| (0, place.to_string())).0 += 1;
    }

    /// Whether the list says more than anybody can want; [`Gather::finish`] says so.
    pub(super) fn is_full(&self) -> bool {
        self.text > self.most
    }

    /// Takes what a record says of a host: all but its addresses in `entry`, and these besides.
    pub(super) fn take<'b>(&mut self, place: &dyn fmt::Display, entry: Entry, addresses: impl IntoIterator<Item = Address<'b>>) {
        let mut entry = entry.tidy();
        if entry.id.is_empty() {
            return self.warn(place, "a host without an id is left out");
        }
        if wish::of_tags(&entry.tags) == Some(false) {
            entry.monitor = Monitor::Off;
        }
        let spots: Vec<Spot> = addresses.into_iter().filter_map(|address| self.spot(place, &address)).collect();
        let new = self.hosts.len();
        let index = *self.ids.get(&entry.id).unwrap_or(&new);
        let mut free = Vec::with_capacity(spots.len());
        for spot in spots {
            if self.is_free(place, index, &entry, &spot) {
                free.push(spot);
            }
        }
        // What is said again of an address that the host has may still say more of the host.
        if index == new && free.is_empty() {
            return;
        }
        self.text += entry.id.len() + entry.name.len() + entry.tags.iter().map(String::len).sum::<usize>();
        if self.is_full() {
            return;
        }
        if index == new {
            self.ids.insert(entry.id.clone(), new);
            self.hosts.push(Draft { entry: Entry { monitor: Monitor::Off, addresses: Vec::new(), ..entry.clone() }, monitors: Vec::new() });
        }
        let draft = &mut self.hosts[index];
        draft.merge(&entry);
        draft.monitors.extend(free.iter().map(|_| entry.monitor));
        draft.entry.addresses.extend(free);
    }

    /// Checks an address, and finds its network.
    fn spot(&mut self, place: &dyn fmt::Display, address: &Address<'_>) -> Option<Spot> {
        let Some(network) = self.networks.of(address.said, address.own) else {
            let said = address.said.iter().chain(&address.own).find(|said| !said.is_empty()).map(|said| (*said).to_owned());
            self.nameless.get_or_insert_with(|| (0, place.to_string(), said.unwrap_or_default())).0 += 1;
            return None;
        };
        let from = address.said.iter().chain(&address.own).find(|said| self.networks.names.contains_key(**said));
        if let Some(from) = from.filter(|from| !self.named.contains(**from)) {
            self.named.insert((*from).to_owned());
        }
        let checked = spot(network, address.address, address.mac).or_else(|| {
            let without = spot(network, address.address, None)?;
            let mac = quoted(address.mac.unwrap_or_default());
            self.warn(place, &format!("MAC {mac} is none that a host can have; {} is taken without it", without.address));
            Some(without)
        });
        if checked.is_none() {
            let allowed = crate::hosts::address(address.address.trim()).err().unwrap_or_default();
            self.warn(place, &format!("address {} is left out, expected {allowed}", quoted(address.address)));
        } else if !self.used.contains(network) && self.used.len() < SHOWN {
            self.used.insert(network.to_owned());
        }
        checked
    }

    /// Whether nobody has an address yet. What is not watched may be there as often as there are hosts.
    fn is_free(&mut self, place: &dyn fmt::Display, index: usize, entry: &Entry, spot: &Spot) -> bool {
        let network = self.strings.intern(&spot.network);
        if entry.monitor == Monitor::Off {
            return self.unwatched.insert((index, network, spot.address));
        }
        let owner = match self.owners.entry((network, spot.address)) {
            hash_map::Entry::Vacant(vacant) => {
                vacant.insert(index);
                return true;
            }
            hash_map::Entry::Occupied(owner) => *owner.get(),
        };
        if owner != index {
            let other = quoted(&self.hosts[owner].entry.id);
            let (address, network) = (spot.address, quoted(&spot.network));
            let why = format!("{address} in network {network} of host {} is left out: host {other} has it already", quoted(&entry.id));
            self.warn(place, &why);
        }
        false
    }

    /// The listing. A list of which nobody is left is an error: it is more likely an export that failed than a cloud without hosts.
    pub(super) fn finish(mut self, expected: &str) -> Result<Listing, SourceError> {
        if self.is_full() {
            let found = format!("hosts with more than {} bytes of names and tags", self.most);
            return Err(broken(self.what, found, "less (many targets with many labels?)"));
        }
        if self.hosts.is_empty() {
            return Err(self.nobody(expected));
        }
        if self.more > 0 {
            self.note(format!("... and {}", plural(self.more, "more warning of this kind", "more warnings of this kind")));
        }
        for (kind, (count, first)) in std::mem::take(&mut self.left_out) {
            self.note(format!("{count} left out {kind} (first: {first})"));
        }
        if let Some((count, first, said)) = self.nameless.take() {
            let count = plural(count, "address is", "addresses are");
            self.note(format!("{count} left out, for nobody says in which network (first: {first}): {}", by_hand(&said)));
        }
        self.warnings.extend(self.networks.idle(&self.used, &self.named).into_iter().map(|idle| format!("{}: {idle}", self.what)));
        let lesser = self.hosts.iter_mut().map(Draft::settle).sum::<u64>();
        if lesser > 0 {
            let addresses = plural(lesser, "address is", "addresses are");
            self.note(format!("{addresses} left out: not watched as the other addresses of the same host are"));
        }
        let mut hosts: Vec<Entry> = self.hosts.drain(..).map(|draft| draft.entry).collect();
        if let Some(said) = curb(&mut hosts) {
            self.note(said);
        }
        Ok(Listing { hosts, warnings: self.warnings })
    }

    fn nobody(self, expected: &str) -> SourceError {
        if let Some((_, first, said)) = self.nameless {
            let why = format!("{}: {first}: the list does not say in which network its addresses are: {}", self.what, by_hand(&said));
            return SourceError::Configuration(why);
        }
        let mut found = match self.records {
            0 => "an empty list".to_owned(),
            n => format!("{}, none of which is a host to watch", plural(n, "record", "records")),
        };
        if let Some(first) = self.warnings.first() {
            found.push_str(&format!(" (first: {})", first.strip_prefix(&format!("{}: ", self.what)).unwrap_or(first)));
        } else if let Some((kind, (count, first))) = self.left_out.first_key_value() {
            found.push_str(&format!(" ({count} left out {kind}, first: {first})"));
        }
        broken(self.what, found, expected)
    }
}

/// How a user names a network.
fn by_hand(said: &str) -> String {
    match said {
        "" => "name it by --network NAME (in sync.toml: network = \"NAME\")".to_owned(),
        said => {
            let said: String = said.chars().filter(|c| !c.is_control()).take(80).collect();
            format!("name it by --network NAME, or by --network {said}=NAME (in sync.toml: network, networks)")
        }
    }
}

impl Draft {
    fn merge(&mut self, other: &Entry) {
        for (text, more) in [(&mut self.entry.name, &other.name), (&mut self.entry.project, &other.project)] {
            if text.is_empty() {
                text.clone_from(more);
            }
        }
        // Mostly the same ones again: both are sorted.
        if self.entry.tags != other.tags {
            self.entry.tags.extend_from_slice(&other.tags);
            self.entry.tags.sort_unstable();
            self.entry.tags.dedup();
        }
        self.entry.monitor = [Monitor::On, Monitor::Silent, Monitor::Off]
            .into_iter()
            .find(|monitor| [self.entry.monitor, other.monitor].contains(monitor))
            .unwrap_or_default();
    }

    /// A host is watched in one way: addresses that are watched less are left out. How many.
    fn settle(&mut self) -> u64 {
        let before = self.entry.addresses.len();
        let mut monitors = self.monitors.iter();
        let wanted = self.entry.monitor;
        self.entry.addresses.retain(|_| monitors.next() == Some(&wanted));
        (before - self.entry.addresses.len()) as u64
    }
}
