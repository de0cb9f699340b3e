//! What Neutron and Nova say, as far as it matters here. Unknown fields are ignored; a field that must be there is required.
//!
//! The same structures are read from an answer of the API, from a saved answer (`rollcall import`), and from a notification.

use std::collections::BTreeMap;

use serde::Deserialize;

/// A port (Neutron API v2.0, `GET /v2.0/ports`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Port {
    /// Its id.
    pub id: String,
    /// Its name; mostly empty.
    #[serde(default)]
    pub name: String,
    /// Its network.
    pub network_id: String,
    /// Its project.
    #[serde(default)]
    pub project_id: String,
    /// Its MAC.
    pub mac_address: String,
    /// Switched on by its owner.
    #[serde(default = "yes")]
    pub admin_state_up: bool,
    /// The server that has it; empty: nobody.
    #[serde(default)]
    pub device_id: String,
    /// What kind of thing has it: `compute:nova`, `network:dhcp`.
    #[serde(default)]
    pub device_owner: String,
    /// Its addresses.
    #[serde(default)]
    pub fixed_ips: Vec<FixedIp>,
    /// Addresses and MACs that it may use besides: shared with other ports.
    #[serde(default)]
    pub allowed_address_pairs: Vec<AddressPair>,
    /// Its hypervisor; absent where the credential may not see it.
    #[serde(default, rename = "binding:host_id")]
    pub host: String,
    /// Its tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Counts up with every change of it: an older notification says nothing new.
    #[serde(default)]
    pub revision_number: u64,
}

impl Port {
    /// The server that has it. Nobody, where what stands there is blank: a tenant may write what he likes.
    pub fn server(&self) -> Option<&str> {
        Some(self.device_id.as_str()).filter(|id| !id.trim().is_empty())
    }

    /// Whether it is Nova's, so that Nova knows how whoever has it is.
    pub fn is_novas(&self) -> bool {
        self.device_owner.starts_with("compute:")
    }

    /// The host that it is of: its server, or it is one itself.
    pub fn whose(&self) -> &str {
        self.server().unwrap_or(&self.id)
    }
}

fn yes() -> bool {
    true
}

/// An address of a port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct FixedIp {
    /// Its subnet.
    #[serde(default)]
    pub subnet_id: String,
    /// The address.
    pub ip_address: String,
}

/// An address or prefix that a port may use, with the MAC that answers for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct AddressPair {
    /// Address or prefix.
    pub ip_address: String,
    /// The MAC.
    #[serde(default)]
    pub mac_address: String,
}

/// A server (Nova API v2.1, `GET /servers/detail`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Server {
    /// Its id: the `device_id` of its ports.
    pub id: String,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Its project.
    #[serde(default)]
    pub tenant_id: String,
    /// `ACTIVE`, `SHUTOFF`, `PAUSED`, ...
    #[serde(default)]
    pub status: String,
    /// `deleting`, `migrating`, ...: what is being done to it.
    #[serde(default, rename = "OS-EXT-STS:task_state")]
    pub task_state: Option<String>,
    /// What its owner wrote on it.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// Its hypervisor; absent where the credential may not see it.
    #[serde(default, rename = "OS-EXT-SRV-ATTR:host")]
    pub host: Option<String>,
    /// Its availability zone.
    #[serde(default, rename = "OS-EXT-AZ:availability_zone")]
    pub availability_zone: Option<String>,
    /// When it last changed (ISO 8601, UTC).
    #[serde(default)]
    pub updated: Option<String>,
}

/// A network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Network {
    /// Its id.
    pub id: String,
    /// Its name.
    #[serde(default)]
    pub name: String,
}

/// A floating IP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct FloatingIp {
    /// Its id.
    pub id: String,
    /// The address.
    pub floating_ip_address: String,
    /// The network that it is of.
    pub floating_network_id: String,
    /// The port that it leads to; none: nowhere.
    #[serde(default)]
    pub port_id: Option<String>,
}
