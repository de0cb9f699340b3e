//! A few stations with a known delay, which XDP cannot have: a thread at the fleet's side answers ARP for them, so long
//! after each request came in as was asked for, and notes how long it really was.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{IoSlice, IoSliceMut};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, TimestampingFlag, recvmsg, sendmsg,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};
use rollcall_agent_ebpf::fleet::mac;
use rollcall_agent_ebpf::frame::{arp, eth};

use crate::netns::Namespace;

/// The last answer of a station.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Answer {
    /// How many there were.
    pub(super) count: u64,
    /// From the kernel's receipt of the request to its handing the answer to the driver.
    pub(super) delay: Duration,
    pub(super) at: Instant,
}

/// The thread. It ends when this is dropped.
pub(super) struct Responder {
    answers: Arc<Mutex<BTreeMap<Ipv4Addr, Answer>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Responder {
    /// Begins to answer for these addresses, each after its delay.
    pub(super) fn start(namespace: &Namespace, delays: BTreeMap<Ipv4Addr, Duration>) -> Result<Self> {
        let (answers, stop): (Arc<Mutex<_>>, Arc<AtomicBool>) = Default::default();
        let socket = namespace.within(open)?;
        let (their_answers, their_stop) = (answers.clone(), stop.clone());
        let thread = std::thread::Builder::new().name("responder".into()).spawn(move || {
            if let Err(error) = serve(&socket, &delays, &their_answers, &their_stop) {
                eprintln!("warning: the responder with a known delay stopped: {error:#}");
            }
        });
        Ok(Self { answers, stop, thread: Some(thread.context("cannot start a thread")?) })
    }

    /// The last answer of an address.
    pub(super) fn answer(&self, address: Ipv4Addr) -> Option<Answer> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).get(&address).copied()
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A packet socket for all that the fleet's program passes on, with the kernel's times of receipt and of sending.
fn open() -> Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll).context("cannot open a packet socket")?;
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true).context("the kernel stamps no frames")?;
    let sent = TimestampingFlag::SOF_TIMESTAMPING_SOFTWARE | TimestampingFlag::SOF_TIMESTAMPING_TX_SOFTWARE;
    setsockopt(&socket, sockopt::Timestamping, &sent).context("the kernel stamps no frames of ours")?;
    Ok(socket)
}

/// An answer that waits for its time.
struct Waiting {
    due: Duration,
    received: Duration,
    to: LinkAddr,
    address: Ipv4Addr,
    frame: [u8; 42],
}

fn serve(
    socket: &OwnedFd,
    delays: &BTreeMap<Ipv4Addr, Duration>,
    answers: &Mutex<BTreeMap<Ipv4Addr, Answer>>,
    stop: &AtomicBool,
) -> Result<()> {
    let mut waiting: Vec<Waiting> = Vec::new();
    // Also of the time before: the first of a kind.
    let kinds: BTreeSet<Duration> = delays.values().copied().collect();
    let longest = kinds.last().copied().unwrap_or_default().max(Duration::from_millis(50));
    while !stop.load(Ordering::Relaxed) {
        let now = clock()?;
        let left = waiting.iter().map(|waiting| waiting.due.saturating_sub(now)).min().unwrap_or(longest);
        // A timer of whole milliseconds: what is left is slept away below.
        let timeout = PollTimeout::try_from(left.as_millis() as u64).unwrap_or(PollTimeout::ZERO);
        match poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("poll"),
        }
        while let Some(Passed { frame, at: received, from }) = receive(socket, MsgFlags::empty())? {
            if let Some(from) = from
                && let Some((address, answer)) = request(&frame)
                && let Some(delay) = delays.get(&address)
            {
                waiting.push(Waiting { due: received + *delay, received, to: from, address, frame: answer });
            }
        }
        waiting.sort_unstable_by_key(|waiting| waiting.due);
        if let Some(left) = waiting
            .first()
            .map(|first| first.due.saturating_sub(clock().unwrap_or_default()))
            .filter(|left| *left < Duration::from_millis(1))
        {
            std::thread::sleep(left);
        }
        let now = clock()?;
        while waiting.first().is_some_and(|first| first.due <= now) {
            let first = waiting.remove(0);
            let sent = sendmsg(socket.as_raw_fd(), &[IoSlice::new(&first.frame)], &[], MsgFlags::empty(), Some(&first.to));
            // An answer whose time is not known is no truth to measure by.
            if sent.is_ok()
                && let Some(left) = departure(socket, &first.frame)?
            {
                let delay = left.saturating_sub(first.received);
                let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
                let count = answers.get(&first.address).map_or(1, |answer| answer.count + 1);
                answers.insert(first.address, Answer { count, delay, at: Instant::now() });
            }
        }
    }
    Ok(())
}

/// When the kernel handed a frame of ours to the driver, if it said so. What it said of earlier ones is passed over.
fn departure(socket: &OwnedFd, frame: &[u8]) -> Result<Option<Duration>> {
    while let Some(passed) = receive(socket, MsgFlags::MSG_ERRQUEUE)? {
        if passed.frame.starts_with(frame) {
            return Ok(Some(passed.at));
        }
    }
    Ok(None)
}

/// A frame that came in, or one of ours that left.
struct Passed {
    frame: Vec<u8>,
    /// The kernel's stamp.
    at: Duration,
    /// Where it came in.
    from: Option<LinkAddr>,
}

/// The next frame that came in; from the queue of errors, one of ours that left.
fn receive(socket: &OwnedFd, queue: MsgFlags) -> Result<Option<Passed>> {
    let mut buffer = [0u8; 256];
    // Of a frame that left more is told, which nobody asks about here.
    let mut control = nix::cmsg_space!(TimeSpec, [TimeSpec; 3], [u8; 64]);
    let mut pieces = [IoSliceMut::new(&mut buffer)];
    let message = match recvmsg::<LinkAddr>(socket.as_raw_fd(), &mut pieces, Some(&mut control), queue | MsgFlags::MSG_DONTWAIT) {
        Ok(message) => message,
        Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
        Err(error) => return Err(error).context("cannot receive"),
    };
    let at = message.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::ScmTimestampns(time) => Some(Duration::from(time)),
        _ => None,
    });
    let (length, from) = (message.bytes, message.address);
    let at = at.context("a frame without its time")?;
    Ok(Some(Passed { frame: buffer[..length.min(256)].to_vec(), at, from }))
}

/// What an ARP request asks for, and the answer to it.
fn request(frame: &[u8]) -> Option<(Ipv4Addr, [u8; 42])> {
    let mut answer: [u8; 42] = frame.get(..42)?.try_into().ok()?;
    let kind = u16::from_be_bytes([answer[12], answer[13]]);
    let packet = &mut answer[eth::LEN..];
    if kind != eth::ARP || packet[..6] != arp::PREFIX || packet[arp::OPERATION] != arp::REQUEST.to_be_bytes() {
        return None;
    }
    let address: [u8; 4] = packet[arp::TARGET].try_into().ok()?;
    let asker: [u8; 4] = packet[arp::SENDER].try_into().ok()?;
    let asker_mac: [u8; 6] = packet[arp::SENDER_MAC].try_into().ok()?;
    packet[arp::OPERATION].copy_from_slice(&arp::REPLY.to_be_bytes());
    packet[arp::SENDER_MAC].copy_from_slice(&mac(address));
    packet[arp::SENDER].copy_from_slice(&address);
    packet[arp::TARGET_MAC].copy_from_slice(&asker_mac);
    packet[arp::TARGET].copy_from_slice(&asker);
    answer[eth::DESTINATION].copy_from_slice(&asker_mac);
    answer[eth::SOURCE].copy_from_slice(&mac(address));
    Some((address.into(), answer))
}

/// The clock that the kernel stamps frames with.
fn clock() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_REALTIME).context("no clock")?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_becomes_the_stations_answer_and_nothing_else_does() {
        let mut frame = vec![0x02, 0x52, 10, 128, 9, 9, 2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1];
        frame.extend([2, 0, 0, 0, 0, 1, 10, 128, 0, 1, 0, 0, 0, 0, 0, 0, 10, 128, 9, 9]);
        let (address, answer) = request(&frame).unwrap();
        assert_eq!(address, Ipv4Addr::new(10, 128, 9, 9));
        assert_eq!(answer[..22], [2, 0, 0, 0, 0, 1, 2, 0x52, 10, 128, 9, 9, 8, 6, 0, 1, 8, 0, 6, 4, 0, 2]);
        assert_eq!(answer[22..], [2, 0x52, 10, 128, 9, 9, 10, 128, 9, 9, 2, 0, 0, 0, 0, 1, 10, 128, 0, 1]);
        assert_eq!(request(&answer), None, "an answer is no request");
        assert_eq!(request(&frame[..41]), None);
    }
}
