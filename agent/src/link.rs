//! What the agent must know of an interface, asked of the kernel by rtnetlink, and the news of its carrier.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use futures::{Stream, StreamExt, TryStreamExt};
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage, LinkXdp};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute};
use rtnetlink::{Handle, MulticastGroup, RouteMessageBuilder};
use tokio::task::AbortHandle;

use crate::namespace::Namespace;
use crate::unit::Mac;

/// An interface as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its index in its network namespace.
    pub index: u32,
    /// That namespace.
    pub namespace: Arc<Namespace>,
    /// Its MAC.
    pub mac: Mac,
    /// Up and with carrier.
    pub running: bool,
    /// Addresses of both families with their prefix lengths.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Gateways of the default routes through it: IPv4, IPv6.
    pub gateways: [Option<IpAddr>; 2],
    /// Number of the XDP program that is attached to it.
    pub xdp_program: Option<u32>,
}

/// A change that the kernel tells of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// Which interface.
    pub interface: String,
    /// Its index.
    pub index: u32,
    /// Up and with carrier; false as well when the interface is gone.
    pub running: bool,
    /// The interface is still there.
    pub present: bool,
}

/// A connection to rtnetlink in one network namespace.
pub struct Links {
    handle: Handle,
    namespace: Arc<Namespace>,
    /// Serves the socket.
    connection: AbortHandle,
}

impl Drop for Links {
    /// The socket would keep its network namespace as long as anybody waits for news from it.
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Links {
    /// Connects in the network namespace of the calling thread. The second half tells of every change of an interface from now on.
    pub fn connect() -> Result<(Links, impl Stream<Item = News> + Unpin + Send)> {
        Self::connect_in(Arc::new(Namespace::current().context("cannot open the network namespace that this runs in")?))
    }

    /// Connects in another one.
    pub fn connect_in(namespace: Arc<Namespace>) -> Result<(Links, impl Stream<Item = News> + Unpin + Send)> {
        let runtime = tokio::runtime::Handle::current();
        let connect = || {
            // The socket is made here, and stays in this namespace; a worker of the runtime serves it.
            let _runtime = runtime.enter();
            rtnetlink::new_multicast_connection(&[MulticastGroup::Link])
        };
        let connected = namespace.within(connect).context("cannot enter a network namespace (the agent needs CAP_SYS_ADMIN for that)")?;
        let (connection, handle, messages) = connected.context("cannot open a netlink socket")?;
        let connection = tokio::spawn(connection).abort_handle();
        let news = messages.filter_map(|(message, _)| std::future::ready(news(message.payload)));
        Ok((Links { handle, namespace, connection }, Box::pin(news)))
    }

    /// The namespace that it speaks of.
    pub fn namespace(&self) -> &Arc<Namespace> {
        &self.namespace
    }

    /// Asks for an interface by name.
    pub async fn interface(&self, name: &str) -> Result<Interface> {
        let link = self.handle.link().get().match_name(name).execute();
        let link: Option<LinkMessage> = match std::pin::pin!(link).try_next().await {
            Ok(link) => link,
            Err(_) => bail!("there is no interface {name} here: `ip link` lists those that are"),
        };
        let Some(link) = link else { bail!("there is no interface {name} here: `ip link` lists those that are") };
        let mac = link.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::Address(bytes) => <[u8; 6]>::try_from(&bytes[..]).ok().map(Mac),
            _ => None,
        });
        let Some(mac) = mac.filter(|mac| mac.is_unicast()) else {
            bail!("{name} is not an Ethernet interface: it has no MAC of its own");
        };
        let index = link.header.index;
        Ok(Interface {
            name: name.to_owned(),
            index,
            namespace: self.namespace.clone(),
            mac,
            running: is_running(&link),
            addresses: self.addresses(index).await?,
            gateways: [self.gateway(index, Ipv4Addr::UNSPECIFIED.into()).await?, self.gateway(index, Ipv6Addr::UNSPECIFIED.into()).await?],
            xdp_program: xdp_program(&link),
        })
    }

    async fn addresses(&self, index: u32) -> Result<Vec<(IpAddr, u8)>> {
        let messages = self.handle.address().get().set_link_index_filter(index).execute();
        let messages: Vec<_> = messages.try_collect().await.context("cannot list the addresses of an interface")?;
        let found = messages.iter().filter(|message| message.header.index == index).flat_map(|message| {
            // IFA_LOCAL is the address itself, and IFA_ADDRESS the peer's on a point-to-point link (rtnetlink(7)). IPv6 mostly has
            // the second alone, which is then the address.
            let local = message.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Local(address) => Some(*address),
                _ => None,
            });
            let other = message.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Address(address) => Some(*address),
                _ => None,
            });
            // Nothing can be sent from an address whose uniqueness is not known yet, or that another station has (RFC 4862).
            let usable = !message.attributes.iter().any(|attribute| {
                matches!(attribute, AddressAttribute::Flags(flags) if flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed))
            });
            local.or(other).filter(|_| usable).map(|address| (address, message.header.prefix_len))
        });
        Ok(found.collect())
    }

    /// The gateway of the default route through an interface, of the family of an address.
    async fn gateway(&self, index: u32, any: IpAddr) -> Result<Option<IpAddr>> {
        let route = match any {
            IpAddr::V4(_) => RouteMessageBuilder::<Ipv4Addr>::new().build(),
            IpAddr::V6(_) => RouteMessageBuilder::<Ipv6Addr>::new().build(),
        };
        let messages: Vec<_> = self.handle.route().get(route).execute().try_collect().await.context("cannot list the routes")?;
        Ok(messages.iter().filter(|message| message.header.destination_prefix_length == 0).find_map(|message| {
            let through = message.attributes.iter().any(|attribute| matches!(attribute, RouteAttribute::Oif(oif) if *oif == index));
            let gateway = message.attributes.iter().find_map(|attribute| match attribute {
                RouteAttribute::Gateway(RouteAddress::Inet(gateway)) => Some(IpAddr::V4(*gateway)),
                RouteAttribute::Gateway(RouteAddress::Inet6(gateway)) => Some(IpAddr::V6(*gateway)),
                _ => None,
            });
            gateway.filter(|_| through)
        }))
    }
}

fn xdp_program(link: &LinkMessage) -> Option<u32> {
    let xdp = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Xdp(xdp) => Some(xdp),
        _ => None,
    })?;
    xdp.iter().find_map(|attribute| match attribute {
        LinkXdp::ProgId(id) if *id != 0 => Some(*id),
        _ => None,
    })
}

fn is_running(link: &LinkMessage) -> bool {
    link.header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp)
}

fn news(payload: NetlinkPayload<RouteNetlinkMessage>) -> Option<News> {
    let (link, present) = match payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => (link, true),
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link)) => (link, false),
        _ => return None,
    };
    let name = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })?;
    Some(News { interface: name, index: link.header.index, running: present && is_running(&link), present })
}
