//! `lab status`: what is up, who does not answer, and what the fleet did.

use std::net::Ipv4Addr;

use anyhow::Result;
use rollcall_agent_ebpf::fleet::Behaviour;
use serde_json::{Value, json};

use crate::lab::{AGENT_INTERFACE, FLEET_INTERFACE, Lab};
use crate::population::{self, Host};

/// What XDP runs in which mode at the two ends.
struct Ends {
    fleet: Option<&'static str>,
    agent: Option<&'static str>,
}

impl Ends {
    fn of(lab: &Lab) -> Result<Self> {
        Ok(Self { fleet: Lab::xdp_mode(&lab.fleet_side(), FLEET_INTERFACE)?, agent: Lab::xdp_mode(&lab.agent(), AGENT_INTERFACE)? })
    }

    /// A driver's XDP_TX on a veth needs a driver's XDP program at the other end.
    fn answers(&self) -> bool {
        match self.fleet {
            Some("generic") => true,
            Some("native") => self.agent == Some("native"),
            _ => false,
        }
    }
}

/// As one JSON object.
pub fn json(lab: &Lab) -> Result<Value> {
    let ends = Ends::of(lab)?;
    let fleet = lab.fleet();
    let cloud = fleet.cloud();
    let unwell: Vec<Value> = fleet
        .unwell()
        .map(|(station, behaviour)| {
            json!({
                "id": Host::of(cloud, station).map_or("gateway".into(), |host| host.id),
                "address": cloud.address(station).map(|octets| Ipv4Addr::from(octets).to_string()),
                "dead": behaviour.has(Behaviour::DEAD),
                "icmp_filtered": behaviour.has(Behaviour::ICMP_FILTERED),
                "neighbour_filtered": behaviour.has(Behaviour::NEIGHBOUR_FILTERED),
                "wrong_mac": behaviour.has(Behaviour::WRONG_MAC),
                "loss_per_mille": behaviour.loss_per_mille(),
            })
        })
        .collect();
    Ok(json!({
        "name": lab.name(),
        "hosts": cloud.on_link,
        "routed": cloud.routed,
        "fleet_xdp": ends.fleet,
        "agent_xdp": ends.agent,
        "answers": ends.answers(),
        "unwell": unwell,
        "frames": fleet.counters()?,
    }))
}

/// For people, on standard output.
pub fn print(lab: &Lab) -> Result<()> {
    const SHOWN: usize = 20;
    let ends = Ends::of(lab)?;
    let fleet = lab.fleet();
    let cloud = fleet.cloud();
    println!("lab {}: {}", lab.name(), population::extent(cloud));
    println!("XDP: fleet {}, agent's side {}", ends.fleet.unwrap_or("none"), ends.agent.unwrap_or("none"));
    if !ends.answers() {
        println!("The fleet does not answer: in native mode it needs an XDP program on {AGENT_INTERFACE} too (the agent's).");
    }
    let unwell: Vec<_> = fleet.unwell().collect();
    match unwell.len() {
        0 => println!("all hosts are alive and well"),
        count => println!("{count} hosts are not alive and well:"),
    }
    for (station, behaviour) in unwell.iter().take(SHOWN) {
        println!("  {} {}", population::label(cloud, *station), complaints(*behaviour).join(", "));
    }
    if unwell.len() > SHOWN {
        println!("  and {} more (--json shows all)", unwell.len() - SHOWN);
    }
    println!("frames since it came up:");
    for (label, count) in fleet.counters()? {
        println!("  {label:<22} {count}");
    }
    Ok(())
}

fn complaints(behaviour: Behaviour) -> Vec<String> {
    let flags = [
        (Behaviour::DEAD, "silent"),
        (Behaviour::ICMP_FILTERED, "drops ICMP"),
        (Behaviour::NEIGHBOUR_FILTERED, "answers no question for its MAC"),
        (Behaviour::WRONG_MAC, "answers from another MAC"),
    ];
    let flags = flags.into_iter().filter(|(flag, _)| behaviour.has(*flag)).map(|(_, text)| text.to_string());
    let loss = behaviour.loss_per_mille();
    flags.chain((loss > 0).then(|| format!("loses {loss} of 1000"))).collect()
}
