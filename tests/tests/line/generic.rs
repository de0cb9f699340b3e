//! The tests of the whole line that depend on how replies are received, by XDP in the kernel's generic path.

/// The agent's setting `transmit`.
const TRANSMIT: &str = "socket";
/// The agent's setting `receive`.
const RECEIVE: &str = "generic";

mod blind;
mod both;
mod conflict;
mod life;
mod restart;
mod stage;
mod v6;
mod vlan;
mod wire;
