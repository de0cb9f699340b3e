//! The resolver's socket: asks for MACs by ARP and hears the answers that the XDP program passes on, since nobody's
//! probe waits for them. The kernel's neighbour table is never used.
#![allow(unsafe_code)]

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};

use pnet::packet::Packet;
use pnet::packet::arp::{ArpOperations, ArpPacket};
use pnet::packet::ethernet::{EtherTypes, EthernetPacket};
use rollcall_agent_ebpf::frame::{arp, eth};

use super::socket::packet_socket;
use crate::packet::{LEN, Sender, Templates};
use crate::unit::Mac;

/// A packet socket that receives ARP only.
pub struct ArpSocket {
    fd: OwnedFd,
    templates: Templates,
    sender: Sender,
}

impl ArpSocket {
    /// Opens the socket, in the calling thread's network namespace. Needs CAP_NET_RAW.
    pub fn open(interface: u32, sender: Sender) -> io::Result<Self> {
        let fd = packet_socket(interface, eth::ARP)?;
        Ok(ArpSocket { fd, templates: Templates::new(sender), sender })
    }

    /// Asks who has the address: the known MAC, or everybody.
    pub fn ask(&self, address: Ipv4Addr, mac: Option<Mac>) -> io::Result<()> {
        let mut frame = [0; LEN];
        self.templates.write_arp(&mut frame, mac.unwrap_or(Mac::BROADCAST).0, address.octets());
        // SAFETY: the pointer and the length are those of a live buffer.
        let sent = unsafe { libc::send(self.fd.as_raw_fd(), frame.as_ptr().cast(), frame.len(), libc::MSG_DONTWAIT) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// The next answer that was sent to us: who says to have which MAC. `None` when there is none now.
    pub fn answer(&self) -> io::Result<Option<(Ipv4Addr, Mac)>> {
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
            if let Some(answer) = parse(&buffer[..got as usize], self.sender) {
                return Ok(Some(answer));
            }
        }
    }
}

/// The sender of an ARP reply to us; its MAC must be one that a station can own.
fn parse(frame: &[u8], us: Sender) -> Option<(Ipv4Addr, Mac)> {
    let ethernet = EthernetPacket::new(frame)?;
    if ethernet.get_ethertype() != EtherTypes::Arp || ethernet.payload().len() < arp::LEN || ethernet.payload()[..6] != arp::PREFIX {
        return None;
    }
    let packet = ArpPacket::new(ethernet.payload())?;
    let mac = Mac(packet.get_sender_hw_addr().octets());
    let ours = packet.get_operation() == ArpOperations::Reply && packet.get_target_hw_addr().octets() == us.mac.0;
    (ours && mac.is_unicast()).then(|| (packet.get_sender_proto_addr(), mac))
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: Sender = Sender { mac: Mac([2, 0, 0, 0, 0, 1]), address: Ipv4Addr::new(10, 0, 0, 1) };

    fn reply() -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 8, 6, 0, 1, 8, 0, 6, 4, 0, 2];
        frame.extend([2, 0, 0, 0, 0, 9, 10, 0, 0, 9, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1]);
        frame
    }

    #[test]
    fn reply_to_us_names_sender_and_mac() {
        assert_eq!(parse(&reply(), US), Some((Ipv4Addr::new(10, 0, 0, 9), Mac([2, 0, 0, 0, 0, 9]))));
    }

    #[test]
    fn requests_replies_to_others_group_macs_and_cut_frames_are_no_answers() {
        for length in 0..reply().len() {
            assert_eq!(parse(&reply()[..length], US), None, "cut at {length}");
        }
        for (offset, value) in [(21, 1), (22, 3), (37, 7), (13, 0), (19, 16)] {
            let mut frame = reply();
            frame[offset] = value;
            assert_eq!(parse(&frame, US), None, "byte {offset} = {value}");
        }
    }
}
