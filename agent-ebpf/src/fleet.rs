//! The simulated cloud of the lab: which addresses exist, and the layouts that its XDP program shares with the lab.
//!
//! | station | number | address | MAC |
//! |---|---|---|---|
//! | gateway | 0 | 10.128.0.2 | as every MAC of the lab: 02:52, then the four octets of the address |
//! | on-link host `i` of `N` | `i`, from 1 | 10.128.1.0 + `i` | the same |
//! | routed host `j` of `M` | `N + j` | 10.64.1.0 + `j` | none: it is behind the gateway |
//!
//! Every station has IPv6 addresses too, each ending with the four octets of its IPv4 address: on the link fe80::/64 and
//! fd52:0:0:1::/64, behind the gateway fd52:0:0:2::/64.
//!
//! The station number is the index into `BEHAVIOUR`. A lab with VLANs has all stations again in each: VLAN 100 + k has the
//! numbers from `k` times the number of stations; of two tags the inner one counts. An on-link host and the gateway answer ARP requests, sent to
//! them or broadcast, and echo requests sent to their own MAC. A routed host answers echo requests that are sent to
//! the gateway's MAC, as an on-link host does; the answer comes from that MAC, with one hop less to live.

pub mod words;

/// The agent's side of the lab.
pub const AGENT: [u8; 4] = [10, 128, 0, 1];
/// The gateway.
pub const GATEWAY: [u8; 4] = [10, 128, 0, 2];
/// On-link host `i` has this address plus `i`.
pub const ON_LINK_BASE: u32 = u32::from_be_bytes([10, 128, 1, 0]);
/// Routed host `j` has this address plus `j`.
pub const ROUTED_BASE: u32 = u32::from_be_bytes([10, 64, 1, 0]);
/// Bits of the network part of the on-link addresses.
pub const PREFIX_LENGTH: u8 = 9;
/// The IPv6 addresses of on-link stations begin with this, as do the agent's and the gateway's.
pub const V6_ON_LINK: [u8; 12] = [0xfd, 0x52, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];
/// Those of routed stations.
pub const V6_ROUTED: [u8; 12] = [0xfd, 0x52, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0];
/// Link-local ones.
pub const V6_LINK_LOCAL: [u8; 12] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// VLAN k has this identifier plus k, k from 1.
pub const VLAN_BASE: u16 = 100;
/// Most hosts of a kind. With it every on-link address stays below 10.160.0.0, every routed one below 10.96.0.0.
pub const HOSTS_MAX: u32 = 2_000_000;
/// TTL of an answer that leaves its host (RFC 1700's default, and Linux's).
pub const TTL: u8 = 64;

/// The MAC of a station.
#[inline(always)]
pub const fn mac(address: [u8; 4]) -> [u8; 6] {
    [0x02, 0x52, address[0], address[1], address[2], address[3]]
}

/// The MAC that a station with [`Behaviour::WRONG_MAC`] sends from.
#[inline(always)]
pub const fn wrong_mac(address: [u8; 4]) -> [u8; 6] {
    [0x02, 0x57, address[0], address[1], address[2], address[3]]
}

/// An IPv6 address of a station.
#[inline(always)]
pub const fn v6(prefix: [u8; 12], address: [u8; 4]) -> [u8; 16] {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = prefix;
    [a, b, c, d, e, f, g, h, i, j, k, l, address[0], address[1], address[2], address[3]]
}

/// How many hosts there are: the one value of the map `CLOUD`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Cloud {
    /// On-link hosts.
    pub on_link: u32,
    /// Routed hosts.
    pub routed: u32,
}

const _: () = assert!(size_of::<Cloud>() == 8);

impl Cloud {
    /// How many stations `BEHAVIOUR` holds: the gateway, the on-link hosts, the routed hosts.
    pub const fn stations(self) -> u32 {
        1 + self.on_link + self.routed
    }

    /// The station with this address, if there is one.
    #[inline(always)]
    pub fn station(self, address: [u8; 4]) -> Option<Station> {
        if address == GATEWAY {
            return Some(Station { number: 0, routed: false, first: 0 });
        }
        let address = u32::from_be_bytes(address);
        let i = address.wrapping_sub(ON_LINK_BASE);
        if i >= 1 && i <= self.on_link {
            return Some(Station { number: i, routed: false, first: 0 });
        }
        let j = address.wrapping_sub(ROUTED_BASE);
        if j >= 1 && j <= self.routed {
            return Some(Station { number: self.on_link + j, routed: true, first: 0 });
        }
        None
    }

    /// The station with this IPv6 address, and the IPv4 address that it has as well.
    #[inline(always)]
    pub fn station_v6(self, address: [u8; 16]) -> Option<(Station, [u8; 4])> {
        let [a, b, c, d, e, f, g, h, i, j, k, l, w, x, y, z] = address;
        let prefix = [a, b, c, d, e, f, g, h, i, j, k, l];
        let station = self.station([w, x, y, z])?;
        let here = if station.routed { prefix == V6_ROUTED } else { prefix == V6_ON_LINK || prefix == V6_LINK_LOCAL };
        if here { Some((station, [w, x, y, z])) } else { None }
    }

    /// The address of a station; `None` beyond the last one.
    pub const fn address(self, number: u32) -> Option<[u8; 4]> {
        if number == 0 {
            Some(GATEWAY)
        } else if number <= self.on_link {
            Some((ON_LINK_BASE + number).to_be_bytes())
        } else if number < self.stations() {
            Some((ROUTED_BASE + number - self.on_link).to_be_bytes())
        } else {
            None
        }
    }
}

/// One station of the cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Station {
    /// Index into `BEHAVIOUR`.
    pub number: u32,
    /// Whether it is behind the gateway.
    pub routed: bool,
    /// Number of the first station of its VLAN: the gateway's there.
    pub first: u32,
}

impl Station {
    /// Whether a request to it passes the gateway, given whether it is sent to the gateway's MAC.
    #[inline(always)]
    pub const fn is_passed_on(self, to_gateway: bool) -> bool {
        self.routed || (to_gateway && self.number != self.first)
    }

    /// The same station of the VLAN whose first station has that number.
    #[inline(always)]
    pub const fn after(self, first: u32) -> Self {
        Station { number: first + self.number, routed: self.routed, first }
    }
}

/// How a station behaves: one value of `BEHAVIOUR`. Zero is alive and well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Behaviour(pub u64);

impl Behaviour {
    /// It answers nothing.
    pub const DEAD: u64 = 1 << 0;
    /// It answers ARP, but its security group drops ICMP.
    pub const ICMP_FILTERED: u64 = 1 << 1;
    /// All that it sends comes from [`wrong_mac`], and its ARP says so, as if another station had taken the address. It is reached at
    /// either MAC.
    pub const WRONG_MAC: u64 = 1 << 2;
    /// A switch answers questions to all in its name, also when it is dead, as OVN and VTEPs do. Those to its own MAC reach it.
    pub const PROXIED: u64 = 1 << 3;
    /// The gateway says that it is unreachable. Only of a routed station.
    pub const UNREACHABLE: u64 = 1 << 4;
    /// It answers echo requests, and no question for its MAC.
    pub const NEIGHBOUR_FILTERED: u64 = 1 << 5;
    /// Another station, of [`wrong_mac`], answers questions to all for its address, and sooner than it does itself.
    pub const SECOND_OWNER: u64 = 1 << 6;
    const LOSS_SHIFT: u32 = 16;

    /// Whether a flag is set.
    #[inline(always)]
    pub const fn has(self, flag: u64) -> bool {
        self.0 & flag != 0
    }

    /// With a flag set or cleared.
    pub const fn with(self, flag: u64, on: bool) -> Self {
        if on { Self(self.0 | flag) } else { Self(self.0 & !flag) }
    }

    /// How many of a thousand requests it does not answer.
    #[inline(always)]
    pub const fn loss_per_mille(self) -> u32 {
        (self.0 >> Self::LOSS_SHIFT) as u32 & 0xffff
    }

    /// With another loss, at most 1000 per mille.
    pub const fn with_loss_per_mille(self, per_mille: u32) -> Self {
        let per_mille = if per_mille > 1000 { 1000 } else { per_mille };
        Self(self.0 & !(0xffff << Self::LOSS_SHIFT) | (per_mille as u64) << Self::LOSS_SHIFT)
    }
}

/// What the fleet did with a frame: the index into the per-CPU array `COUNTERS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Outcome {
    /// An ARP request was answered.
    ArpAnswered,
    /// An echo request was answered.
    IcmpAnswered,
    /// Dropped: the station is dead.
    Dead,
    /// Dropped: the station filters ICMP, or questions for its MAC.
    Filtered,
    /// Dropped: lost on the way, as the station's loss demands.
    Lost,
    /// Dropped: a request to a station with a wrong IPv4 or ICMP checksum.
    BadChecksum,
    /// Passed on: not a request to a station.
    Ignored,
    /// A neighbour solicitation was answered.
    NeighbourAnswered,
    /// An ICMPv6 echo request was answered.
    EchoV6Answered,
    /// The gateway answered that a station is unreachable.
    Unreachable,
}

impl Outcome {
    /// All of them, in the order of their counters.
    pub const ALL: [Outcome; 10] = [
        Outcome::ArpAnswered,
        Outcome::IcmpAnswered,
        Outcome::Dead,
        Outcome::Filtered,
        Outcome::Lost,
        Outcome::BadChecksum,
        Outcome::Ignored,
        Outcome::NeighbourAnswered,
        Outcome::EchoV6Answered,
        Outcome::Unreachable,
    ];

    /// The name that people see.
    pub fn label(self) -> &'static str {
        match self {
            Outcome::ArpAnswered => "arp_answered",
            Outcome::IcmpAnswered => "icmp_answered",
            Outcome::Dead => "dropped_dead",
            Outcome::Filtered => "dropped_filtered",
            Outcome::Lost => "dropped_loss",
            Outcome::BadChecksum => "dropped_bad_checksum",
            Outcome::Ignored => "ignored",
            Outcome::NeighbourAnswered => "neighbour_answered",
            Outcome::EchoV6Answered => "echo_v6_answered",
            Outcome::Unreachable => "unreachable_answered",
        }
    }
}

/// The new checksum field where one 16-bit word of what it covers changes (RFC 1624, equation 3). All in host order.
#[inline(always)]
pub const fn patched_checksum(checksum: u16, old: u16, new: u16) -> u16 {
    let sum = !checksum as u32 + !old as u32 + new as u32;
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::{add, finish};

    #[test]
    fn every_station_has_its_own_address_and_is_found_by_it() {
        let cloud = Cloud { on_link: 600, routed: 300 };
        for number in 0..cloud.stations() {
            let station = cloud.station(cloud.address(number).unwrap()).unwrap();
            assert_eq!(station, Station { number, routed: number > 600, first: 0 });
        }
        assert_eq!(cloud.address(cloud.stations()), None);
        for stranger in [AGENT, [10, 128, 1, 0], [10, 128, 3, 89], [10, 64, 1, 0], [10, 64, 2, 45], [0; 4], [255; 4]] {
            assert_eq!(cloud.station(stranger), None, "{stranger:?}");
        }
    }

    #[test]
    fn the_largest_cloud_stays_in_its_networks() {
        let cloud = Cloud { on_link: HOSTS_MAX, routed: HOSTS_MAX };
        assert!(cloud.address(HOSTS_MAX).unwrap() < [10, 160, 0, 0]);
        assert!(cloud.address(2 * HOSTS_MAX).unwrap() < [10, 96, 0, 0]);
    }

    #[test]
    fn loss_and_flags_do_not_disturb_one_another() {
        let lossy = Behaviour::default().with(Behaviour::DEAD, true).with_loss_per_mille(5000);
        assert_eq!((lossy.has(Behaviour::DEAD), lossy.loss_per_mille()), (true, 1000));
        let revived = lossy.with(Behaviour::DEAD, false).with_loss_per_mille(7);
        assert_eq!((revived.has(Behaviour::DEAD), revived.loss_per_mille()), (false, 7));
        assert_eq!(revived.with_loss_per_mille(0), Behaviour::default());
    }

    #[test]
    fn a_patched_checksum_is_the_checksum_of_the_patched_bytes() {
        for (old, new) in [([8, 0], [0, 0]), ([64, 1], [63, 1]), ([0, 0], [0xff, 0xff]), ([0xff, 0xff], [0, 0])] {
            let words = |word: [u8; 2]| finish(add(0, &[word[0], word[1], 0x12, 0x34, 0xab, 0xcd]));
            let patched = patched_checksum(words(old), u16::from_be_bytes(old), u16::from_be_bytes(new));
            assert_eq!(patched, words(new), "{old:?} -> {new:?}");
        }
    }
}
