//! The same without any XDP program of the agent's: probes leave and replies are received by packet sockets.

/// The agent's setting `transmit`.
const TRANSMIT: &str = "socket";
/// The agent's setting `receive`.
const RECEIVE: &str = "socket";

mod blind;
mod both;
mod conflict;
mod life;
mod real;
mod restart;
mod spaces;
mod stage;
mod v6;
mod vlan;
mod wire;
