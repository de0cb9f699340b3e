//! Wire: the ways by which probes leave. One transmitter for each network.
//!
//! [`Transmitter`] is the seam: the socket transmitter and the in-kernel one stand behind it. A transmitter takes
//! slots, not frames: it reads `TARGET`, gives each probe its sequence, notes the send time in `SENT`, and says how
//! many left.

mod filter;
mod hearing;
mod kernel;
mod neighbour;
mod socket;

use std::io;

use serde::{Deserialize, Serialize};

use crate::clock::Mono;
use crate::link::Interface;
use crate::packet::Sender;
use crate::reply::Program;
use crate::unit::{Family, Mac};

pub use hearing::{HearingSocket, Letterbox};
pub use kernel::{Kernel, KernelError};
pub use neighbour::{NeighbourSocket, Neighbours, Said, parse as neighbour};
pub use socket::Socket;

/// Which transmitter the operator asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Transmit {
    /// The best that works.
    #[default]
    Auto,
    /// The XDP program makes the probes: `BPF_PROG_RUN` with live frames.
    Kernel,
    /// A packet socket.
    Socket,
}

/// A way onto the wire of one network, as the operator asks for it. The error is why the in-kernel one cannot be used: with
/// [`Transmit::Auto`] that is no failure, and the reason is returned beside the socket.
pub fn choose(
    wish: Transmit,
    program: &mut Program,
    interface: &Interface,
    sender: Sender,
    socket: Socket,
) -> Result<(Box<dyn Transmitter>, Option<KernelError>), KernelError> {
    match wish {
        Transmit::Socket => Ok((Box::new(socket), None)),
        Transmit::Kernel => Ok((Box::new(Kernel::open(program, interface, sender)?), None)),
        Transmit::Auto => Ok(match Kernel::open(program, interface, sender) {
            Ok(kernel) => (Box::new(kernel), None),
            Err(error) => (Box::new(socket), Some(error)),
        }),
    }
}

/// How a batch went: the first `sent` slots left, `error` stopped the next one.
#[derive(Debug)]
pub struct Departure {
    /// Probes that left.
    pub sent: usize,
    /// Why the others did not. Nothing of them is noted in `SENT`: they may be tried again.
    pub error: Option<io::Error>,
    /// Probes among those that left which the driver did not take, nobody knows which: no answer to any of them is no
    /// fault of a host.
    pub dropped: usize,
}

/// A way onto the wire of one network.
pub trait Transmitter: Send {
    /// Sends one probe to each slot, in order; all slots are of one family. Slots that are not in use count as sent.
    fn transmit(&mut self, program: &Program, slots: &[u32], family: Family, id: u16, clock: &dyn Fn() -> Mono) -> Departure;

    /// From now on what must pass the gateway of a family goes to this MAC; `None`: such probes count as sent and go nowhere.
    fn gateway(&mut self, family: Family, mac: Option<Mac>);

    /// Name in the metrics and the API.
    fn name(&self) -> &'static str;
}
