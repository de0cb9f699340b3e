//! The programs of others that sweep, and how each is told to.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use rollcall_agent::unit::Mac;
use rollcall_agent_ebpf::fleet::{AGENT, Cloud, GATEWAY, mac};

use super::stand::Stand;
use crate::lab::AGENT_INTERFACE;

/// fping gives each target one of 65,536 sequence numbers for ten seconds, and refuses to begin with more targets.
const FPING_MAX: u32 = 60_000;

/// A peer: its program and its arguments.
pub(super) struct Peer {
    pub(super) name: &'static str,
    pub(super) arguments: Vec<String>,
    /// How many hosts it sweeps: not all can take all.
    pub(super) hosts: u32,
    /// Whether the hosts that it saw are told by the log and not by the output.
    pub(super) in_log: bool,
    /// Whether a line tells of a host that it saw.
    pub(super) seen: fn(&str) -> bool,
}

/// The peers, told to sweep the whole range as fast as they can.
pub(super) fn list(stand: &Stand, cloud: Cloud) -> Result<Vec<Peer>> {
    let address = |station: u32| cloud.address(station).map(Ipv4Addr::from).context("a lab without hosts");
    let (first, last) = (address(1)?, address(cloud.stations() - 1)?);
    let hosts = cloud.routed;
    let fping_hosts = hosts.min(FPING_MAX);
    let targets = stand.path("targets");
    let mut text = String::new();
    for station in 1..=fping_hosts {
        text += &format!("{}\n", address(station)?);
    }
    std::fs::write(&targets, text).with_context(|| format!("cannot write {}", targets.display()))?;
    let nothing = stand.path("nothing");
    std::fs::write(&nothing, "")?;
    let words = |text: String| text.split(' ').map(String::from).collect::<Vec<_>>();
    let (own, own_mac, gateway) = (Ipv4Addr::from(AGENT), Mac(mac(AGENT)), Mac(mac(GATEWAY)));
    let mut zmap = words(format!(
        "-q -M icmp_echoscan -i {AGENT_INTERFACE} -G {gateway} -S {own} -T 1 -c 2 -r 0 -b {} --max-sendto-failures=1000000 -f saddr -o - --disable-syslog",
        nothing.display()
    ));
    zmap.extend(blocks(first, last));
    Ok(vec![
        Peer {
            name: "masscan",
            arguments: words(format!(
                "{first}-{last} --ping --rate 10000000 --interface {AGENT_INTERFACE} --adapter-ip {own} --adapter-mac {own_mac} \
                 --router-mac {gateway} --wait 2 -oL -"
            )),
            hosts,
            in_log: false,
            seen: |line| line.starts_with("open icmp"),
        },
        Peer { name: "zmap", arguments: zmap, hosts, in_log: false, seen: |line| line.parse::<Ipv4Addr>().is_ok() },
        Peer {
            name: "fping",
            arguments: words(format!("-q -i 0 -c 1 -r 0 -f {}", targets.display())),
            hosts: fping_hosts,
            in_log: true,
            seen: |line| line.contains("xmt/rcv/%loss = 1/1/"),
        },
    ])
}

/// A range as CIDR blocks: the only form that zmap takes.
fn blocks(first: Ipv4Addr, last: Ipv4Addr) -> Vec<String> {
    let (mut next, last) = (u64::from(u32::from(first)), u64::from(u32::from(last)));
    let mut blocks = Vec::new();
    while next <= last {
        let mut bits = next.trailing_zeros().min(32);
        while next + (1 << bits) - 1 > last {
            bits -= 1;
        }
        blocks.push(format!("{}/{}", Ipv4Addr::from(next as u32), 32 - bits));
        next += 1 << bits;
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_into_the_blocks_that_cover_it_exactly() {
        let (first, last) = (Ipv4Addr::new(10, 64, 1, 1), Ipv4Addr::new(10, 64, 3, 10));
        let blocks = blocks(first, last);
        let mut next = u32::from(first);
        for block in &blocks {
            let (address, length) = block.split_once('/').unwrap();
            let (address, length): (Ipv4Addr, u32) = (address.parse().unwrap(), length.parse().unwrap());
            assert_eq!(u32::from(address), next, "{blocks:?}");
            assert_eq!(next % (1 << (32 - length)), 0, "{blocks:?}");
            next += 1 << (32 - length);
        }
        assert_eq!(next - 1, u32::from(last));
        assert_eq!(super::blocks(first, first), ["10.64.1.1/32"]);
    }
}
