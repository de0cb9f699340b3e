//! Reading and writing the frame in hand.

use aya_ebpf::helpers::generated::{bpf_csum_diff, bpf_xdp_load_bytes};
use aya_ebpf::macros::map;
use aya_ebpf::maps::PerCpuArray;
use aya_ebpf::programs::XdpContext;
use rollcall_agent_ebpf::checksum::finish;
use rollcall_agent_ebpf::fleet::{Outcome, patched_checksum};

/// Longest part that is summed up: the usual MTU.
const TOTAL_MAX: usize = 1500;
/// Longest part that is summed up at once.
pub(crate) const SHORT: usize = 128;

/// A part that is summed up: larger than the stack bears.
#[map]
static SCRATCH: PerCpuArray<[u64; SHORT / 8]> = PerCpuArray::with_max_entries(1, 0);

/// The checksum field after one word that it covers changed.
#[inline(always)]
pub(crate) fn patched(checksum: [u8; 2], old: [u8; 2], new: [u8; 2]) -> [u8; 2] {
    patched_checksum(u16::from_be_bytes(checksum), u16::from_be_bytes(old), u16::from_be_bytes(new)).to_be_bytes()
}

/// Some bytes of a header that was read; the offsets are constants within it.
#[inline(always)]
pub(crate) fn part<const N: usize>(header: &[u8], offset: usize) -> [u8; N] {
    let mut part = [0; N];
    part.copy_from_slice(&header[offset..offset + N]);
    part
}

/// Whether the Internet checksum (RFC 1071) of a part of the frame is right.
///
/// By helpers and a buffer: the compiler turns a loop over the packet itself into arithmetic on its end, which the
/// verifier forbids.
#[inline(always)]
pub(crate) fn sums_up(ctx: &XdpContext, start: usize, length: usize) -> Result<bool, Outcome> {
    const CHUNK: usize = 64;
    let mut sum = 0;
    let mut done = 0;
    while done < length && done < TOTAL_MAX {
        let mut chunk = [0u32; CHUNK / 4];
        // 1 to CHUNK, in a way that the verifier follows.
        let size = (unknown((length - done - 1).min(CHUNK - 1)) & (CHUNK - 1)) + 1;
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

/// The same of a part of at most [`SHORT`] bytes, `before` being the sum of what else is under it, in memory order: what the verifier follows in a few steps.
#[inline(always)]
pub(crate) fn sums_up_short(ctx: &XdpContext, start: usize, length: usize, before: u32) -> Result<bool, Outcome> {
    let part = SCRATCH.get_ptr_mut(0).ok_or(Outcome::Ignored)?;
    if length == 0 || length > SHORT {
        return Err(Outcome::Ignored);
    }
    // SAFETY: a per-CPU value, and this program does not nest. It has room for `length` bytes; what is not there is not read, and
    // the helper says so. Zeros add nothing to the sum.
    unsafe {
        let length = (unknown(length - 1) & (SHORT - 1)) + 1;
        *part = [0; SHORT / 8];
        if bpf_xdp_load_bytes(ctx.ctx, start as u32, part.cast(), length as u32) != 0 {
            return Err(Outcome::Ignored);
        }
        let sum = bpf_csum_diff(core::ptr::null_mut(), 0, part.cast(), SHORT as u32, before);
        Ok(finish(sum as u32) == 0)
    }
}

/// The same number, of which the compiler knows no bounds: a mask that it finds needless is what tells the verifier.
#[inline(always)]
fn unknown(number: usize) -> usize {
    core::hint::black_box(number)
}

/// Some bytes of the frame, by value; a frame that ends before them is nothing for the fleet.
#[inline(always)]
pub(crate) fn read<const N: usize>(ctx: &XdpContext, offset: usize) -> Result<[u8; N], Outcome> {
    let pointer = pointer::<N>(ctx, offset)?;
    // SAFETY: `pointer` checked the bounds, and bytes need no alignment.
    Ok(unsafe { *pointer })
}

#[inline(always)]
pub(crate) fn write<const N: usize>(ctx: &XdpContext, offset: usize, bytes: [u8; N]) -> Result<(), Outcome> {
    let pointer = pointer::<N>(ctx, offset)?;
    // SAFETY: `pointer` checked the bounds, bytes need no alignment, and no reference into the frame is alive.
    unsafe { *pointer = bytes };
    Ok(())
}

#[inline(always)]
pub(crate) fn pointer<const N: usize>(ctx: &XdpContext, offset: usize) -> Result<*mut [u8; N], Outcome> {
    let start = ctx.data() + offset;
    if start + N > ctx.data_end() {
        return Err(Outcome::Ignored);
    }
    Ok(start as *mut [u8; N])
}
