//! The socket transmitter: one AF_PACKET socket, `PACKET_QDISC_BYPASS`, batches by `sendmmsg` (packet(7), sendmmsg(2)).
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::{Departure, Transmitter};
use crate::clock::Mono;
use crate::packet::{Frame, LEN_MAX, Sender, Templates};
use crate::reply::Program;
use crate::unit::{Family, Mac};

/// Frames of one system call. More gained nothing (see design), fewer cost calls.
const BATCH: usize = 64;
/// Room for frames that the driver has not taken yet, in bytes of kernel accounting (about 800 a frame).
const SEND_BUFFER: libc::c_int = 8 << 20;

/// A transmitter with its prepared frames.
pub struct Socket {
    fd: OwnedFd,
    sender: Sender,
    templates: Templates,
    id: u16,
    /// Frames, the I/O vectors that point to them, and the messages that point to those: each allocated once, never
    /// moved or resized.
    frames: Box<[Frame; BATCH]>,
    vectors: Box<[libc::iovec; BATCH]>,
    messages: Box<[libc::mmsghdr; BATCH]>,
    /// Place among the slots of the batch under way, slot, sequence and the entry of `SENT` before, of each message.
    notes: Vec<(usize, u32, u16, u64)>,
    /// The same of probes of that batch that have nowhere to go.
    idle: Vec<(usize, u32, u16, u64)>,
}

// SAFETY: the raw pointers lead into boxes that the value owns itself, so they move with it to another thread.
unsafe impl Send for Socket {}

impl Socket {
    /// Opens a socket for the interface, in the calling thread's network namespace. Needs CAP_NET_RAW.
    pub fn open(interface: u32, sender: Sender) -> io::Result<Self> {
        let fd = packet_socket(interface, None)?;
        set_option(&fd, libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, 1)?;
        // Without CAP_NET_ADMIN the default stays: slower, not wrong.
        let _ = set_option(&fd, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, SEND_BUFFER);
        let mut frames = Box::new([[0; LEN_MAX]; BATCH]);
        let mut vectors: Box<[libc::iovec; BATCH]> =
            Box::new(std::array::from_fn(|i| libc::iovec { iov_base: frames[i].as_mut_ptr().cast(), iov_len: 0 }));
        let messages = Box::new(std::array::from_fn(|i| {
            // SAFETY: all-zero is a valid mmsghdr: no name, no control data, no vectors.
            let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
            message.msg_hdr.msg_iov = &mut vectors[i];
            message.msg_hdr.msg_iovlen = 1;
            message
        }));
        let notes = Vec::with_capacity(BATCH);
        let templates = Templates::new(sender, 0);
        Ok(Socket { fd, sender, templates, id: 0, frames, vectors, messages, notes, idle: Vec::new() })
    }

    fn send_batch(&mut self) -> Departure {
        let mut sent = 0;
        while sent < self.notes.len() {
            let rest = &mut self.messages[sent..self.notes.len()];
            // SAFETY: `rest` is a slice of valid messages whose vectors and frames live as long as `self`.
            let result = unsafe { libc::sendmmsg(self.fd.as_raw_fd(), rest.as_mut_ptr(), rest.len() as libc::c_uint, libc::MSG_DONTWAIT) };
            match result {
                1.. => sent += result as usize,
                _ => {
                    let error = io::Error::last_os_error();
                    if error.kind() != io::ErrorKind::Interrupted {
                        return Departure { sent, error: Some(error), dropped: 0 };
                    }
                }
            }
        }
        Departure { sent, error: None, dropped: 0 }
    }
}

impl Transmitter for Socket {
    fn transmit(&mut self, program: &Program, slots: &[u32], _family: Family, id: u16, clock: &dyn Fn() -> Mono) -> Departure {
        if id != self.id {
            (self.templates, self.id) = (self.templates.with_id(self.sender, id), id);
        }
        let arrays = program.arrays();
        let mut done = 0;
        for batch in slots.chunks(BATCH) {
            self.notes.clear();
            self.idle.clear();
            batch.iter().for_each(|slot| arrays.prefetch(*slot));
            for (place, &slot) in batch.iter().enumerate() {
                let Some(target) = arrays.target(slot) else { continue };
                let Some((sequence, before)) = arrays.note_sent(slot, clock().nanos()) else { continue };
                let at = self.notes.len();
                self.vectors[at].iov_len = self.templates.write(&mut self.frames[at], &target, slot, sequence);
                if self.vectors[at].iov_len == 0 {
                    self.idle.push((place, slot, sequence, before));
                    continue;
                }
                self.notes.push((place, slot, sequence, before));
            }
            let departure = self.send_batch();
            if departure.error.is_some() {
                // Backwards: a slot that stands twice in a batch gets back what stood there first.
                for &(_, slot, sequence, before) in self.notes[departure.sent..].iter().rev() {
                    arrays.undo(slot, sequence, before);
                }
                let position = self.notes.get(departure.sent).map_or(batch.len(), |note| note.0);
                // Of a slot that stands here and there the one is asked and the other pinged: each undoes its own word of `SENT`.
                for &(_, slot, sequence, before) in self.idle.iter().filter(|note| note.0 >= position) {
                    arrays.undo(slot, sequence, before);
                }
                return Departure { sent: done + position, error: departure.error, dropped: 0 };
            }
            done += batch.len();
        }
        Departure { sent: done, error: None, dropped: 0 }
    }

    fn gateway(&mut self, family: Family, mac: Option<Mac>) {
        self.templates.set_gateway(family, mac);
    }

    fn name(&self) -> &'static str {
        "socket"
    }
}

/// A raw packet socket bound to an interface. Without a filter it receives nothing, so nothing is copied to it.
pub(super) fn packet_socket(interface: u32, filter: Option<&[libc::sock_filter]>) -> io::Result<OwnedFd> {
    // SAFETY: no pointers; the descriptor is checked before it is owned.
    let fd = unsafe {
        let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(fd)
    };
    if let Some(filter) = filter {
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
        // SAFETY: the program points to a live slice of that length, which the kernel only reads.
        let result = unsafe {
            let length = size_of::<libc::sock_fprog>() as libc::socklen_t;
            libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, (&raw const program).cast(), length)
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        set_option(&fd, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1)?;
    }
    let protocol = if filter.is_some() { libc::ETH_P_ALL as u16 } else { 0 };
    // SAFETY: all-zero is a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol.to_be();
    address.sll_ifindex = interface as i32;
    // SAFETY: the pointer and the length are those of a live sockaddr_ll.
    let result = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), size_of::<libc::sockaddr_ll>() as libc::socklen_t) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(fd) }
}

pub(super) fn set_option(fd: &OwnedFd, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the pointer and the length are those of a live c_int.
    let result =
        unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, (&raw const value).cast(), size_of::<libc::c_int>() as libc::socklen_t) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
