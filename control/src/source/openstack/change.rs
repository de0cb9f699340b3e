//! A change of the platform, as a notification tells of it.

use std::collections::BTreeMap;

use super::model::{FixedIp, FloatingIp, Port};

/// One change. A lost one is healed by the next full list, and so is one that came in the wrong order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A port as it is now: new, or changed.
    Port(Box<Port>),
    /// A port is deleted.
    PortGone(String),
    /// A floating IP is there, leads to another port, or to none.
    FloatingIp(FloatingIp),
    /// A floating IP is deleted.
    FloatingIpGone(String),
    /// What is known of a server now; what the message does not say is `None`.
    Server(ServerChange),
    /// A server is deleted.
    ServerGone(String),
    /// Messages were lost, or may have been: only a full list tells.
    Lost,
}

/// A server in a notification.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerChange {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: Option<String>,
    /// Its project.
    pub project: Option<String>,
    /// Its state in the words of the API's `status` (`ACTIVE`, `SHUTOFF`, ...).
    pub status: Option<String>,
    /// What is being done to it; `Some(None)`: nothing any more.
    pub task_state: Option<Option<String>>,
    /// What its owner wrote on it.
    pub metadata: Option<BTreeMap<String, String>>,
    /// Its hypervisor.
    pub host: Option<String>,
    /// Its addresses, where the message has them.
    pub fixed_ips: Vec<FixedIp>,
}
