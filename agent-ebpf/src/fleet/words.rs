//! The two requests that an agent sends, as words: an ARP request for IPv4 over Ethernet, and an echo request of 40 bytes
//! in IPv4 without options. Both stand whole in the first seven words of a frame, so the fleet reads,
//! checks and answers them by words of eight bytes, which costs a fraction of the way by bytes.
//!
//! Word `i` is bytes `8 i` to `8 i + 7` of the frame, little-endian; byte `b` of the frame is thus bits `8 (b % 8)` and up.
//! Frames:
//!
//! | word | ARP | echo |
//! |---|---|---|
//! | 0 | destination, source 0..2 | the same |
//! | 1 | source 2..6, type, hardware | source 2..6, type, version and length, service |
//! | 2 | protocol, lengths, operation, sender MAC 0..2 | total, identification, fragment, TTL, protocol |
//! | 3 | sender MAC 2..6, sender | checksum, source, destination 0..2 |
//! | 4 | target MAC, target 0..2 | destination 2..4, type, code, checksum, identifier |
//! | 5 | target 2..4, padding | sequence, mark, slot 0..2 |
//! | 6 | padding | slot 2..4, nonce, padding |

use super::patched_checksum;

/// How many words are looked at. Words beyond are never touched.
pub const COUNT: usize = 7;
/// How many words a reply changes; an ARP reply also the two bytes at [`ARP_LAST`].
pub const REPLY: usize = 5;
/// Where the last two bytes of an ARP packet are, in the frame.
pub const ARP_LAST: usize = 40;
/// The start of a frame.
pub type Words = [u64; COUNT];

const LOW_32: u64 = 0xffff_ffff;
const LOW_48: u64 = 0xffff_ffff_ffff;
/// EtherType ARP, hardware type 1: the upper half of word 1.
const ARP_HEAD: u64 = 0x0100_0608;
/// Protocol type IPv4, lengths 6 and 4, operation request: the lower 48 bits of word 2.
const ARP_REQUEST: u64 = 0x0100_0406_0008;
const ARP_REPLY: u64 = 0x0200_0406_0008;
/// EtherType IPv4, version 4, header of 20 bytes: bits 32 to 55 of word 1.
const IP_HEAD: u64 = 0x45_0008;
/// Total length, more fragments and offset, protocol.
const IP_MASK: u64 = 0xff00_ff3f_0000_ffff;
/// 40 bytes, no fragment, ICMP.
const IP_ECHO: u64 = 0x0100_0000_0000_2800;
/// Type echo request, code 0.
const ECHO_REQUEST: u16 = 0x0008;

/// A MAC as the lower 48 bits of a word.
pub type MacWord = u64;

/// The lab's MAC of an address: [`super::mac`] as a word.
#[inline(always)]
pub const fn mac(address: [u8; 4]) -> MacWord {
    0x5202 | (u32::from_le_bytes(address) as u64) << 16
}

/// [`super::wrong_mac`] as a word.
#[inline(always)]
pub const fn wrong_mac(address: [u8; 4]) -> MacWord {
    0x5702 | (u32::from_le_bytes(address) as u64) << 16
}

/// The broadcast MAC.
pub const BROADCAST: MacWord = LOW_48;

/// The destination of a frame.
#[inline(always)]
pub const fn destination(words: &Words) -> MacWord {
    words[0] & LOW_48
}

/// Whether the frame comes from a group address, which no station owns.
#[inline(always)]
pub const fn from_group(words: &Words) -> bool {
    words[0] >> 48 & 1 != 0
}

/// Whether the frame is an ARP request as RFC 826 has it for IPv4 over Ethernet.
#[inline(always)]
pub const fn is_arp(words: &Words) -> bool {
    words[1] >> 32 == ARP_HEAD && words[2] & LOW_48 == ARP_REQUEST
}

/// Sender and target address of an ARP request.
#[inline(always)]
pub const fn arp_addresses(words: &Words) -> ([u8; 4], [u8; 4]) {
    let target = (words[4] >> 48 | (words[5] & 0xffff) << 16) as u32;
    (((words[3] >> 32) as u32).to_le_bytes(), target.to_le_bytes())
}

/// The reply to an ARP request, sent from a MAC: its first words, and its last two bytes.
#[inline(always)]
pub const fn arp_reply(words: &Words, own: MacWord) -> ([u64; REPLY], u16) {
    let asker_mac = words[2] >> 48 | (words[3] & LOW_32) << 16;
    let (asker, address) = arp_addresses(words);
    let (asker, address) = (u32::from_le_bytes(asker) as u64, u32::from_le_bytes(address) as u64);
    let reply =
        [asker_mac | own << 48, own >> 16 | words[1] & !LOW_32, ARP_REPLY | own << 48, own >> 16 | address << 32, asker_mac | asker << 48];
    (reply, (asker >> 16) as u16)
}

/// Whether the frame is a whole echo request of 40 bytes without options.
#[inline(always)]
pub const fn is_echo(words: &Words) -> bool {
    words[1] >> 32 & 0xff_ffff == IP_HEAD && words[2] & IP_MASK == IP_ECHO && (words[4] >> 16) as u16 == ECHO_REQUEST
}

/// Source and destination of an echo request.
#[inline(always)]
pub const fn echo_addresses(words: &Words) -> ([u8; 4], [u8; 4]) {
    let destination = (words[3] >> 48 | (words[4] & 0xffff) << 16) as u32;
    (((words[3] >> 16) as u32).to_le_bytes(), destination.to_le_bytes())
}

/// The TTL of an echo request.
#[inline(always)]
pub const fn echo_ttl(words: &Words) -> u8 {
    (words[2] >> 48) as u8
}

/// Whether both checksums of an echo request are right (RFC 1071, which holds in either byte order).
#[inline(always)]
pub const fn echo_sums_up(words: &Words) -> bool {
    let ip = (words[1] >> 48) + halves(words[2]) + halves(words[3]) + (words[4] & 0xffff);
    let echo = halves(words[4] >> 16) + halves(words[5]) + halves(words[6] & LOW_48);
    is_whole(ip) && is_whole(echo)
}

#[inline(always)]
const fn halves(word: u64) -> u64 {
    (word & LOW_32) + (word >> 32)
}

/// Whether a sum of fewer than 2^16 halves folds to all ones.
#[inline(always)]
const fn is_whole(sum: u64) -> bool {
    let sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
    (sum & 0xffff) + (sum >> 16) == 0xffff
}

/// The first words of the reply to an echo request, sent from a MAC with this many hops left.
#[inline(always)]
pub const fn echo_reply(words: &Words, own: MacWord, left: u8) -> [u64; REPLY] {
    let asker_mac = words[0] >> 48 | (words[1] & LOW_32) << 16;
    let (asker, address) = echo_addresses(words);
    let (asker, address) = (u32::from_le_bytes(asker) as u64, u32::from_le_bytes(address) as u64);
    // TTL and protocol share a word of the sum. Source and destination swap, which leaves it as it is.
    let hops = (words[2] >> 48) as u16;
    let left = hops & 0xff00 | left as u16;
    let ip_sum = patched_checksum(words[3] as u16, hops, left) as u64;
    let echo_sum = patched_checksum((words[4] >> 32) as u16, ECHO_REQUEST, 0) as u64;
    [
        asker_mac | own << 48,
        own >> 16 | words[1] & !LOW_32,
        words[2] & LOW_48 | (left as u64) << 48,
        ip_sum | address << 16 | asker << 48,
        asker >> 16 | echo_sum << 32 | words[4] & 0xffff << 48,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet;

    fn words(frame: &[u8; 60]) -> Words {
        core::array::from_fn(|i| u64::from_le_bytes(frame[8 * i..8 * i + 8].try_into().unwrap()))
    }

    fn arp_request() -> [u8; 60] {
        let mut frame = [0xa5; 60];
        frame[..22].copy_from_slice(&[2, 0x52, 10, 128, 1, 44, 2, 0x52, 10, 128, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        frame[22..42].copy_from_slice(&[2, 0x52, 10, 128, 0, 1, 10, 128, 0, 1, 0, 0, 0, 0, 0, 0, 10, 128, 1, 44]);
        frame
    }

    #[test]
    fn a_mac_as_a_word_is_the_mac() {
        for address in [fleet::AGENT, fleet::GATEWAY, [10, 255, 254, 253]] {
            assert_eq!(mac(address).to_le_bytes()[..6], fleet::mac(address));
            assert_eq!(wrong_mac(address).to_le_bytes()[..6], fleet::wrong_mac(address));
        }
    }

    #[test]
    fn an_arp_request_is_known_by_every_bit_of_its_head() {
        let frame = arp_request();
        assert!(is_arp(&words(&frame)) && !is_echo(&words(&frame)));
        assert_eq!(arp_addresses(&words(&frame)), ([10, 128, 0, 1], [10, 128, 1, 44]));
        for bit in 12 * 8..22 * 8 {
            let mut other = frame;
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!is_arp(&words(&other)), "byte {}", bit / 8);
        }
    }

    #[test]
    fn every_single_bit_that_a_checksum_covers_is_missed_by_neither() {
        let mut frame = [0; 60];
        frame[12..36].copy_from_slice(&[8, 0, 0x45, 0, 0, 40, 1, 2, 0x40, 0, 64, 1, 0, 0, 10, 128, 0, 1, 10, 128, 1, 44, 8, 0]);
        frame[38..54].copy_from_slice(b"\x12\x34\0\x07rclr\0\0\x01\x02\xfe\xdc\xba\x98");
        for (at, part) in [(24, 14..34), (36, 34..54)] {
            let sum = crate::checksum::finish(crate::checksum::add(0, &frame[part]));
            frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        }
        assert!(is_echo(&words(&frame)) && echo_sums_up(&words(&frame)));
        for bit in 14 * 8..54 * 8 {
            let mut other = frame;
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!echo_sums_up(&words(&other)), "byte {}", bit / 8);
        }
        // What stands behind the packet is nobody's business.
        frame[54..].fill(0xa5);
        assert!(echo_sums_up(&words(&frame)));
    }
}
