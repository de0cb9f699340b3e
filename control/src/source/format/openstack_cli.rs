//! What the `openstack` command lists as JSON: ports, servers. Releases before 5.0 write lists and maps as one text.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::super::openstack::life::monitor;
use super::super::openstack::model::FixedIp;
use super::super::{Entry, Listing, SourceError};
use super::document::{Shape, documents};
use super::gather::{Address, Gather};
use super::{Options, labels};
use crate::mistake::quoted;

const PORTS: Shape = Shape { list: "ports", single: "", expected: "the array that `openstack port list --long -f json` writes" };
const SERVERS: Shape = Shape { list: "servers", single: "", expected: "the array that `openstack server list --long -f json` writes" };

#[derive(Deserialize)]
struct Port {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Name", default)]
    name: Option<String>,
    #[serde(rename = "MAC Address")]
    mac: String,
    #[serde(rename = "Fixed IP Addresses")]
    fixed_ips: FixedIps,
    /// With `--long` only.
    #[serde(rename = "Device Owner")]
    owner: Option<String>,
    #[serde(rename = "Tags", default)]
    tags: Vec<String>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected an array of {\"subnet_id\": ..., \"ip_address\": ...}")]
enum FixedIps {
    List(Vec<FixedIp>),
    /// `ip_address='10.0.0.7', subnet_id='...'`, a line each.
    Text(String),
}

impl FixedIps {
    fn list(self) -> Vec<FixedIp> {
        match self {
            FixedIps::List(list) => list,
            FixedIps::Text(text) => text.lines().filter_map(fixed_ip).collect(),
        }
    }
}

fn fixed_ip(line: &str) -> Option<FixedIp> {
    let mut found = FixedIp::default();
    for pair in line.split(',') {
        let (key, value) = pair.split_once('=')?;
        let value = value.trim().trim_matches('\'').to_owned();
        match key.trim() {
            "ip_address" => found.ip_address = value,
            "subnet_id" => found.subnet_id = value,
            _ => {}
        }
    }
    (!found.ip_address.is_empty()).then_some(found)
}

/// `openstack port list`. It tells of no server and no network: the port is the host.
pub(super) fn ports(what: &str, text: &str, options: &Options) -> Result<Listing, SourceError> {
    let mut gather = Gather::new(what, text.len(), &options.networks);
    let mut short = false;
    for document in documents(what, text, &PORTS)? {
        for record in document.records(text, &PORTS) {
            gather.record();
            let port: Port = match record.read() {
                Ok(port) => port,
                Err(why) => {
                    gather.warn(&record, &why);
                    continue;
                }
            };
            short |= port.owner.is_none();
            if let Some(owner) = port.owner.filter(|owner| !options.owners.is_match(owner)) {
                gather.leave_out(&record, &format!("with device owner {}", quoted(&owner)));
                continue;
            }
            let fixed_ips = port.fixed_ips.list();
            if fixed_ips.is_empty() {
                gather.leave_out(&record, "without an address");
                continue;
            }
            let said: Vec<[&str; 1]> = fixed_ips.iter().map(|fixed| [fixed.subnet_id.as_str()]).collect();
            let addresses = fixed_ips.iter().zip(&said).map(|(fixed, said)| Address {
                address: &fixed.ip_address,
                mac: Some(&port.mac),
                own: None,
                said,
            });
            let entry = Entry { id: port.id, name: port.name.unwrap_or_default(), tags: port.tags, ..Entry::default() };
            gather.take(&record, entry, addresses);
        }
    }
    if short {
        gather.note("ports without \"Device Owner\" are taken, also those of routers and DHCP: list them with --long".to_owned());
    }
    gather.finish("at least one port of a server, with an address (which owners count: --device-owner)")
}

#[derive(Deserialize)]
struct Server {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Name", default)]
    name: String,
    #[serde(rename = "Status", default)]
    status: String,
    /// With `--long` only, as all below.
    #[serde(rename = "Task State", default)]
    task: Option<String>,
    #[serde(rename = "Networks")]
    networks: AddressMap,
    #[serde(rename = "Properties", default)]
    properties: serde_json::Value,
    #[serde(rename = "Project ID", default)]
    project: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected an object such as {\"net-a\": [\"10.0.0.7\"]}")]
enum AddressMap {
    Map(BTreeMap<String, Vec<String>>),
    /// `net-a=10.0.0.7, 2001:db8::7; net-b=10.1.0.7`.
    Text(String),
}

impl AddressMap {
    fn map(self) -> BTreeMap<String, Vec<String>> {
        let text = match self {
            AddressMap::Map(map) => return map,
            AddressMap::Text(text) => text,
        };
        let networks = text.split(';').filter_map(|network| network.split_once('='));
        networks.map(|(name, list)| (name.trim().to_owned(), list.split(',').map(|text| text.trim().to_owned()).collect())).collect()
    }
}

/// `openstack server list`. Which addresses are floating it does not say.
pub(super) fn servers(what: &str, text: &str, options: &Options) -> Result<Listing, SourceError> {
    let mut gather = Gather::new(what, text.len(), &options.networks);
    for document in documents(what, text, &SERVERS)? {
        for record in document.records(text, &SERVERS) {
            gather.record();
            let server: Server = match record.read() {
                Ok(server) => server,
                Err(why) => {
                    gather.warn(&record, &why);
                    continue;
                }
            };
            let networks = server.networks.map();
            if networks.values().all(Vec::is_empty) {
                gather.leave_out(&record, "without an address");
                continue;
            }
            let addresses = networks
                .iter()
                .flat_map(|(network, list)| list.iter().map(|address| Address { address, mac: None, own: Some(network), said: &[] }));
            let entry = Entry {
                id: server.id,
                name: server.name,
                project: server.project.unwrap_or_default(),
                tags: labels::tags(&server.properties),
                monitor: monitor(&server.status, server.task.as_deref()),
                ..Entry::default()
            };
            gather.take(&record, entry, addresses);
        }
    }
    gather.finish("at least one server with an address")
}
