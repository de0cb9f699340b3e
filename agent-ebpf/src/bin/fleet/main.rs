//! The lab's simulated fleet: an XDP program that answers ARP, neighbour discovery and echo for every host of the cloud.
//! `rollcall_agent_ebpf::fleet` says which stations there are and how they behave.
#![no_std]
#![no_main]
// Why: the verifier, not the compiler, proves that packet and map memory is accessed within its bounds.
#![allow(unsafe_code)]

mod error;
mod packet;
mod v6;

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_TX};
use aya_ebpf::helpers::bpf_get_prandom_u32;
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::{Array, PerCpuArray};
use aya_ebpf::programs::XdpContext;
use rollcall_agent_ebpf::fleet::words::{self, MacWord, Words};
use rollcall_agent_ebpf::fleet::{Behaviour, Cloud, GATEWAY, Outcome, Station, TTL, VLAN_BASE, mac, wrong_mac};
use rollcall_agent_ebpf::frame::{arp, eth, icmp, ipv4};

use crate::packet::{part, patched, read, sums_up, write};

/// `BPF_F_MMAPABLE` of `linux/bpf.h`.
const MMAPABLE: u32 = 1 << 10;
/// Longest IPv4 packet that is answered: the usual MTU.
const TOTAL_MAX: usize = 1500;
/// Where the TTL is, from the start of the IPv4 header.
const IP_TTL: usize = 8;
/// Length of the ICMP echo header without payload.
const ECHO_LEN: usize = 8;

#[map]
static CLOUD: Array<Cloud> = Array::with_max_entries(1, 0);

/// By station number. The lab sets its size when it loads the program.
#[map]
static BEHAVIOUR: Array<u64> = Array::with_max_entries(1, MMAPABLE);

/// How many VLANs there are.
#[map]
static VLANS: Array<u32> = Array::with_max_entries(1, 0);

#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Outcome::ALL.len() as u32, 0);

// Inlined: the 512 bytes of the stack are for the one function that does the work.
#[xdp]
#[inline(always)]
pub(crate) fn fleet(ctx: XdpContext) -> u32 {
    let outcome = match answer(&ctx) {
        Ok(outcome) | Err(outcome) => outcome,
    };
    if let Some(count) = COUNTERS.get_ptr_mut(outcome as u32) {
        // SAFETY: a per-CPU value, and this program does not nest.
        unsafe { *count += 1 };
    }
    match outcome {
        Outcome::ArpAnswered | Outcome::IcmpAnswered | Outcome::NeighbourAnswered | Outcome::EchoV6Answered | Outcome::Unreachable => {
            XDP_TX
        }
        Outcome::Dead | Outcome::Filtered | Outcome::Lost | Outcome::BadChecksum => XDP_DROP,
        Outcome::Ignored => XDP_PASS,
    }
}

#[inline(always)]
fn answer(ctx: &XdpContext) -> Result<Outcome, Outcome> {
    // The usual requests by words: the fleet's answer is part of every round trip that a benchmark measures.
    if let Some(frame) = start(ctx) {
        // SAFETY: `start` checked the bounds. The verifier lets a program load and store words of any width anywhere in a
        // frame (it would not load a program on a machine that cannot), and no reference into the frame is alive.
        let words: Words = unsafe { frame.read() };
        if !words::from_group(&words) {
            if words::is_arp(&words) {
                return answer_arp_words(frame, &words);
            }
            if words::is_echo(&words) {
                return answer_echo_words(ctx, frame, &words);
            }
        }
    }
    answer_any(ctx)
}

/// The first words of a frame that is long enough to have them.
#[inline(always)]
fn start(ctx: &XdpContext) -> Option<*mut Words> {
    let start = ctx.data();
    (start + size_of::<Words>() <= ctx.data_end()).then_some(start as *mut Words)
}

/// [`answer_arp`] of an ARP request in a frame of the usual length.
#[inline(always)]
fn answer_arp_words(frame: *mut Words, words: &Words) -> Result<Outcome, Outcome> {
    let (asker, address) = words::arp_addresses(words);
    let station = station(address)?;
    let to = words::destination(words);
    let behaviour = neighbour(station, to == words::BROADCAST)?;
    let here = if behaviour.has(Behaviour::WRONG_MAC) { words::wrong_mac(address) } else { words::mac(address) };
    if station.routed || asker == address || (to != here && to != words::mac(address) && to != words::BROADCAST) {
        return Err(Outcome::Ignored);
    }
    let own = lost_or(behaviour, here)?;
    let (reply, last) = words::arp_reply(words, own);
    store(frame, reply);
    // SAFETY: as in `answer`.
    unsafe { frame.cast::<u16>().add(words::ARP_LAST / 2).write(last) };
    Ok(Outcome::ArpAnswered)
}

/// [`answer_echo`] of an echo request of the agent's length.
#[inline(always)]
fn answer_echo_words(ctx: &XdpContext, frame: *mut Words, words: &Words) -> Result<Outcome, Outcome> {
    let (asker, address) = words::echo_addresses(words);
    let station = station(address)?;
    let to = words::destination(words);
    let passed_on = station.is_passed_on(to == words::mac(GATEWAY));
    let hop = if passed_on { GATEWAY } else { address };
    let known = to == words::mac(hop) || (!passed_on && to == words::wrong_mac(address));
    if !known || (passed_on && words::echo_ttl(words) < 2) || asker[0] == 0 || asker[0] >= 224 {
        return Err(Outcome::Ignored);
    }
    if !words::echo_sums_up(words) {
        return Err(Outcome::BadChecksum);
    }
    let behaviour = echoes(station, passed_on)?;
    if to != words::mac(hop) && !behaviour.has(Behaviour::WRONG_MAC) {
        return Err(Outcome::Ignored);
    }
    if behaviour.has(Behaviour::UNREACHABLE) {
        return answer_any(ctx);
    }
    let own = lost_or(behaviour, if passed_on { to } else { own_mac(behaviour, address) })?;
    let left = if passed_on { TTL - 1 } else { TTL };
    store(frame, words::echo_reply(words, own, left));
    Ok(Outcome::IcmpAnswered)
}

/// The MAC that an on-link station sends from.
#[inline(always)]
fn own_mac(behaviour: Behaviour, address: [u8; 4]) -> MacWord {
    if behaviour.has(Behaviour::WRONG_MAC) { words::wrong_mac(address) } else { words::mac(address) }
}

#[inline(always)]
fn store(frame: *mut Words, reply: [u64; words::REPLY]) {
    // SAFETY: as in `answer`; a reply is the first of its words.
    unsafe { frame.cast::<[u64; words::REPLY]>().write(reply) }
}

/// Any other frame, by bytes: other lengths, options, tags, IPv6.
#[inline(always)]
fn answer_any(ctx: &XdpContext) -> Result<Outcome, Outcome> {
    let source: [u8; 6] = read(ctx, eth::SOURCE.start)?;
    if source[0] & 1 != 0 {
        return Err(Outcome::Ignored);
    }
    let kind = u16::from_be_bytes(read(ctx, eth::TYPE.start)?);
    if kind != eth::VLAN && kind != eth::SERVICE_VLAN {
        return answer_at::<{ eth::LEN }>(ctx, kind, 0);
    }
    // One tag or two; the last one counts.
    let (outer, kind) = tag(read(ctx, eth::LEN)?);
    if kind != eth::VLAN {
        return answer_at::<{ eth::LEN + eth::TAG }>(ctx, kind, first_of(outer)?);
    }
    let (inner, kind) = tag(read(ctx, eth::LEN + eth::TAG)?);
    answer_at::<{ eth::LEN + 2 * eth::TAG }>(ctx, kind, first_of(inner)?)
}

/// Identifier and the type behind it.
#[inline(always)]
fn tag(bytes: [u8; 4]) -> (u32, u16) {
    (u32::from(u16::from_be_bytes(part(&bytes, 0)) & 0xfff), u16::from_be_bytes(part(&bytes, 2)))
}

/// A packet that begins at START, to the stations from a number on.
#[inline(always)]
fn answer_at<const START: usize>(ctx: &XdpContext, kind: u16, first: u32) -> Result<Outcome, Outcome> {
    match kind {
        eth::ARP => answer_arp::<START>(ctx, first),
        eth::IPV4 => answer_echo::<START>(ctx, first),
        eth::IPV6 => v6::answer::<START>(ctx, first),
        _ => Err(Outcome::Ignored),
    }
}

/// Number of the first station of a VLAN; 0 without a tag.
#[inline(always)]
fn first_of(vlan: u32) -> Result<u32, Outcome> {
    if vlan == 0 {
        return Ok(0);
    }
    let count = *VLANS.get(0).ok_or(Outcome::Ignored)?;
    let cloud = *CLOUD.get(0).ok_or(Outcome::Ignored)?;
    let number = vlan.wrapping_sub(u32::from(VLAN_BASE));
    if number >= 1 && number <= count { Ok(number * cloud.stations()) } else { Err(Outcome::Ignored) }
}

/// A request for a station's address, to its MAC or to all, becomes the station's reply (RFC 826).
#[inline(always)]
fn answer_arp<const START: usize>(ctx: &XdpContext, first: u32) -> Result<Outcome, Outcome> {
    let packet: [u8; arp::LEN] = read(ctx, START)?;
    if part::<6>(&packet, 0) != arp::PREFIX || u16::from_be_bytes(part(&packet, arp::OPERATION.start)) != arp::REQUEST {
        return Err(Outcome::Ignored);
    }
    let address: [u8; 4] = part(&packet, arp::TARGET.start);
    let asker_mac: [u8; 6] = part(&packet, arp::SENDER_MAC.start);
    let asker: [u8; 4] = part(&packet, arp::SENDER.start);
    let station = station(address)?.after(first);
    let to: [u8; 6] = read(ctx, eth::DESTINATION.start)?;
    // An announcement (RFC 5227) asks for its own sender's address: nobody answers it.
    let behaviour = neighbour(station, to == [0xff; 6])?;
    let here = if behaviour.has(Behaviour::WRONG_MAC) { wrong_mac(address) } else { mac(address) };
    if station.routed || asker == address || (to != here && to != mac(address) && to != [0xff; 6]) {
        return Err(Outcome::Ignored);
    }
    let own = lost_or(behaviour, here)?;

    write(ctx, eth::DESTINATION.start, asker_mac)?;
    write(ctx, eth::SOURCE.start, own)?;
    write(ctx, START + arp::OPERATION.start, arp::REPLY.to_be_bytes())?;
    write(ctx, START + arp::SENDER_MAC.start, own)?;
    write(ctx, START + arp::SENDER.start, address)?;
    write(ctx, START + arp::TARGET_MAC.start, asker_mac)?;
    write(ctx, START + arp::TARGET.start, asker)?;
    Ok(Outcome::ArpAnswered)
}

/// A whole echo request to a station becomes its reply (RFC 792). Options and payload stay as they are.
#[inline(always)]
fn answer_echo<const START: usize>(ctx: &XdpContext, first: u32) -> Result<Outcome, Outcome> {
    // The headers at once and by value: a check of a later byte must not stand for one of an earlier byte, which the
    // compiler would see through and the verifier would not.
    let ip: [u8; ipv4::LEN] = read(ctx, START)?;
    let header = usize::from(ip[0] & 0xf) * 4;
    let total = usize::from(u16::from_be_bytes(part(&ip, ipv4::TOTAL.start)));
    let fragment = u16::from_be_bytes(part(&ip, ipv4::FRAGMENT.start));
    let (ttl, protocol) = (ip[IP_TTL], ip[ipv4::PROTOCOL]);
    // More fragments, or an offset: a real stack would answer once it has all of them. The lab's agent sends none.
    if ip[0] >> 4 != 4
        || header < ipv4::LEN
        || total < header + ECHO_LEN
        || total > TOTAL_MAX
        || fragment & 0x3fff != 0
        || protocol != ipv4::ICMP
    {
        return Err(Outcome::Ignored);
    }
    let icmp_start = START + header;
    let echo: [u8; ECHO_LEN] = read(ctx, icmp_start)?;
    if part(&echo, 0) != [icmp::ECHO_REQUEST, 0] {
        return Err(Outcome::Ignored);
    }
    let asker: [u8; 4] = part(&ip, ipv4::SOURCE.start);
    let address: [u8; 4] = part(&ip, ipv4::DESTINATION.start);
    let station = station(address)?.after(first);
    let to: [u8; 6] = read(ctx, eth::DESTINATION.start)?;
    let passed_on = station.is_passed_on(to == mac(GATEWAY));
    let hop = if passed_on { GATEWAY } else { address };
    // The gateway forwards only what has a hop left. Nobody answers "this host" or a group (RFC 1122, 3.2.1.3).
    let known = to == mac(hop) || (!passed_on && to == wrong_mac(address));
    if !known || (passed_on && ttl < 2) || asker[0] == 0 || asker[0] >= 224 {
        return Err(Outcome::Ignored);
    }
    if !sums_up(ctx, START, header, 0)? || !sums_up(ctx, icmp_start, total - header, 0)? {
        return Err(Outcome::BadChecksum);
    }
    let behaviour = echoes(station, passed_on)?;
    if to != mac(hop) && !behaviour.has(Behaviour::WRONG_MAC) {
        return Err(Outcome::Ignored);
    }
    let own = lost_or(behaviour, if behaviour.has(Behaviour::WRONG_MAC) && !passed_on { wrong_mac(address) } else { to })?;
    let asker_mac: [u8; 6] = read(ctx, eth::SOURCE.start)?;
    if behaviour.has(Behaviour::UNREACHABLE) && station.routed && header == ipv4::LEN && START == eth::LEN {
        return error::unreachable(ctx, &ip, own, asker_mac);
    }

    write(ctx, eth::DESTINATION.start, asker_mac)?;
    write(ctx, eth::SOURCE.start, own)?;
    // Source and destination swap, which leaves the sum as it is; the TTL does not.
    write(ctx, START + ipv4::SOURCE.start, address)?;
    write(ctx, START + ipv4::DESTINATION.start, asker)?;
    let left = if passed_on { TTL - 1 } else { TTL };
    write(ctx, START + IP_TTL, [left])?;
    let checksum = patched(part(&ip, ipv4::CHECKSUM.start), [ttl, protocol], [left, protocol]);
    write(ctx, START + ipv4::CHECKSUM.start, checksum)?;
    let checksum = patched(part(&echo, icmp::CHECKSUM.start), [icmp::ECHO_REQUEST, 0], [icmp::ECHO_REPLY, 0]);
    write(ctx, icmp_start, [icmp::ECHO_REPLY, 0, checksum[0], checksum[1]])?;
    Ok(Outcome::IcmpAnswered)
}

#[inline(always)]
fn station(address: [u8; 4]) -> Result<Station, Outcome> {
    let cloud = *CLOUD.get(0).ok_or(Outcome::Ignored)?;
    cloud.station(address).ok_or(Outcome::Ignored)
}

/// The behaviour of a station as it is, dead or not.
#[inline(always)]
fn behaviour(station: Station) -> Result<Behaviour, Outcome> {
    let value = BEHAVIOUR.get_ptr(station.number).ok_or(Outcome::Ignored)?;
    // SAFETY: a valid pointer to the map's value, which userspace writes at any time by one store of 8 bytes.
    Ok(Behaviour(unsafe { value.read_volatile() }))
}

/// The behaviour of a station that is asked for its MAC, if anybody answers; [`Behaviour::WRONG_MAC`] in it says that it is another.
#[inline(always)]
fn neighbour(station: Station, to_all: bool) -> Result<Behaviour, Outcome> {
    let behaviour = behaviour(station)?;
    if to_all && behaviour.has(Behaviour::SECOND_OWNER) {
        return Ok(behaviour.with(Behaviour::WRONG_MAC, true));
    }
    let answers = !behaviour.has(Behaviour::DEAD) || (to_all && behaviour.has(Behaviour::PROXIED));
    if !answers {
        return Err(Outcome::Dead);
    }
    if behaviour.has(Behaviour::NEIGHBOUR_FILTERED) { Err(Outcome::Filtered) } else { Ok(behaviour) }
}

/// The behaviour of a station that is sent an echo request, perhaps through the gateway, if anybody answers.
#[inline(always)]
fn echoes(station: Station, passed_on: bool) -> Result<Behaviour, Outcome> {
    if passed_on {
        // A gateway that is dead forwards nothing.
        let gateway = behaviour(Station { number: station.first, routed: false, first: station.first })?;
        if gateway.has(Behaviour::DEAD) {
            return Err(Outcome::Dead);
        }
    }
    let behaviour = behaviour(station)?;
    if behaviour.has(Behaviour::UNREACHABLE) {
        return Ok(behaviour);
    }
    if behaviour.has(Behaviour::DEAD) {
        return Err(Outcome::Dead);
    }
    if behaviour.has(Behaviour::ICMP_FILTERED) { Err(Outcome::Filtered) } else { Ok(behaviour) }
}

/// What was to be sent, unless it is lost on the way.
#[inline(always)]
fn lost_or<T>(behaviour: Behaviour, value: T) -> Result<T, Outcome> {
    let loss = behaviour.loss_per_mille();
    // SAFETY: a helper without arguments.
    if loss != 0 && unsafe { bpf_get_prandom_u32() } % 1000 < loss {
        return Err(Outcome::Lost);
    }
    Ok(value)
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
