//! The lab's simulated fleet: an XDP program that answers ARP and ICMP echo for every host of the cloud.
//! `rollcall_agent_ebpf::fleet` says which stations there are and how they behave.
#![no_std]
#![no_main]
// Why: the verifier, not the compiler, proves that packet and map memory is accessed within its bounds.
#![allow(unsafe_code)]

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_TX};
use aya_ebpf::helpers::bpf_get_prandom_u32;
use aya_ebpf::helpers::generated::{bpf_csum_diff, bpf_xdp_load_bytes};
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::{Array, PerCpuArray};
use aya_ebpf::programs::XdpContext;
use rollcall_agent_ebpf::checksum::finish;
use rollcall_agent_ebpf::fleet::words::{self, MacWord, Words};
use rollcall_agent_ebpf::fleet::{Behaviour, Cloud, GATEWAY, Outcome, Station, TTL, mac, patched_checksum, wrong_mac};
use rollcall_agent_ebpf::frame::{arp, eth, icmp, ipv4};

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

#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Outcome::ALL.len() as u32, 0);

#[xdp]
pub(crate) fn fleet(ctx: XdpContext) -> u32 {
    let outcome = match answer(&ctx) {
        Ok(outcome) | Err(outcome) => outcome,
    };
    if let Some(count) = COUNTERS.get_ptr_mut(outcome as u32) {
        // SAFETY: a per-CPU value, and this program does not nest.
        unsafe { *count += 1 };
    }
    match outcome {
        Outcome::ArpAnswered | Outcome::IcmpAnswered => XDP_TX,
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
                return answer_echo_words(frame, &words);
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
    if station.routed || asker == address || (to != words::mac(address) && to != words::BROADCAST) {
        return Err(Outcome::Ignored);
    }
    let behaviour = behaviour(station)?;
    let own = lost_or(behaviour, own_mac(behaviour, address))?;
    let (reply, last) = words::arp_reply(words, own);
    store(frame, reply);
    // SAFETY: as in `answer`.
    unsafe { frame.cast::<u16>().add(words::ARP_LAST / 2).write(last) };
    Ok(Outcome::ArpAnswered)
}

/// [`answer_echo`] of an echo request of the agent's length.
#[inline(always)]
fn answer_echo_words(frame: *mut Words, words: &Words) -> Result<Outcome, Outcome> {
    let (asker, address) = words::echo_addresses(words);
    let station = station(address)?;
    let to = words::destination(words);
    let hop = if station.routed { GATEWAY } else { address };
    if to != words::mac(hop) || (station.routed && words::echo_ttl(words) < 2) || asker[0] == 0 || asker[0] >= 224 {
        return Err(Outcome::Ignored);
    }
    if !words::echo_sums_up(words) {
        return Err(Outcome::BadChecksum);
    }
    if station.routed {
        // A gateway that is dead forwards nothing.
        behaviour(Station { number: 0, routed: false })?;
    }
    let behaviour = behaviour(station)?;
    if behaviour.has(Behaviour::ICMP_FILTERED) {
        return Err(Outcome::Filtered);
    }
    let own = lost_or(behaviour, if station.routed { to } else { own_mac(behaviour, address) })?;
    let left = if station.routed { TTL - 1 } else { TTL };
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

/// Any other frame, by bytes: other lengths, options, padding that is missing.
#[inline(always)]
fn answer_any(ctx: &XdpContext) -> Result<Outcome, Outcome> {
    let source: [u8; 6] = read(ctx, eth::SOURCE.start)?;
    if source[0] & 1 != 0 {
        return Err(Outcome::Ignored);
    }
    match u16::from_be_bytes(read(ctx, eth::TYPE.start)?) {
        eth::ARP => answer_arp(ctx),
        eth::IPV4 => answer_echo(ctx),
        _ => Err(Outcome::Ignored),
    }
}

/// A request for a station's address, to its MAC or to all, becomes the station's reply (RFC 826).
#[inline(always)]
fn answer_arp(ctx: &XdpContext) -> Result<Outcome, Outcome> {
    const ARP: usize = eth::LEN;
    let packet: [u8; arp::LEN] = read(ctx, ARP)?;
    if part::<6>(&packet, 0) != arp::PREFIX || u16::from_be_bytes(part(&packet, arp::OPERATION.start)) != arp::REQUEST {
        return Err(Outcome::Ignored);
    }
    let address: [u8; 4] = part(&packet, arp::TARGET.start);
    let asker_mac: [u8; 6] = part(&packet, arp::SENDER_MAC.start);
    let asker: [u8; 4] = part(&packet, arp::SENDER.start);
    let station = station(address)?;
    let to: [u8; 6] = read(ctx, eth::DESTINATION.start)?;
    // An announcement (RFC 5227) asks for its own sender's address: nobody answers it.
    if station.routed || asker == address || (to != mac(address) && to != [0xff; 6]) {
        return Err(Outcome::Ignored);
    }
    let behaviour = behaviour(station)?;
    let own = lost_or(behaviour, if behaviour.has(Behaviour::WRONG_MAC) { wrong_mac(address) } else { mac(address) })?;

    write(ctx, eth::DESTINATION.start, asker_mac)?;
    write(ctx, eth::SOURCE.start, own)?;
    write(ctx, ARP + arp::OPERATION.start, arp::REPLY.to_be_bytes())?;
    write(ctx, ARP + arp::SENDER_MAC.start, own)?;
    write(ctx, ARP + arp::SENDER.start, address)?;
    write(ctx, ARP + arp::TARGET_MAC.start, asker_mac)?;
    write(ctx, ARP + arp::TARGET.start, asker)?;
    Ok(Outcome::ArpAnswered)
}

/// A whole echo request to a station becomes its reply (RFC 792). Options and payload stay as they are.
#[inline(always)]
fn answer_echo(ctx: &XdpContext) -> Result<Outcome, Outcome> {
    const IP: usize = eth::LEN;
    // The headers at once and by value: a check of a later byte must not stand for one of an earlier byte, which the
    // compiler would see through and the verifier would not.
    let ip: [u8; ipv4::LEN] = read(ctx, IP)?;
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
    let icmp_start = IP + header;
    let echo: [u8; ECHO_LEN] = read(ctx, icmp_start)?;
    if part(&echo, 0) != [icmp::ECHO_REQUEST, 0] {
        return Err(Outcome::Ignored);
    }
    let asker: [u8; 4] = part(&ip, ipv4::SOURCE.start);
    let address: [u8; 4] = part(&ip, ipv4::DESTINATION.start);
    let station = station(address)?;
    let to: [u8; 6] = read(ctx, eth::DESTINATION.start)?;
    let hop = if station.routed { GATEWAY } else { address };
    // The gateway forwards only what has a hop left. Nobody answers "this host" or a group (RFC 1122, 3.2.1.3).
    if to != mac(hop) || (station.routed && ttl < 2) || asker[0] == 0 || asker[0] >= 224 {
        return Err(Outcome::Ignored);
    }
    if !sums_up(ctx, IP, header)? || !sums_up(ctx, icmp_start, total - header)? {
        return Err(Outcome::BadChecksum);
    }
    if station.routed {
        // A gateway that is dead forwards nothing.
        behaviour(Station { number: 0, routed: false })?;
    }
    let behaviour = behaviour(station)?;
    if behaviour.has(Behaviour::ICMP_FILTERED) {
        return Err(Outcome::Filtered);
    }
    let wrong = behaviour.has(Behaviour::WRONG_MAC) && !station.routed;
    let own = lost_or(behaviour, if wrong { wrong_mac(address) } else { to })?;

    write(ctx, eth::DESTINATION.start, read::<6>(ctx, eth::SOURCE.start)?)?;
    write(ctx, eth::SOURCE.start, own)?;
    // Source and destination swap, which leaves the sum as it is; the TTL does not.
    write(ctx, IP + ipv4::SOURCE.start, address)?;
    write(ctx, IP + ipv4::DESTINATION.start, asker)?;
    let left = if station.routed { TTL - 1 } else { TTL };
    write(ctx, IP + IP_TTL, [left])?;
    let checksum = patched(part(&ip, ipv4::CHECKSUM.start), [ttl, protocol], [left, protocol]);
    write(ctx, IP + ipv4::CHECKSUM.start, checksum)?;
    let checksum = patched(part(&echo, icmp::CHECKSUM.start), [icmp::ECHO_REQUEST, 0], [icmp::ECHO_REPLY, 0]);
    write(ctx, icmp_start, [icmp::ECHO_REPLY, 0, checksum[0], checksum[1]])?;
    Ok(Outcome::IcmpAnswered)
}

#[inline(always)]
fn station(address: [u8; 4]) -> Result<Station, Outcome> {
    let cloud = *CLOUD.get(0).ok_or(Outcome::Ignored)?;
    cloud.station(address).ok_or(Outcome::Ignored)
}

/// The behaviour of a station that is there; [`Outcome::Dead`] of one that is not.
#[inline(always)]
fn behaviour(station: Station) -> Result<Behaviour, Outcome> {
    let value = BEHAVIOUR.get_ptr(station.number).ok_or(Outcome::Ignored)?;
    // SAFETY: a valid pointer to the map's value, which userspace writes at any time by one store of 8 bytes.
    let behaviour = Behaviour(unsafe { value.read_volatile() });
    if behaviour.has(Behaviour::DEAD) { Err(Outcome::Dead) } else { Ok(behaviour) }
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

/// The checksum field after one word that it covers changed.
#[inline(always)]
fn patched(checksum: [u8; 2], old: [u8; 2], new: [u8; 2]) -> [u8; 2] {
    patched_checksum(u16::from_be_bytes(checksum), u16::from_be_bytes(old), u16::from_be_bytes(new)).to_be_bytes()
}

/// Some bytes of a header that was read; the offsets are constants within it.
#[inline(always)]
fn part<const N: usize>(header: &[u8], offset: usize) -> [u8; N] {
    let mut part = [0; N];
    part.copy_from_slice(&header[offset..offset + N]);
    part
}

/// Whether the Internet checksum (RFC 1071) of a part of the frame is right.
///
/// By helpers and a buffer: the compiler turns a loop over the packet itself into arithmetic on its end, which the
/// verifier forbids.
#[inline(always)]
fn sums_up(ctx: &XdpContext, start: usize, length: usize) -> Result<bool, Outcome> {
    const CHUNK: usize = 64;
    let mut sum = 0;
    let mut done = 0;
    while done < length && done < TOTAL_MAX {
        let mut chunk = [0u32; CHUNK / 4];
        // 1 to CHUNK, in a way that the verifier follows.
        let size = ((length - done - 1).min(CHUNK - 1) & (CHUNK - 1)) + 1;
        // SAFETY: `chunk` has room for `size` bytes; what is not there is not read, and the helper says so.
        let missing = unsafe { bpf_xdp_load_bytes(ctx.ctx, (start + done) as u32, chunk.as_mut_ptr().cast(), size as u32) };
        if missing != 0 {
            return Err(Outcome::Ignored);
        }
        // SAFETY: all of `chunk` is initialised; zeros add nothing to the sum.
        sum = unsafe { bpf_csum_diff(core::ptr::null_mut(), 0, chunk.as_mut_ptr(), CHUNK as u32, sum) } as u32;
        done += CHUNK;
    }
    Ok(finish(sum) == 0)
}

/// Some bytes of the frame, by value; a frame that ends before them is nothing for the fleet.
#[inline(always)]
fn read<const N: usize>(ctx: &XdpContext, offset: usize) -> Result<[u8; N], Outcome> {
    let pointer = pointer::<N>(ctx, offset)?;
    // SAFETY: `pointer` checked the bounds, and bytes need no alignment.
    Ok(unsafe { *pointer })
}

#[inline(always)]
fn write<const N: usize>(ctx: &XdpContext, offset: usize, bytes: [u8; N]) -> Result<(), Outcome> {
    let pointer = pointer::<N>(ctx, offset)?;
    // SAFETY: `pointer` checked the bounds, bytes need no alignment, and no reference into the frame is alive.
    unsafe { *pointer = bytes };
    Ok(())
}

#[inline(always)]
fn pointer<const N: usize>(ctx: &XdpContext, offset: usize) -> Result<*mut [u8; N], Outcome> {
    let start = ctx.data() + offset;
    if start + N > ctx.data_end() {
        return Err(Outcome::Ignored);
    }
    Ok(start as *mut [u8; N])
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
