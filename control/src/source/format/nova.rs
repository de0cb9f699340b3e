//! Saved answers of Nova alone: servers with their addresses and MACs. Networks are called by their names.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::super::openstack::model::Server;
use super::super::{Listing, SourceError};
use super::Options;
use super::document::documents;
use super::gather::{Address, Gather};
use super::neutron::{SERVERS, about, unfinished};

#[derive(Deserialize)]
struct Addresses {
    addresses: BTreeMap<String, Vec<ServerAddress>>,
}

#[derive(Deserialize)]
struct ServerAddress {
    addr: String,
    #[serde(rename = "OS-EXT-IPS:type", default)]
    kind: String,
    #[serde(rename = "OS-EXT-IPS-MAC:mac_addr", default)]
    mac: String,
}

/// `GET /servers/detail`, one page or several behind each other.
pub(super) fn read(what: &str, text: &str, options: &Options) -> Result<Listing, SourceError> {
    let mut gather = Gather::new(what, text.len(), &options.networks);
    let found = documents(what, text, &SERVERS)?;
    for document in &found {
        for record in document.records(text, &SERVERS) {
            gather.record();
            let (server, addresses) = match record.read::<Server>().and_then(|server| Ok((server, record.read::<Addresses>()?.addresses))) {
                Ok(both) => both,
                Err(why) => {
                    gather.warn(&record, &why);
                    continue;
                }
            };
            let all = || addresses.iter().flat_map(|(network, list)| list.iter().map(move |address| (network, address)));
            if all().any(|(_, address)| address.kind == "floating") {
                gather.leave_out(&record, "with a floating address: that address, not the host");
            }
            let fixed = all().filter(|(_, address)| address.kind != "floating").map(|(network, address)| Address {
                address: &address.addr,
                mac: Some(&address.mac),
                own: Some(network),
                said: &[],
            });
            match fixed.clone().next() {
                None => gather.leave_out(&record, "without an address"),
                Some(_) => gather.take(&record, about(&server), fixed),
            }
        }
    }
    if unfinished(&found, "servers_links") {
        gather.unfinished(what, options)?;
    }
    gather.finish("at least one server with an address")
}
