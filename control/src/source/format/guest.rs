//! Interfaces as a guest sees them. Among them are some that exist inside the guest alone.

use std::net::IpAddr;

use super::super::{Entry, SourceError};
use super::Options;
use super::gather::{Address, Gather};
use crate::mistake::quoted;

/// Interfaces of containers, tunnels and the like begin so: no other machine reaches the addresses that they have.
const INSIDE: [&str; 13] =
    ["docker", "br-", "virbr", "veth", "cni", "flannel", "cali", "podman", "lxcbr", "lxdbr", "tun", "wg", "tailscale"];

/// The host that a list is about, which the list does not say.
pub(super) fn host(what: &str, options: &Options, example: &str) -> Result<Entry, SourceError> {
    match options.host.trim() {
        "" => Err(SourceError::Configuration(format!(
            "{what}: the list does not say whose addresses these are: name the host by --host ID [--name NAME] (such as {example}; in \
             sync.toml: host, host_name)"
        ))),
        id => Ok(Entry { id: id.to_owned(), name: options.host_name.clone(), ..Entry::default() }),
    }
}

/// Takes an address of an interface, if others can reach it.
pub(super) fn take(gather: &mut Gather<'_>, place: &dyn std::fmt::Display, host: &Entry, name: &str, mac: &str, address: &str) {
    let address = address.split(['/', '%']).next().unwrap_or_default().trim();
    if address.parse::<IpAddr>().is_ok_and(|address| is_local(&address)) {
        return;
    }
    if INSIDE.iter().any(|inside| name.starts_with(inside)) {
        return gather.leave_out(place, &format!("of interface {}, which is inside the guest", quoted(name)));
    }
    let mac = if mac.eq_ignore_ascii_case("n/a") || mac == "-" { "" } else { mac };
    // The interface stands for its network: a host may be in several.
    gather.take(place, host.clone(), [Address { address, mac: Some(mac), own: None, said: &[name] }]);
}

/// Loopback and link-local.
fn is_local(address: &IpAddr) -> bool {
    address.is_loopback()
        || match address {
            IpAddr::V4(v4) => v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        }
}
