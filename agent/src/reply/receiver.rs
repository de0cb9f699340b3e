//! The receivers that there are, and why one does not work.

use std::io;

use rollcall_agent_ebpf::SLOTS_MAX;
use serde::{Deserialize, Serialize};

/// Which receiver the operator asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Receive {
    /// The best that works.
    #[default]
    Auto,
    /// XDP in the driver.
    Native,
    /// XDP in the kernel's generic receive path.
    Generic,
    /// A packet socket with a filter in the kernel: no XDP program at all.
    Socket,
}

/// Which receiver works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receiver {
    /// XDP in the driver.
    Native,
    /// XDP in the kernel's generic receive path.
    Generic,
    /// A packet socket.
    Socket,
}

impl Receiver {
    /// Name in the metrics and the API.
    pub fn name(self) -> &'static str {
        match self {
            Receiver::Native => "xdp-native",
            Receiver::Generic => "xdp-generic",
            Receiver::Socket => "socket",
        }
    }
}

/// Why the receiver does not work.
#[derive(Debug, thiserror::Error)]
pub enum ReplyError {
    /// The kernel refused the program or its arrays.
    #[error(
        "the kernel does not take the XDP program: {0}: the agent needs root (CAP_BPF, CAP_NET_ADMIN, CAP_NET_RAW) and Linux 5.10 or newer"
    )]
    Load(String),
    /// What the driver drops could not be counted.
    #[error(
        "the tracepoint {tracepoint}, which counts the frames that the driver drops, cannot be used: {detail}: the agent needs root (CAP_PERFMON), and a kernel with CONFIG_BPF_EVENTS"
    )]
    Witness { tracepoint: &'static str, detail: String },
    /// An array could not be mapped.
    #[error("cannot map the array {name} of the XDP program: {error}: is there enough memory, and is the locked-memory limit high enough?")]
    Map { name: &'static str, error: io::Error },
    /// Somebody else's program is there.
    #[error(
        "{interface} already has an XDP program that is not ours ({owner}): it is left alone; detach it, or give rollcall another interface"
    )]
    Taken { interface: String, owner: String },
    /// An XDP program would take tagged frames for untagged ones.
    #[error(
        "the driver of {interface} takes VLAN tags out of frames before XDP sees them (rx-vlan-offload), and there are networks with VLANs on it: `ethtool -K {interface} rxvlan off`, then start the agent anew, lets XDP see them"
    )]
    Stripped { interface: String },
    /// The interface takes no XDP program in any mode asked for.
    #[error("cannot attach XDP to {interface}: {detail}")]
    Attach { interface: String, detail: String },
    /// The receiver without XDP does not work either.
    #[error("replies from {interface} cannot be received by a packet socket: {error}: the agent needs root, or CAP_NET_RAW")]
    Listen { interface: String, error: io::Error },
    /// More addresses than slots.
    #[error("{wanted} slots are more than the {SLOTS_MAX} that one agent can hold: split the table over several agents")]
    TooMany { wanted: u64 },
}
