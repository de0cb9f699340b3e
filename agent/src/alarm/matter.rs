//! What an alarm is about beside its address: a silent host is one matter of several.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::unit::Blind;

/// The kind of an alarm, as part of its identity: an address may be down and in conflict at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// The address is down.
    #[default]
    Down,
    /// Another MAC than the expected one answers for it.
    Conflict,
    /// It goes down and comes back again and again.
    Flapping,
    /// A large share of a network, a subnet or a tag fell silent at once.
    Outage,
    /// The agent itself cannot see.
    Blind,
}

impl What {
    /// Those that are about one address.
    pub const OF_ADDRESS: [What; 3] = [What::Down, What::Conflict, What::Flapping];

    /// As the webhook's `kind` and the logs have it.
    pub fn name(self) -> &'static str {
        match self {
            What::Down => "down",
            What::Conflict => "conflict",
            What::Flapping => "flapping",
            What::Outage => "outage",
            What::Blind => "agent-blind",
        }
    }

    /// Whether it is about one address.
    pub fn is_of_address(self) -> bool {
        Self::OF_ADDRESS.contains(&self)
    }

    pub(super) fn is_down(&self) -> bool {
        *self == What::Down
    }
}

/// In the place of an address, where an alarm is about none.
pub const NO_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// What an alarm is about, with what there is to be said of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "lowercase")]
pub enum Matter {
    /// The address is down.
    #[default]
    Down,
    /// Another MAC answers for it.
    Conflict {
        /// The MAC that the platform gave or the agent learned, where that is known.
        expected: Option<String>,
        /// The one that answered, likewise.
        found: Option<String>,
    },
    /// It goes down and comes back again and again.
    Flapping {
        /// So many times it turned between up and down,
        changes: u32,
        /// within this time.
        #[serde(with = "humantime_serde")]
        window: Duration,
    },
    /// Many fell silent at once.
    Outage(Outage),
    /// The agent cannot see.
    Blind {
        /// Why.
        reason: Blind,
        /// Which networks; none: the agent as a whole.
        networks: Vec<String>,
    },
}

/// Many addresses that fell silent at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outage {
    /// What they have in common.
    pub scope: Scope,
    /// Its name: the network's, the subnet's prefix, or the tag.
    pub name: String,
    /// 1, or more where an earlier outage of the same scope still lasts.
    pub wave: u32,
    /// How many addresses were silent when the alarm began.
    pub silent: u32,
    /// Of how many.
    pub watched: u32,
    /// The first of them, a hundred at most.
    pub hosts: Vec<OutageHost>,
}

/// What the addresses of an outage have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Their network.
    Network,
    /// A tag, mostly that of their hypervisor.
    Tag,
    /// A subnet of their network.
    Subnet,
}

impl Scope {
    /// The lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            Scope::Network => "network",
            Scope::Tag => "tag",
            Scope::Subnet => "subnet",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One address of an outage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutageHost {
    /// The platform's id of the host.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its network.
    pub network: String,
    /// The address.
    pub address: IpAddr,
}

/// Most hosts that an outage names.
pub const NAMED: usize = 100;

impl Matter {
    /// Its kind.
    pub fn what(&self) -> What {
        match self {
            Matter::Down => What::Down,
            Matter::Conflict { .. } => What::Conflict,
            Matter::Flapping { .. } => What::Flapping,
            Matter::Outage(_) => What::Outage,
            Matter::Blind { .. } => What::Blind,
        }
    }

    /// What tells it from others of its kind and network. No network is in two alarms of blindness at once, so the first of several says it.
    pub fn group(&self) -> String {
        match self {
            Matter::Down | Matter::Conflict { .. } | Matter::Flapping { .. } => String::new(),
            Matter::Outage(outage) => group_of(outage.scope, &outage.name, outage.wave),
            Matter::Blind { networks, .. } => match &networks[..] {
                [] | [_] => String::new(),
                [first, rest @ ..] => format!("{first} and {} more", rest.len()),
            },
        }
    }

    pub(super) fn is_down(&self) -> bool {
        *self == Matter::Down
    }
}

/// The group of an outage's key.
pub fn group_of(scope: Scope, name: &str, wave: u32) -> String {
    match wave {
        0 | 1 => format!("{scope} {name}"),
        _ => format!("{scope} {name} (wave {wave})"),
    }
}
