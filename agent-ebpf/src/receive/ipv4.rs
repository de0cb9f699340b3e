//! ARP replies, ICMP echo replies, and ICMP errors that quote a probe of ours.

use super::{Claim, Frame, Kind, MAC, Named, halves};
use crate::frame::{arp as arp_header, eth, icmp, ipv4};
use crate::target;

/// Version 4, a header of 20 bytes.
const PLAIN: u8 = 0x45;

/// An IPv4 packet. `second` ends with its first two bytes.
#[inline(always)]
pub(super) fn parse<F: Frame, const SHIFT: usize>(frame: F, second: u64, tags: u64) -> Option<Claim> {
    if (second >> 48) as u8 != PLAIN {
        return echo_with_options::<F, SHIFT>(frame, tags);
    }
    let ip: u64 = frame.get(16 + SHIFT)?;
    // Fragments: nobody splits so little.
    if (ip >> 32) as u16 & 0x3fff_u16.to_be() != 0 || (ip >> 56) as u8 != ipv4::ICMP {
        return None;
    }
    let head: u64 = frame.get(32 + SHIFT)?;
    match (head >> 16) as u8 {
        icmp::ECHO_REPLY => echo::<F, SHIFT>(frame, ip as u16, head, tags),
        icmp::UNREACHABLE | icmp::TIME_EXCEEDED | icmp::PARAMETER_PROBLEM => quote::<F, SHIFT>(frame, head, tags),
        _ => None,
    }
}

/// An echo reply in a packet without options or tags; `None` for whatever else it may be.
#[inline(always)]
pub(super) fn plain_echo<F: Frame>(frame: F, second: u64) -> Option<Claim> {
    const START: u32 = u32::from_le_bytes([8, 0, PLAIN, 0]);
    let (ip, head): (u64, u64) = (frame.get(16)?, frame.get(32)?);
    let is_echo = (head >> 16) as u8 == icmp::ECHO_REPLY && (ip >> 56) as u8 == ipv4::ICMP;
    if (second >> 32) as u32 & 0x00ff_ffff != START || !is_echo || (ip >> 32) as u16 & 0x3fff_u16.to_be() != 0 {
        return None;
    }
    echo::<F, 0>(frame, ip as u16, head, 0)
}

/// ICMP echo reply in an unfragmented IPv4 packet without options: nearly all there are. By whole words, because this
/// runs for each answer and the compiler would read single bytes.
#[inline(always)]
fn echo<F: Frame, const SHIFT: usize>(frame: F, total: u16, head: u64, tags: u64) -> Option<Claim> {
    const TOTAL: u16 = ((ipv4::LEN + icmp::LEN) as u16).to_be();
    if total != TOTAL || (head >> 24) as u8 != 0 {
        return None;
    }
    // The shortest one ends at byte 54.
    let (addresses, middle): (u64, u64) = (frame.get(24 + SHIFT)?, frame.get(40 + SHIFT)?);
    let (low, high): (u32, u16) = (frame.get(48 + SHIFT)?, frame.get(52 + SHIFT)?);
    if (middle >> 16) as u32 != u32::from_le_bytes(icmp::MARK_VALUE) {
        return None;
    }
    let tail = u64::from(low) | u64::from(high) << 32;
    Some(Claim {
        id: u16::from_be((head >> 48) as u16),
        sequence: u16::from_be(middle as u16),
        slot: Named::slot(u32::from_be((middle >> 48) as u32 | (tail as u32) << 16)),
        nonce: u32::from_be((tail >> 16) as u32),
        sum: halves(head >> 16) + halves(middle) + halves(tail),
        ..Claim::new(Kind::Echo, tags, [0, target::mapped_word((addresses >> 16) as u32)])
    })
}

/// The same with options.
#[inline(always)]
fn echo_with_options<F: Frame, const SHIFT: usize>(frame: F, tags: u64) -> Option<Claim> {
    let first: u8 = frame.get(eth::LEN + SHIFT)?;
    let (total, fragment): (u16, u16) = (frame.get(16 + SHIFT)?, frame.get(20 + SHIFT)?);
    let (protocol, source): (u8, u32) = (frame.get(23 + SHIFT)?, frame.get(26 + SHIFT)?);
    let header = usize::from(first & 0x0f) * 4;
    if first >> 4 != 4 || header < ipv4::LEN || u16::from_be(fragment) & 0x3fff != 0 || protocol != ipv4::ICMP {
        return None;
    }
    // Our echo has one length only. Frames are padded, so the length in the header is the one that counts.
    if usize::from(u16::from_be(total)) != header + icmp::LEN {
        return None;
    }
    let start = eth::LEN + SHIFT + header;
    let (kind, ids): (u32, u32) = (frame.get(start)?, frame.get(start + 4)?);
    let (mark, slot, nonce): (u32, u32, u32) = (frame.get(start + 8)?, frame.get(start + 12)?, frame.get(start + 16)?);
    if kind as u16 != u16::from_le_bytes([icmp::ECHO_REPLY, 0]) || mark != u32::from_le_bytes(icmp::MARK_VALUE) {
        return None;
    }
    let sum = [kind, ids, mark, slot, nonce];
    Some(Claim {
        id: u16::from_be(ids as u16),
        sequence: u16::from_be((ids >> 16) as u16),
        slot: Named::slot(u32::from_be(slot)),
        nonce: u32::from_be(nonce),
        sum: halves(u64::from(sum[0]) | u64::from(sum[1]) << 32)
            + halves(u64::from(sum[2]) | u64::from(sum[3]) << 32)
            + halves(u64::from(sum[4])),
        ..Claim::new(Kind::Echo, tags, [0, target::mapped_word(source)])
    })
}

/// An ICMP error: it quotes at least the IP header and eight bytes of what it is about (RFC 792), mostly more (RFC 1812,
/// 4.3.2.3). Its own checksum is not looked at: it covers bytes that we do not read, and it only ever explains.
#[inline(always)]
fn quote<F: Frame, const SHIFT: usize>(frame: F, head: u64, tags: u64) -> Option<Claim> {
    let from: u32 = frame.get(26 + SHIFT)?;
    let (version, total, protocol): (u8, u16, u8) = (frame.get(42 + SHIFT)?, frame.get(44 + SHIFT)?, frame.get(51 + SHIFT)?);
    let (address, kind, ids): (u32, u16, u32) = (frame.get(58 + SHIFT)?, frame.get(62 + SHIFT)?, frame.get(66 + SHIFT)?);
    const TOTAL: u16 = ((ipv4::LEN + icmp::LEN) as u16).to_be();
    if version != PLAIN || total != TOTAL || protocol != ipv4::ICMP || kind != u16::from_le_bytes([icmp::ECHO_REQUEST, 0]) {
        return None;
    }
    let (slot, nonce) = quoted(frame, 70 + SHIFT)?;
    Some(Claim {
        id: u16::from_be(ids as u16),
        sequence: u16::from_be((ids >> 16) as u16),
        slot,
        nonce,
        because: ((head >> 16) as u16).swap_bytes(),
        from: [0, target::mapped_word(from)],
        ..Claim::new(Kind::Quote, tags, [0, target::mapped_word(address)])
    })
}

/// Slot and nonce of a quoted echo whose payload begins at an offset. No payload at all: a short quote. Another mark than ours:
/// `None`.
#[inline(always)]
pub(super) fn quoted<F: Frame>(frame: F, payload: usize) -> Option<(Named, u32)> {
    let (Some(mark), Some(slot), Some(nonce)) = (frame.get::<u32>(payload), frame.get::<u32>(payload + 4), frame.get::<u32>(payload + 8))
    else {
        return Some((Named::NOTHING, 0));
    };
    (mark == u32::from_le_bytes(icmp::MARK_VALUE)).then_some((Named::slot(u32::from_be(slot)), u32::from_be(nonce)))
}

/// ARP reply.
#[inline(always)]
pub(super) fn arp<F: Frame, const SHIFT: usize>(frame: F, second: u64, tags: u64) -> Option<Claim> {
    const P: [u8; 6] = arp_header::PREFIX;
    const OP: [u8; 2] = arp_header::REPLY.to_be_bytes();
    const REST: u64 = u64::from_le_bytes([P[2], P[3], P[4], P[5], OP[0], OP[1], 0, 0]);
    let (third, sender): (u64, u64) = (frame.get(16 + SHIFT)?, frame.get(24 + SHIFT)?);
    let asked: u64 = frame.get(32 + SHIFT)?;
    // To the end of the packet, although the asked address does not matter: our MAC was asked, that is enough.
    let _: u16 = frame.get(40 + SHIFT)?;
    if (second >> 48) as u16 != u16::from_le_bytes([P[0], P[1]]) || third & MAC != REST {
        return None;
    }
    Some(Claim {
        mac: third >> 48 | (sender & 0xffff_ffff) << 16,
        to: asked & MAC,
        ..Claim::new(Kind::Neighbour, tags, [0, target::mapped_word((sender >> 32) as u32)])
    })
}
