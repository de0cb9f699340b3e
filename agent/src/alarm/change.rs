//! What the alarm stage is told: an alarm begins or ends, mostly because an address went down or came back, or an address was forgotten.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::matter::{Matter, What};

/// The identity of what an alarm is about: addresses may repeat across networks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    /// The network; empty where it is about none, or about several.
    pub network: String,
    /// The address inside it; [`super::NO_ADDRESS`] where it is about none.
    pub address: IpAddr,
    /// Which of the alarms that it may have.
    #[serde(default, skip_serializing_if = "What::is_down")]
    pub what: What,
    /// What tells alarms without an address apart; else empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
}

impl Key {
    /// Of the alarm that an address is down.
    pub fn new(network: impl Into<String>, address: IpAddr) -> Key {
        Key { network: network.into(), address, what: What::Down, group: String::new() }
    }

    /// Of another alarm of the same address.
    pub fn with(&self, what: What) -> Key {
        Key { what, ..self.clone() }
    }
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
    /// What is the matter.
    #[serde(default, skip_serializing_if = "Matter::is_down")]
    pub matter: Matter,
}

impl Subject {
    /// Its identity.
    pub fn key(&self) -> Key {
        Key { network: self.network.clone(), address: self.address, what: self.matter.what(), group: self.matter.group() }
    }
}

/// The beginning of an alarm: mostly of an address whose verdict became `down`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Down {
    /// Whom it is about.
    pub subject: Arc<Subject>,
    /// When the agent came to it.
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
    /// The address is down, or whatever else its subject says is the matter.
    Down(Down),
    /// The address answers again; or that other matter is over.
    Up {
        /// Of what.
        key: Key,
        /// When the agent came to the verdict.
        at: SystemTime,
    },
    /// The host was stopped or left the table: no alarm about this address, of whatever kind, is ever sent again.
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
