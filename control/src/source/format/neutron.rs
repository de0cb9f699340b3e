//! Saved answers of Neutron, joined with saved answers of Nova where there are some: by `device_id`, as the live source does.

use std::collections::HashMap;

use super::super::openstack::join::tags;
use super::super::openstack::life::monitor;
use super::super::openstack::model::{Port, Server};
use super::super::{Entry, Listing, SourceError, wish};
use super::document::{Document, Shape, documents};
use super::gather::{Address, Gather};
use super::{Options, document};
use crate::hosts::Monitor;
use crate::mistake::quoted;
use crate::warning::plural;

const PORTS: Shape = Shape { list: "ports", single: "port", expected: "an answer of Neutron, {\"ports\": [...]}" };
pub(super) const SERVERS: Shape = Shape { list: "servers", single: "server", expected: "an answer of Nova, {\"servers\": [...]}" };

/// `GET /v2.0/ports`, one page or several behind each other.
pub(super) fn read(what: &str, text: &str, options: &Options) -> Result<Listing, SourceError> {
    let mut gather = Gather::new(what, text.len(), &options.networks);
    let mut servers = HashMap::new();
    if let Some((name, bytes)) = &options.servers {
        servers = read_servers(name, document::text(name, bytes)?, options, &mut gather)?;
    }
    let found = documents(what, text, &PORTS)?;
    let mut strangers = 0;
    for document in &found {
        for record in document.records(text, &PORTS) {
            gather.record();
            let port: Port = match record.read() {
                Ok(port) => port,
                Err(why) => {
                    gather.warn(&record, &why);
                    continue;
                }
            };
            if !options.owners.is_match(&port.device_owner) {
                gather.leave_out(&record, &format!("with device owner {}", quoted(&port.device_owner)));
                continue;
            }
            if port.fixed_ips.is_empty() {
                gather.leave_out(&record, "without an address");
                continue;
            }
            let server = servers.get(&port.device_id);
            if server.is_none() {
                strangers += 1;
            }
            let entry = entry(&port, server);
            let said: Vec<[&str; 1]> = port.fixed_ips.iter().map(|fixed| [fixed.subnet_id.as_str()]).collect();
            let addresses = port.fixed_ips.iter().zip(&said).map(|(fixed, said)| Address {
                address: &fixed.ip_address,
                mac: Some(&port.mac_address),
                own: Some(&port.network_id),
                said,
            });
            gather.take(&record, entry, addresses);
        }
    }
    if unfinished(&found, "ports_links") {
        gather.unfinished(what, options)?;
    }
    if let Some((name, _)) = options.servers.as_ref().filter(|_| strangers > 0) {
        let ports = plural(strangers, "port belongs", "ports belong");
        gather.note(format!("{ports} to servers that {name} does not have: watched all the same"));
    }
    gather.finish("at least one port of a server, with an address (which owners count: --device-owner)")
}

fn read_servers(what: &str, text: &str, options: &Options, gather: &mut Gather<'_>) -> Result<HashMap<String, Server>, SourceError> {
    let found = documents(what, text, &SERVERS)?;
    let mut servers = HashMap::new();
    for document in &found {
        for record in document.records(text, &SERVERS) {
            match record.read::<Server>() {
                Ok(server) => drop(servers.insert(server.id.clone(), server)),
                Err(why) => gather.warn(&format_args!("{what}: {record}"), &why),
            }
        }
    }
    if unfinished(&found, "servers_links") {
        gather.unfinished(what, options)?;
    }
    match servers.is_empty() {
        true => Err(document::broken(what, "no server", "the servers of these ports")),
        false => Ok(servers),
    }
}

/// A port, with what is known of its server.
fn entry(port: &Port, server: Option<&Server>) -> Entry {
    let mut entry = Entry { id: port.whose().to_owned(), project: port.project_id.clone(), tags: port.tags.clone(), ..Entry::default() };
    match server {
        Some(server) => {
            // Whether it is watched the port says before its server.
            let said = wish::of_tags(&entry.tags).is_some();
            let of_server = tags(server).filter(|tag| !said || wish::of_tags([tag]).is_none());
            entry = Entry { tags: entry.tags.into_iter().chain(of_server).collect(), ..about(server) };
        }
        None => entry.name.clone_from(&port.name),
    }
    if !port.admin_state_up {
        entry.monitor = Monitor::Off;
    }
    entry
}

/// What a server says of its host, but for addresses.
pub(super) fn about(server: &Server) -> Entry {
    Entry {
        id: server.id.clone(),
        name: server.name.clone(),
        project: server.tenant_id.clone(),
        tags: tags(server).collect(),
        monitor: monitor(&server.status, server.task_state.as_deref()),
        ..Entry::default()
    }
}

/// Whether the last page has another behind it.
pub(super) fn unfinished(found: &[Document<'_>], links: &str) -> bool {
    let links: Vec<HashMap<String, String>> = found.last().and_then(|document| document.beside(links)).unwrap_or_default();
    links.iter().any(|link| link.get("rel").is_some_and(|rel| rel == "next"))
}
