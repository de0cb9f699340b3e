//! What the agent's HTTP API says and takes, as JSON. The agent serialises these, the CLI reads them.
//!
//! | call | body | answer |
//! |---|---|---|
//! | `GET /v1/status` | | [`Status`] |
//! | `GET /v1/hosts?verdict=&condition=&network=&project=&policy=&q=&limit=&format=json\|csv` | | array of [`AddressReport`], or CSV with the same columns |
//! | `GET /v1/hosts/{id}` | | [`HostDetail`] |
//! | `GET /v1/events` | | server-sent events, `data:` one [`Event`] each |
//! | `PUT /v1/table` | a table or a delta, as bytes | [`PushOutcome`] |
//! | `POST /v1/stop` | [`StopRequest`] | [`StopOutcome`] |
//!
//! Every refusal is a [`Problem`] with a fitting status. Times are RFC 3339 in UTC with milliseconds.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::condition::Conditions;
use crate::policy::{Method, Policy};
use crate::unit::{Blind, Condition, Verdict};

/// One address of one host, as the agent sees it now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AddressReport {
    /// The platform's id of the host.
    pub id: String,
    /// The host's name.
    pub name: String,
    /// The host's project (tenant).
    pub project: String,
    /// The network; identity is (network, address).
    pub network: String,
    /// The address.
    pub address: IpAddr,
    /// The MAC that probes go to, where known.
    pub mac: Option<String>,
    /// Name of the policy.
    pub policy: String,
    /// How it is probed.
    pub method: Method,
    /// The verdict.
    pub verdict: Verdict,
    /// Why the verdict is `unknown`.
    pub reason: Option<Blind>,
    /// Since when the verdict holds.
    pub since: String,
    /// RTT of the last reply, in seconds.
    pub rtt_seconds: Option<f64>,
    /// Misses that count against it now: in a row, or of the last `down_of` probes.
    pub misses: u32,
    /// What holds beside the verdict, joined by commas: `conflict`, `flapping`, `icmp-filtered`, `asymmetric`.
    #[serde(default)]
    pub conditions: Conditions,
}

/// One host with all its addresses and their recent history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostDetail {
    /// The platform's id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Project.
    pub project: String,
    /// Tags.
    pub tags: Vec<String>,
    /// Its addresses, sorted by (network, address).
    pub addresses: Vec<AddressDetail>,
}

/// One address with its recent history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AddressDetail {
    /// The present.
    #[serde(flatten)]
    pub now: AddressReport,
    /// The last probes, oldest first, up to 31: `!` answered in time, `.` missed.
    pub recent: String,
    /// When the last probe was sent that it answered; `None`: none since the agent runs.
    pub last_reply: Option<String>,
    /// Another MAC that answered for this address, where one did.
    pub other_mac: Option<String>,
    /// What somebody on the way said of a probe since then.
    pub evidence: Option<Evidence>,
    /// All of this in plain words, a sentence each.
    pub explanation: Vec<String>,
    /// The latest verdict changes that the agent remembers, oldest first.
    pub changes: Vec<Event>,
}

/// An ICMP error about a probe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Who said it.
    pub from: IpAddr,
    /// What it means.
    pub what: String,
    /// ICMP type (ICMPv6 of an IPv6 address).
    pub kind: u8,
    /// ICMP code.
    pub code: u8,
    /// When it came in.
    pub at: String,
}

/// A change of verdict (an event `verdict` of the stream); or a condition that began or ended (an event `condition`), and then both verdicts are
/// the present one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When the agent came to the verdict.
    pub at: String,
    /// Host id.
    pub id: String,
    /// Host name.
    pub name: String,
    /// Project.
    pub project: String,
    /// Network.
    pub network: String,
    /// Address.
    pub address: IpAddr,
    /// Policy.
    pub policy: String,
    /// The verdict before.
    pub from: Verdict,
    /// The verdict now.
    pub to: Verdict,
    /// Why it is `unknown`.
    pub reason: Option<Blind>,
    /// The condition that began or ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<Condition>,
    /// Whether it holds from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds: Option<bool>,
}

/// One network of the agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetworkStatus {
    /// Name.
    pub name: String,
    /// Interface.
    pub interface: String,
    /// How frames leave: `kernel`, `socket`.
    pub transmit: String,
    /// How replies come in: `xdp-native`, `xdp-generic`, `socket`.
    pub receive: String,
    /// Addresses of the table in this network.
    pub addresses: u64,
    /// Why the agent cannot see this network now.
    pub blind: Option<Blind>,
}

/// The agent as a whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the agent.
    pub version: String,
    /// When it started.
    pub started: String,
    /// Generation of the table that it runs; 0: none.
    pub generation: u64,
    /// Digest of that table, 32 hexadecimal digits; what a delta must name.
    pub digest: String,
    /// Hosts in the table.
    pub hosts: u64,
    /// Addresses in the table.
    pub addresses: u64,
    /// Addresses by verdict.
    pub verdicts: BTreeMap<String, u64>,
    /// Addresses by condition, where any has it.
    #[serde(default)]
    pub conditions: BTreeMap<String, u64>,
    /// Alarms that are firing.
    pub alarms_firing: u64,
    /// Networks.
    pub networks: Vec<NetworkStatus>,
    /// Policies in force.
    pub policies: Vec<Policy>,
    /// Probes sent since the start.
    pub probes_sent: u64,
    /// Of these, answered in time.
    pub replies: u64,
    /// Of these, not answered in time.
    pub misses: u64,
    /// Of these, evidence of nothing, for a reason on the agent's side. The rest is under way.
    pub voids: u64,
}

/// What a push changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushOutcome {
    /// Generation now in force.
    pub generation: u64,
    /// Digest now in force.
    pub digest: String,
    /// Addresses now watched.
    pub addresses: u64,
    /// Addresses that are new.
    pub added: u64,
    /// Addresses that are gone.
    pub removed: u64,
    /// Addresses whose MAC or policy changed.
    pub changed: u64,
    /// Addresses that kept everything.
    pub unchanged: u64,
    /// What the table asks for that this agent cannot give, one sentence each.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// Hosts to stop: probing ends with the next tick, all that was held of them is forgotten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StopRequest {
    /// Host ids.
    pub hosts: Vec<String>,
}

/// What a stop did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopOutcome {
    /// Ids that were stopped.
    pub stopped: Vec<String>,
    /// Ids that the agent did not know.
    pub unknown: Vec<String>,
    /// Addresses forgotten.
    pub addresses: u64,
    /// Generation now in force.
    pub generation: u64,
    /// Digest now in force.
    pub digest: String,
}

/// Why a call was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// One sentence: what was wrong, what is allowed.
    pub error: String,
    /// More of it, one mistake each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
}
