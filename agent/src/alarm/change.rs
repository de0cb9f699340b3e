//! What the engine tells the alarm stage: an address went down, came back, or was forgotten.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// The identity of what an alarm is about: addresses may repeat across networks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    /// The network.
    pub network: String,
    /// The address inside it.
    pub address: IpAddr,
}

/// Whom an alarm is about, as the table had it when the address went down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// The platform's id of the host.
    pub id: String,
    /// The host's name.
    pub name: String,
    /// The host's project (tenant).
    pub project: String,
    /// The network.
    pub network: String,
    /// The address.
    pub address: IpAddr,
    /// The MAC that probes went to, where known.
    pub mac: Option<String>,
    /// The host's tags.
    pub tags: Vec<String>,
    /// The policy's name.
    pub policy: String,
    /// The routes that the policy names; empty: nobody is told, the alarm is tracked all the same.
    pub routes: Vec<String>,
}

impl Subject {
    /// Its identity.
    pub fn key(&self) -> Key {
        Key { network: self.network.clone(), address: self.address }
    }
}

/// An address whose verdict became `down`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Down {
    /// Whom it is about.
    pub subject: Arc<Subject>,
    /// When the agent came to the verdict.
    pub at: SystemTime,
    /// When the first missed probe was sent.
    pub since: SystemTime,
    /// When it answered last; `None`: never since the agent knows it.
    pub last_reply: Option<SystemTime>,
    /// Misses in a row that made the verdict.
    pub misses: u32,
    /// The policy's interval.
    pub interval: Duration,
    /// The policy's timeout.
    pub timeout: Duration,
}

/// One change that the alarm stage must know of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The address is down.
    Down(Down),
    /// The address answers again.
    Up {
        /// Which address.
        key: Key,
        /// When the agent came to the verdict.
        at: SystemTime,
    },
    /// The host was stopped or left the table: no alarm about this address is ever sent again.
    Forgotten {
        /// Which address.
        key: Key,
        /// When it was forgotten.
        at: SystemTime,
    },
}

impl Change {
    /// Whom the change is about.
    pub fn key(&self) -> Key {
        match self {
            Change::Down(down) => down.subject.key(),
            Change::Up { key, .. } | Change::Forgotten { key, .. } => key.clone(),
        }
    }
}
