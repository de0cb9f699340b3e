//! Watch: the interfaces of the networks, which come, go and are made anew, and the network namespaces in which they are.

use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use crossbeam_channel::Sender;
use futures::stream::SelectAll;
use futures::{Stream, StreamExt};
use tokio::sync::oneshot;
use tracing::{info, warn};

use crate::config::{Config, NetworkConfig, Prefix};
use crate::engine::{Attached, Attachment, Command};
use crate::link::{Interface, Links, News};
use crate::namespace::{self, Namespace};
use crate::offload;
use crate::packet::Sender as ProbeSender;
use crate::reply::{Program, Receive};
use crate::unit::Blind;
use crate::view::View;
use crate::wire::{NeighbourSocket, Socket};

/// Between two looks at the interfaces: the kernel's news can be lost when very many come at once, and of namespaces there are none.
const LOOK: Duration = Duration::from_secs(5);
/// A receiver that is deaf again so soon after it was attached anew is no good: the next way down is taken.
const DEAF_AGAIN: Duration = Duration::from_secs(600);

type SpaceNews = Pin<Box<dyn Stream<Item = (usize, News)> + Send>>;

/// What is known of the interfaces.
pub struct Watch {
    config: Config,
    spaces: Vec<Space>,
    /// News of each space, by its place in the list.
    news: SelectAll<SpaceNews>,
    ports: Vec<Port>,
}

/// A network namespace in which there are networks of ours.
struct Space {
    /// `None`: the agent's own.
    path: Option<PathBuf>,
    /// `None` while there is no such namespace.
    links: Option<Links>,
}

/// The interface of a network.
struct Port {
    /// Place of its namespace in the list.
    space: usize,
    /// What the engine is attached to.
    attached: Option<Place>,
    /// Says whether the engine could attach to it, once it has tried.
    outcome: Option<oneshot::Receiver<()>>,
    /// When it was last attached anew because its receiver was deaf.
    deaf: Option<Instant>,
}

/// An interface, and what probes take from it: when any of that changes the network is attached anew.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    namespace: namespace::Id,
    index: u32,
    sender: ProbeSender,
    on_link: Vec<(IpAddr, u8)>,
    gateways: [Option<IpAddr>; 2],
    /// VLANs are on the interface, and its driver takes the tags out of frames before XDP sees them.
    tags_are_hidden: bool,
}

impl Place {
    fn of(network: &NetworkConfig, interface: &Interface, config: &Config) -> Self {
        // A driver that does not know the question hides nothing.
        let strips =
            || interface.namespace.within(|| offload::strips_vlan_tags(&interface.name)).is_ok_and(|strips| strips.unwrap_or(false));
        let on_link = match &network.on_link {
            Some(prefixes) => prefixes.iter().map(|Prefix(address, length)| (*address, *length)).collect(),
            None => own_addresses(network, interface).to_vec(),
        };
        let [v4, v6] = if network.vlan.is_none() { interface.gateways } else { [None; 2] };
        Place {
            namespace: interface.namespace.id(),
            index: interface.index,
            sender: sender(network, interface),
            on_link,
            gateways: [network.gateway.map(IpAddr::V4).or(v4), network.gateway_v6.map(IpAddr::V6).or(v6)],
            tags_are_hidden: has_vlans(network, config) && strips(),
        }
    }
}

impl Watch {
    /// Opens the namespaces. Must be called inside a tokio runtime.
    pub fn open(config: &Config) -> Result<Watch> {
        let mut watch = Watch { config: config.clone(), spaces: Vec::new(), news: SelectAll::new(), ports: Vec::new() };
        for network in &config.networks {
            let path = network.namespace_path();
            let space = match watch.spaces.iter().position(|space| space.path == path) {
                Some(space) => space,
                None => {
                    watch.spaces.push(Space { path, links: None });
                    let space = watch.spaces.len() - 1;
                    if let Err(error) = watch.enter(space) {
                        let Some(path) = &watch.spaces[space].path else { return Err(error) };
                        warn!(target: "wire", namespace = %path.display(), error = format!("{error:#}"), "this network namespace cannot be entered; it is looked for again and again");
                    }
                    space
                }
            };
            watch.ports.push(Port { space, attached: None, outcome: None, deaf: None });
        }
        Ok(watch)
    }

    /// Connects to a namespace.
    fn enter(&mut self, space: usize) -> Result<()> {
        let namespace = match &self.spaces[space].path {
            Some(path) => Namespace::open(path).with_context(|| format!("cannot open {}", path.display()))?,
            None => Namespace::current().context("cannot open the network namespace that this runs in")?,
        };
        let (links, news) = Links::connect_in(Arc::new(namespace))?;
        self.news.push(Box::pin(news.map(move |news| (space, news))));
        self.spaces[space].links = Some(links);
        Ok(())
    }

    /// Attaches to the interface of a network, or has it waited for where it is not there.
    ///
    /// # Errors
    /// It is there and cannot be used.
    pub async fn attach(&mut self, number: u16, program: &mut Program) -> Result<Attached> {
        let place = usize::from(number);
        let network = &self.config.networks[place];
        let absent = || Ok(Attached::absent(network.name.clone(), network.canary.clone(), network.conflict_check));
        let Some(links) = &self.spaces[self.ports[place].space].links else { return absent() };
        let interface = match links.interface(&network.interface).await {
            Ok(interface) => interface,
            Err(error) => {
                warn!(target: "wire", network = %network.name, interface = %network.interface, error = format!("{error:#}"), "the interface is not there: the verdicts of this network are unknown until it is");
                return absent();
            }
        };
        let (namespace, found) = (interface.namespace.clone(), Place::of(network, &interface, &self.config));
        let attachment = open_sockets(network, interface, found.clone(), &self.config)?;
        let attached = namespace.within(|| attachment.attach(number, program)).context("cannot enter a network namespace")??;
        self.ports[place].attached = Some(found);
        Ok(attached)
    }

    /// Tells the engine of carriers that come and go, and has it attach to interfaces that appear or were made anew, and again where the
    /// view shows that its receiver is deaf.
    pub async fn follow(mut self, commands: Sender<Command>, view: Arc<View>) {
        let mut every = tokio::time::interval(LOOK);
        loop {
            let heard = tokio::select! {
                Some(heard) = self.news.next() => Some(heard),
                _ = every.tick() => None,
            };
            match heard {
                Some((space, news)) => {
                    for number in 0..self.ports.len() {
                        if self.ports[number].space == space && self.config.networks[number].interface == news.interface {
                            match news.present {
                                true => self.see_carrier(number, &news, &commands, &view).await,
                                false => self.miss(number, &commands),
                            }
                        }
                    }
                }
                None => {
                    self.look_at_spaces(&commands);
                    for number in 0..self.ports.len() {
                        self.see(number, &commands, &view).await;
                    }
                }
            }
        }
    }

    /// Leaves namespaces that are gone, since by being there the agent would keep them, and enters those that came.
    fn look_at_spaces(&mut self, commands: &Sender<Command>) {
        for space in 0..self.spaces.len() {
            let Space { path: Some(path), links } = &self.spaces[space] else { continue };
            let there = std::fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()));
            let known = links.as_ref().map(|links| links.namespace().id());
            if there == known {
                continue;
            }
            if known.is_some() {
                info!(target: "wire", namespace = %path.display(), "the network namespace is gone");
                self.spaces[space].links = None;
                for (number, port) in self.ports.iter_mut().enumerate().filter(|(_, port)| port.space == space) {
                    port.attached = None;
                    let _ = commands.send(Command::Detach { network: number as u16 });
                }
            }
            // A file of that name may be there before the namespace is: then it is tried again.
            if there.is_some() {
                let _ = self.enter(space);
            }
        }
    }

    /// The interface of a network is not there any more. One that comes back may have its index of before, and is another one all the
    /// same: sockets are bound to it no more.
    fn miss(&mut self, number: usize, commands: &Sender<Command>) {
        if self.ports[number].attached.take().is_some() {
            let _ = commands.send(Command::Link { network: number as u16, running: false });
        }
    }

    /// The interface of a network has, or has lost, its carrier; or its driver's offloads changed.
    async fn see_carrier(&mut self, number: usize, news: &News, commands: &Sender<Command>, view: &View) {
        let port = &self.ports[number];
        let namespace = self.spaces[port.space].links.as_ref().map(|links| links.namespace().id());
        let known = port.attached.as_ref().is_some_and(|place| place.index == news.index && Some(place.namespace) == namespace);
        if known {
            let _ = commands.send(Command::Link { network: number as u16, running: news.running });
        }
        if news.running && (!known || has_vlans(&self.config.networks[number], &self.config)) {
            self.see(number, commands, view).await;
        }
    }

    /// Looks at the interface of a network, and has the engine attach to it where it is new, or another one than it was.
    async fn see(&mut self, number: usize, commands: &Sender<Command>, view: &View) {
        let (port, network) = (&mut self.ports[number], &self.config.networks[number]);
        let Some(links) = &self.spaces[port.space].links else { return };
        let Ok(interface) = links.interface(&network.interface).await else { return self.miss(number, commands) };
        if let Some(outcome) = &mut port.outcome {
            match outcome.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => {}
                Ok(()) => port.outcome = None,
                Err(oneshot::error::TryRecvError::Closed) => (port.attached, port.outcome) = (None, None),
            }
        }
        let (place, running) = (Place::of(network, &interface, &self.config), interface.running);
        let known = port.attached.as_ref().is_some_and(|before| (before.namespace, before.index) == (place.namespace, place.index));
        let deaf = port.outcome.is_none() && view.networks.get(number).is_some_and(|network| network.blind() == Some(Blind::Deaf));
        if port.attached.as_ref() == Some(&place) && !deaf || known && !running {
            let _ = commands.send(Command::Link { network: number as u16, running });
            return;
        }
        if !running {
            return;
        }
        match open_sockets(network, interface, place.clone(), &self.config) {
            Ok(mut attachment) => {
                if deaf {
                    let again = port.deaf.replace(Instant::now()).is_some_and(|before| before.elapsed() < DEAF_AGAIN);
                    if again && attachment.receive == Receive::Auto {
                        attachment.receive = Receive::Socket;
                    }
                    info!(target: "reply", network = %network.name, interface = %network.interface, receive = ?attachment.receive, "attaching anew: the receiver was deaf");
                } else if known {
                    info!(target: "wire", network = %network.name, interface = %network.interface, "the interface has another MAC, other addresses, another gateway or other offloads now");
                }
                let (done, outcome) = oneshot::channel();
                (port.attached, port.outcome) = (Some(place), Some(outcome));
                let _ = commands.send(Command::Reattach { network: number as u16, attachment: Box::new(attachment), done });
            }
            Err(error) => {
                warn!(target: "wire", network = %network.name, error = format!("{error:#}"), "the new interface cannot be used yet");
            }
        }
    }
}

/// Opens the sockets of a network.
fn open_sockets(network: &NetworkConfig, interface: Interface, place: Place, config: &Config) -> Result<Attachment> {
    let name = &network.name;
    let Place { sender, on_link, gateways, tags_are_hidden, .. } = place;
    let opened = interface.namespace.within(|| {
        let socket = Socket::open(interface.index, sender)?;
        Ok::<_, std::io::Error>((socket, NeighbourSocket::open(interface.index, sender)?))
    });
    let (socket, neighbours) = opened
        .and_then(|opened| opened)
        .with_context(|| format!("network {name:?}: cannot open a packet socket: the agent needs root, or CAP_NET_RAW"))?;
    let (receive, transmit) = (config.receive, config.transmit);
    let (canaries, census) = (network.canary.clone(), network.conflict_check);
    Ok(Attachment {
        name: name.clone(),
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
    })
}

/// Whether any network on the interface of this one has VLAN tags.
fn has_vlans(network: &NetworkConfig, config: &Config) -> bool {
    let place = |network: &NetworkConfig| (network.namespace_path(), network.interface.clone());
    config.networks.iter().any(|other| other.vlan.is_some() && place(other) == place(network))
}

/// The addresses of the interface that are the network's. Behind a VLAN tag none is, and no route either.
fn own_addresses<'a>(network: &NetworkConfig, interface: &'a Interface) -> &'a [(IpAddr, u8)] {
    if network.vlan.is_none() { &interface.addresses } else { &[] }
}

/// Who the probes of a network come from: as configured, else the interface's own addresses.
fn sender(network: &NetworkConfig, interface: &Interface) -> ProbeSender {
    let own = own_addresses(network, interface);
    let v4 = own.iter().find_map(|(address, _)| match address {
        IpAddr::V4(v4) => Some(*v4),
        IpAddr::V6(_) => None,
    });
    let v6 = |link_local: bool| {
        own.iter().find_map(|(address, _)| match address {
            IpAddr::V6(v6) if v6.is_unicast_link_local() == link_local => Some(*v6),
            _ => None,
        })
    };
    let plain = ProbeSender::new(interface.mac);
    ProbeSender {
        v4: network.source.or(v4),
        link_local: v6(true).unwrap_or(plain.link_local),
        owns_link_local: v6(true).is_some(),
        v6: network.source_v6.or(v6(false)),
        tags: network.tags(),
        ..plain
    }
}
