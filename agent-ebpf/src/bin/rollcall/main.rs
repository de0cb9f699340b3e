//! The agent's programs. One XDP program for both directions: in a test run with live frames it makes probes, on an
//! interface it recognises the answers. That it is one is what makes test runs fast: the kernel keeps a program that is
//! attached somewhere in its XDP dispatcher, and need not change that for each run.
#![no_std]
#![no_main]
#![allow(unsafe_code)]

mod generate;
mod maps;
mod receive;

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::macros::{raw_tracepoint, xdp};
use aya_ebpf::programs::{RawTracePointContext, XdpContext};
use rollcall_agent_ebpf::run;

/// The name carries the layout's version: an agent that speaks another one does not find its program here. Inlined, because
/// older kernels count each frame of the stack, however small, as a multiple of 32 of the 512 bytes that there are.
#[xdp]
#[inline(always)]
fn rollcall_v6(ctx: XdpContext) -> u32 {
    if ctx.ingress_ifindex() as u32 == run::LOOPBACK
        && let Some(action) = generate::next(&ctx)
    {
        return action;
    }
    let reason = receive::classify(&ctx);
    if let Some(counter) = maps::COUNTERS.get_ptr_mut(reason as u32) {
        // SAFETY: the pointer is this CPU's own element; a program is not preempted by itself on one CPU.
        unsafe { *counter += 1 };
    }
    if reason.consumed() { xdp_action::XDP_DROP } else { xdp_action::XDP_PASS }
}

/// A driver took fewer frames of a bulk than it was given (include/trace/events/xdp.h: from, to, sent, drops, error).
#[raw_tracepoint(tracepoint = "xdp_devmap_xmit")]
fn frames_dropped(ctx: RawTracePointContext) -> i32 {
    generate::count(run::DROPPED, ctx.arg::<i32>(3));
    0
}

/// A frame could not be handed to a driver at all.
#[raw_tracepoint(tracepoint = "xdp_redirect_err")]
fn frames_refused(_ctx: RawTracePointContext) -> i32 {
    generate::count(run::REFUSED, 1);
    0
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
