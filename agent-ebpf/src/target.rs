//! `TARGET[slot]`: all that the kernel side knows of an address. Written by userspace, read by the programs.
//!
//! ```text
//!  word 0..2   address        16 bytes, network order, IPv4 as ::ffff:a.b.c.d
//!  word 2      mac            6 bytes, then network: u16 little-endian
//!  word 3      nonce: u32, timeout in milliseconds: u16, flags: u8, spare: u8
//! ```
//! 32 bytes, four words, each stored with one atomic store. Userspace clears word 3 first and writes it last, so
//! a program never takes a half-written target for a live one: a target without [`LIVE`] is nobody's.

/// Words of a target.
pub const WORDS: usize = 4;

/// Flag: the slot is in use.
pub const LIVE: u8 = 1 << 0;
/// Flag: probed on the link, by ARP or neighbour discovery; otherwise with ICMP echo.
pub const ARP: u8 = 1 << 1;
/// Flag: an IPv6 address.
pub const V6: u8 = 1 << 2;
/// Flag, beside [`ARP`]: asked on the link and pinged in turn, by the parity of the sequence.
pub const BOTH: u8 = 1 << 3;
/// Flag, beside [`BOTH`]: pinged through the gateway of its family, whose MAC stands in `RUN`.
pub const FAR: u8 = 1 << 4;
/// Flag: no list gives the MAC, the agent learned it. The programs do not look at it.
pub const LEARNED: u8 = 1 << 5;

/// One address as the kernel side sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The address, IPv4 mapped.
    pub address: [u8; 16],
    /// Where frames go: the host's MAC or the gateway's; zero while it is not known.
    pub mac: [u8; 6],
    /// The agent's number of the network.
    pub network: u16,
    /// Drawn anew each time the slot is given to an address: an old reply never fits a new host.
    pub nonce: u32,
    /// How long a reply may take, in milliseconds.
    pub timeout_ms: u16,
    /// [`LIVE`], [`ARP`], [`V6`], [`BOTH`], [`FAR`], [`LEARNED`].
    pub flags: u8,
}

impl Target {
    /// As four words.
    pub fn words(&self) -> [u64; WORDS] {
        let mut head = [0; 8];
        let mut tail = [0; 8];
        head.copy_from_slice(&self.address[..8]);
        tail.copy_from_slice(&self.address[8..]);
        let [a, b, c, d, e, f] = self.mac;
        let [n0, n1] = self.network.to_le_bytes();
        let last = u64::from(self.nonce) | u64::from(self.timeout_ms) << 32 | u64::from(self.flags) << 48;
        [u64::from_le_bytes(head), u64::from_le_bytes(tail), u64::from_le_bytes([a, b, c, d, e, f, n0, n1]), last]
    }

    /// From four words.
    #[inline(always)]
    pub fn from_words(words: [u64; WORDS]) -> Self {
        let [h0, h1, h2, h3, h4, h5, h6, h7] = words[0].to_le_bytes();
        let [t0, t1, t2, t3, t4, t5, t6, t7] = words[1].to_le_bytes();
        let [a, b, c, d, e, f, n0, n1] = words[2].to_le_bytes();
        Target {
            address: [h0, h1, h2, h3, h4, h5, h6, h7, t0, t1, t2, t3, t4, t5, t6, t7],
            mac: [a, b, c, d, e, f],
            network: u16::from_le_bytes([n0, n1]),
            nonce: words[3] as u32,
            timeout_ms: (words[3] >> 32) as u16,
            flags: (words[3] >> 48) as u8,
        }
    }

    /// The IPv4 address in network order, when it is one (RFC 4291, 2.5.5.2).
    #[inline(always)]
    pub fn v4(&self) -> [u8; 4] {
        [self.address[12], self.address[13], self.address[14], self.address[15]]
    }
}

/// Whether the probe with that sequence asks on the link, by the flags of its target; otherwise it pings. Where both are done in
/// turn the even ones ask. So each of the two words of `SENT` is of one kind.
#[inline(always)]
pub const fn asks(flags: u8, sequence: u16) -> bool {
    flags & ARP != 0 && (flags & BOTH == 0 || sequence & 1 == 0)
}

/// Whether the probe with that sequence goes to the gateway's MAC instead of the target's.
#[inline(always)]
pub const fn passes_gateway(flags: u8, sequence: u16) -> bool {
    flags & FAR != 0 && sequence & 1 == 1
}

/// The second word of a target with an IPv4 address, whose four bytes are given in memory order; the first word is 0.
#[inline(always)]
pub const fn mapped_word(v4: u32) -> u64 {
    (v4 as u64) << 32 | 0xffff_0000
}

/// The two words in which a target holds an address.
#[inline(always)]
pub const fn address_words(address: &[u8; 16]) -> [u64; 2] {
    let [a0, a1, a2, a3, a4, a5, a6, a7, b0, b1, b2, b3, b4, b5, b6, b7] = *address;
    [u64::from_le_bytes([a0, a1, a2, a3, a4, a5, a6, a7]), u64::from_le_bytes([b0, b1, b2, b3, b4, b5, b6, b7])]
}

/// Whether an address is a link-local one (RFC 4291, 2.5.6), by its first word.
#[inline(always)]
pub const fn is_link_local(first: u64) -> bool {
    first & 0xc0ff == 0x80fe
}

/// An IPv4 address, in network order, as an address of 16 bytes.
#[inline(always)]
pub const fn mapped(v4: [u8; 4]) -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, v4[0], v4[1], v4[2], v4[3]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_words_round_trip() {
        let target = Target {
            address: mapped([10, 1, 2, 3]),
            mac: [2, 0x52, 10, 1, 2, 3],
            network: 513,
            nonce: 0xdead_beef,
            timeout_ms: 60_000,
            flags: LIVE | ARP,
        };
        assert_eq!(Target::from_words(target.words()), target);
        assert_eq!(target.v4(), [10, 1, 2, 3]);
        assert_eq!(target.words()[..2], [0, mapped_word(u32::from_le_bytes([10, 1, 2, 3]))]);
    }

    #[test]
    fn every_second_probe_asks_where_both_are_done_in_turn() {
        let asked = |flags| [0, 1, 2, 0xffff].map(|sequence| asks(LIVE | flags, sequence));
        assert_eq!((asked(ARP), asked(0)), ([true; 4], [false; 4]));
        assert_eq!(asked(ARP | BOTH), [true, false, true, false]);
        assert_eq!([0, 1].map(|sequence| passes_gateway(ARP | BOTH | FAR, sequence)), [false, true]);
        assert_eq!([0, 1].map(|sequence| passes_gateway(ARP | BOTH, sequence)), [false, false]);
    }
}
