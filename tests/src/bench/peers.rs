//! `peers`: what users would take instead, sweeping the same hosts in the same lab, in turn with rollcall.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use rollcall_agent::link::Interface;
use rollcall_agent::packet;
use rollcall_agent::reply::{Program, Receive};
use rollcall_agent_ebpf::fleet::Cloud;
use serde::{Deserialize, Serialize};

use super::machine::Idle;
use super::monitors;
use super::options::Options;
use super::peer::{Peer, list};
use super::rig::interface;
use super::sheet::{Sheet, number, rounded};
use super::spread::median;
use super::stand::{self, Stand};
use super::sweep::{Place, Sweep, ours, theirs};
use super::tool;
use crate::fleet::Mode;
use crate::lab::Lab;
use crate::voice::{Voice, grouped};

const HOSTS: u32 = 1_000_000;
/// A shorter sweep is over before its rate can be seen.
const HOSTS_MIN: u32 = 20_000;
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
    /// With which fleet each peer was measured, and what the trial of both said.
    places: Vec<String>,
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

impl Summary {
    fn is_ours(&self) -> bool {
        self.program.starts_with("rollcall")
    }

    /// Thousands of hosts a second that it asked and saw answer.
    fn seen_kpps(&self) -> f64 {
        self.kpps * (100.0 - self.lost_percent) / 100.0
    }
}

/// Sweeps in turn.
pub(super) async fn run(options: &Options, voice: &Voice) -> Result<Peers> {
    let hosts = options.hosts_or(HOSTS).max(HOSTS_MIN);
    let cloud = Cloud { on_link: 0, routed: hosts };
    let stand = Stand::up(cloud)?;
    let interface = interface().await?;
    let idle = Idle::now()?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let baseline = idle.busy_since()?;
    // Two labs alike but for the fleet: in the driver it answers only while the agent's end has an XDP program too; in the
    // network stack it needs none there. Which of the two suits a program of others better is tried, not guessed.
    let generic = Lab::scratch(stand::GENERIC_LAB, cloud, Mode::Generic)?;
    let places = [Place::of(&stand.lab, "in the driver")?, Place::of(&generic, "in the network stack")?];
    let mut peers = Peers { hosts, rounds: options.rounds, ..Peers::default() };
    let mut chosen = Vec::new();
    for peer in list(&stand, cloud)? {
        let tried = match tool::find(peer.name) {
            Some(path) => choose(&stand, &peer, &path, &places, &interface, baseline).await.map(|place| (path, place)),
            None => Err(anyhow!("not installed; apt-get install {}", peer.name)),
        };
        match tried {
            Ok((path, (place, why))) => {
                voice.step("peers", &why, None);
                peers.places.push(why);
                chosen.push((peer, path, place));
            }
            Err(error) => peers.give_up(peer.name, &error, voice),
        }
    }
    for round in 1..=options.rounds {
        let sweep = ours(options, &interface, cloud, baseline, round).await?;
        sweep.tell(voice);
        peers.sweeps.push(sweep);
        let _program = nobody(&interface)?;
        let mut able = Vec::new();
        for (peer, path, place) in chosen {
            match theirs(&stand, &peer, &path, &places[place], baseline, round).await {
                Ok(sweep) => {
                    sweep.tell(voice);
                    peers.sweeps.push(sweep);
                    able.push((peer, path, place));
                }
                Err(error) => peers.give_up(peer.name, &error, voice),
            }
        }
        chosen = able;
    }
    peers.summarise();
    drop(places);
    drop(generic);
    drop(stand);
    peers.monitors = monitors::run(options, voice).await.context("monitors")?;
    Ok(peers)
}

/// The agent's program with nobody to watch: it passes all. A fleet in the driver answers only beside one.
fn nobody(interface: &Interface) -> Result<Program> {
    let mut program = Program::load(1)?;
    program.attach(0, interface, packet::Sender::new(interface.mac), Receive::Native)?;
    Ok(program)
}

/// Where a peer is faster, by one sweep in each place, which does not count; and what was found.
async fn choose(
    stand: &Stand,
    peer: &Peer,
    path: &Path,
    places: &[Place<'_>],
    interface: &Interface,
    baseline: f64,
) -> Result<(usize, String)> {
    let _program = nobody(interface)?;
    let (mut best, mut found) = (None, Vec::new());
    for (index, place) in places.iter().enumerate() {
        let kpps = theirs(stand, peer, path, place, baseline, 0).await?.kpps;
        found.push(format!("{} kpps {}", number(kpps, 0), place.name));
        if best.is_none_or(|(_, highest)| kpps > highest) {
            best = Some((index, kpps));
        }
    }
    let (index, _) = best.context("there is no place to try")?;
    Ok((index, format!("{}: with the fleet {}: measured {}", peer.name, found.join(", "), places[index].name)))
}

impl Peers {
    fn give_up(&mut self, name: &str, error: &anyhow::Error, voice: &Voice) {
        voice.line(&format!("{} {name}: {error:#}", voice.red("not measured:")));
        self.missing.push(format!("{name}: {error:#}"));
    }

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
            &[
                "program",
                "hosts",
                "kpps",
                "hosts not seen, %",
                "CPU s per million, program",
                "whole machine",
                "rollcall is faster by",
                "and sees more hosts a second by",
            ],
        );
        let rollcall = self.summary.iter().find(|row| row.is_ours());
        for row in &self.summary {
            let times = |ratio: f64| if row.is_ours() { "-".into() } else { format!("{}x", number(ratio, 1)) };
            let more = rollcall.map_or(0.0, |ours| ours.seen_kpps() / row.seen_kpps().max(1e-9));
            sheet.row([
                row.program.clone(),
                grouped(row.hosts.into()),
                number(row.kpps, 0),
                number(row.lost_percent, 2),
                number(row.cpu_seconds_per_million, 2),
                number(row.machine_seconds_per_million, 2),
                times(row.ratio),
                times(more),
            ]);
        }
        sheet.note(
            "All sweep the same routed hosts once, as fast as they go (fping takes no more than 65,535 at a time); each host answers each request. The rate of a peer is that of the \
             requests that the fleet heard, from the first to the last, without its start and its waiting at the end; that of rollcall is \
             hosts by the time from the first probe to the last answer. rollcall: one thread on one core; the others as many as they like. The whole machine: less its baseline without any of them, with the fleet's answers in it.",
        );
        sheet.note(format!(
            "A fleet in the driver answers only beside an XDP program at the agent's end, one in the network stack always; each peer was measured \
             with the one that suits it better. {}.",
            self.places.join("; ")
        ));
        for missing in &self.missing {
            sheet.note(format!("Not measured: {}", super::sheet::essence(missing)));
        }
        vec![sheet, monitors::sheet(&self.monitors)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let text = peers.sheets()[0].text();
        // 2997 of 3000 were seen, and 94.5 of 150: 31.7 times as many.
        assert!(text.contains("20.0x") && text.contains("31.7x"), "{text}");
        let json = serde_json::to_value(&peers).unwrap();
        for key in ["rollcall_kpps", "masscan_ratio", "zmap_ratio", "fping_ratio", "rollcall_lost"] {
            assert!(json.get(key).is_some(), "{key}");
        }
    }
}
