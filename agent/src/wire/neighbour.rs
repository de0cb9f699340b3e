//! The resolver's socket: asks for MACs by ARP and neighbour discovery, and hears the answers that the XDP program passes on,
//! since nobody's probe waits for them. The kernel's neighbour table is never used.
#![allow(unsafe_code)]

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use rollcall_agent_ebpf::config::mac_word;
use rollcall_agent_ebpf::probe;
use rollcall_agent_ebpf::receive::{self, Kind};

use super::filter;
use super::socket::{packet_socket, set_option};
use crate::packet::{LEN_MAX, Sender, Templates};
use crate::unit::{Mac, unmapped};

/// Room for answers that were not read yet, in bytes of kernel accounting (about 800 a frame).
const RECEIVE_BUFFER: libc::c_int = 4 << 20;

/// What a neighbour answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// Who says to have it.
    pub address: IpAddr,
    /// Which MAC, one that a station can own.
    pub mac: Mac,
    /// The frame was sent to our MAC, as the receiver's frames are, and not to all.
    pub is_to_us: bool,
}

/// The seam for asking who has an address, and for hearing what is answered.
pub trait Neighbours: Send {
    /// Asks who has the address: the known MAC, or everybody.
    fn ask(&mut self, address: IpAddr, mac: Option<Mac>) -> io::Result<()>;

    /// The next answer to a question of ours; `None` when there is none now.
    fn answer(&mut self) -> io::Result<Option<Said>>;
}

/// A packet socket that receives only who has which MAC.
pub struct NeighbourSocket {
    fd: OwnedFd,
    templates: Templates,
    sender: Sender,
}

impl NeighbourSocket {
    /// Opens the socket, in the calling thread's network namespace. Needs CAP_NET_RAW.
    pub fn open(interface: u32, sender: Sender) -> io::Result<Self> {
        let fd = packet_socket(interface, Some(&filter::neighbours(sender.tags)))?;
        // Where a socket receives the replies to probes this one hears them too. Without CAP_NET_ADMIN the default stays.
        let _ = set_option(&fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, RECEIVE_BUFFER);
        Ok(NeighbourSocket { fd, templates: Templates::new(sender, 0), sender })
    }

    /// As [`Neighbours::ask`].
    pub fn ask(&self, address: IpAddr, mac: Option<Mac>) -> io::Result<()> {
        let mut frame = [0; LEN_MAX];
        let length = self.templates.ask(&mut frame, address, mac);
        // SAFETY: the pointer and the length are those of a live buffer.
        let sent = unsafe { libc::send(self.fd.as_raw_fd(), frame.as_ptr().cast(), length, libc::MSG_DONTWAIT) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl Neighbours for NeighbourSocket {
    fn ask(&mut self, address: IpAddr, mac: Option<Mac>) -> io::Result<()> {
        NeighbourSocket::ask(self, address, mac)
    }

    fn answer(&mut self) -> io::Result<Option<Said>> {
        let mut buffer = [0u8; 256];
        loop {
            // SAFETY: the pointer and the length are those of a live buffer.
            let got = unsafe { libc::recv(self.fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT) };
            if got < 0 {
                let error = io::Error::last_os_error();
                return match error.kind() {
                    io::ErrorKind::WouldBlock => Ok(None),
                    io::ErrorKind::Interrupted => continue,
                    _ => Err(error),
                };
            }
            if let Some(answer) = parse(&buffer[..got as usize], self.sender.mac) {
                return Ok(Some(answer));
            }
        }
    }
}

/// Who tells us to have which MAC. The tags were the filter's affair.
pub fn parse(frame: &[u8], us: Mac) -> Option<Said> {
    let claim = receive::parse(frame).filter(|claim| claim.kind == Kind::Neighbour)?;
    let [a, b, c, d, e, f, ..] = claim.mac.to_le_bytes();
    let mac = Mac([a, b, c, d, e, f]);
    let ours = claim.to == mac_word(us.0) && probe::checksum(claim.sum) == 0;
    let mut address = [0; 16];
    address[..8].copy_from_slice(&claim.address[0].to_le_bytes());
    address[8..].copy_from_slice(&claim.address[1].to_le_bytes());
    let is_to_us = frame.starts_with(&us.0);
    (ours && mac.is_unicast()).then(|| Said { address: unmapped(address), mac, is_to_us })
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: Mac = Mac([2, 0, 0, 0, 0, 1]);

    fn reply() -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 8, 6, 0, 1, 8, 0, 6, 4, 0, 2];
        frame.extend([2, 0, 0, 0, 0, 9, 10, 0, 0, 9, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1]);
        frame
    }

    /// From fd52::9 to fd52::1, with the MAC of its sender as an option.
    fn advertisement() -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, 58, 255];
        let (them, us) = ([0xfd, 0x52, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9], [0xfd, 0x52, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        frame.extend(them.into_iter().chain(us));
        frame.extend([136, 0, 0, 0, 0x60, 0, 0, 0].into_iter().chain(them).chain([2, 1, 2, 0, 0, 0, 0, 9]));
        let sum = probe::sum(&frame[22..]) + probe::sum(&[0, 32, 0, 58]);
        let sum = (probe::checksum(u64::from(sum)) as u16).to_ne_bytes();
        frame[56..58].copy_from_slice(&sum);
        frame
    }

    #[test]
    fn reply_to_us_names_sender_and_mac() {
        for (frame, address) in [(reply(), "10.0.0.9"), (advertisement(), "fd52::9")] {
            let said = Said { address: address.parse().unwrap(), mac: Mac([2, 0, 0, 0, 0, 9]), is_to_us: true };
            assert_eq!(parse(&frame, US), Some(said));
        }
    }

    #[test]
    fn requests_replies_to_others_group_macs_and_cut_frames_are_no_answers() {
        for frame in [reply(), advertisement()] {
            for length in 0..frame.len() {
                assert_eq!(parse(&frame[..length], US), None, "cut at {length}");
            }
        }
        for (offset, value) in [(21, 1), (22, 3), (37, 7), (13, 0), (19, 16)] {
            let mut frame = reply();
            frame[offset] = value;
            assert_eq!(parse(&frame, US), None, "byte {offset} = {value}");
        }
        // Not 255 hops, not solicited, a code, an option without length, a wrong checksum, to another.
        for (offset, value) in [(21, 254), (58, 0x20), (55, 1), (79, 0), (62, 0xfe), (5, 7)] {
            let mut frame = advertisement();
            frame[offset] = value;
            assert_eq!(parse(&frame, US), None, "byte {offset} = {value}");
        }
    }
}
