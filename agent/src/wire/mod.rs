//! Wire: the ways by which probes leave. One transmitter for each network.
//!
//! [`Transmit`] is the seam: the socket transmitter stands behind it, and the in-kernel one will. A transmitter takes
//! slots, not frames: it reads `TARGET`, gives each probe its sequence, notes the send time in `SENT`, and says how
//! many left.

mod arp;
mod socket;

use std::io;

use crate::clock::Mono;
use crate::reply::Arrays;

pub use arp::ArpSocket;
pub use socket::Socket;

/// How a batch went: the first `sent` slots left, `error` stopped the next one.
#[derive(Debug)]
pub struct Departure {
    /// Probes that left.
    pub sent: usize,
    /// Why the others did not. Nothing of them is noted in `SENT`: they may be tried again.
    pub error: Option<io::Error>,
}

/// A way onto the wire of one network.
pub trait Transmit: Send {
    /// Sends one probe to each slot, in order. Slots that are not in use count as sent.
    fn transmit(&mut self, arrays: &Arrays, slots: &[u32], id: u16, clock: &dyn Fn() -> Mono) -> Departure;

    /// Name in the metrics and the API.
    fn name(&self) -> &'static str;
}
