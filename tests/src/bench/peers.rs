//! `peers`: what users would take instead, sweeping the same hosts in the same lab, in turn with rollcall.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rollcall_agent::link::Interface;
use rollcall_agent::packet;
use rollcall_agent::policy::Method;
use rollcall_agent::reply::{Program, Receive};
use rollcall_agent::unit::Mac;
use rollcall_agent::wire::ArpSocket;
use rollcall_agent_ebpf::fleet::{AGENT, Cloud, GATEWAY, Outcome, mac};
use serde::{Deserialize, Serialize};

use super::core::{Stop, pinned};
use super::machine::Idle;
use super::monitors;
use super::options::{Options, Transmit};
use super::rig::{Rig, interface};
use super::sender::Way;
use super::sheet::{Sheet, number, rounded};
use super::spread::median;
use super::stand::Stand;
use super::tool::{self, Tool};
use crate::fleet::Fleet;
use crate::lab::AGENT_INTERFACE;
use crate::voice::{Voice, grouped};

const HOSTS: u32 = 1_000_000;
/// No sweep takes longer.
const PATIENCE: Duration = Duration::from_secs(180);
/// Between two looks at the fleet's counters: fine beside sweeps of seconds, and no burden.
const LOOK: Duration = Duration::from_millis(5);
/// masscan's receiver ends only with a frame that comes in after its time: the gateway is asked for its MAC so often.
const KNOCK: Duration = Duration::from_millis(200);
/// fping gives each target one of 65,536 sequence numbers for ten seconds, and refuses to begin with more targets.
const FPING_MAX: u32 = 60_000;

/// Medians of all rounds, and every round.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Peers {
    hosts: u32,
    rounds: u32,
    rollcall_kpps: Option<f64>,
    rollcall_lost: u64,
    masscan_ratio: Option<f64>,
    zmap_ratio: Option<f64>,
    fping_ratio: Option<f64>,
    summary: Vec<Summary>,
    sweeps: Vec<Sweep>,
    monitors: Vec<monitors::Row>,
    /// Peers that could not be measured, and why.
    missing: Vec<String>,
}

/// One program's medians.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Summary {
    program: String,
    hosts: u32,
    kpps: f64,
    /// Percent of the hosts that it did not see, although all answered.
    lost_percent: f64,
    cpu_seconds_per_million: f64,
    machine_seconds_per_million: f64,
    /// How many times faster rollcall is.
    ratio: f64,
}

/// One sweep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Sweep {
    program: String,
    round: u32,
    hosts: u32,
    kpps: f64,
    /// Hosts that it did not see.
    lost: u64,
    /// Requests that reached the fleet.
    sent: u64,
    /// Processor time of the program, and what the whole machine was busy with, while it ran.
    cpu_seconds: f64,
    machine_seconds: f64,
}

/// A peer: its program and its arguments.
struct Peer {
    name: &'static str,
    arguments: Vec<String>,
    /// How many hosts it sweeps: not all can take all.
    hosts: u32,
    /// Whether the hosts that it saw are told by the log and not by the output.
    in_log: bool,
    /// Whether a line tells of a host that it saw.
    seen: fn(&str) -> bool,
}

/// Sweeps in turn.
pub(super) async fn run(options: &Options, voice: &Voice) -> Result<Peers> {
    let hosts = options.hosts_or(HOSTS);
    let cloud = Cloud { on_link: 0, routed: hosts };
    let stand = Stand::up(cloud)?;
    let interface = interface().await?;
    let idle = Idle::now()?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let baseline = idle.busy_since()?;
    let knocker = ArpSocket::open(interface.index, packet::Sender { mac: interface.mac, address: AGENT.into() })?;
    let mut peers = Peers { hosts, rounds: options.rounds, ..Peers::default() };
    let found: Vec<(Peer, std::path::PathBuf)> = list(&stand, cloud)?
        .into_iter()
        .filter_map(|peer| match tool::find(peer.name) {
            Some(path) => Some((peer, path)),
            None => {
                peers.missing.push(format!("{0}: not installed; apt-get install {0}", peer.name));
                None
            }
        })
        .collect();
    for round in 1..=options.rounds {
        let sweep = ours(options, &interface, cloud, baseline, round).await?;
        sweep.tell(voice);
        peers.sweeps.push(sweep);
        // A native fleet answers only while the agent's end has an XDP program too. This one watches nobody: it passes all.
        let mut program = Program::load(1)?;
        program.attach(0, &interface, Receive::Native)?;
        for (peer, path) in &found {
            if peers.missing.iter().any(|missing| missing.starts_with(peer.name)) {
                continue;
            }
            match theirs(&stand, peer, path, &knocker, baseline, round).await {
                Ok(sweep) => {
                    sweep.tell(voice);
                    peers.sweeps.push(sweep);
                }
                Err(error) => {
                    voice.line(&format!("{} {error:#}", voice.red("not measured:")));
                    peers.missing.push(format!("{}: {error:#}", peer.name));
                }
            }
        }
    }
    peers.summarise();
    drop(stand);
    peers.monitors = monitors::run(options, voice).await.context("monitors")?;
    Ok(peers)
}

/// The peers, told to sweep the whole range as fast as they can.
fn list(stand: &Stand, cloud: Cloud) -> Result<Vec<Peer>> {
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
        "-q -M icmp_echoscan -i {AGENT_INTERFACE} -G {gateway} -S {own} -T 1 -c 2 -r 0 -b {} -f saddr -o - --disable-syslog",
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

/// rollcall's sweeps: with the best transmitter, or the one that was asked for.
async fn ours(options: &Options, interface: &Interface, cloud: Cloud, baseline: f64, round: u32) -> Result<Sweep> {
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
async fn theirs(stand: &Stand, peer: &Peer, path: &Path, knocker: &ArpSocket, baseline: f64, round: u32) -> Result<Sweep> {
    let (out, log) = (stand.path(&format!("{}.out", peer.name)), stand.path(&format!("{}.log", peer.name)));
    let fleet = stand.lab.fleet();
    let before = requests(fleet)?;
    let idle = Idle::now()?;
    let began = Instant::now();
    let mut tool = Tool::start(&stand.lab.agent(), path, &peer.arguments, &out, &log)?;
    let (mut heard, mut first, mut last, mut knocked) = (0, None, began, began);
    while tool.runs()? && began.elapsed() < PATIENCE {
        tokio::time::sleep(LOOK).await;
        if knocked.elapsed() >= KNOCK {
            // Where it cannot be sent the next one goes.
            let _ = knocker.ask(GATEWAY.into(), None);
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

impl Sweep {
    fn tell(&self, voice: &Voice) {
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

impl Peers {
    fn summarise(&mut self) {
        let mut programs: Vec<String> = Vec::new();
        for sweep in &self.sweeps {
            if !programs.contains(&sweep.program) {
                programs.push(sweep.program.clone());
            }
        }
        for program in programs {
            let of = |value: &dyn Fn(&Sweep) -> f64| {
                median(self.sweeps.iter().filter(|sweep| sweep.program == program).map(value)).unwrap_or_default()
            };
            let kpps = of(&|sweep| sweep.kpps);
            let ours = self.rollcall_kpps.unwrap_or(kpps);
            let summary = Summary {
                kpps: rounded(kpps),
                hosts: self.sweeps.iter().find(|sweep| sweep.program == program).map_or(0, |sweep| sweep.hosts),
                lost_percent: rounded(of(&|sweep| sweep.lost as f64 * 100.0 / f64::from(sweep.hosts.max(1)))),
                cpu_seconds_per_million: rounded(of(&|sweep| sweep.cpu_seconds / sweep.sent.max(1) as f64) * 1e6),
                machine_seconds_per_million: rounded(of(&|sweep| sweep.machine_seconds / sweep.sent.max(1) as f64) * 1e6),
                ratio: rounded(ours / kpps.max(1e-9)),
                program,
            };
            match summary.program.as_str() {
                "masscan" => self.masscan_ratio = Some(summary.ratio),
                "zmap" => self.zmap_ratio = Some(summary.ratio),
                "fping" => self.fping_ratio = Some(summary.ratio),
                _ => {
                    self.rollcall_kpps = Some(summary.kpps);
                    self.rollcall_lost = self.sweeps.iter().filter(|sweep| sweep.program == summary.program).map(|sweep| sweep.lost).sum();
                }
            }
            self.summary.push(summary);
        }
    }

    /// For people.
    pub(super) fn sheets(&self) -> Vec<Sheet> {
        let mut sheet = Sheet::new(
            format!("Sweep of {} hosts: medians of {} rounds in turn", grouped(self.hosts.into()), self.rounds),
            &["program", "hosts", "kpps", "hosts not seen, %", "CPU s per million, program", "whole machine", "rollcall is faster by"],
        );
        for row in &self.summary {
            let ratio = if row.program.starts_with("rollcall") { "-".into() } else { format!("{}x", number(row.ratio, 1)) };
            sheet.row([
                row.program.clone(),
                grouped(row.hosts.into()),
                number(row.kpps, 0),
                number(row.lost_percent, 2),
                number(row.cpu_seconds_per_million, 2),
                number(row.machine_seconds_per_million, 2),
                ratio,
            ]);
        }
        sheet.note(
            "All sweep the same routed hosts once, as fast as they go (fping takes no more than 65,535 at a time); each host answers each request. The rate of a peer is that of the \
             requests that the fleet heard, from the first to the last, without its start and its waiting at the end; that of rollcall is \
             hosts by the time from the first probe to the last answer. rollcall: one thread on one core; the others as many as they like. The whole machine: less its baseline without any of them, with the fleet's answers in it.",
        );
        for missing in &self.missing {
            sheet.note(format!("Not measured: {missing}"));
        }
        vec![sheet, monitors::sheet(&self.monitors)]
    }
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

    #[test]
    fn ratios_are_of_medians_and_the_keys_are_there() {
        let sweep = |program: &str, kpps: f64, lost: u64| Sweep {
            program: program.into(),
            round: 1,
            hosts: 1000,
            kpps,
            lost,
            sent: 1000,
            cpu_seconds: 1.0,
            machine_seconds: 2.0,
        };
        let mut peers = Peers { hosts: 1000, rounds: 3, ..Peers::default() };
        for (a, b) in [(3000.0, 200.0), (2900.0, 100.0), (9000.0, 150.0)] {
            peers.sweeps.push(sweep("rollcall (kernel)", a, 1));
            peers.sweeps.push(sweep("zmap", b, 370));
        }
        peers.summarise();
        assert_eq!((peers.rollcall_kpps, peers.zmap_ratio, peers.masscan_ratio, peers.rollcall_lost), (Some(3000.0), Some(20.0), None, 3));
        assert_eq!((peers.summary[1].lost_percent, peers.summary[1].machine_seconds_per_million), (37.0, 2000.0));
        let json = serde_json::to_value(&peers).unwrap();
        for key in ["rollcall_kpps", "masscan_ratio", "zmap_ratio", "fping_ratio", "rollcall_lost"] {
            assert!(json.get(key).is_some(), "{key}");
        }
    }
}
