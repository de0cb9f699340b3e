//! The transmitters that are measured: the agent's own, used as the engine uses them.

use anyhow::{Context, Result};
use rollcall_agent::clock;
use rollcall_agent::link::Interface;
use rollcall_agent::packet;
use rollcall_agent::reply::Program;
use rollcall_agent::unit::{Family, Mac};
use rollcall_agent::wire::{Departure, Kernel, Socket, Transmitter};
use rollcall_agent_ebpf::fleet::{self, AGENT};

/// One of the agent's transmitters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// XDP program that makes the probes in the kernel.
    Kernel,
    /// Packet socket.
    Socket,
}

/// An open transmitter.
pub(super) struct Sender {
    transmitter: Box<dyn Transmitter>,
}

impl Sender {
    /// Opens it in the calling thread's network namespace.
    pub(super) fn open(way: Way, program: &mut Program, interface: &Interface) -> Result<Self> {
        let sender = packet::Sender { v4: Some(AGENT.into()), ..packet::Sender::new(Mac(fleet::mac(AGENT))) };
        let transmitter: Box<dyn Transmitter> = match way {
            Way::Kernel => Box::new(Kernel::open(program, interface, sender).context("the kernel transmitter cannot be used")?),
            Way::Socket => Box::new(Socket::open(interface.index, sender).context("cannot open the packet socket")?),
        };
        Ok(Self { transmitter })
    }

    /// Sends one probe to each slot.
    pub(super) fn send(&mut self, program: &Program, slots: &[u32], id: u16) -> Departure {
        self.transmitter.transmit(program, slots, Family::V4, id, &clock::now)
    }

    /// Name in the tables.
    pub(super) fn name(&self) -> &'static str {
        self.transmitter.name()
    }
}
