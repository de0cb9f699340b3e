//! A network with its open sockets, and the program attached to its interface.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tracing::{info, warn};

use crate::link::Interface;
use crate::packet::Sender;
use crate::reply::{Ear, Program, Receive, Receiver, Reception, ReplyError};
use crate::unit::Mac;
use crate::wire::{self, NeighbourSocket, Neighbours, Socket, Transmit, Transmitter};

/// A network with its open sockets.
pub struct Attachment {
    /// Its name.
    pub name: String,
    /// Its interface.
    pub interface: Interface,
    /// The gateways for addresses that are not on the link: IPv4, IPv6.
    pub gateways: [Option<IpAddr>; 2],
    /// Addresses on the link whose answers show that the agent hears.
    pub canaries: Vec<IpAddr>,
    /// Within which time everybody is asked for each address once, to find second owners.
    pub census: Option<Duration>,
    /// Prefixes that are on the link.
    pub on_link: Vec<(IpAddr, u8)>,
    /// Who its probes come from.
    pub sender: Sender,
    /// XDP would take its frames for another network's: VLANs are on the interface, and the driver hides the tags.
    pub tags_are_hidden: bool,
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
    /// Attaches the program to the interface, in the calling thread's network namespace, which must be the interface's, and chooses
    /// the way onto the wire.
    pub fn attach(self, number: u16, program: &mut Program) -> Result<Attached, anyhow::Error> {
        let Attachment {
            name,
            interface,
            gateways,
            canaries,
            census,
            on_link,
            sender,
            tags_are_hidden,
            socket,
            neighbours,
            receive,
            transmit,
        } = self;
        let hidden = tags_are_hidden.then(|| ReplyError::Stripped { interface: interface.name.clone() });
        let Reception { receiver, ear, refusal } = match hidden {
            Some(_) if receive == Receive::Auto => {
                Reception { refusal: hidden, ..program.attach(number, &interface, sender, Receive::Socket)? }
            }
            Some(error) if receive != Receive::Socket => return Err(error.into()),
            _ => program.attach(number, &interface, sender, receive)?,
        };
        if let Some(why) = refusal {
            warn!(target: "reply", network = %name, interface = %interface.name, %why, "replies are received by a packet socket, which costs more CPU");
        }
        if transmit == Transmit::Kernel && receiver == Receiver::Socket {
            bail!(
                "network {name:?}: the in-kernel transmitter needs the XDP program on {}; with `transmit = \"auto\"` a packet socket is used",
                interface.name
            );
        }
        // Without the program on the interface its runs would be slow, and its replies would not come back to it.
        let transmit = if receiver == Receiver::Socket { Transmit::Socket } else { transmit };
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
        let datapath = (transmitter.name(), receiver.name());
        let tap = Tap { interface, transmitter, neighbours: Box::new(neighbours), ear };
        Ok(Attached { name, gateways, canaries, census, on_link, sender, tap: Some(tap), datapath })
    }
}

/// The ways on and off the wire of a network.
pub struct Tap {
    /// Its interface.
    pub interface: Interface,
    /// How probes leave.
    pub transmitter: Box<dyn Transmitter>,
    /// Who is asked for MACs.
    pub neighbours: Box<dyn Neighbours>,
    /// Where replies are heard, if not by the program.
    pub ear: Option<Arc<Ear>>,
}

/// A network that is attached, or waits for its interface.
pub struct Attached {
    /// Its name.
    pub name: String,
    /// The gateways for addresses that are not on the link: IPv4, IPv6.
    pub gateways: [Option<IpAddr>; 2],
    /// Addresses on the link whose answers show that the agent hears.
    pub canaries: Vec<IpAddr>,
    /// Within which time everybody is asked for each address once, to find second owners.
    pub census: Option<Duration>,
    /// Prefixes that are on the link.
    pub on_link: Vec<(IpAddr, u8)>,
    /// Who its probes come from.
    pub sender: Sender,
    /// `None` while there is no interface.
    pub tap: Option<Tap>,
    /// Names of its transmitter and its receiver.
    pub datapath: (&'static str, &'static str),
}

impl Attached {
    /// A network whose interface is not there yet.
    pub fn absent(name: String, canaries: Vec<IpAddr>, census: Option<Duration>) -> Self {
        let (gateways, on_link, sender) = ([None; 2], vec![], Sender::new(Mac::default()));
        Attached { name, gateways, canaries, census, on_link, sender, tap: None, datapath: ("none", "none") }
    }
}
