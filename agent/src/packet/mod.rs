//! Packet: probes as bytes. Four frames are prepared once for each network; for each probe some words of one are filled in.
//!
//! On the link: ARP request (RFC 826) or neighbour solicitation (RFC 4861), unicast to the known MAC. Otherwise ICMP echo
//! request, in IPv4 without options (do not fragment, identification 0, RFC 6864) or in IPv6. Probes of IPv4 addresses are 60
//! bytes, the shortest Ethernet frame, those of IPv6 addresses 86, and either longer by the network's VLAN tags.

mod prepare;
mod question;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rollcall_agent_ebpf::config::{self, Tags};
use rollcall_agent_ebpf::frame::{eth, icmp, icmpv6, ipv4, ipv6};
use rollcall_agent_ebpf::probe;
use rollcall_agent_ebpf::target::{self, Target};

use crate::unit::{Family, Mac};

/// Length of the longest probe.
pub const LEN_MAX: usize = probe::LEN_V6 + 2 * eth::TAG;
/// Room for one probe.
pub type Frame = [u8; LEN_MAX];

const IP: usize = eth::LEN;
const ECHO: usize = eth::LEN + ipv4::LEN;
const ECHO_V6: usize = eth::LEN + ipv6::LEN;

/// Who the probes of a network come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// MAC of the interface.
    pub mac: Mac,
    /// IPv4 address; `None`: the agent has none there, and asks as in RFC 5227, 2.1.1.
    pub v4: Option<Ipv4Addr>,
    /// Link-local IPv6 address.
    pub link_local: Ipv6Addr,
    /// Whether the kernel has that address, and thus answers for it.
    pub owns_link_local: bool,
    /// An IPv6 address for targets that are not link-local.
    pub v6: Option<Ipv6Addr>,
    /// VLAN tags of the network.
    pub tags: Tags,
}

impl Sender {
    /// Of an interface with that MAC and no address.
    pub fn new(mac: Mac) -> Self {
        Sender { mac, v4: None, link_local: link_local(mac), owns_link_local: false, v6: None, tags: Tags::default() }
    }

    /// Whether an echo request to such an address has a source to which the answer finds its way. `near`: the address is on the link. No
    /// router forwards what comes from a link-local source (RFC 4291, 2.5.6).
    pub fn can_echo(&self, to: IpAddr, near: bool) -> bool {
        match to {
            IpAddr::V4(_) => self.v4.is_some(),
            IpAddr::V6(to) => near && self.owns_link_local || !to.is_unicast_link_local() && self.v6.is_some(),
        }
    }

    /// Length of its probes of IPv4 or IPv6 addresses.
    pub fn length(&self, v6: bool) -> usize {
        (if v6 { probe::LEN_V6 } else { probe::LEN }) + self.tags.count() * eth::TAG
    }
}

/// The link-local address that a MAC gives (RFC 4291, appendix A): nobody else on the link has it.
fn link_local(Mac([a, b, c, d, e, f]): Mac) -> Ipv6Addr {
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

/// The prepared frames of one network, as words (`rollcall_agent_ebpf::probe`), and the sums for their checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Templates {
    /// ARP request.
    pub arp: [u64; probe::WORDS],
    /// ICMP echo request, with its identifier.
    pub echo: [u64; probe::WORDS],
    /// Sums of the echo's IP header (low half) and ICMP header (high half).
    pub sums: u64,
    /// Neighbour solicitation.
    pub solicitation: [u64; probe::WORDS_V6],
    /// ICMPv6 echo request, with its identifier.
    pub echo_v6: [u64; probe::WORDS_V6],
    /// Sums of the solicitation (low half) and the ICMPv6 echo (high half), without source and destination.
    pub sums_v6: u64,
    /// Source of IPv6 probes to link-local targets, and to all others.
    pub sources: [probe::Source; 2],
    /// VLAN tags.
    pub tags: u64,
    /// MAC of the gateway of each family, as a word; 0: not known.
    pub gateways: [u64; 2],
}

impl Templates {
    /// Prepares the frames of a network for an ICMP identifier.
    pub fn new(sender: Sender, id: u16) -> Self {
        let (arp, solicitation) = (prepare::arp(sender), prepare::solicitation(sender));
        let (mut echo, mut echo_v6) = (prepare::echo(sender), prepare::echo_v6(sender));
        echo[ECHO..][icmp::ID].copy_from_slice(&id.to_be_bytes());
        echo_v6[ECHO_V6..][icmp::ID].copy_from_slice(&id.to_be_bytes());
        let (ip, icmp) = (probe::sum(&echo[IP..ECHO]), probe::sum(&echo[ECHO..ECHO + icmp::LEN]));
        // What the pseudo-header holds besides the addresses (RFC 8200, 8.1): length and next header.
        let pseudo = probe::sum(&[(icmpv6::LEN as u16).to_be_bytes(), u16::from(ipv6::ICMP).to_be_bytes()].concat());
        let (asks, echoes) = (pseudo + probe::sum(&solicitation[ECHO_V6..]), pseudo + probe::sum(&echo_v6[ECHO_V6..]));
        Templates {
            arp: probe::words(&arp),
            echo: probe::words(&echo),
            sums: u64::from(ip) | u64::from(icmp) << 32,
            solicitation: probe::words(&solicitation),
            echo_v6: probe::words(&echo_v6),
            sums_v6: u64::from(asks) | u64::from(echoes) << 32,
            sources: [sender.link_local, sender.v6.unwrap_or(sender.link_local)].map(source),
            tags: sender.tags.word(),
            gateways: [0; 2],
        }
    }

    /// The same for another ICMP identifier.
    pub fn with_id(&self, sender: Sender, id: u16) -> Self {
        Templates { gateways: self.gateways, ..Templates::new(sender, id) }
    }

    /// From now on what must pass the gateway of a family goes to this MAC; `None`: nowhere.
    pub fn set_gateway(&mut self, family: Family, mac: Option<Mac>) {
        self.gateways[family as usize] = mac.map_or(0, |mac| config::mac_word(mac.0));
    }

    /// Writes the probe of a target and says how long it is; 0: it must pass a gateway whose MAC is not known, and cannot leave.
    /// What the sequence says depends on the target: ICMP carries it, and it chooses where a target is asked and pinged in turn.
    pub fn write(&self, frame: &mut Frame, target: &Target, slot: u32, sequence: u16) -> usize {
        let mut words = target.words();
        if target::passes_gateway(target.flags, sequence) {
            words[2] = self.gateways[usize::from(target.flags & target::V6 != 0)];
            if words[2] == 0 {
                return 0;
            }
        }
        let on_link = target::asks(target.flags, sequence);
        if target.flags & target::V6 == 0 {
            self.put_v4(
                frame,
                &if on_link {
                    probe::arp(&self.arp, &words)
                } else {
                    probe::echo(&self.echo, &words, slot, sequence, self.sums as u32, (self.sums >> 32) as u32)
                },
            )
        } else {
            let source = &self.sources[usize::from(!target::is_link_local(words[0]))];
            self.put_v6(
                frame,
                &if on_link {
                    probe::solicitation(&self.solicitation, &words, source, self.sums_v6 as u32)
                } else {
                    probe::echo_v6(&self.echo_v6, &words, slot, sequence, source, (self.sums_v6 >> 32) as u32)
                },
            )
        }
    }

    fn put_v4(&self, frame: &mut Frame, words: &[u64; probe::WORDS]) -> usize {
        match self.tags {
            0 => put(frame, words, probe::LEN),
            tag if tag >> 32 == 0 => put(frame, &probe::tag_once::<_, 8>(words, tag as u32), probe::LEN + eth::TAG),
            tags => put(frame, &probe::tag_twice::<_, 9>(words, tags), probe::LEN + 2 * eth::TAG),
        }
    }

    fn put_v6(&self, frame: &mut Frame, words: &[u64; probe::WORDS_V6]) -> usize {
        match self.tags {
            0 => put(frame, words, probe::LEN_V6),
            tag if tag >> 32 == 0 => put(frame, &probe::tag_once::<_, 12>(words, tag as u32), probe::LEN_V6 + eth::TAG),
            tags => put(frame, &probe::tag_twice::<_, 12>(words, tags), probe::LEN_V6 + 2 * eth::TAG),
        }
    }
}

fn put(frame: &mut Frame, words: &[u64], length: usize) -> usize {
    let mut bytes = frame.chunks_mut(8);
    for word in words {
        if let Some(bytes) = bytes.next() {
            bytes.copy_from_slice(&word.to_ne_bytes()[..bytes.len()]);
        }
    }
    length
}

fn source(address: Ipv6Addr) -> probe::Source {
    let octets = address.octets();
    let [high, low] = target::address_words(&octets);
    [high, low, u64::from(probe::sum(&octets))]
}

#[cfg(test)]
mod tests;
