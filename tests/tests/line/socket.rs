//! The tests of the whole line that depend on how probes leave, by the socket transmitter.

/// The agent's setting `transmit`.
const TRANSMIT: &str = "socket";
/// The agent's setting `receive`.
const RECEIVE: &str = "auto";

mod blind;
mod both;
mod conflict;
mod life;
mod real;
mod restart;
mod spaces;
mod stage;
mod storm;
mod v6;
mod vlan;
mod wire;
