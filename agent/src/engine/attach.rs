//! A network with its open sockets, and the program attached to its interface.

use std::net::IpAddr;

use anyhow::Context as _;
use tracing::{info, warn};

use crate::link::Interface;
use crate::packet::Sender;
use crate::reply::{Program, Receive, Receiver};
use crate::wire::{self, NeighbourSocket, Socket, Transmit, Transmitter};

/// A network with its open sockets.
pub struct Attachment {
    /// Its name.
    pub name: String,
    /// Its interface.
    pub interface: Interface,
    /// The gateways for addresses that are not on the link: IPv4, IPv6.
    pub gateways: [Option<IpAddr>; 2],
    /// Prefixes that are on the link.
    pub on_link: Vec<(IpAddr, u8)>,
    /// Who its probes come from.
    pub sender: Sender,
    /// A packet socket, for the case that the in-kernel transmitter cannot be used or is not wanted.
    pub socket: Socket,
    /// The resolver's socket.
    pub neighbours: NeighbourSocket,
    /// Which receiver the operator asked for, for the case that the interface is made anew.
    pub receive: Receive,
    /// Likewise, which transmitter.
    pub transmit: Transmit,
}

impl Attachment {
    /// Attaches the program to the interface, in the calling thread's network namespace, and chooses the way onto the wire.
    pub fn attach(self, number: u16, program: &mut Program) -> Result<Attached, anyhow::Error> {
        let Attachment { name, interface, gateways, on_link, sender, socket, neighbours, receive, transmit } = self;
        let receiver = program.attach(number, &interface, sender.tags, receive)?;
        let (transmitter, refusal) = wire::choose(transmit, program, &interface, sender, socket).with_context(|| {
            format!("network {name:?}: the in-kernel transmitter cannot be used; with `transmit = \"auto\"` a packet socket is")
        })?;
        info!(target: "wire", network = %name, interface = %interface.name, gateways = ?gateways, transmit = transmitter.name(), receive = receiver.name(), "network attached");
        if let Some(why) = refusal {
            warn!(target: "wire", network = %name, interface = %interface.name, %why, "probes leave by a packet socket, which costs more CPU");
        }
        if receiver == Receiver::Generic && receive == Receive::Auto {
            warn!(target: "reply", network = %name, interface = %interface.name, "the driver takes no XDP program: replies are received in the generic path, which costs more CPU");
        }
        Ok(Attached { name, interface, gateways, on_link, sender, transmitter, neighbours, receiver })
    }
}

/// A network that is attached.
pub struct Attached {
    /// Its name.
    pub name: String,
    /// Its interface.
    pub interface: Interface,
    pub(super) gateways: [Option<IpAddr>; 2],
    pub(super) on_link: Vec<(IpAddr, u8)>,
    pub(super) sender: Sender,
    pub(super) transmitter: Box<dyn Transmitter>,
    pub(super) neighbours: NeighbourSocket,
    receiver: Receiver,
}

impl Attached {
    /// Names of its transmitter and its receiver.
    pub fn datapath(&self) -> (&'static str, &'static str) {
        (self.transmitter.name(), self.receiver.name())
    }
}
