//! Prometheus' service discovery: file_sd as JSON or YAML, http_sd as JSON.
//!
//! A target is an address; its port is left out. Labels say the rest. Targets that are names are left out: a name may stand for any
//! address, and nobody would know which of them fell silent.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use serde::Deserialize;
use serde_json::Value;

use super::super::{Entry, Listing, SourceError};
use super::document::{Shape, broken, documents};
use super::gather::{Address, Gather};
use super::{Options, labels};
use crate::mistake::quoted;

const GROUPS: Shape = Shape { list: "groups", single: "", expected: "an array of {\"targets\": [\"10.0.0.1:9100\"], \"labels\": {...}}" };

#[derive(Deserialize)]
struct Group {
    targets: Vec<String>,
    #[serde(default)]
    labels: Option<BTreeMap<String, Value>>,
}

/// A list of groups.
pub(super) fn read(what: &str, text: &str, options: &Options) -> Result<Listing, SourceError> {
    let mut gather = Gather::new(what, text.len(), &options.networks);
    if text.trim_start().starts_with(['[', '{']) {
        for document in documents(what, text, &GROUPS)? {
            for record in document.records(text, &GROUPS) {
                gather.record();
                match record.read() {
                    Ok(group) => take(&mut gather, &record, &group),
                    Err(why) => gather.warn(&record, &why),
                }
            }
        }
    } else {
        for (at, group) in yaml(what, text)?.into_iter().enumerate() {
            gather.record();
            let place = format!("group {}", at + 1);
            match serde_path_to_error::deserialize(group) {
                Ok(group) => take(&mut gather, &place, &group),
                Err(error) => gather.warn(&place, &quoted(&error.to_string()).replace("\\\"", "'")),
            }
        }
    }
    gather.finish("at least one target that is an address")
}

/// The same as YAML. The parser has limits of its own for depth and for what aliases grow to.
fn yaml(what: &str, text: &str) -> Result<Vec<Value>, SourceError> {
    serde_saphyr::from_str(text).map_err(|error| {
        let error = error.to_string();
        let first = error.lines().next().unwrap_or_default().trim_start_matches("error: ");
        broken(what, quoted(first), "YAML: a list of groups with targets and labels, or the same as JSON")
    })
}

/// The label that says something of a host, by either of its names.
fn label(group: &Group, name: &str) -> Option<String> {
    let labels = group.labels.as_ref()?;
    let value = labels.get(&format!("rollcall_{name}")).or_else(|| labels.get(name))?;
    labels::scalar(value)
}

fn take(gather: &mut Gather<'_>, place: &dyn std::fmt::Display, group: &Group) {
    let [id, name, project, network, mac] = ["id", "name", "project", "network", "mac"].map(|name| label(group, name));
    let tags = tags(group);
    for target in &group.targets {
        if gather.is_full() {
            return;
        }
        let Some(address) = address(target) else {
            gather.warn(place, &format!("target {} is left out, expected an address: names are not resolved", quoted(target)));
            continue;
        };
        let address = address.to_string();
        let own = network.as_deref();
        // Without an id the address is the host, and it is that only within its network.
        let id = id.clone().unwrap_or_else(|| format!("{}/{address}", gather.network(own).unwrap_or_default()));
        let (name, project) = (name.clone().unwrap_or_default(), project.clone().unwrap_or_default());
        let entry = Entry { id, name, project, tags: tags.clone(), ..Entry::default() };
        gather.take(place, entry, [Address { address: &address, mac: mac.as_deref(), own, said: &[] }]);
    }
}

/// All labels but those that were read, and those that are for Prometheus alone (`__address__`, `__scheme__`).
fn tags(group: &Group) -> Vec<String> {
    let read = |key: &str| {
        let key = key.strip_prefix("rollcall_").unwrap_or(key);
        ["id", "name", "project", "network", "mac"].contains(&key)
    };
    let own = |key: &str| key.starts_with("__") && !key.starts_with("__meta_");
    let labels = group.labels.iter().flatten().filter(|(key, _)| !read(key) && !own(key));
    labels.filter_map(|(key, value)| Some(format!("{key}={}", labels::scalar(value)?))).collect()
}

/// `10.0.0.1:9100`, `[2001:db8::1]:9100`, or either without a port.
fn address(target: &str) -> Option<IpAddr> {
    let target = target.trim();
    let bare = || target.parse::<IpAddr>().ok();
    let with_port = || target.parse::<SocketAddr>().ok().map(|address| address.ip());
    let bracketed = || target.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    bare().or_else(with_port).or_else(bracketed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_an_address_with_or_without_a_port() {
        for (target, expected) in [
            ("10.0.0.1:9100", Some("10.0.0.1")),
            ("10.0.0.1", Some("10.0.0.1")),
            ("[2001:db8::1]:9100", Some("2001:db8::1")),
            ("[2001:db8::1]", Some("2001:db8::1")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("db-1.example.net:9100", None),
            ("10.0.0.1:http", None),
            ("http://10.0.0.1/", None),
            ("", None),
        ] {
            assert_eq!(address(target), expected.map(|text| text.parse().unwrap()), "{target}");
        }
    }
}
