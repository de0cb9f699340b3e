//! Where the fields of our frames are: Ethernet II, VLAN tags (IEEE 802.1Q), ARP for IPv4 over Ethernet (RFC 826), IPv4
//! (RFC 791), ICMP echo (RFC 792), IPv6 (RFC 8200), ICMPv6 echo (RFC 4443), neighbour discovery (RFC 4861). Offsets are
//! from the start of the frame, or of the header where a header can move.

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
    /// EtherType of IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// Tag protocol identifier of a customer VLAN tag (IEEE 802.1Q, 9.5).
    pub const VLAN: u16 = 0x8100;
    /// Tag protocol identifier of a service VLAN tag, the outer one of two.
    pub const SERVICE_VLAN: u16 = 0x88a8;
    /// Length of a tag.
    pub const TAG: usize = 4;
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
    /// Type: destination unreachable.
    pub const UNREACHABLE: u8 = 3;
    /// Type: echo request.
    pub const ECHO_REQUEST: u8 = 8;
    /// Type: time exceeded.
    pub const TIME_EXCEEDED: u8 = 11;
    /// Type: parameter problem.
    pub const PARAMETER_PROBLEM: u8 = 12;
    /// Length of the header alone.
    pub const HEADER: usize = 8;
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

/// IPv6, from the start of the IP header.
pub mod ipv6 {
    use super::Range;
    /// Payload length.
    pub const PAYLOAD: Range<usize> = 4..6;
    /// Next header.
    pub const NEXT: usize = 6;
    /// Hop limit.
    pub const HOPS: usize = 7;
    /// Source address.
    pub const SOURCE: Range<usize> = 8..24;
    /// Destination address.
    pub const DESTINATION: Range<usize> = 24..40;
    /// Length of the header.
    pub const LEN: usize = 40;
    /// Next header: hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// Next header: routing.
    pub const ROUTING: u8 = 43;
    /// Next header: fragment.
    pub const FRAGMENT: u8 = 44;
    /// Next header: ICMPv6.
    pub const ICMP: u8 = 58;
    /// Next header: destination options.
    pub const OPTIONS: u8 = 60;
    /// Hop limit of neighbour discovery: what passed a router has less (RFC 4861, 7.1).
    pub const NEIGHBOUR_HOPS: u8 = 255;
}

/// ICMPv6, from the start of its header: echo with our payload, which begins as in [`icmp`], and neighbour discovery.
pub mod icmpv6 {
    use super::Range;
    /// Type: destination unreachable.
    pub const UNREACHABLE: u8 = 1;
    /// Type: time exceeded.
    pub const TIME_EXCEEDED: u8 = 3;
    /// Type: parameter problem.
    pub const PARAMETER_PROBLEM: u8 = 4;
    /// Type: echo request.
    pub const ECHO_REQUEST: u8 = 128;
    /// Type: echo reply.
    pub const ECHO_REPLY: u8 = 129;
    /// Type: neighbour solicitation.
    pub const SOLICITATION: u8 = 135;
    /// Type: neighbour advertisement.
    pub const ADVERTISEMENT: u8 = 136;
    /// Of an advertisement: the byte of its flags.
    pub const FLAGS: usize = 4;
    /// Flag: it answers a solicitation.
    pub const SOLICITED: u8 = 0x40;
    /// Of solicitation and advertisement: the target.
    pub const TARGET: Range<usize> = 8..24;
    /// Of both: where the options begin.
    pub const OPTIONS: usize = 24;
    /// Option: source link-layer address, and its length in units of eight bytes.
    pub const SOURCE_MAC: [u8; 2] = [1, 1];
    /// Option: target link-layer address, likewise.
    pub const TARGET_MAC: [u8; 2] = [2, 1];
    /// Length of our echo, and of a solicitation with one option: both kinds of probe have one length.
    pub const LEN: usize = 32;
}
