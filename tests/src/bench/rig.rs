//! The agent's data path without the agent: its XDP program, arrays and transmitter, with every host in a slot.

use std::io;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rollcall_agent::link::{Interface, Links};
use rollcall_agent::packet;
use rollcall_agent::policy::Method;
use rollcall_agent::reply::{Program, Receive};
use rollcall_agent_ebpf::fleet::{Cloud, GATEWAY, mac};
use rollcall_agent_ebpf::reason::Reason;
use rollcall_agent_ebpf::target::{self, Target, mapped};

use super::core::Stop;
use super::sender::{Sender, Way};
use super::spread;
use crate::lab::AGENT_INTERFACE;

/// After this long without an answer nothing more comes: in the lab a round trip takes far less than a millisecond.
const QUIET: Duration = Duration::from_millis(300);
/// ICMP identifier of the probes.
const ID: u16 = 0x5243;

/// The agent's side of the lab, as the kernel describes it. The calling thread must be inside.
pub(super) async fn interface() -> Result<Interface> {
    let (links, _news) = Links::connect()?;
    links.interface(AGENT_INTERFACE).await
}

/// Program, transmitter, and a slot for each host.
pub(super) struct Rig {
    program: Program,
    sender: Sender,
    slots: Vec<u32>,
}

/// Probes of one run and what came of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sent {
    pub(super) sent: u64,
    pub(super) answered: u64,
    /// From the first probe to the last answer.
    pub(super) took: Duration,
}

impl Sent {
    /// Probes without an answer.
    pub(super) fn lost(&self) -> u64 {
        self.sent - self.answered.min(self.sent)
    }

    /// Answered probes in a second.
    pub(super) fn per_second(&self) -> f64 {
        self.answered as f64 / self.took.as_secs_f64().max(1e-9)
    }
}

impl Rig {
    /// Loads and attaches the program and gives every host its slot; `None` where the agent has no such transmitter.
    pub(super) fn open(way: Way, interface: &Interface, cloud: Cloud, method: Method) -> Result<Option<Self>> {
        let count = cloud.stations() - 1;
        let mut program = Program::load(count)?;
        program.attach(0, interface, packet::Sender::new(interface.mac), Receive::Native)?;
        program.arrays().set_ids(ID, ID);
        for slot in 0..count {
            let address = cloud.address(slot + 1).context("a station without an address")?;
            let hop = if slot < cloud.on_link { address } else { GATEWAY };
            let flags = target::LIVE | if method == Method::Arp { target::ARP } else { 0 };
            let target = Target { address: mapped(address), mac: mac(hop), network: 0, nonce: rand::random(), timeout_ms: 300, flags };
            program.arrays().occupy(slot, &target, rand::random())?;
        }
        let sender = Sender::open(way, &mut program, interface)?;
        Ok(Some(Self { program, sender, slots: (0..count).collect() }))
    }

    /// Name of the transmitter.
    pub(super) fn name(&self) -> &'static str {
        self.sender.name()
    }

    /// Sends to all hosts, round after round, for a while: as fast as it goes, or so many probes a second.
    pub(super) fn run(&mut self, batch: u32, pace: Option<f64>, wanted: Duration, stop: &Stop) -> Result<Sent> {
        let slots = std::mem::take(&mut self.slots);
        let (before, began) = (self.answers(), Instant::now());
        let (mut sent, mut outcome) = (0u64, Ok(()));
        for piece in slots.chunks(batch as usize).cycle() {
            if let Some(pace) = pace {
                // Short waits are spun through: no timer is that fine.
                while began.elapsed().as_secs_f64() * pace < sent as f64 {
                    std::hint::spin_loop();
                }
            }
            outcome = stop.check().and_then(|()| self.send(piece));
            if outcome.is_err() || began.elapsed() >= wanted {
                sent += piece.len() as u64;
                break;
            }
            sent += piece.len() as u64;
        }
        self.slots = slots;
        outcome?;
        Ok(self.wait(sent, before, began))
    }

    /// Sends one probe to each host, as fast as it goes.
    pub(super) fn sweep(&mut self, batch: u32, stop: &Stop) -> Result<Sent> {
        let slots = std::mem::take(&mut self.slots);
        let (before, began) = (self.answers(), Instant::now());
        let outcome = slots.chunks(batch as usize).try_for_each(|piece| stop.check().and_then(|()| self.send(piece)));
        let sent = slots.len() as u64;
        self.slots = slots;
        outcome?;
        Ok(self.wait(sent, before, began))
    }

    fn send(&mut self, mut slots: &[u32]) -> Result<()> {
        let mut refusals = 0;
        while !slots.is_empty() {
            let departure = self.sender.send(&self.program, slots, ID);
            slots = &slots[departure.sent..];
            if let Some(error) = departure.error {
                refusals = if departure.sent > 0 { 0 } else { refusals + 1 };
                let full = matches!(error.kind(), io::ErrorKind::WouldBlock) || error.raw_os_error() == Some(nix::libc::ENOBUFS);
                // The driver's queue is full: its turn comes with the next try.
                if !full || refusals > 10_000 {
                    bail!("probes cannot be sent: {error}");
                }
                std::thread::yield_now();
            }
        }
        Ok(())
    }

    /// Waits for the answers that are under way.
    fn wait(&self, sent: u64, before: u64, began: Instant) -> Sent {
        let (mut answered, mut last) = (self.answers() - before, began.elapsed());
        while answered < sent && began.elapsed() - last < QUIET {
            let now = self.answers() - before;
            if now > answered {
                (answered, last) = (now, began.elapsed());
            }
        }
        Sent { sent, answered, took: last }
    }

    fn answers(&self) -> u64 {
        self.program.counters()[Reason::Answer as usize]
    }

    /// The last round-trip time of every host, in microseconds, sorted.
    pub(super) fn rtts(&self) -> Vec<f64> {
        spread::sorted(self.slots.iter().filter_map(|slot| self.program.arrays().rtt(*slot)).map(|nanos| nanos as f64 / 1e3))
    }
}
