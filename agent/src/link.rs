//! What the agent must know of an interface, asked of the kernel by rtnetlink, and the news of its carrier.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, bail};
use futures::{Stream, StreamExt, TryStreamExt};
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage, LinkXdp};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute};
use rtnetlink::{Handle, MulticastGroup, RouteMessageBuilder};

use crate::unit::Mac;

/// An interface as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its index in this network namespace.
    pub index: u32,
    /// Its MAC.
    pub mac: Mac,
    /// Up and with carrier.
    pub running: bool,
    /// IPv4 addresses with their prefix lengths.
    pub addresses: Vec<(Ipv4Addr, u8)>,
    /// Gateway of the default route through it.
    pub gateway: Option<Ipv4Addr>,
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
}

/// A connection to rtnetlink in the network namespace of the calling thread.
pub struct Links {
    handle: Handle,
}

impl Links {
    /// Connects. The second half tells of every change of an interface from now on.
    pub fn connect() -> Result<(Links, impl Stream<Item = News> + Unpin)> {
        let (connection, handle, messages) =
            rtnetlink::new_multicast_connection(&[MulticastGroup::Link]).context("cannot open a netlink socket")?;
        tokio::spawn(connection);
        let news = messages.filter_map(|(message, _)| std::future::ready(news(message.payload)));
        Ok((Links { handle }, Box::pin(news)))
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
            mac,
            running: is_running(&link),
            addresses: self.addresses(index).await?,
            gateway: self.gateway(index).await?,
            xdp_program: xdp_program(&link),
        })
    }

    async fn addresses(&self, index: u32) -> Result<Vec<(Ipv4Addr, u8)>> {
        let messages = self.handle.address().get().set_link_index_filter(index).execute();
        let messages: Vec<_> = messages.try_collect().await.context("cannot list the addresses of an interface")?;
        let found = messages.iter().filter(|message| message.header.index == index).flat_map(|message| {
            // IFA_LOCAL is the address itself; IFA_ADDRESS is the peer's on a point-to-point link (rtnetlink(7)).
            message.attributes.iter().filter_map(|attribute| match attribute {
                AddressAttribute::Local(std::net::IpAddr::V4(address)) => Some((*address, message.header.prefix_len)),
                _ => None,
            })
        });
        Ok(found.collect())
    }

    async fn gateway(&self, index: u32) -> Result<Option<Ipv4Addr>> {
        let route = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let messages: Vec<_> = self.handle.route().get(route).execute().try_collect().await.context("cannot list the routes")?;
        Ok(messages.iter().filter(|message| message.header.destination_prefix_length == 0).find_map(|message| {
            let through = message.attributes.iter().any(|attribute| matches!(attribute, RouteAttribute::Oif(oif) if *oif == index));
            let gateway = message.attributes.iter().find_map(|attribute| match attribute {
                RouteAttribute::Gateway(RouteAddress::Inet(gateway)) => Some(*gateway),
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
    Some(News { interface: name, index: link.header.index, running: present && is_running(&link) })
}
