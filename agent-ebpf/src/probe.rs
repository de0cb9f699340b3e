//! Probes as words: how the in-kernel transmitter makes a frame out of a template and a target.
//!
//! A frame is [`WORDS`] words in memory order, so word 0 is its first eight bytes, on a little-endian machine lowest byte
//! first. The templates are made in userspace, once for each network: every byte that stays, zero where something
//! changes. Frames of a test run are recycled without being reset, so all words are written each time.
//!
//! A longer frame (ICMPv6 echo has 74 bytes, a neighbour solicitation 86) is another kind with a template of its own length
//! and its own call, because one call has one length of frame.

use crate::target;

/// Words of a frame of 60 bytes; of the last word only the lower half is in the frame.
pub const WORDS: usize = 8;

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

/// The sum of the 16-bit words, in memory order, of some bytes of a template.
pub fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks_exact(2).map(|pair| u32::from(u16::from_ne_bytes([pair[0], pair[1]]))).sum()
}

/// The words of a frame of 60 bytes.
pub fn words(frame: &[u8; 60]) -> [u64; WORDS] {
    let mut bytes = [0; WORDS * 8];
    bytes[..60].copy_from_slice(frame);
    core::array::from_fn(|i| u64::from_ne_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|byte| bytes[i * 8 + byte])))
}
