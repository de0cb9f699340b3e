//! The tests of the whole line that depend on the wire, by the socket transmitter.

/// The agent's setting `transmit`.
const TRANSMIT: &str = "socket";

mod blind;
mod life;
mod stage;
mod wire;
