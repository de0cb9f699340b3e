//! Neighbour advertisements, ICMPv6 echo replies, and ICMPv6 errors that quote a probe of ours.

use super::ipv4::quoted;
use super::{Claim, Frame, Kind, MAC, Named, halves};
use crate::frame::{eth, icmp, icmpv6, ipv6};

/// Extension headers that are stepped over.
const EXTENSIONS: usize = 4;
/// The longest that one may be, in units of eight bytes beyond the first.
const EXTENSION_MAX: u8 = 15;
/// Where an ICMPv6 header may begin at most.
const START_MAX: usize = eth::LEN + 2 * eth::TAG + ipv6::LEN + EXTENSIONS * 8 * (1 + EXTENSION_MAX as usize);
/// Options that an advertisement may have.
const OPTIONS: usize = 4;

/// An IPv6 packet.
#[inline(always)]
pub(super) fn parse<F: Frame, const SHIFT: usize>(frame: F, tags: u64) -> Option<Claim> {
    let head: u64 = frame.get(14 + SHIFT)?;
    if (head as u8) >> 4 != 6 {
        return None;
    }
    let (length, next, hops) = (u16::from_be((head >> 32) as u16), (head >> 48) as u8, (head >> 56) as u8);
    if next != ipv6::ICMP {
        return extended::<F, SHIFT>(frame, next, length, tags);
    }
    let start = eth::LEN + ipv6::LEN + SHIFT;
    let first: u64 = frame.get(start)?;
    match first as u8 {
        icmpv6::ADVERTISEMENT => advertisement::<F, SHIFT>(frame, first, length, hops, tags),
        icmpv6::ECHO_REPLY => echo::<F, SHIFT>(frame, start, length, tags),
        icmpv6::UNREACHABLE | icmpv6::TIME_EXCEEDED | icmpv6::PARAMETER_PROBLEM => quote::<F, SHIFT>(frame, first, tags),
        _ => None,
    }
}

/// Sum of the pseudo-header (RFC 8200, 8.1) and the source address as two words.
#[inline(always)]
fn pseudo<F: Frame, const SHIFT: usize>(frame: F, length: u16) -> Option<(u64, [u64; 2])> {
    let source: [u64; 2] = [frame.get(22 + SHIFT)?, frame.get(30 + SHIFT)?];
    let destination: [u64; 2] = [frame.get(38 + SHIFT)?, frame.get(46 + SHIFT)?];
    let sum = halves(source[0]) + halves(source[1]) + halves(destination[0]) + halves(destination[1]);
    Some((sum + u64::from(length.to_be()) + u64::from(u16::from(ipv6::ICMP).to_be()), source))
}

/// Neighbour advertisement (RFC 4861, 4.4 and 7.1.2), solicited: it answers a question.
#[inline(always)]
fn advertisement<F: Frame, const SHIFT: usize>(frame: F, first: u64, length: u16, hops: u8, tags: u64) -> Option<Claim> {
    let start = eth::LEN + ipv6::LEN + SHIFT;
    let solicited = (first >> 32) as u8 & icmpv6::SOLICITED != 0;
    let options = usize::from(length).wrapping_sub(icmpv6::OPTIONS);
    if hops != ipv6::NEIGHBOUR_HOPS || (first >> 8) as u8 != 0 || !solicited || !options.is_multiple_of(8) || options > OPTIONS * 8 {
        return None;
    }
    let address: [u64; 2] = [frame.get(start + 8)?, frame.get(start + 16)?];
    let (mut sum, _) = pseudo::<F, SHIFT>(frame, length)?;
    sum += halves(first) + halves(address[0]) + halves(address[1]);
    // The answer to a question that went to one MAC may leave its own out: then the frame's source says it.
    let (front, source): (u64, u32) = (frame.get(0)?, frame.get(8)?);
    let mut mac = front >> 48 | u64::from(source) << 16;
    let mut next = 0;
    let mut at = 0;
    while at < OPTIONS && at * 8 < options {
        let option: u64 = frame.get(start + icmpv6::OPTIONS + at * 8)?;
        sum += halves(option);
        if at == next {
            let units = (option >> 8) as u8;
            // An option without length: the whole is to be discarded.
            if units == 0 {
                return None;
            }
            if option as u16 == u16::from_le_bytes(icmpv6::TARGET_MAC) {
                mac = option >> 16;
            }
            next = at + units as usize;
        }
        at += 1;
    }
    Some(Claim { mac, to: front & MAC, sum, ..Claim::new(Kind::Neighbour, tags, address) })
}

/// Echo reply whose ICMPv6 header begins at an offset.
#[inline(always)]
fn echo<F: Frame, const SHIFT: usize>(frame: F, start: usize, length: u16, tags: u64) -> Option<Claim> {
    if usize::from(length) != icmpv6::LEN {
        return None;
    }
    let (first, second): (u64, u64) = (frame.get(start)?, frame.get(start + 8)?);
    let (third, fourth): (u64, u64) = (frame.get(start + 16)?, frame.get(start + 24)?);
    if first as u16 != u16::from_le_bytes([icmpv6::ECHO_REPLY, 0]) || second as u32 != u32::from_le_bytes(icmp::MARK_VALUE) {
        return None;
    }
    let (sum, source) = pseudo::<F, SHIFT>(frame, length)?;
    Some(Claim {
        id: u16::from_be((first >> 32) as u16),
        sequence: u16::from_be((first >> 48) as u16),
        slot: Named::slot(u32::from_be((second >> 32) as u32)),
        nonce: u32::from_be(third as u32),
        sum: sum + halves(first) + halves(second) + halves(third) + halves(fourth),
        ..Claim::new(Kind::Echo, tags, source)
    })
}

/// An echo reply behind extension headers; neighbour discovery has none. What has more or longer ones is not ours.
#[inline(always)]
fn extended<F: Frame, const SHIFT: usize>(frame: F, first: u8, length: u16, tags: u64) -> Option<Claim> {
    let mut start = eth::LEN + ipv6::LEN + SHIFT;
    let mut next = first;
    let mut step = 0;
    while step < EXTENSIONS && next != ipv6::ICMP {
        let head: u32 = frame.get(start)?;
        let units = (head >> 8) as u8;
        let units = match next {
            ipv6::HOP_BY_HOP | ipv6::OPTIONS | ipv6::ROUTING if units <= EXTENSION_MAX => units,
            // A fragment that is the whole packet (RFC 6946): no offset, none more.
            ipv6::FRAGMENT if (head >> 16) as u16 & 0xfff9_u16.to_be() == 0 => 0,
            _ => return None,
        };
        next = head as u8;
        start += 8 + usize::from(units) * 8;
        step += 1;
    }
    let extensions = start - (eth::LEN + ipv6::LEN + SHIFT);
    if next != ipv6::ICMP || start > START_MAX {
        return None;
    }
    echo::<F, SHIFT>(frame, start, length.checked_sub(extensions as u16)?, tags)
}

/// An ICMPv6 error: it quotes as much as fits (RFC 4443, 2.4).
#[inline(always)]
fn quote<F: Frame, const SHIFT: usize>(frame: F, first: u64, tags: u64) -> Option<Claim> {
    let from: [u64; 2] = [frame.get(22 + SHIFT)?, frame.get(30 + SHIFT)?];
    let head: u64 = frame.get(62 + SHIFT)?;
    let address: [u64; 2] = [frame.get(86 + SHIFT)?, frame.get(94 + SHIFT)?];
    let echo: u64 = frame.get(102 + SHIFT)?;
    if (head as u8) >> 4 != 6 || (head >> 48) as u8 != ipv6::ICMP || echo as u16 != u16::from_le_bytes([icmpv6::ECHO_REQUEST, 0]) {
        return None;
    }
    let (slot, nonce) = quoted(frame, 110 + SHIFT)?;
    Some(Claim {
        id: u16::from_be((echo >> 32) as u16),
        sequence: u16::from_be((echo >> 48) as u16),
        slot,
        nonce,
        because: (first as u16).swap_bytes(),
        from,
        ..Claim::new(Kind::Quote, tags, address)
    })
}
