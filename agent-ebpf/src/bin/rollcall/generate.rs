//! The transmitter's half in the kernel: one frame of a test run becomes the probe of the next slot in `DUE`.

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_REDIRECT};
use aya_ebpf::helpers::generated::bpf_redirect;
use aya_ebpf::programs::XdpContext;
use rollcall_agent_ebpf::target::{self, LIVE, V6};
use rollcall_agent_ebpf::{board, probe, run};

use crate::maps::{DUE, RUN, SENT, TARGET, now, read};

/// The action for this frame; `None` when no run goes on. A function of its own: in one frame of the stack with the receiver, which then
/// calls others, it is more than all kernels allow.
#[inline(never)]
pub(crate) fn next(ctx: &XdpContext) -> Option<u32> {
    let run = RUN.get_ptr_mut(0)?.cast::<u64>();
    // SAFETY: the look-up gave the whole element; these are words of it. Only this run writes the cursor.
    let (cursor, end) = unsafe { (run.add(run::CURSOR).read_volatile(), run.add(run::END).read_volatile()) };
    if cursor >= end {
        return None;
    }
    // SAFETY: as above.
    unsafe { run.add(run::CURSOR).write_volatile(cursor + 1) };
    // A slot that is not in use any more has no probe: the frame ends here.
    Some(probe(ctx, run, cursor as u32).unwrap_or(XDP_DROP))
}

#[inline(always)]
fn probe(ctx: &XdpContext, run: *mut u64, place: u32) -> Option<u32> {
    if place as usize % run::BLOCK == 0 {
        // SAFETY: a word of the element.
        unsafe { run.add(run::NOW).write_volatile(now()) };
    }
    let block = DUE.get_ptr(place / run::BLOCK as u32)?.cast::<u32>();
    // SAFETY: a block has that many slots, and so few are added.
    let slot = unsafe { block.add(place as usize % run::BLOCK).read_volatile() };
    if slot == run::TRIAL {
        write_v4(ctx, run, &template(run, run::TEMPLATE_ECHO))?;
        return Some(leave(run));
    }
    let mut target = read(TARGET.get_ptr(slot)?);
    let flags = (target[3] >> 48) as u8;
    if flags & LIVE == 0 {
        return None;
    }
    let sent = SENT.get_ptr_mut(slot)?.cast::<u64>();
    // SAFETY: the look-up gave the whole element of two words; only the one transmitter writes it.
    let sequence = unsafe { board::newest_sent([sent.read_volatile(), sent.add(1).read_volatile()]) }.wrapping_add(1);
    let passes_gateway = target::passes_gateway(flags, sequence);
    if passes_gateway {
        target[2] = word(run, run::GATEWAY);
    }
    if flags & V6 != 0 {
        write_v6(ctx, run, &frame_v6(run, &target, flags, slot, sequence))?;
    } else if target::asks(flags, sequence) {
        write_v4(ctx, run, &probe::arp(&template(run, run::TEMPLATE_ARP), &target))?;
    } else {
        let sums = word(run, run::SUMS);
        let frame = probe::echo(&template(run, run::TEMPLATE_ECHO), &target, slot, sequence, sums as u32, (sums >> 32) as u32);
        write_v4(ctx, run, &frame)?;
    }
    // Noted before it leaves: an answer never finds its probe missing.
    let entry = board::sent(sequence, word(run, run::NOW));
    // SAFETY: as above; the index is 0 or 1.
    unsafe { sent.add(usize::from(sequence & 1)).write_volatile(entry) };
    // Without its gateway it goes nowhere; that this is not the target's fault is for userspace to say.
    if passes_gateway && target[2] == 0 {
        return None;
    }
    Some(leave(run))
}

#[inline(always)]
fn leave(run: *mut u64) -> u32 {
    // SAFETY: a helper that reads no memory.
    let action = unsafe { bpf_redirect(word(run, run::INTERFACE) as u32, 0) };
    if action == i64::from(XDP_REDIRECT) { XDP_REDIRECT } else { XDP_DROP }
}

#[inline(always)]
fn word(run: *mut u64, at: usize) -> u64 {
    // SAFETY: `at` is one of the constants of `run`, below its number of words.
    unsafe { run.add(at).read_volatile() }
}

#[inline(always)]
fn frame_v6(run: *mut u64, target: &[u64; target::WORDS], flags: u8, slot: u32, sequence: u16) -> [u64; probe::WORDS_V6] {
    let at = if target::is_link_local(target[0]) { run::SOURCE_LINK } else { run::SOURCE_GLOBAL };
    let source = [word(run, at), word(run, at + 1), word(run, at + 2)];
    let sums = word(run, run::SUMS_V6);
    if target::asks(flags, sequence) {
        probe::solicitation(&template(run, run::TEMPLATE_SOLICITATION), target, &source, sums as u32)
    } else {
        probe::echo_v6(&template(run, run::TEMPLATE_ECHO_V6), target, slot, sequence, &source, (sums >> 32) as u32)
    }
}

#[inline(always)]
fn template<const N: usize>(run: *mut u64, at: usize) -> [u64; N] {
    core::array::from_fn(|i| word(run, at + i))
}

#[inline(always)]
fn write_v4(ctx: &XdpContext, run: *mut u64, frame: &[u64; probe::WORDS]) -> Option<()> {
    let tags = word(run, run::TAGS);
    if tags == 0 {
        write::<_, { probe::LEN }>(ctx, frame)
    } else if tags >> 32 == 0 {
        write::<_, { probe::LEN + 4 }>(ctx, &probe::tag_once::<_, 8>(frame, tags as u32))
    } else {
        write::<_, { probe::LEN + 8 }>(ctx, &probe::tag_twice::<_, 9>(frame, tags))
    }
}

#[inline(always)]
fn write_v6(ctx: &XdpContext, run: *mut u64, frame: &[u64; probe::WORDS_V6]) -> Option<()> {
    let tags = word(run, run::TAGS);
    if tags == 0 {
        write::<_, { probe::LEN_V6 }>(ctx, frame)
    } else if tags >> 32 == 0 {
        write::<_, { probe::LEN_V6 + 4 }>(ctx, &probe::tag_once::<_, 12>(frame, tags as u32))
    } else {
        write::<_, { probe::LEN_V6 + 8 }>(ctx, &probe::tag_twice::<_, 12>(frame, tags))
    }
}

/// Writes all bytes of a frame, by whole words: frames of a test run begin at a multiple of eight (net/bpf/test_run.c,
/// `struct xdp_page_head`).
#[inline(always)]
fn write<const N: usize, const LEN: usize>(ctx: &XdpContext, frame: &[u64; N]) -> Option<()> {
    let start = ctx.data();
    if start + LEN > ctx.data_end() {
        return None;
    }
    let words = start as *mut u64;
    let mut i = 0;
    while i < LEN / 8 {
        // SAFETY: so many words lie between data and data_end, which is what the verifier asks for as well.
        unsafe { words.add(i).write_volatile(frame[i]) };
        i += 1;
    }
    // SAFETY: as above; what is left of the last word is four bytes, or two, or both.
    unsafe {
        if LEN % 8 >= 4 {
            words.add(i).cast::<u32>().write_volatile(frame[i] as u32);
        }
        if LEN % 4 >= 2 {
            let (at, shift) = if LEN % 8 >= 4 { (2, 32) } else { (0, 0) };
            words.add(i).cast::<u16>().add(at).write_volatile((frame[i] >> shift) as u16);
        }
    }
    Some(())
}

/// Counts frames that the kernel could not send, while a run of ours goes on.
#[inline(always)]
pub(crate) fn count(at: usize, frames: i32) {
    if frames <= 0 {
        return;
    }
    if let Some(run) = RUN.get_ptr_mut(0)
        && word(run.cast(), run::ACTIVE) == 1
    {
        let run = run.cast::<u64>();
        // SAFETY: a word of the element. A lost update of two CPUs could only happen with a foreign program's drops.
        unsafe { run.add(at).write_volatile(word(run, at) + frames as u64) };
    }
}
