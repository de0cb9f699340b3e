//! Filters of packet sockets, so that only what may be an answer is copied to the agent: classic BPF (socket(7),
//! `SO_ATTACH_FILTER`; Documentation/networking/filter.rst). They look at shapes; what a frame means is decided by
//! `rollcall_agent_ebpf::receive`.

use rollcall_agent_ebpf::config::Tags;
use rollcall_agent_ebpf::frame::{arp, eth, icmpv6, ipv4, ipv6};

/// Where the kernel tells what it took out of a frame (linux/filter.h, `SKF_AD_OFF`).
const ANCILLARY: u32 = -0x1000_i32 as u32;
const PACKET_TYPE: u32 = ANCILLARY + 4;
const VLAN_TAG: u32 = ANCILLARY + 44;
const VLAN_PRESENT: u32 = ANCILLARY + 48;
const VLAN_PROTOCOL: u32 = ANCILLARY + 60;

const LOAD_WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const LOAD_HALF: u16 = (libc::BPF_LD | libc::BPF_H | libc::BPF_ABS) as u16;
const LOAD_BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
const JUMP_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
const ALL: u32 = u32::MAX;
const NONE: u32 = 0;

/// The filter of a network's resolver: ARP replies and neighbour advertisements with the network's tags.
pub(super) fn neighbours(tags: Tags) -> Vec<libc::sock_filter> {
    let (mut program, at) = tagged(tags);
    arp_replies(&mut program, &at);
    require(&mut program, &[(LOAD_HALF, at(eth::TYPE.start))], u32::from(eth::IPV6));
    require(&mut program, &[(LOAD_BYTE, at(eth::LEN + ipv6::NEXT))], u32::from(ipv6::ICMP));
    require(&mut program, &[(LOAD_BYTE, at(eth::LEN + ipv6::LEN))], u32::from(icmpv6::ADVERTISEMENT));
    program.push(step(RETURN, ALL));
    program
}

/// The filter of the socket receiver: whatever was sent to us and may be an answer to a probe, or a router's word about one.
pub(super) fn answers(tags: Tags) -> Vec<libc::sock_filter> {
    let (mut program, at) = tagged(tags);
    require(&mut program, &[(LOAD_WORD, PACKET_TYPE)], u32::from(libc::PACKET_HOST));
    arp_replies(&mut program, &at);
    program.push(step(LOAD_HALF, at(eth::TYPE.start)));
    // Not IPv4: over the four steps that follow.
    program.push(jump(u32::from(eth::IPV4), 0, 4));
    require(&mut program, &[(LOAD_BYTE, at(eth::LEN + ipv4::PROTOCOL))], u32::from(ipv4::ICMP));
    program.push(step(RETURN, ALL));
    require(&mut program, &[(LOAD_HALF, at(eth::TYPE.start))], u32::from(eth::IPV6));
    program.push(step(LOAD_BYTE, at(eth::LEN + ipv6::NEXT)));
    // What comes behind an extension header is for the receiver to find out.
    let next = [ipv6::ICMP, ipv6::HOP_BY_HOP, ipv6::ROUTING, ipv6::FRAGMENT, ipv6::OPTIONS];
    for (place, header) in next.into_iter().enumerate() {
        program.push(jump(u32::from(header), (next.len() - place) as u8, 0));
    }
    program.push(step(RETURN, NONE));
    program.push(step(RETURN, ALL));
    program
}

/// The beginning of a filter, which leaves only frames with these tags, and where a byte stands in what is left of them.
fn tagged(tags: Tags) -> (Vec<libc::sock_filter>, impl Fn(usize) -> u32) {
    let mut program = Vec::new();
    // The kernel takes the outer tag out of the frame before a socket sees it.
    require(&mut program, &[(LOAD_WORD, VLAN_TAG), (AND, 0xfff)], u32::from(tags.outer));
    if tags.outer != 0 {
        let protocol = if tags.service { eth::SERVICE_VLAN } else { eth::VLAN };
        require(&mut program, &[(LOAD_WORD, VLAN_PRESENT)], 1);
        require(&mut program, &[(LOAD_WORD, VLAN_PROTOCOL)], u32::from(protocol));
    }
    let mut shift = 0;
    if tags.inner != 0 {
        require(&mut program, &[(LOAD_HALF, eth::TYPE.start as u32)], u32::from(eth::VLAN));
        require(&mut program, &[(LOAD_HALF, eth::LEN as u32), (AND, 0xfff)], u32::from(tags.inner));
        shift = eth::TAG;
    }
    (program, move |offset| (offset + shift) as u32)
}

/// Takes ARP replies, leaves other ARP, and goes on with all else.
fn arp_replies(program: &mut Vec<libc::sock_filter>, at: &impl Fn(usize) -> u32) {
    program.push(step(LOAD_HALF, at(eth::TYPE.start)));
    // Not ARP: over the four steps that follow.
    program.push(jump(u32::from(eth::ARP), 0, 4));
    require(program, &[(LOAD_HALF, at(eth::LEN + arp::OPERATION.start))], u32::from(arp::REPLY));
    program.push(step(RETURN, ALL));
}

/// Ends without the frame unless what the steps load is this.
fn require(program: &mut Vec<libc::sock_filter>, steps: &[(u16, u32)], value: u32) {
    program.extend(steps.iter().map(|(code, operand)| step(*code, *operand)));
    program.push(jump(value, 1, 0));
    program.push(step(RETURN, NONE));
}

fn step(code: u16, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt: 0, jf: 0, k }
}

fn jump(k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code: JUMP_EQUAL, jt, jf, k }
}
