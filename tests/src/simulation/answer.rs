//! What a station makes of a question: frame in, frame out. Pure, and the same bytes that a host would send.

use rollcall_agent_ebpf::checksum::{add, finish};
use rollcall_agent_ebpf::fleet::{Cloud, Station, patched_checksum};
use rollcall_agent_ebpf::frame::{arp, eth, icmp, icmpv6, ipv4, ipv6};

const IP: usize = eth::LEN;
const ICMP: usize = IP + ipv4::LEN;
const ICMP_6: usize = IP + ipv6::LEN;

/// How an address was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    Arp,
    Echo,
    Solicitation,
    EchoV6,
}

impl Question {
    pub(super) fn is_on_link(self) -> bool {
        matches!(self, Question::Arp | Question::Solicitation)
    }
}

/// A question, and whom it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) question: Question,
    pub(super) station: Station,
    /// The station's IPv4 address, which its MAC is made of.
    pub(super) address: [u8; 4],
    /// Sent to all, or to a group.
    pub(super) to_all: bool,
}

/// Reads a question to a station of the cloud.
pub(super) fn read(frame: &[u8], cloud: Cloud) -> Option<Asked> {
    let to_all = frame.first()? & 1 != 0;
    let kind = u16::from_be_bytes(part(frame, 12)?);
    let (question, station, address) = match kind {
        eth::ARP => {
            let address = part(frame, IP + arp::TARGET.start)?;
            (Question::Arp, cloud.station(address)?, address)
        }
        eth::IPV4 if *frame.get(ICMP)? == icmp::ECHO_REQUEST => {
            let address = part(frame, IP + ipv4::DESTINATION.start)?;
            (Question::Echo, cloud.station(address)?, address)
        }
        eth::IPV6 => match *frame.get(ICMP_6)? {
            icmpv6::SOLICITATION => {
                let (station, address) = cloud.station_v6(part(frame, ICMP_6 + icmpv6::TARGET.start)?)?;
                (Question::Solicitation, station, address)
            }
            icmpv6::ECHO_REQUEST => {
                let (station, address) = cloud.station_v6(part(frame, IP + ipv6::DESTINATION.start)?)?;
                (Question::EchoV6, station, address)
            }
            _ => return None,
        },
        _ => return None,
    };
    Some(Asked { question, station, address, to_all })
}

/// Turns the question into the answer of a station with that MAC.
pub(super) fn write(frame: &mut [u8], question: Question, mac: [u8; 6]) {
    let asker: [u8; 6] = part(frame, eth::SOURCE.start).unwrap_or_default();
    frame[eth::DESTINATION].copy_from_slice(&asker);
    frame[eth::SOURCE].copy_from_slice(&mac);
    let packet = &mut frame[IP..];
    match question {
        Question::Arp => {
            let (us, them) = (part::<4>(packet, arp::TARGET.start), part::<4>(packet, arp::SENDER.start));
            packet[arp::OPERATION].copy_from_slice(&arp::REPLY.to_be_bytes());
            packet[arp::SENDER_MAC].copy_from_slice(&mac);
            packet[arp::SENDER].copy_from_slice(&us.unwrap_or_default());
            packet[arp::TARGET_MAC].copy_from_slice(&asker);
            packet[arp::TARGET].copy_from_slice(&them.unwrap_or_default());
        }
        Question::Echo => {
            swap(packet, ipv4::SOURCE.start, ipv4::DESTINATION.start, 4);
            let message = &mut packet[ipv4::LEN..];
            let sum = u16::from_be_bytes(part(message, icmp::CHECKSUM.start).unwrap_or_default());
            message[0] = icmp::ECHO_REPLY;
            let sum = patched_checksum(sum, u16::from_be_bytes([icmp::ECHO_REQUEST, 0]), u16::from_be_bytes([icmp::ECHO_REPLY, 0]));
            message[icmp::CHECKSUM].copy_from_slice(&sum.to_be_bytes());
        }
        Question::Solicitation => {
            let target: [u8; 16] = part(packet, ipv6::LEN + icmpv6::TARGET.start).unwrap_or_default();
            packet.copy_within(ipv6::SOURCE, ipv6::DESTINATION.start);
            packet[ipv6::SOURCE].copy_from_slice(&target);
            packet[ipv6::LEN] = icmpv6::ADVERTISEMENT;
            // Solicited, and overriding what was known (RFC 4861, 4.4).
            packet[ipv6::LEN + icmpv6::FLAGS] = icmpv6::SOLICITED | 0x20;
            packet[ipv6::LEN + icmpv6::OPTIONS..][..2].copy_from_slice(&icmpv6::TARGET_MAC);
            packet[ipv6::LEN + icmpv6::OPTIONS + 2..][..6].copy_from_slice(&mac);
            seal(packet);
        }
        Question::EchoV6 => {
            swap(packet, ipv6::SOURCE.start, ipv6::DESTINATION.start, 16);
            packet[ipv6::LEN] = icmpv6::ECHO_REPLY;
            seal(packet);
        }
    }
}

/// Computes the checksum of an ICMPv6 packet anew.
fn seal(packet: &mut [u8]) {
    let length = packet.len() - ipv6::LEN;
    packet[ipv6::LEN + 2..ipv6::LEN + 4].fill(0);
    let sum = add(length as u32 + u32::from(ipv6::ICMP), &packet[ipv6::SOURCE.start..]);
    packet[ipv6::LEN + 2..ipv6::LEN + 4].copy_from_slice(&finish(sum).to_be_bytes());
}

fn swap(bytes: &mut [u8], a: usize, b: usize, length: usize) {
    (0..length).for_each(|at| bytes.swap(a + at, b + at));
}

fn part<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}
