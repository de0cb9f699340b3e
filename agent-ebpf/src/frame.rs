//! Where the fields of our frames are: Ethernet II, ARP for IPv4 over Ethernet (RFC 826), IPv4 (RFC 791),
//! ICMP echo (RFC 792). Offsets are from the start of the frame, or of the header where a header can move.

use core::ops::Range;

/// Ethernet II.
pub mod eth {
    use super::Range;
    /// Destination MAC.
    pub const DESTINATION: Range<usize> = 0..6;
    /// Source MAC.
    pub const SOURCE: Range<usize> = 6..12;
    /// EtherType.
    pub const TYPE: Range<usize> = 12..14;
    /// Length of the header.
    pub const LEN: usize = 14;
    /// EtherType of IPv4.
    pub const IPV4: u16 = 0x0800;
    /// EtherType of ARP.
    pub const ARP: u16 = 0x0806;
    /// Shortest frame without its check sequence (IEEE 802.3, 3.2.8); shorter ones are padded with zeros.
    pub const SHORTEST: usize = 60;
}

/// ARP for IPv4 over Ethernet, from the start of the ARP packet.
pub mod arp {
    use super::Range;
    /// Hardware type 1, protocol type 0x0800, lengths 6 and 4: the first six bytes of each.
    pub const PREFIX: [u8; 6] = [0, 1, 8, 0, 6, 4];
    /// Operation.
    pub const OPERATION: Range<usize> = 6..8;
    /// Sender hardware address.
    pub const SENDER_MAC: Range<usize> = 8..14;
    /// Sender protocol address.
    pub const SENDER: Range<usize> = 14..18;
    /// Target hardware address.
    pub const TARGET_MAC: Range<usize> = 18..24;
    /// Target protocol address.
    pub const TARGET: Range<usize> = 24..28;
    /// Length of the packet.
    pub const LEN: usize = 28;
    /// Operation: request.
    pub const REQUEST: u16 = 1;
    /// Operation: reply.
    pub const REPLY: u16 = 2;
}

/// IPv4, from the start of the IP header.
pub mod ipv4 {
    use super::Range;
    /// Total length.
    pub const TOTAL: Range<usize> = 2..4;
    /// Flags and fragment offset.
    pub const FRAGMENT: Range<usize> = 6..8;
    /// Protocol.
    pub const PROTOCOL: usize = 9;
    /// Header checksum.
    pub const CHECKSUM: Range<usize> = 10..12;
    /// Source address.
    pub const SOURCE: Range<usize> = 12..16;
    /// Destination address.
    pub const DESTINATION: Range<usize> = 16..20;
    /// Length of the header without options.
    pub const LEN: usize = 20;
    /// Protocol number of ICMP.
    pub const ICMP: u8 = 1;
}

/// ICMP echo, from the start of the ICMP header, and our payload in it.
pub mod icmp {
    use super::Range;
    /// Type: echo reply.
    pub const ECHO_REPLY: u8 = 0;
    /// Type: echo request.
    pub const ECHO_REQUEST: u8 = 8;
    /// Checksum.
    pub const CHECKSUM: Range<usize> = 2..4;
    /// Identifier.
    pub const ID: Range<usize> = 4..6;
    /// Sequence.
    pub const SEQUENCE: Range<usize> = 6..8;
    /// Our mark, which tells our echoes from everybody's.
    pub const MARK: Range<usize> = 8..12;
    /// Slot, network order.
    pub const SLOT: Range<usize> = 12..16;
    /// Nonce, network order.
    pub const NONCE: Range<usize> = 16..20;
    /// Length of header and payload.
    pub const LEN: usize = 20;
    /// The value of [`MARK`].
    pub const MARK_VALUE: [u8; 4] = *b"rclr";
}
