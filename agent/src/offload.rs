//! Offload: whether a driver takes VLAN tags out of frames before XDP sees them.
//!
//! Such a tag stands beside the frame, where packet sockets find it and XDP programs do not (`ethtool -k`, rx-vlan-offload;
//! net/core/dev.c, `__netif_receive_skb_core`). A reply in a tagged network would look like one without a tag.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::AsRawFd;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// Asks for the flags of an interface (linux/ethtool.h, `ETHTOOL_GFLAGS`).
const GET_FLAGS: u32 = 0x25;
/// Changes them (`ETHTOOL_SFLAGS`).
const SET_FLAGS: u32 = 0x26;
/// VLAN tags are taken out of received frames (linux/ethtool.h, `ETH_FLAG_RXVLAN`).
const RX_VLAN: u32 = 1 << 8;

nix::ioctl_readwrite_bad!(ethtool, libc::SIOCETHTOOL, libc::ifreq);

/// linux/ethtool.h, `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// Whether the driver of an interface in the calling thread's network namespace takes VLAN tags out of frames.
pub fn strips_vlan_tags(interface: &str) -> io::Result<bool> {
    Ok(flags(interface, Value { command: GET_FLAGS, data: 0 })? & RX_VLAN != 0)
}

/// Has it leave them in, as `ethtool -K INTERFACE rxvlan off` does. The agent changes no interface: this is for labs. Needs CAP_NET_ADMIN.
pub fn keep_vlan_tags(interface: &str) -> io::Result<()> {
    change(interface, |flags| flags & !RX_VLAN)
}

/// Has it take them out, as `ethtool -K INTERFACE rxvlan on` does. Likewise.
pub fn take_vlan_tags(interface: &str) -> io::Result<()> {
    change(interface, |flags| flags | RX_VLAN)
}

fn change(interface: &str, change: impl FnOnce(u32) -> u32) -> io::Result<()> {
    let now = flags(interface, Value { command: GET_FLAGS, data: 0 })?;
    flags(interface, Value { command: SET_FLAGS, data: change(now) }).map(drop)
}

fn flags(interface: &str, mut value: Value) -> io::Result<u32> {
    let mut name = [0; libc::IFNAMSIZ];
    // The last byte stays 0.
    for (to, from) in name[..libc::IFNAMSIZ - 1].iter_mut().zip(interface.bytes()) {
        *to = from as libc::c_char;
    }
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let mut request = libc::ifreq { ifr_name: name, ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_data: (&raw mut value).cast() } };
    // SAFETY: the request names an interface and points to the structure that these commands read and write; both outlive the call.
    unsafe { ethtool(socket.as_raw_fd(), &raw mut request) }?;
    Ok(value.data)
}
