//! The networks: carrier, gateway, MACs to be learned, and the times in which the agent could not see.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Context as _;
use tracing::{info, warn};

use super::cell::Mark;
use super::gateway::Passage;
use super::losses::Losses;
use super::send::Batch;
use super::{Engine, Seldom};
use crate::clock::Mono;
use crate::link::Interface;
use crate::packet::Sender;
use crate::reply::{Program, Receive, Receiver};
use crate::resolve::{Asker, Resolver};
use crate::unit::{Blind, Mac};
use crate::wire::{self, ArpSocket, Socket, Transmit, Transmitter};

/// After blindness ends, what was under way before and shortly after still counts as nothing: bridges and switches
/// need a moment to forward again.
pub(super) const GRACE: Duration = Duration::from_secs(1);
/// The same where not a single answer came since: a bridge's ports listen and learn for half a minute (IEEE 802.1D).
const GRACE_UNPROVEN: Duration = Duration::from_secs(45);
/// ARP frames that one turn looks at: a storm must not hold up the hands.
const ANSWERS: usize = 256;
/// How long a driver may take no frame at all.
const REFUSED: Duration = Duration::from_millis(50);
/// Between two tries to send into a network that refused.
const RETRY: Duration = Duration::from_secs(1);
/// Between two looks at the resolver's socket.
const RESOLVE: Duration = Duration::from_millis(5);

/// A network with its open sockets.
pub struct Attachment {
    /// Its name.
    pub name: String,
    /// Its interface.
    pub interface: Interface,
    /// The gateway for addresses that are not on the link.
    pub gateway: Option<Ipv4Addr>,
    /// Prefixes that are on the link.
    pub on_link: Vec<(Ipv4Addr, u8)>,
    /// Who its probes come from.
    pub sender: Sender,
    /// A packet socket, for the case that the in-kernel transmitter cannot be used or is not wanted.
    pub socket: Socket,
    /// The resolver's socket.
    pub arp: ArpSocket,
    /// Which receiver the operator asked for, for the case that the interface is made anew.
    pub receive: Receive,
    /// Likewise, which transmitter.
    pub transmit: Transmit,
}

impl Attachment {
    /// Attaches the program to the interface, in the calling thread's network namespace, and chooses the way onto the wire.
    pub fn attach(self, number: u16, program: &mut Program) -> Result<Attached, anyhow::Error> {
        let Attachment { name, interface, gateway, on_link, sender, socket, arp, receive, transmit } = self;
        let receiver = program.attach(number, &interface, receive)?;
        let (transmitter, refusal) = wire::choose(transmit, program, &interface, sender, socket).with_context(|| {
            format!("network {name:?}: the in-kernel transmitter cannot be used; with `transmit = \"auto\"` a packet socket is")
        })?;
        info!(target: "wire", network = %name, interface = %interface.name, gateway = ?gateway, transmit = transmitter.name(), receive = receiver.name(), "network attached");
        if let Some(why) = refusal {
            warn!(target: "wire", network = %name, interface = %interface.name, %why, "probes leave by a packet socket, which costs more CPU");
        }
        if receiver == Receiver::Generic && receive == Receive::Auto {
            warn!(target: "reply", network = %name, interface = %interface.name, "the driver takes no XDP program: replies are received in the generic path, which costs more CPU");
        }
        Ok(Attached { name, interface, gateway, on_link, transmitter, arp, receiver })
    }
}

/// A network that is attached.
pub struct Attached {
    /// Its name.
    pub name: String,
    /// Its interface.
    pub interface: Interface,
    gateway: Option<Ipv4Addr>,
    on_link: Vec<(Ipv4Addr, u8)>,
    transmitter: Box<dyn Transmitter>,
    arp: ArpSocket,
    receiver: Receiver,
}

impl Attached {
    /// Names of its transmitter and its receiver.
    pub fn datapath(&self) -> (&'static str, &'static str) {
        (self.transmitter.name(), self.receiver.name())
    }
}

pub(super) struct Network {
    pub(super) name: String,
    pub(super) interface: Interface,
    pub(super) transmitter: Box<dyn Transmitter>,
    pub(super) batch: Batch,
    pub(super) blind: Option<Blind>,
    /// From when to when the agent last could not see it.
    blind_from: Mono,
    blind_to: Mono,
    arp: ArpSocket,
    pub(super) resolver: Resolver,
    pub(super) gateway: Option<Ipv4Addr>,
    pub(super) gateway_mac: Option<Mac>,
    pub(super) passage: Option<Passage>,
    /// When the gateway answered last.
    pub(super) gateway_seen: Mono,
    /// From when to when the gateway was last lost.
    pub(super) gateway_gone: Option<(Mono, Mono)>,
    /// The program is attached to the interface.
    attached: bool,
    /// When a network that refused to send was last tried.
    tried: Mono,
    /// When it was last said that nothing can be sent.
    pub(super) send_told: Seldom,
    /// Since when the driver takes not a single frame.
    refused: Option<Mono>,
    /// When it did not take frames of ours.
    pub(super) losses: Losses,
    lost_told: Seldom,
    /// Since when the network can be seen again, while no answer has shown that its switches forward again too.
    unproven: Option<Mono>,
    /// Slots behind the gateway whose miss counts only once the gateway has shown that it is there.
    pub(super) doubtful: Vec<u32>,
    on_link: Vec<(Ipv4Addr, u8)>,
    resolved: Mono,
}

impl Network {
    pub(super) fn new(attached: Attached) -> Self {
        let Attached { name, interface, gateway, on_link, transmitter, arp, .. } = attached;
        Network {
            name,
            interface,
            transmitter,
            batch: Batch::default(),
            blind: None,
            blind_from: Mono::default(),
            blind_to: Mono::default(),
            arp,
            resolver: Resolver::default(),
            gateway,
            gateway_mac: None,
            passage: None,
            gateway_seen: Mono::default(),
            gateway_gone: None,
            attached: true,
            tried: Mono::default(),
            send_told: Seldom::default(),
            refused: None,
            losses: Losses::default(),
            lost_told: Seldom::default(),
            unproven: None,
            doubtful: Vec::new(),
            on_link,
            resolved: Mono::default(),
        }
    }

    /// From now on nothing of this network can be believed.
    pub(super) fn blind(&mut self, reason: Blind, now: Mono) {
        // Blindness that comes back before its grace is over is one blindness.
        if self.blind.is_none() && now > self.blind_to {
            self.blind_from = now;
        }
        if self.blind.is_none() {
            self.tried = now;
        }
        self.blind = Some(reason);
        self.blind_to = now + GRACE;
    }

    fn sees(&mut self, now: Mono) {
        self.blind = None;
        self.refused = None;
        self.blind_to = now + GRACE;
        self.unproven = Some(now);
    }

    /// A probe that was sent then was answered.
    pub(super) fn proven(&mut self, sent: Mono) {
        if self.unproven.is_some_and(|since| sent >= since) {
            self.unproven = None;
        }
    }

    /// Frames left, or none could. A queue that is full empties within milliseconds: one that takes nothing for longer has no
    /// carrier, of which the kernel tells up to a second late (net/core/link_watch.c). True: that is so.
    pub(super) fn departed(&mut self, sent: usize, now: Mono) -> bool {
        if sent > 0 {
            self.refused = None;
            return false;
        }
        now.since(*self.refused.get_or_insert(now)) > REFUSED
    }

    /// The driver did not take some frames of a batch.
    pub(super) fn lost(&mut self, frames: usize, now: Mono) {
        if self.lost_told.now(now) {
            warn!(target: "wire", network = %self.name, interface = %self.interface.name, frames, "the driver dropped probes of ours: those count as nothing, not as silence; is its transmit ring too small for the rate?");
        }
    }

    /// Whether the gateway's MAC is known.
    pub(super) fn has_gateway(&self) -> bool {
        self.gateway_mac.is_some()
    }

    /// Whether an address is reached without a gateway.
    pub(super) fn is_on_link(&self, address: Ipv4Addr) -> bool {
        self.on_link.iter().any(|(prefix, length)| {
            let mask = u32::MAX.checked_shl(32 - u32::from(*length)).unwrap_or(0);
            (u32::from(address) ^ u32::from(*prefix)) & mask == 0
        })
    }
}

impl Engine {
    pub(super) fn networks_start(&mut self, now: Mono) {
        for number in 0..self.networks.len() {
            let network = &mut self.networks[number];
            if let Some(gateway) = network.gateway {
                network.resolver.want(gateway, Asker::Gateway, now);
            }
            let running = network.interface.running;
            if !running {
                self.link(number as u16, false, now);
            }
        }
    }

    /// The carrier of a network came or went.
    pub(super) fn link(&mut self, number: u16, running: bool, now: Mono) {
        let (Some(network), Some(view)) = (self.networks.get_mut(usize::from(number)), self.view.networks.get(usize::from(number))) else {
            return;
        };
        let (name, interface) = (&network.name, &network.interface.name);
        match (running, network.blind) {
            (false, None | Some(Blind::SendError)) => {
                warn!(target: "wire", network = %name, %interface, "the link is down: the verdicts of this network are unknown until it is back");
                network.blind(Blind::LinkDown, now);
            }
            (true, Some(Blind::LinkDown)) if network.attached => {
                info!(target: "wire", network = %name, %interface, "the link is back");
                network.sees(now);
            }
            _ => {}
        }
        view.set_blind(network.blind);
    }

    /// The program is not attached to the interface of a network any more.
    pub(super) fn detached(&mut self, number: u16, error: &anyhow::Error, now: Mono) {
        let (Some(network), Some(view)) = (self.networks.get_mut(usize::from(number)), self.view.networks.get(usize::from(number))) else {
            return;
        };
        warn!(target: "reply", network = %network.name, interface = %network.interface.name, error = format!("{error:#}"), "replies cannot be received: the verdicts of this network are unknown until the interface is made anew or the agent restarted");
        network.attached = false;
        network.blind(Blind::LinkDown, now);
        view.set_blind(network.blind);
    }

    /// The interface of a network was made anew.
    pub(super) fn reattach(&mut self, number: u16, attachment: Attachment, now: Mono) {
        let Some(network) = self.networks.get_mut(usize::from(number)) else { return };
        self.program.detach(number);
        let attached = match attachment.attach(number, &mut self.program) {
            Ok(attached) => attached,
            Err(error) => {
                self.detached(number, &error, now);
                return;
            }
        };
        if let Some(view) = self.view.networks.get(usize::from(number)) {
            view.set_datapath(attached.datapath());
        }
        let interface = attached.interface.clone();
        network.transmitter = attached.transmitter;
        network.arp = attached.arp;
        network.interface = attached.interface;
        network.on_link = attached.on_link;
        network.attached = true;
        if let Some(gateway) = attached.gateway.filter(|gateway| network.gateway.is_none_or(|known| known == *gateway)) {
            network.gateway = Some(gateway);
            network.resolver.want(gateway, Asker::Gateway, now);
        }
        self.link(number, interface.running, now);
    }

    /// Asks for MACs, hears the answers, tries networks again that refused to send.
    pub(super) fn resolve(&mut self, now: Mono) {
        for number in 0..self.networks.len() {
            let network = &mut self.networks[number];
            if now.since(network.resolved) < RESOLVE {
                continue;
            }
            network.resolved = now;
            if network.blind == Some(Blind::SendError) && now.since(network.tried) >= RETRY {
                network.sees(now);
                self.view.networks[number].set_blind(None);
            }
            let network = &mut self.networks[number];
            if network.blind.is_some() {
                continue;
            }
            if network.unproven.is_some_and(|since| now.since(since) < GRACE_UNPROVEN) {
                network.blind_to = now + GRACE;
            }
            let mut found = Vec::new();
            // Answers first: after a stall they may lie there already.
            for _ in 0..ANSWERS {
                let Ok(Some((address, mac))) = network.arp.answer() else { break };
                if network.gateway == Some(address) && network.gateway_mac.is_none_or(|known| known == mac) {
                    network.gateway_seen = now;
                }
                found.extend(network.resolver.answered(address, mac, now));
            }
            let mut asks = Vec::new();
            found.extend(network.resolver.advance(now, &mut asks));
            for (address, mac) in asks {
                // A question that could not be sent is asked again like one that was not answered.
                let _ = network.arp.ask(address, mac);
            }
            let doubtful = if network.gateway_seen == now { std::mem::take(&mut network.doubtful) } else { Vec::new() };
            self.view.networks[number].unresolved.store(network.resolver.open() as u64, std::sync::atomic::Ordering::Relaxed);
            for found in found {
                self.found(number as u16, found, now);
            }
            self.settle_doubtful(doubtful, now);
        }
    }

    pub(super) fn settle_doubtful(&mut self, slots: Vec<u32>, now: Mono) {
        for slot in slots {
            if let Some(cell) = self.cells.get_mut(slot as usize) {
                cell.mark(Mark::Doubted, false);
                self.settle(slot, now);
            }
        }
    }

    /// Whether a miss behind the gateway must wait until the gateway has shown that it is there, after the probe's
    /// deadline. If so it is asked at once.
    pub(super) fn doubts(&mut self, number: Option<u16>, slot: u32, deadline: Mono, now: Mono) -> bool {
        let Some(network) = number.and_then(|number| self.networks.get_mut(usize::from(number))) else { return false };
        if !network.has_gateway() || network.gateway_seen >= deadline {
            return false;
        }
        network.resolver.check(now);
        if !self.cells[slot as usize].mark(Mark::Doubted, true) {
            network.doubtful.push(slot);
        }
        true
    }

    pub(super) fn set_blind(&mut self, slot: u32, blind: Option<Blind>) {
        if let Some(cell) = self.cells.get_mut(slot as usize).filter(|cell| cell.is_live())
            && let Some(turn) = cell.judgement.set_blind(blind)
        {
            self.turned(slot, turn);
        }
    }

    /// Why a probe that was sent then and not answered says nothing; `None`: it does say something.
    pub(super) fn blindness(&self, network: Option<u16>, routed: bool, sent: Option<Mono>, timeout: Duration) -> Option<Blind> {
        let Some(sent) = sent else { return Some(Blind::Overload) };
        let overlaps = |from: Mono, to: Mono| sent <= to && sent + timeout >= from;
        if self.stalled.is_some_and(|(from, to)| overlaps(from, to)) {
            return Some(Blind::Overload);
        }
        let Some(network) = self.networks.get(usize::from(network?)) else { return Some(Blind::NoNetwork) };
        match network.blind {
            Some(blind) => Some(blind),
            None if network.losses.cover(sent) => Some(Blind::SendError),
            None if network.blind_to > Mono::default() && overlaps(network.blind_from, network.blind_to) => Some(Blind::LinkDown),
            None if routed && network.gateway_mac.is_none() => Some(Blind::NoGateway),
            None if routed && network.gateway_gone.is_some_and(|(from, to)| overlaps(from, to)) => Some(Blind::NoGateway),
            None => None,
        }
    }

    /// Whether the gateway is known that the probes of a slot pass.
    pub(super) fn has_gateway(&self, slot: u32) -> bool {
        let network = self.classes.get(self.cells[slot as usize].group).and_then(|class| self.networks.get(usize::from(class.network?)));
        network.is_some_and(Network::has_gateway)
    }
}
