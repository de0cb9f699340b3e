//! The simulation: the real engine, schedule, verdicts and receiver's code on a cloud in memory, by a clock that is set by hand.
//!
//! Nothing of the agent is replaced but what touches the kernel: the transmitter hands the real frames to [`Air`], which answers as
//! the lab's fleet does, and [`rollcall_agent::reply::hear`] judges the answers by the code of the XDP program. A virtual hour of ten
//! thousand hosts takes some seconds, and with one seed all that chance decides in the cloud is the same.

mod air;
mod answer;
mod ledger;
mod random;
mod wire;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use rollcall_agent::clock::{Clock, Mono, nanos};
use rollcall_agent::engine::{Attached, Command, Engine, Note, Tap};
use rollcall_agent::link::Interface;
use rollcall_agent::namespace::Namespace;
use rollcall_agent::packet::Sender;
use rollcall_agent::register;
use rollcall_agent::reply::Program;
use rollcall_agent::roster::Keeper;
use rollcall_agent::schedule::Pps;
use rollcall_agent::state::Restored;
use rollcall_agent::table::{Edition, Table};
use rollcall_agent::unit::Mac;
use rollcall_agent::view::{NetworkView, Shown, View};
use rollcall_agent_ebpf::fleet::{AGENT, Cloud, GATEWAY, PREFIX_LENGTH, V6_LINK_LOCAL, V6_ON_LINK, mac, v6};
use tokio::sync::{mpsc, oneshot};

pub use self::air::{Air, Health, Net};
pub use self::ledger::{Fell, Ledger, Told};
pub use self::random::Random;
use self::wire::{Antenna, Shared, lock};

/// Where a simulation's clock begins: nothing in the agent may take the first moments for "never".
const BEGIN: Duration = Duration::from_secs(1000);

/// A simulated agent in a simulated cloud.
pub struct Simulation {
    hand: Arc<AtomicU64>,
    engine: Engine,
    air: Shared,
    view: Arc<View>,
    notes: mpsc::UnboundedReceiver<Note>,
    keeper: Keeper,
    /// How long the machine was suspended.
    slept: Duration,
    /// How far the wall clock was set forward.
    set: Duration,
    /// What was told.
    pub ledger: Ledger,
}

impl Simulation {
    /// A cloud with these networks by name, all alive, and an agent on all of them that may send so much.
    pub fn new(seed: u64, networks: &[(String, Cloud)], addresses: usize, pps: Pps) -> Result<Self> {
        let hand = Arc::new(AtomicU64::new(nanos(BEGIN)));
        let clock = Clock::Simulated(hand.clone());
        let senders: Vec<(Cloud, Sender)> = networks.iter().map(|(_, cloud)| (*cloud, sender())).collect();
        let air = Arc::new(Mutex::new(Air::new(seed, &senders)));
        let namespace = Arc::new(Namespace::current().context("cannot open our own network namespace")?);
        let mut attached = Vec::new();
        let mut shown = Vec::new();
        for (number, (name, _)) in networks.iter().enumerate() {
            let antenna = || Antenna::new(air.clone(), number as u16, sender(), clock.clone());
            let interface = Interface {
                name: format!("simulated-{number}"),
                index: 10 + number as u32,
                namespace: namespace.clone(),
                mac: sender().mac,
                running: true,
                addresses: vec![(AGENT.into(), PREFIX_LENGTH)],
                gateways: gateways(),
                xdp_program: None,
            };
            shown.push(NetworkView::new(name.clone(), interface.name.clone(), ("simulated", "simulated")));
            let tap = Tap { interface, transmitter: Box::new(antenna()), neighbours: Box::new(antenna()), ear: None };
            attached.push(Attached {
                name: name.clone(),
                gateways: gateways(),
                canaries: vec![],
                census: None,
                on_link: vec![(AGENT.into(), PREFIX_LENGTH), (v6(V6_ON_LINK, AGENT).into(), 64)],
                sender: sender(),
                tap: Some(tap),
                datapath: ("simulated", "simulated"),
            });
        }
        let program = Program::in_memory(register::slots_for(addresses))?;
        let view = Arc::new(View::new(clock.now(), shown, program.arrays().clone()));
        let (sender, notes) = mpsc::unbounded_channel();
        let mut engine = Engine::new(clock.clone(), program, attached, pps, view.clone(), sender);
        engine.start(clock.now());
        let ledger = Ledger::new(networks.iter().map(|(name, _)| name.as_str()));
        let keeper = Keeper::new(networks.iter().map(|(name, _)| name.as_str()));
        Ok(Simulation { hand, engine, air, view, notes, keeper, slept: Duration::ZERO, set: Duration::ZERO, ledger })
    }

    /// Now.
    pub fn now(&self) -> Mono {
        Mono::from_nanos(self.hand.load(Ordering::Relaxed))
    }

    /// When it began.
    pub fn begin(&self) -> Mono {
        Mono::from_nanos(nanos(BEGIN))
    }

    /// Since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.now().since(self.begin())
    }

    /// Takes a table into force.
    pub fn push(&mut self, table: Table) -> Result<()> {
        self.follow(Edition::of(Arc::new(table)))
    }

    /// Stops hosts.
    pub fn stop(&mut self, ids: &[&str]) -> Result<()> {
        let table = &self.ledger.roster().table;
        let stopped = table.without_hosts(ids, table.generation() + 1);
        anyhow::ensure!(stopped.unknown.is_empty(), "no such hosts: {}", stopped.unknown.join(", "));
        self.follow(stopped.edition)
    }

    fn follow(&mut self, edition: Edition) -> Result<()> {
        let now = self.now();
        let plan = self.keeper.plan(self.ledger.roster(), edition, &Restored::new(), now)?;
        let (done, _) = oneshot::channel();
        self.engine.command(Command::Apply { plan: Box::new(plan), larger: None, done }, now);
        self.hear();
        Ok(())
    }

    /// The carrier of a network comes or goes.
    pub fn link(&mut self, network: u16, running: bool) {
        self.engine.command(Command::Link { network, running }, self.now());
        self.hear();
    }

    /// Changes something of the cloud.
    pub fn cloud<T>(&mut self, change: impl FnOnce(&mut Air) -> T) -> T {
        change(&mut lock(&self.air))
    }

    /// Goes on until so long after the beginning.
    pub fn run_until(&mut self, until: Duration) {
        while self.elapsed() < until {
            let rest = until - self.elapsed();
            self.advance(self.engine.tick().min(rest));
            self.turn();
        }
    }

    /// Nobody lets the agent run for so long: replies come in all the same.
    pub fn stall(&mut self, duration: Duration) {
        self.advance(duration);
        self.turn();
    }

    /// The machine is suspended for so long: the monotonic clock stands still, and what was on its way is lost.
    pub fn sleep(&mut self, duration: Duration) {
        lock(&self.air).drop_all();
        self.slept += duration;
        self.turn();
    }

    /// Somebody sets the wall clock forward.
    pub fn set_clock(&mut self, by: Duration) {
        self.set += by;
    }

    fn advance(&mut self, by: Duration) {
        let now = self.now() + by;
        self.hand.store(now.nanos(), Ordering::Relaxed);
        lock(&self.air).deliver(&self.view.arrays.load(), now);
    }

    fn turn(&mut self) {
        let now = self.now();
        self.engine.turn(now, now + self.slept, ledger::wall(now + self.slept + self.set));
        self.hear();
    }

    fn hear(&mut self) {
        let now = self.now();
        while let Ok(note) = self.notes.try_recv() {
            self.ledger.take(note, now);
        }
        self.ledger.tick(now);
    }

    /// What the agent shows of an address; `None` where it knows none.
    pub fn shown(&self, network: &str, address: IpAddr) -> Option<Shown> {
        let roster = self.ledger.roster();
        let id = roster.table.find(network, address)?;
        let record = roster.table.record(id)?;
        Some(self.view.shown(roster.slot(id)?, roster.network(&record)))
    }

    /// What the agent shows of all.
    pub fn view(&self) -> &View {
        &self.view
    }
}

/// Who the probes come from, as in the lab.
fn sender() -> Sender {
    let link_local = Ipv6Addr::from(v6(V6_LINK_LOCAL, AGENT));
    Sender {
        v4: Some(Ipv4Addr::from(AGENT)),
        link_local,
        owns_link_local: true,
        v6: Some(v6(V6_ON_LINK, AGENT).into()),
        ..Sender::new(Mac(mac(AGENT)))
    }
}

fn gateways() -> [Option<IpAddr>; 2] {
    [Some(Ipv4Addr::from(GATEWAY).into()), Some(Ipv6Addr::from(v6(V6_LINK_LOCAL, GATEWAY)).into())]
}

#[cfg(test)]
mod tests;
