//! Reading and writing the frame in hand.

use core::hint::black_box;

use aya_ebpf::helpers::generated::bpf_csum_diff;
use aya_ebpf::macros::map;
use aya_ebpf::maps::PerCpuArray;
use aya_ebpf::programs::XdpContext;
use rollcall_agent_ebpf::checksum::finish;
use rollcall_agent_ebpf::fleet::{Outcome, patched_checksum};

/// Longest part that is summed up: the usual MTU.
const TOTAL_MAX: usize = 1500;

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

/// Whether the Internet checksum (RFC 1071) of a part of the frame is right, `before` being the sum of what else is under it, in
/// memory order.
#[inline(always)]
pub(crate) fn sums_up(ctx: &XdpContext, start: usize, length: usize, before: u32) -> Result<bool, Outcome> {
    match sum(ctx, start, length, before) {
        NOT_THERE => Err(Outcome::Ignored),
        sum => Ok(finish(sum as u32) == 0),
    }
}

/// The sum of a part that the frame does not have.
const NOT_THERE: u64 = u64::MAX;

/// The sum of a part of the frame and what was before. A function of its own, with a word as its answer: the verifier goes through few
/// states, and all kernels have what it takes (one helper that copies out of a frame came with Linux 5.18).
#[inline(never)]
fn sum(ctx: &XdpContext, start: usize, length: usize, before: u32) -> u64 {
    try_sum(ctx, start, length, before).unwrap_or(NOT_THERE)
}

#[inline(always)]
fn try_sum(ctx: &XdpContext, start: usize, length: usize, before: u32) -> Result<u64, Outcome> {
    const BLOCK: usize = 64;
    let mut rest = Rest::new(start, length)?;
    let mut sum = before;
    for _ in 0..TOTAL_MAX / BLOCK {
        let Some(block) = rest.next::<BLOCK>(ctx)? else { break };
        // SAFETY: the bounds were checked, and the helper reads that many bytes.
        sum = unsafe { bpf_csum_diff(core::ptr::null_mut(), 0, block.cast(), BLOCK as u32, sum) } as u32;
    }
    let mut sum = u64::from(sum);
    for _ in 0..BLOCK / 4 {
        let Some(word) = rest.next::<4>(ctx)? else { break };
        // SAFETY: the bounds were checked.
        sum += u64::from(u32::from_le_bytes(unsafe { *word }));
    }
    for shift in [0, 8, 16] {
        let Some(byte) = rest.next::<1>(ctx)? else { break };
        // SAFETY: the bounds were checked.
        sum += u64::from(unsafe { *byte }[0]) << shift;
    }
    // What is longer than any packet that is answered.
    if rest.length() != 0 {
        return Err(Outcome::Ignored);
    }
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    Ok((sum & 0xffff_ffff) + (sum >> 32))
}

/// What is left of a part of the frame: where it begins, and how long it is.
#[map]
static REST: PerCpuArray<[usize; 2]> = PerCpuArray::with_max_entries(1, 0);

/// The same, kept in memory. The compiler must not see through it: it would turn a loop over the packet into arithmetic on the packet's
/// end, which the verifier forbids, and drop bounds that only the verifier needs. And the verifier must not, or it would follow each
/// length on its own.
struct Rest(*mut usize);

impl Rest {
    #[inline(always)]
    fn new(start: usize, length: usize) -> Result<Self, Outcome> {
        let rest = Self(REST.get_ptr_mut(0).ok_or(Outcome::Ignored)?.cast());
        rest.set(start, length);
        Ok(rest)
    }

    /// The next bytes; none where fewer are left.
    #[inline(always)]
    fn next<const N: usize>(&mut self, ctx: &XdpContext) -> Result<Option<*mut [u8; N]>, Outcome> {
        // Above the longest packet that is answered, and its headers.
        const START_MAX: usize = 0x7ff;
        // SAFETY: the first word of a per-CPU value; this program does not nest.
        let (start, length) = (unsafe { self.0.read_volatile() } & START_MAX, self.length());
        if length < N {
            return Ok(None);
        }
        self.set(start + N, length - N);
        let pointer = black_box(ctx.data() + start);
        if pointer + N > ctx.data_end() {
            return Err(Outcome::Ignored);
        }
        Ok(Some(pointer as *mut [u8; N]))
    }

    #[inline(always)]
    fn length(&self) -> usize {
        // SAFETY: the second word of it.
        unsafe { self.0.add(1).read_volatile() }
    }

    #[inline(always)]
    fn set(&self, start: usize, length: usize) {
        // SAFETY: both words of it.
        unsafe {
            self.0.write_volatile(start);
            self.0.add(1).write_volatile(length);
        }
    }
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
