//! Probes as words: how the in-kernel transmitter makes a frame out of a template and a target.
//!
//! A frame is [`WORDS`] words in memory order, so word 0 is its first eight bytes, on a little-endian machine lowest byte
//! first. The templates are made in userspace, once for each network: every byte that stays, zero where something
//! changes. Frames of a test run are recycled without being reset, so all words are written each time.
//!
//! Probes of IPv6 addresses are longer, both kinds 86 bytes: a call has one length of frame, so IPv4 and IPv6 go in different
//! calls. VLAN tags are put in at the end ([`tag_once`], [`tag_twice`]).

use crate::target;

/// Words of a frame of 60 bytes; of the last word only the lower half is in the frame.
pub const WORDS: usize = 8;

/// Bytes of a probe of an IPv4 address, without tags.
pub const LEN: usize = 60;
/// Words of a probe of an IPv6 address; of the last word only the lower six bytes are in the frame.
pub const WORDS_V6: usize = 11;
/// Bytes of one: headers of 14 and 40 bytes, ICMPv6 of 32.
pub const LEN_V6: usize = 86;

const MAC: u64 = (1 << 48) - 1;

/// The value of a checksum field (RFC 1071) for a sum of 16-bit words. Words in memory order give a field in memory order.
#[inline(always)]
pub const fn checksum(sum: u64) -> u64 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    !sum & 0xffff
}

/// The sum of the two 16-bit words of a `u32`.
#[inline(always)]
const fn halves(value: u32) -> u64 {
    (value & 0xffff) as u64 + (value >> 16) as u64
}

/// The IPv4 address of a target in memory order: its last four bytes.
#[inline(always)]
const fn v4(target: &[u64; target::WORDS]) -> u32 {
    (target[1] >> 32) as u32
}

/// ARP request to the target's MAC (RFC 826): destination in bytes 0 to 5, asked address in bytes 38 to 41.
#[inline(always)]
pub const fn arp(template: &[u64; WORDS], target: &[u64; target::WORDS]) -> [u64; WORDS] {
    let address = v4(target) as u64;
    let mut frame = *template;
    frame[0] |= target[2] & MAC;
    frame[4] |= address << 48;
    frame[5] |= address >> 16;
    frame
}

/// ICMP echo request (RFC 792). The identifier is in the template; `ip_sum` and `icmp_sum` are the sums of the template's
/// two headers in memory order.
#[inline(always)]
pub const fn echo(
    template: &[u64; WORDS],
    target: &[u64; target::WORDS],
    slot: u32,
    sequence: u16,
    ip_sum: u32,
    icmp_sum: u32,
) -> [u64; WORDS] {
    let (address, slot, nonce, sequence) = (v4(target), slot.to_be(), (target[3] as u32).to_be(), sequence.to_be());
    let ip = checksum(ip_sum as u64 + halves(address));
    let icmp = checksum(icmp_sum as u64 + halves(slot) + halves(nonce) + sequence as u64);
    let mut frame = *template;
    frame[0] |= target[2] & MAC;
    frame[3] |= ip | (address as u64) << 48;
    frame[4] |= (address >> 16) as u64 | icmp << 32;
    frame[5] |= sequence as u64 | (slot as u64) << 48;
    frame[6] |= (slot >> 16) as u64 | (nonce as u64) << 16;
    frame
}

/// A source address of IPv6 probes, and the sum of its 16-bit words.
pub type Source = [u64; 3];

/// A frame with source and destination put in, and the sum under its checksum so far.
#[inline(always)]
const fn addressed(template: &[u64; WORDS_V6], target: &[u64; target::WORDS], source: &Source, sum: u32) -> ([u64; WORDS_V6], u64) {
    let (a, b) = (target[0], target[1]);
    let mut frame = *template;
    frame[0] |= target[2] & MAC;
    // Source from byte 22 to 37, destination from 38 to 53.
    frame[2] |= source[0] << 48;
    frame[3] = source[0] >> 16 | source[1] << 48;
    frame[4] = source[1] >> 16 | a << 48;
    frame[5] = a >> 16 | b << 48;
    frame[6] |= b >> 16;
    (frame, sum as u64 + source[2] + quarters(a) + quarters(b))
}

/// The sum of the four 16-bit words of a word.
#[inline(always)]
const fn quarters(word: u64) -> u64 {
    (word & 0xffff) + (word >> 16 & 0xffff) + (word >> 32 & 0xffff) + (word >> 48)
}

/// Neighbour solicitation to the target's MAC (RFC 4861, 4.3 and 7.2.2): destination and asked address are the target's.
#[inline(always)]
pub const fn solicitation(template: &[u64; WORDS_V6], target: &[u64; target::WORDS], source: &Source, sum: u32) -> [u64; WORDS_V6] {
    let (a, b) = (target[0], target[1]);
    let (mut frame, sum) = addressed(template, target, source, sum);
    // Checksum in bytes 56 and 57, asked address from byte 62 to 77.
    frame[7] |= checksum(sum + quarters(a) + quarters(b)) | a << 48;
    frame[8] = a >> 16 | b << 48;
    frame[9] |= b >> 16;
    frame
}

/// ICMPv6 echo request (RFC 4443, 4.1). The identifier is in the template.
#[inline(always)]
pub const fn echo_v6(
    template: &[u64; WORDS_V6],
    target: &[u64; target::WORDS],
    slot: u32,
    sequence: u16,
    source: &Source,
    sum: u32,
) -> [u64; WORDS_V6] {
    let (slot, nonce, sequence) = (slot.to_be(), (target[3] as u32).to_be(), sequence.to_be());
    let (mut frame, sum) = addressed(template, target, source, sum);
    // Checksum in bytes 56 and 57, sequence 60 and 61, slot 66 to 69, nonce 70 to 73.
    frame[7] |= checksum(sum + halves(slot) + halves(nonce) + sequence as u64) | (sequence as u64) << 32;
    frame[8] |= (slot as u64) << 16 | (nonce as u64) << 48;
    frame[9] |= (nonce >> 16) as u64;
    frame
}

/// A frame with one VLAN tag after the MACs: four bytes longer. Each word is made at once: zeroed first, they would be zeroed by a call
/// that goes byte by byte, and that is one frame more on the kernel's small stack.
#[inline(always)]
pub fn tag_once<const N: usize, const M: usize>(frame: &[u64; N], tag: u32) -> [u64; M] {
    core::array::from_fn(|i| match i {
        0 => frame[0],
        1 => frame[1] & 0xffff_ffff | u64::from(tag) << 32,
        _ => (if i < N { frame[i] << 32 } else { 0 }) | (if i <= N { frame[i - 1] >> 32 } else { 0 }),
    })
}

/// A frame with two: eight bytes longer.
#[inline(always)]
pub fn tag_twice<const N: usize, const M: usize>(frame: &[u64; N], tags: u64) -> [u64; M] {
    core::array::from_fn(|i| match i {
        0 => frame[0],
        1 => frame[1] & 0xffff_ffff | tags << 32,
        2 => tags >> 32 | frame[1] & !0xffff_ffff,
        _ if i <= N => frame[i - 1],
        _ => 0,
    })
}

/// The sum of the 16-bit words, in memory order, of some bytes of a template.
pub fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks_exact(2).map(|pair| u32::from(u16::from_ne_bytes([pair[0], pair[1]]))).sum()
}

/// The words of a frame, zero behind its end.
pub fn words<const N: usize>(frame: &[u8]) -> [u64; N] {
    core::array::from_fn(|i| u64::from_ne_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|byte| frame.get(i * 8 + byte).copied().unwrap_or_default())))
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    #[test]
    fn tags_go_between_the_macs_and_the_type() {
        let frame: std::vec::Vec<u8> = (0..86).collect();
        let bytes =
            |words: &[u64], length: usize| words.iter().flat_map(|word| word.to_le_bytes()).take(length).collect::<std::vec::Vec<u8>>();
        let (tag, tags) = ([0x81u8, 0, 0, 5], [0x88, 0xa8, 0, 7, 0x81, 0, 0, 5]);
        let once: [u64; 12] = tag_once(&words::<WORDS_V6>(&frame), u32::from_le_bytes(tag));
        assert_eq!(bytes(&once, 90), [&frame[..12], &tag, &frame[12..]].concat());
        let twice: [u64; 12] = tag_twice(&words::<WORDS_V6>(&frame), u64::from_le_bytes(tags));
        assert_eq!(bytes(&twice, 94), [&frame[..12], &tags, &frame[12..]].concat());
        let short: [u64; 8] = tag_once(&words::<WORDS>(&frame[..60]), u32::from_le_bytes(tag));
        assert_eq!(bytes(&short, 64), [&frame[..12], &tag, &frame[12..60]].concat());
        let longer: [u64; 9] = tag_twice(&words::<WORDS>(&frame[..60]), u64::from_le_bytes(tags));
        assert_eq!(bytes(&longer, 68), [&frame[..12], &tags, &frame[12..60]].concat());
    }
}
