//! The whole line in network namespaces: the real agent, a simulated cloud, a real receiver of alarms. Probes leave by the
//! kernel transmitter; all that does not only ask the API runs by the socket transmitter as well, in `socket.rs`.

/// The agent's setting `transmit`.
const TRANSMIT: &str = "kernel";
/// The agent's setting `receive`.
const RECEIVE: &str = "auto";

mod api;
mod blind;
mod both;
mod conflict;
mod deaf;
mod kernel;
mod life;
mod real;
mod restart;
mod spaces;
mod stage;
mod storm;
mod sync;
mod v6;
mod vlan;
mod wire;
