//! Lists as others write them. Each format is a pure function from bytes to a [`Listing`].
//!
//! All of them keep the same promises: what they do not know is ignored; a record of which nothing can be made is a warning that
//! names its place, and the others count all the same; a list that ends too early, is something else, or has nothing that can be
//! used is an error. So a broken export never looks like a cloud without hosts.

use std::fmt;

use clap::ValueEnum;
use globset::{Glob, GlobSet, GlobSetBuilder};
use serde::Deserialize;

use super::{Listing, SourceError};

mod aws;
mod document;
mod gather;
mod guest;
mod hosts;
mod labels;
mod libvirt;
mod netbox;
mod networks;
mod neutron;
mod nova;
mod openstack_cli;
mod prometheus;
mod proxmox;

pub use networks::Networks;

/// How a list is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// rollcall's own host list: CSV, JSON lines, JSON array
    Hosts,
    /// `openstack port list --long -f json`: a host for each port; --network names the network, or each subnet's
    OpenstackPorts,
    /// `openstack server list --long -f json`: no MACs; floating addresses stand beside fixed ones
    OpenstackServers,
    /// Neutron's `{"ports": [...]}`; with --servers named, tagged and expected silent as Nova says
    Neutron,
    /// Nova's `{"servers": [...]}` (`/servers/detail`)
    Nova,
    /// Prometheus file_sd (JSON, YAML) and http_sd; labels network, id, name, project, mac are read, all others become tags
    #[serde(alias = "file_sd", alias = "http_sd")]
    #[value(alias = "file-sd", alias = "http-sd", alias = "file_sd", alias = "http_sd")]
    Prometheus,
    /// `aws ec2 describe-network-interfaces`: probe these by ICMP, a VPC answers ARP itself
    Aws,
    /// `virsh net-dhcp-leases NETWORK`
    LibvirtLeases,
    /// `virsh domifaddr DOMAIN [--full] [--source ...]`; --host is the domain's id
    LibvirtDomain,
    /// Proxmox `.../agent/network-get-interfaces`, `qm guest cmd ID network-get-interfaces`; --host is the machine's id
    Proxmox,
    /// NetBox `/api/ipam/ip-addresses/`; the VRF is the network
    Netbox,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().as_ref().map_or("", |value| value.get_name()))
    }
}

/// What a list does not say itself.
#[derive(Clone, Debug)]
pub struct Options {
    /// What networks are called.
    pub networks: Networks,
    /// Id of the one host that the list is about.
    pub host: String,
    /// Name of that host.
    pub host_name: String,
    /// Which owners of ports count.
    pub owners: GlobSet,
    /// Only whole lists will do: what stands on a page that is missing would count as deleted.
    pub whole: bool,
    /// Nova's servers, as a file: its name and its bytes.
    pub servers: Option<(String, Vec<u8>)>,
}

/// Ports of servers; not those of routers and of DHCP.
pub const OWNERS: &str = "compute:*";

impl Default for Options {
    fn default() -> Self {
        Options {
            networks: Networks::default(),
            host: String::new(),
            host_name: String::new(),
            owners: owners(&[OWNERS]).unwrap_or_default(),
            whole: false,
            servers: None,
        }
    }
}

/// Patterns for owners of ports.
pub fn owners(patterns: &[impl AsRef<str>]) -> Result<GlobSet, SourceError> {
    let wrong = |error: globset::Error| SourceError::Configuration(format!("device owner: {error}; allowed: a pattern such as {OWNERS}"));
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(Glob::new(pattern.as_ref()).map_err(wrong)?);
    }
    set.build().map_err(wrong)
}

impl Format {
    /// Reads a list. `what` is what messages call it: a path, a URL without secrets.
    pub fn read(self, what: &str, bytes: &[u8], options: &Options) -> Result<Listing, SourceError> {
        if options.servers.is_some() && self != Format::Neutron {
            let error = format!("a list of servers goes with format {}, not with {self}", Format::Neutron);
            return Err(SourceError::Configuration(error));
        }
        if let Format::Hosts = self {
            return hosts::read(what, bytes, options);
        }
        let text = document::text(what, bytes)?;
        match self {
            Format::Hosts => hosts::read(what, bytes, options),
            Format::OpenstackPorts => openstack_cli::ports(what, text, options),
            Format::OpenstackServers => openstack_cli::servers(what, text, options),
            Format::Neutron => neutron::read(what, text, options),
            Format::Nova => nova::read(what, text, options),
            Format::Prometheus => prometheus::read(what, text, options),
            Format::Aws => aws::read(what, text, options),
            Format::LibvirtLeases => libvirt::leases(what, text, options),
            Format::LibvirtDomain => libvirt::domain(what, text, options),
            Format::Proxmox => proxmox::read(what, text, options),
            Format::Netbox => netbox::read(what, text, options),
        }
    }

    /// Where the list goes on, for formats that come in pages which any reader may follow.
    pub fn next_page(self, bytes: &[u8]) -> Option<String> {
        match self {
            Format::Netbox => netbox::next_page(bytes),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
