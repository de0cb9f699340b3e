//! What addresses have in common: whoever falls silent with many of its group is a case of that group, not of its own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use crate::alarm::matter::Scope;
use crate::policy::Policy;

/// Addresses that may fail together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Group {
    /// All of a network.
    Network(Arc<str>),
    /// All hosts with a tag, mostly that of their hypervisor.
    Tag(Arc<str>),
    /// The /24, or the /64, of an address in a network.
    Subnet(Arc<str>, IpAddr),
}

/// Lengths of the prefixes of subnets: IPv4, IPv6.
const PREFIXES: [u8; 2] = [24, 64];

impl Group {
    /// The subnet of an address.
    pub fn subnet(network: Arc<str>, address: IpAddr) -> Group {
        let first = match address {
            IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & u32::MAX << (32 - PREFIXES[0]))),
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & u128::MAX << (128 - PREFIXES[1]))),
        };
        Group::Subnet(network, first)
    }

    /// The last address of a subnet, by its first.
    pub fn last_of(first: IpAddr) -> IpAddr {
        match first {
            IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() | u32::MAX >> PREFIXES[0])),
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() | u128::MAX >> PREFIXES[1])),
        }
    }

    /// What kind of group.
    pub fn scope(&self) -> Scope {
        match self {
            Group::Network(_) => Scope::Network,
            Group::Tag(_) => Scope::Tag,
            Group::Subnet(..) => Scope::Subnet,
        }
    }

    /// The network's name, the tag, or the prefix.
    pub fn name(&self) -> String {
        match self {
            Group::Network(name) | Group::Tag(name) => name.to_string(),
            Group::Subnet(_, first) => format!("{first}/{}", PREFIXES[usize::from(first.is_ipv6())]),
        }
    }

    /// The network that it lies in; a tag may reach over several.
    pub fn network(&self) -> Option<&str> {
        match self {
            Group::Network(name) | Group::Subnet(name, _) => Some(name),
            Group::Tag(_) => None,
        }
    }

    /// From how an alarm names it: the inverse of [`Group::scope`], [`Group::name`] and [`Group::network`].
    pub fn named(scope: Scope, name: &str, network: &str) -> Option<Group> {
        match scope {
            Scope::Network => Some(Group::Network(name.into())),
            Scope::Tag => Some(Group::Tag(name.into())),
            Scope::Subnet => Some(Group::subnet(network.into(), name.split_once('/')?.0.parse().ok()?)),
        }
    }
}

/// Where an address is, and how it is watched.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its network.
    pub network: Arc<str>,
    /// The address.
    pub address: IpAddr,
    /// The tag that it shares with those on the same machine.
    pub tag: Option<Arc<str>>,
    /// Its policy.
    pub policy: Arc<Policy>,
}

impl Place {
    /// Its groups, the widest first.
    pub(super) fn groups(&self) -> [Option<Group>; 3] {
        let subnet = Group::subnet(self.network.clone(), self.address);
        [Some(Group::Network(self.network.clone())), self.tag.clone().map(Group::Tag), Some(subnet)]
    }
}

/// How large a group is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Size {
    /// Addresses.
    pub members: u32,
    /// How many of them are probed in a second.
    pub per_second: f64,
}

/// Who knows how large groups are. Asked only about groups in which some are silent.
pub trait Census {
    /// Another number whenever sizes may have changed.
    fn epoch(&self) -> u64;
    /// The size of a group; `None`: not known yet.
    fn size(&mut self, group: &Group) -> Option<Size>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_found_again_by_the_name_that_an_alarm_gave_it() {
        let net: Arc<str> = "net-a".into();
        for group in [
            Group::Network(net.clone()),
            Group::Tag("hypervisor=h1".into()),
            Group::subnet(net.clone(), [10, 1, 2, 3].into()),
            Group::subnet(net.clone(), "2001:db8::1:2:3:4".parse().unwrap()),
        ] {
            assert_eq!(Group::named(group.scope(), &group.name(), group.network().unwrap_or_default()), Some(group.clone()), "{group:?}");
        }
        let Group::Subnet(_, first) = Group::subnet(net, [10, 1, 2, 3].into()) else { panic!() };
        assert_eq!((first, Group::last_of(first)), ([10, 1, 2, 0].into(), IpAddr::from([10, 1, 2, 255])));
        assert_eq!(Group::last_of("2001:db8::".parse().unwrap()), "2001:db8::ffff:ffff:ffff:ffff".parse::<IpAddr>().unwrap());
    }
}
