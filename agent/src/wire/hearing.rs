//! The socket receiver's socket: whatever may be an answer to a probe, with the time at which the kernel took it in.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::filter;
use super::socket::{packet_socket, set_option};
use crate::clock::{self, Mono};
use crate::packet::Sender;
use crate::unit::Mac;

/// Frames of one system call.
const BATCH: usize = 64;
/// Calls in a row for one socket: the others want their turn.
const CALLS: usize = 64;
/// Bytes of a frame that are looked at: no answer is longer, and of what a router quotes this is enough (RFC 1812, 4.3.2.3).
const FRAME: usize = 640;
/// Room for the time of a frame (cmsg(3)).
const CONTROL: usize = 64;
/// Room for frames that were not read yet, in bytes of kernel accounting (about 800 a frame).
const RECEIVE_BUFFER: libc::c_int = 32 << 20;
/// A frame that waited longer has its time from a clock that was set meanwhile.
const WAITED_MAX: Duration = Duration::from_secs(10);

/// A packet socket that receives only what may be an answer, of one interface and with one network's tags.
#[derive(Debug)]
pub struct HearingSocket {
    fd: OwnedFd,
    interface: u32,
    sender: Sender,
}

/// Where frames are read to: one for each thread that reads.
pub struct Letterbox {
    frames: Box<[[u8; FRAME]; BATCH]>,
    controls: Box<[Control; BATCH]>,
}

/// Aligned as the control messages that the kernel writes there.
#[derive(Clone, Copy)]
#[repr(align(8))]
struct Control([u8; CONTROL]);

impl Default for Letterbox {
    fn default() -> Self {
        Letterbox { frames: Box::new([[0; FRAME]; BATCH]), controls: Box::new([Control([0; CONTROL]); BATCH]) }
    }
}

impl HearingSocket {
    /// Opens the socket, in the calling thread's network namespace. Needs CAP_NET_RAW.
    pub fn open(interface: u32, sender: Sender) -> io::Result<Self> {
        let fd = packet_socket(interface, Some(&filter::answers(sender.tags)))?;
        set_option(&fd, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)?;
        // Without CAP_NET_ADMIN the default stays: what overflows is noticed.
        let _ = set_option(&fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, RECEIVE_BUFFER);
        Ok(HearingSocket { fd, interface, sender })
    }

    /// Its interface.
    pub fn interface(&self) -> u32 {
        self.interface
    }

    /// The interface's MAC.
    pub fn mac(&self) -> Mac {
        self.sender.mac
    }

    /// The tags that still stand in the frames: the outer one was taken out by the kernel, and was the filter's affair.
    pub fn tags_in_frames(&self) -> u64 {
        self.sender.tags.word() >> 32
    }

    /// Hands over the frames that are there, each with the time at which it came in. True: none is left.
    pub fn read(&self, letterbox: &mut Letterbox, mut each: impl FnMut(&[u8], Mono)) -> bool {
        for _ in 0..CALLS {
            let got = self.read_some(letterbox, &mut each);
            if got < BATCH {
                return true;
            }
        }
        false
    }

    fn read_some(&self, letterbox: &mut Letterbox, each: &mut impl FnMut(&[u8], Mono)) -> usize {
        let Letterbox { frames, controls } = letterbox;
        let mut vectors: [libc::iovec; BATCH] =
            std::array::from_fn(|at| libc::iovec { iov_base: frames[at].as_mut_ptr().cast(), iov_len: FRAME });
        let mut messages: [libc::mmsghdr; BATCH] = std::array::from_fn(|at| {
            // SAFETY: all-zero is a valid mmsghdr: no name, no control data, no vectors.
            let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
            message.msg_hdr.msg_iov = &raw mut vectors[at];
            message.msg_hdr.msg_iovlen = 1;
            message.msg_hdr.msg_control = controls[at].0.as_mut_ptr().cast();
            message.msg_hdr.msg_controllen = CONTROL as _;
            message
        });
        // SAFETY: the messages point to vectors, frames and controls that live until the end of this function.
        let got = unsafe {
            let flags = libc::MSG_DONTWAIT;
            libc::recvmmsg(self.fd.as_raw_fd(), messages.as_mut_ptr(), BATCH as libc::c_uint, flags as _, std::ptr::null_mut())
        };
        // Nothing there, or the interface is gone: either way nothing was read.
        let got = usize::try_from(got).unwrap_or(0);
        let (mono, wall) = (clock::now(), SystemTime::now());
        for (at, message) in messages[..got].iter().enumerate() {
            // SAFETY: the kernel has filled in this message's header, and its control data stands where it points.
            let stamp = unsafe { stamp(&message.msg_hdr) };
            let waited = stamp.and_then(|stamp| wall.duration_since(stamp).ok()).filter(|waited| *waited < WAITED_MAX);
            each(&frames[at][..(message.msg_len as usize).min(FRAME)], mono - waited.unwrap_or_default());
        }
        got
    }

    /// Whether frames were dropped since the last question because the queue was full (packet(7), `PACKET_STATISTICS`).
    pub fn overflowed(&self) -> bool {
        let mut statistics = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
        let mut length = size_of::<libc::tpacket_stats>() as libc::socklen_t;
        // SAFETY: the pointer and the length are those of a live tpacket_stats.
        let result = unsafe {
            libc::getsockopt(self.fd.as_raw_fd(), libc::SOL_PACKET, libc::PACKET_STATISTICS, (&raw mut statistics).cast(), &raw mut length)
        };
        result == 0 && statistics.tp_drops > 0
    }
}

impl AsFd for HearingSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The time that stands beside a frame.
///
/// # Safety
/// The header must be one that the kernel filled in, with its control data still there.
unsafe fn stamp(header: &libc::msghdr) -> Option<SystemTime> {
    // SAFETY: by the caller's word; the macro looks no further than the header says.
    let message = unsafe { libc::CMSG_FIRSTHDR(header).as_ref()? };
    if message.cmsg_level != libc::SOL_SOCKET || message.cmsg_type != libc::SCM_TIMESTAMPNS {
        return None;
    }
    // SAFETY: data of this type is a timespec; it may stand unaligned.
    let time = unsafe { libc::CMSG_DATA(message).cast::<libc::timespec>().read_unaligned() };
    Some(UNIX_EPOCH + Duration::new(u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?))
}
