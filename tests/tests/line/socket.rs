//! The tests of the whole line that depend on how probes leave, by the socket transmitter.

/// The agent's setting `transmit`.
const TRANSMIT: &str = "socket";

mod blind;
mod both;
mod life;
mod restart;
mod stage;
mod v6;
mod vlan;
mod wire;
