//! What the stations answer over IPv6: neighbour solicitations (RFC 4861) and echo requests (RFC 4443).

use aya_ebpf::programs::XdpContext;
use rollcall_agent_ebpf::checksum::{add, finish};
use rollcall_agent_ebpf::fleet::{Behaviour, GATEWAY, Outcome, Station, TTL, mac, wrong_mac};
use rollcall_agent_ebpf::frame::{eth, icmpv6, ipv6};

use crate::packet::{part, patched, read, sums_up, write};
use crate::{CLOUD, echoes, lost_or, neighbour};

/// Longest ICMPv6 message that is answered.
const LENGTH_MAX: usize = 128;
/// Length of a solicitation without its option, and with it.
const ASKED: [usize; 2] = [icmpv6::OPTIONS, icmpv6::LEN];

#[inline(always)]
pub(crate) fn answer<const START: usize>(ctx: &XdpContext, first: u32) -> Result<Outcome, Outcome> {
    let ip: [u8; ipv6::LEN] = read(ctx, START)?;
    let length = usize::from(u16::from_be_bytes(part(&ip, ipv6::PAYLOAD.start)));
    if ip[0] >> 4 != 6 || ip[ipv6::NEXT] != ipv6::ICMP || !(8..=LENGTH_MAX).contains(&length) {
        return Err(Outcome::Ignored);
    }
    let kind: [u8; 2] = read(ctx, START + ipv6::LEN)?;
    match kind {
        [icmpv6::SOLICITATION, 0] => answer_solicitation::<START>(ctx, first, &ip, length),
        [icmpv6::ECHO_REQUEST, 0] => answer_echo::<START>(ctx, first, &ip, length),
        _ => Err(Outcome::Ignored),
    }
}

#[inline(always)]
fn station(address: [u8; 16], first: u32) -> Result<(Station, [u8; 4]), Outcome> {
    let cloud = *CLOUD.get(0).ok_or(Outcome::Ignored)?;
    let (station, v4) = cloud.station_v6(address).ok_or(Outcome::Ignored)?;
    Ok((station.after(first), v4))
}

/// Sum of the pseudo-header (RFC 8200, 8.1), in network order.
#[inline(always)]
fn pseudo(source: &[u8; 16], destination: &[u8; 16], length: usize) -> u32 {
    add(add(length as u32 + u32::from(ipv6::ICMP), source), destination)
}

/// Whether the checksum of the ICMPv6 part is right.
#[inline(always)]
fn is_intact<const START: usize>(ctx: &XdpContext, ip: &[u8; ipv6::LEN], length: usize) -> Result<bool, Outcome> {
    let sum = pseudo(&part(ip, ipv6::SOURCE.start), &part(ip, ipv6::DESTINATION.start), length);
    let sum = (sum & 0xffff) + (sum >> 16);
    sums_up(ctx, START + ipv6::LEN, length, u32::from((((sum & 0xffff) + (sum >> 16)) as u16).to_be()))
}

#[inline(always)]
fn answer_solicitation<const START: usize>(ctx: &XdpContext, first: u32, ip: &[u8; ipv6::LEN], length: usize) -> Result<Outcome, Outcome> {
    let head: [u8; icmpv6::OPTIONS] = read(ctx, START + ipv6::LEN)?;
    let address: [u8; 16] = part(&head, icmpv6::TARGET.start);
    let (station, v4) = station(address, first)?;
    let asker: [u8; 16] = part(ip, ipv6::SOURCE.start);
    let (to, asker_mac): ([u8; 6], [u8; 6]) = (read(ctx, eth::DESTINATION.start)?, read(ctx, eth::SOURCE.start)?);
    let group = [0x33, 0x33, 0xff, address[13], address[14], address[15]];
    // A question from nobody is one whether the address is free (RFC 4862): the lab's stations were there before.
    if station.routed || ip[ipv6::HOPS] != ipv6::NEIGHBOUR_HOPS || asker == [0; 16] {
        return Err(Outcome::Ignored);
    }
    if length != ASKED[0] && length != ASKED[1] {
        return Err(Outcome::Ignored);
    }
    if !is_intact::<START>(ctx, ip, length)? {
        return Err(Outcome::BadChecksum);
    }
    let behaviour = neighbour(station, to == group)?;
    let here = if behaviour.has(Behaviour::WRONG_MAC) { wrong_mac(v4) } else { mac(v4) };
    if to != here && to != mac(v4) && to != group {
        return Err(Outcome::Ignored);
    }
    let own = lost_or(behaviour, here)?;

    let mut body = [0; icmpv6::LEN];
    body[0] = icmpv6::ADVERTISEMENT;
    // Solicited, and overriding.
    body[icmpv6::FLAGS] = icmpv6::SOLICITED | 0x20;
    body[icmpv6::TARGET].copy_from_slice(&address);
    if length == icmpv6::LEN {
        body[icmpv6::OPTIONS..icmpv6::OPTIONS + 2].copy_from_slice(&icmpv6::TARGET_MAC);
        body[icmpv6::OPTIONS + 2..].copy_from_slice(&own);
    }
    // Zeros behind a shorter one add nothing.
    let sum = finish(add(pseudo(&address, &asker, length), &body)).to_be_bytes();
    body[2] = sum[0];
    body[3] = sum[1];
    write(ctx, eth::DESTINATION.start, asker_mac)?;
    write(ctx, eth::SOURCE.start, own)?;
    write(ctx, START + ipv6::SOURCE.start, address)?;
    write(ctx, START + ipv6::DESTINATION.start, asker)?;
    write::<{ icmpv6::OPTIONS }>(ctx, START + ipv6::LEN, part(&body, 0))?;
    if length == icmpv6::LEN {
        write::<8>(ctx, START + ipv6::LEN + icmpv6::OPTIONS, part(&body, icmpv6::OPTIONS))?;
    }
    Ok(Outcome::NeighbourAnswered)
}

#[inline(always)]
fn answer_echo<const START: usize>(ctx: &XdpContext, first: u32, ip: &[u8; ipv6::LEN], length: usize) -> Result<Outcome, Outcome> {
    let head: [u8; 4] = read(ctx, START + ipv6::LEN)?;
    let address: [u8; 16] = part(ip, ipv6::DESTINATION.start);
    let asker: [u8; 16] = part(ip, ipv6::SOURCE.start);
    let (station, v4) = station(address, first)?;
    let (to, asker_mac): ([u8; 6], [u8; 6]) = (read(ctx, eth::DESTINATION.start)?, read(ctx, eth::SOURCE.start)?);
    let passed_on = station.is_passed_on(to == mac(GATEWAY));
    let hop = if passed_on { GATEWAY } else { v4 };
    let known = to == mac(hop) || (!passed_on && to == wrong_mac(v4));
    if !known || (passed_on && ip[ipv6::HOPS] < 2) || asker == [0; 16] || asker[0] == 0xff {
        return Err(Outcome::Ignored);
    }
    if !is_intact::<START>(ctx, ip, length)? {
        return Err(Outcome::BadChecksum);
    }
    let behaviour = echoes(station, passed_on)?;
    if to != mac(hop) && !behaviour.has(Behaviour::WRONG_MAC) {
        return Err(Outcome::Ignored);
    }
    let own = lost_or(behaviour, if behaviour.has(Behaviour::WRONG_MAC) && !passed_on { wrong_mac(v4) } else { to })?;
    write(ctx, eth::DESTINATION.start, asker_mac)?;
    write(ctx, eth::SOURCE.start, own)?;
    write(ctx, START + ipv6::HOPS, [if passed_on { TTL - 1 } else { TTL }])?;
    // Source and destination swap, which leaves the sum as it is; the hop limit is not under it.
    write(ctx, START + ipv6::SOURCE.start, address)?;
    write(ctx, START + ipv6::DESTINATION.start, asker)?;
    let checksum = patched(part(&head, 2), [icmpv6::ECHO_REQUEST, 0], [icmpv6::ECHO_REPLY, 0]);
    write(ctx, START + ipv6::LEN, [icmpv6::ECHO_REPLY, 0, checksum[0], checksum[1]])?;
    Ok(Outcome::EchoV6Answered)
}
