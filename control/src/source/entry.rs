//! Entries as rows of a host list. What a platform calls its hosts is nobody's mistake here: texts are made to fit.

use std::net::IpAddr;

use rollcall_agent::table::{MAX_LIST, MAX_TEXT, text_rule};
use rollcall_agent::unit::Mac;
use serde::Serialize;

use super::Entry;
use crate::hosts::{self, HostList, Monitor};
use crate::mistake::{Mistakes, quoted};
use crate::warning::plural;

/// An address of a host. Identity is (network, address).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Spot {
    /// The network, by the name that agents know it by.
    pub network: String,
    /// The address.
    pub address: IpAddr,
    /// The MAC that answers for it, where it is known.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_text")]
    pub mac: Option<Mac>,
}

fn as_text<S: serde::Serializer>(mac: &Option<Mac>, to: S) -> Result<S::Ok, S::Error> {
    match mac {
        Some(mac) => to.collect_str(mac),
        None => to.serialize_none(),
    }
}

impl Entry {
    /// Makes the texts such as a host list may have: control characters become spaces, what is too long is cut, tags that cannot
    /// be one are left out.
    pub fn tidy(mut self) -> Self {
        for text in [&mut self.id, &mut self.name, &mut self.project] {
            tidy(text);
        }
        self.tags.iter_mut().for_each(tidy);
        self.tags.retain(|tag| hosts::tag(tag).is_ok());
        self.tags.sort_unstable();
        self.tags.dedup();
        self.addresses.iter_mut().for_each(|spot| tidy(&mut spot.network));
        self
    }
}

/// Leaves tags out of hosts that have more than a table can hold: by the default quotas a tenant can give a server that many. Those that
/// rollcall itself goes by stay. Says so.
pub fn curb(hosts: &mut [Entry]) -> Option<String> {
    let mut first = None;
    let mut count = 0;
    for host in hosts.iter_mut().filter(|host| host.tags.len() > MAX_LIST) {
        count += 1;
        first.get_or_insert_with(|| format!("{} with {}", quoted(&host.id), host.tags.len()));
        let matters = |tag: &String| !["hypervisor=", "allowed-mac=", "rollcall"].iter().any(|begin| tag.starts_with(begin));
        host.tags.sort_by_key(matters);
        host.tags.truncate(MAX_LIST);
        host.tags.sort_unstable();
    }
    let hosts = plural(count, "host has", "hosts have");
    first.map(|first| format!("{hosts} more than {MAX_LIST} tags (first: {first}): the others are left out"))
}

fn tidy(text: &mut String) {
    if text_rule(text, true).is_none() && text.trim().len() == text.len() {
        return;
    }
    let mut clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    while clean.len() > MAX_TEXT {
        clean.pop();
    }
    *text = clean.trim().to_owned();
}

impl HostList {
    /// Takes the hosts of a source, which have been made tidy. Where hosts stand, which mistakes name, is their number in the listing.
    pub fn take(&mut self, source: &str, entries: &[Entry], mistakes: &mut Mistakes) {
        let mut reader = self.file(source, mistakes);
        for (at, entry) in entries.iter().enumerate() {
            reader.entry(at as u32 + 1, entry);
        }
    }
}

impl Monitor {
    /// Whether a host is watched as its policy says.
    pub fn is_on(&self) -> bool {
        *self == Monitor::On
    }
}

impl Serialize for Monitor {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Monitor::Off => to.serialize_bool(false),
            Monitor::On => to.serialize_bool(true),
            Monitor::Silent => to.serialize_str(self.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, tags: &[&str]) -> Entry {
        let spot = super::super::spot("red", "10.0.0.1", Some("fa:16:3e:00:00:01")).unwrap();
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        Entry { id: "vm-1".into(), name: name.into(), tags, monitor: Monitor::Silent, addresses: vec![spot], ..Entry::default() }
    }

    #[test]
    fn entry_as_a_line_of_a_host_list_reads_back_as_the_same_row() {
        let entry = entry("one", &["b", "a"]).tidy();
        let line = serde_json::to_string(&entry).unwrap();
        let (mut taken, mut read, mut mistakes) = (HostList::default(), HostList::default(), Mistakes::default());
        taken.take("source", &[entry], &mut mistakes);
        read.read("file", line.as_bytes(), &mut mistakes);
        assert!(mistakes.is_empty(), "{mistakes}");
        let shown = |list: &HostList| {
            let row = list.rows[0];
            let tags: Vec<String> = list.tags(row.tags).map(str::to_owned).collect();
            format!("{} {} {} {:?} {:?} {tags:?}", list.id(&row), list.name(&row), row.address, row.mac, row.monitor)
        };
        assert_eq!(shown(&taken), shown(&read));
        assert!(shown(&taken).contains("Silent") && read.warnings.is_empty(), "{} {:?}", shown(&taken), read.warnings);
    }

    #[test]
    fn host_with_more_tags_than_a_table_holds_keeps_those_that_count() {
        let many: Vec<String> = (0..300).map(|n| format!("a{n}=x")).collect();
        let many: Vec<&str> =
            many.iter().map(String::as_str).chain(["allowed-mac=fa:16:3e:00:00:01", "hypervisor=c1", "rollcall-policy=gold"]).collect();
        let mut hosts = [entry("one", &many).tidy(), entry("two", &many[..MAX_LIST]).tidy()];
        let said = curb(&mut hosts).unwrap();
        assert_eq!(said, "1 host has more than 256 tags (first: \"vm-1\" with 303): the others are left out");
        assert_eq!(hosts.each_ref().map(|host| host.tags.len()), [MAX_LIST, MAX_LIST]);
        for tag in &many[300..] {
            assert!(hosts[0].tags.iter().any(|kept| kept == tag), "{tag}");
        }
        assert!(hosts[0].tags.is_sorted() && curb(&mut hosts).is_none());
    }

    #[test]
    fn texts_of_a_platform_are_made_to_fit() {
        let long = "x".repeat(5000);
        let tidy = entry("two\nlines \u{1b}[31m", &["", "web", "allowed-mac=nonsense", "a\tb", "web", &long]).tidy();
        assert_eq!(tidy.name, "two lines  [31m");
        assert_eq!(tidy.tags, ["a b".to_owned(), "web".to_owned(), "x".repeat(MAX_TEXT)]);
        let mut mistakes = Mistakes::default();
        HostList::default().take("source", &[tidy], &mut mistakes);
        assert!(mistakes.is_empty(), "{mistakes}");
    }
}
