//! What the gateway says of a station that it cannot reach: ICMP host unreachable (RFC 792), with the request quoted.

use aya_ebpf::helpers::generated::bpf_xdp_adjust_head;
use aya_ebpf::programs::XdpContext;
use rollcall_agent_ebpf::checksum::{add, finish};
use rollcall_agent_ebpf::fleet::{GATEWAY, Outcome, TTL};
use rollcall_agent_ebpf::frame::{eth, icmp, ipv4};

use crate::packet::{part, read, write};

/// How much of the request is quoted: IP header, and the whole of an echo of the agent's.
const QUOTE: usize = ipv4::LEN + icmp::LEN;
/// What stands in front of the quote.
const FRONT: usize = ipv4::LEN + icmp::HEADER;
/// Code: host unreachable.
const HOST: u8 = 1;

/// Turns a request without options or tags, whose IP header is given, into the error.
#[inline(always)]
pub(crate) fn unreachable(ctx: &XdpContext, ip: &[u8; ipv4::LEN], own: [u8; 6], asker: [u8; 6]) -> Result<Outcome, Outcome> {
    let quote: [u8; QUOTE] = read(ctx, eth::LEN)?;
    // SAFETY: the context is the program's own; all pointers into the frame are fetched anew after it.
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, -(FRONT as i32)) } != 0 {
        return Err(Outcome::Ignored);
    }
    let mut front = [0; FRONT];
    front[0] = 0x45;
    front[ipv4::TOTAL].copy_from_slice(&((FRONT + QUOTE) as u16).to_be_bytes());
    front[8] = TTL;
    front[ipv4::PROTOCOL] = ipv4::ICMP;
    front[ipv4::SOURCE].copy_from_slice(&GATEWAY);
    front[ipv4::DESTINATION].copy_from_slice(&part::<4>(ip, ipv4::SOURCE.start));
    let sum = finish(add(0, &front[..ipv4::LEN]));
    front[ipv4::CHECKSUM].copy_from_slice(&sum.to_be_bytes());
    front[ipv4::LEN] = icmp::UNREACHABLE;
    front[ipv4::LEN + 1] = HOST;
    let sum = finish(add(add(0, &front[ipv4::LEN..]), &quote));
    front[ipv4::LEN + 2..ipv4::LEN + 4].copy_from_slice(&sum.to_be_bytes());
    write(ctx, eth::DESTINATION.start, asker)?;
    write(ctx, eth::SOURCE.start, own)?;
    write(ctx, eth::TYPE.start, eth::IPV4.to_be_bytes())?;
    write(ctx, eth::LEN, front)?;
    Ok(Outcome::Unreachable)
}
