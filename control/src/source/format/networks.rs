//! What networks are called: by the list, and by the agents.

use std::collections::{BTreeMap, BTreeSet};

use super::super::SourceError;
use crate::mistake::quoted;

/// Names for networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    /// For addresses of which the list names no network.
    pub other: Option<String>,
    /// By what the list has: a network, a subnet, a VPC, a VRF.
    pub names: BTreeMap<String, String>,
}

impl Networks {
    /// From words of a command line: `NAME`, or `FROM=NAME`.
    pub fn parse(words: &[String]) -> Result<Networks, SourceError> {
        let mut networks = Networks::default();
        let wrong =
            |word: &str, allowed: &str| SourceError::Configuration(format!("--network: found {}, allowed: {allowed}", quoted(word)));
        for word in words {
            let (from, name) = word.rsplit_once('=').map_or((None, word.as_str()), |(from, name)| (Some(from.trim()), name));
            let name = name.trim();
            if name.is_empty() || from.is_some_and(str::is_empty) {
                return Err(wrong(word, "NAME, or FROM=NAME where FROM is what the list calls a network or subnet"));
            }
            let before = match from {
                None => networks.other.replace(name.to_owned()),
                Some(from) => networks.names.insert(from.to_owned(), name.to_owned()),
            };
            if before.is_some_and(|before| before != name) {
                return Err(wrong(word, "one name for each network (FROM=NAME names several)"));
            }
        }
        Ok(networks)
    }

    /// The network of an address: of what the list says of it (narrowest first), what the user gave a name; else the list's own name
    /// for the network; else the name for all others.
    pub(super) fn of<'a>(&'a self, said: &[&str], own: Option<&'a str>) -> Option<&'a str> {
        let named = said.iter().chain(&own).find_map(|said| self.names.get(*said));
        let own = own.filter(|own| !own.trim().is_empty());
        named.map(String::as_str).or(own).or(self.other.as_deref())
    }

    /// What the user named and is of no use: mostly a typing error. `used` is what networks are called in the end, `named` is what of
    /// the list was renamed.
    pub(super) fn idle(&self, used: &BTreeSet<String>, named: &BTreeSet<String>) -> Vec<String> {
        let mut idle = Vec::new();
        if let Some((name, example)) = self.other.as_ref().filter(|other| !used.contains(*other)).zip(used.first()) {
            let rename = quoted(&format!("{example}={name}"));
            let (name, example) = (quoted(name), quoted(example));
            idle.push(format!("network {name} is not used, for the list names its networks itself ({example}): {rename} renames one"));
        }
        let unknown = self.names.iter().filter(|(from, _)| !named.contains(*from));
        idle.extend(unknown.take(10).map(|(from, name)| {
            let example = used.first().map_or_else(String::new, |example| format!(" (it has {})", quoted(example)));
            format!("network {} is not used, for the list has no network or subnet {}{example}", quoted(name), quoted(from))
        }));
        idle
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(words: &[&str]) -> Result<Networks, SourceError> {
        Networks::parse(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn narrowest_name_wins_then_the_list_then_the_name_for_all_others() {
        let networks = networks(&["blue", "subnet-1=red", "net-2=green"]).unwrap();
        assert_eq!(networks.of(&["subnet-1"], Some("net-2")), Some("red"));
        assert_eq!(networks.of(&["subnet-9"], Some("net-2")), Some("green"));
        assert_eq!(networks.of(&["subnet-9"], Some("net-9")), Some("net-9"));
        assert_eq!(networks.of(&["subnet-9"], None), Some("blue"));
        assert_eq!(networks.of(&[], Some(" ")), Some("blue"), "an empty name is none");
        assert_eq!(Networks::default().of(&[], None), None);
    }

    #[test]
    fn a_name_without_text_or_given_twice_is_refused() {
        for bad in [&["="][..], &["a="], &["=a"], &[""], &["a", "b"], &["x=a", "x=b"]] {
            assert!(networks(bad).is_err(), "{bad:?}");
        }
        assert_eq!(networks(&["a=b=c"]).unwrap().names["a=b"], "c");
    }
}
