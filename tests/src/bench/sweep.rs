//! One sweep over the hosts: rollcall's, or that of a program of others.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rollcall_agent::link::Interface;
use rollcall_agent::packet;
use rollcall_agent::policy::Method;
use rollcall_agent::unit::Mac;
use rollcall_agent::wire::NeighbourSocket;
use rollcall_agent_ebpf::fleet::{AGENT, Cloud, GATEWAY, Outcome, mac};
use serde::{Deserialize, Serialize};

use super::core::{Stop, pinned};
use super::machine::Idle;
use super::options::{Options, Transmit};
use super::peer::Peer;
use super::rig::Rig;
use super::sender::Way;
use super::sheet::{number, rounded};
use super::stand::Stand;
use super::tool::{self, Tool};
use crate::fleet::Fleet;
use crate::lab::{AGENT_INTERFACE, Lab};
use crate::voice::{Voice, grouped};

/// No sweep takes longer.
const PATIENCE: Duration = Duration::from_secs(180);
/// Between two looks at the fleet's counters: fine beside sweeps of seconds, and no burden.
const LOOK: Duration = Duration::from_millis(5);
/// masscan's receiver ends only with a frame that comes in after its time: the gateway is asked for its MAC so often.
const KNOCK: Duration = Duration::from_millis(200);

/// One sweep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Sweep {
    pub(super) program: String,
    pub(super) round: u32,
    pub(super) hosts: u32,
    pub(super) kpps: f64,
    /// Hosts that it did not see.
    pub(super) lost: u64,
    /// Requests that reached the fleet.
    pub(super) sent: u64,
    /// Processor time of the program, and what the whole machine was busy with, while it ran.
    pub(super) cpu_seconds: f64,
    pub(super) machine_seconds: f64,
}

impl Sweep {
    /// Shows it.
    pub(super) fn tell(&self, voice: &Voice) {
        let text = format!(
            "round {}: {} {} kpps, {} of {} hosts not seen",
            self.round,
            self.program,
            number(self.kpps, 0),
            grouped(self.lost),
            grouped(self.hosts.into())
        );
        voice.step("peers", &text, None);
    }
}

/// A lab in which a peer can be measured.
pub(super) struct Place<'a> {
    lab: &'a Lab,
    /// Where its fleet is.
    pub(super) name: &'static str,
    knocker: NeighbourSocket,
}

impl<'a> Place<'a> {
    pub(super) fn of(lab: &'a Lab, name: &'static str) -> Result<Self> {
        let knocker = lab.agent().within(|| {
            let index = nix::net::if_::if_nametoindex(AGENT_INTERFACE).context("the lab has no interface")?;
            NeighbourSocket::open(index, packet::Sender { v4: Some(AGENT.into()), ..packet::Sender::new(Mac(mac(AGENT))) })
                .context("cannot open a packet socket")
        })?;
        Ok(Self { lab, name, knocker })
    }
}

/// rollcall's sweeps: with the best transmitter, or the one that was asked for.
pub(super) async fn ours(options: &Options, interface: &Interface, cloud: Cloud, baseline: f64, round: u32) -> Result<Sweep> {
    let ways: &[Way] = match options.transmit {
        Transmit::Auto => &[Way::Kernel, Way::Socket],
        Transmit::Kernel => &[Way::Kernel],
        Transmit::Socket => &[Way::Socket],
    };
    for way in ways.iter().copied() {
        let (interface, batch) = (interface.clone(), options.batch);
        let work = move |stop: &Stop| {
            let Some(mut rig) = Rig::open(way, &interface, cloud, Method::Icmp)? else { return Ok(None) };
            let (idle, began) = (Idle::now()?, Instant::now());
            let before = tool::thread_time()?;
            let sent = rig.sweep(batch, stop)?;
            let cpu = tool::thread_time()?.saturating_sub(before);
            let machine = (idle.busy_since()? - baseline).max(0.0) * began.elapsed().as_secs_f64();
            Ok(Some((sent, cpu, machine, rig.name())))
        };
        let Some((sent, cpu, machine, name)) = pinned(work).await? else { continue };
        return Ok(Sweep {
            program: format!("rollcall ({name})"),
            round,
            kpps: rounded(sent.sent as f64 / sent.took.as_secs_f64().max(1e-9) / 1e3),
            hosts: cloud.routed,
            lost: sent.lost(),
            sent: sent.sent,
            cpu_seconds: rounded(cpu.as_secs_f64()),
            machine_seconds: rounded(machine),
        });
    }
    bail!("this agent has no kernel transmitter")
}

/// One sweep of a peer. Its rate is what the fleet heard: no program's own account, and no start or waiting in it.
pub(super) async fn theirs(stand: &Stand, peer: &Peer, path: &Path, place: &Place<'_>, baseline: f64, round: u32) -> Result<Sweep> {
    let (out, log) = (stand.path(&format!("{}.out", peer.name)), stand.path(&format!("{}.log", peer.name)));
    let fleet = place.lab.fleet();
    let before = requests(fleet)?;
    let idle = Idle::now()?;
    let began = Instant::now();
    let mut tool = Tool::start(&place.lab.agent(), path, &peer.arguments, &out, &log)?;
    let (mut heard, mut first, mut last, mut knocked) = (0, None, began, began);
    while tool.runs()? && began.elapsed() < PATIENCE {
        tokio::time::sleep(LOOK).await;
        if knocked.elapsed() >= KNOCK {
            // Where it cannot be sent the next one goes.
            let _ = place.knocker.ask(GATEWAY.into(), None);
            knocked = Instant::now();
        }
        let now = requests(fleet)? - before;
        if now > heard {
            (heard, last) = (now, Instant::now());
            first.get_or_insert((last, now));
        }
    }
    let machine = (idle.busy_since()? - baseline).max(0.0) * began.elapsed().as_secs_f64();
    // fping: 1 when a host did not answer.
    let cpu = tool.end(PATIENCE.saturating_sub(began.elapsed()), |code| code == 0 || (code == 1 && peer.in_log)).await?;
    let Some((first, earlier)) = first else { bail!("{} sent nothing that reached the fleet", peer.name) };
    let said = std::fs::read(if peer.in_log { &log } else { &out })?;
    let seen = String::from_utf8_lossy(&said).lines().filter(|line| (peer.seen)(line)).count() as u64;
    Ok(Sweep {
        program: peer.name.into(),
        round,
        // What came before the first look is not in the time either.
        kpps: rounded((heard - earlier) as f64 / last.duration_since(first).as_secs_f64().max(1e-3) / 1e3),
        hosts: peer.hosts,
        lost: u64::from(peer.hosts).saturating_sub(seen),
        sent: heard,
        cpu_seconds: rounded(cpu.as_secs_f64()),
        machine_seconds: rounded(machine),
    })
}

/// Echo requests that the fleet heard.
fn requests(fleet: &Fleet) -> Result<u64> {
    Ok(fleet.counters()?.get(Outcome::IcmpAnswered.label()).copied().unwrap_or_default())
}
