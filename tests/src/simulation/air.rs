//! The simulated cloud: who lives there and how they are, and the frames that are on their way. Time is an argument.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use rollcall_agent::clock::{Mono, nanos};
use rollcall_agent::packet::{LEN_MAX, Sender};
use rollcall_agent::reply::{Arrays, Place, hear};
use rollcall_agent::wire;
use rollcall_agent_ebpf::fleet::{Behaviour, Cloud, GATEWAY, mac, wrong_mac};

use super::answer::{self, Asked};
use super::random::{Random, threshold};

/// Round trip of an answer at its quickest, and how much longer it may take, in nanoseconds.
const QUICKEST: u64 = 150_000;
const SPREAD: u64 = 500_000;

/// How a station is: the lab's behaviour, and what only a simulated one can do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Health {
    /// As in the lab.
    pub behaviour: Behaviour,
    /// The chance that a question or its answer is lost, as [`threshold`].
    loss: u64,
    /// Its answers come so much later, in nanoseconds.
    late: u64,
}

impl Health {
    /// Loses this share of what it is asked.
    pub fn set_loss(&mut self, probability: f64) {
        self.loss = threshold(probability);
    }

    /// Answers so much later.
    pub fn set_late(&mut self, by: Duration) {
        self.late = nanos(by);
    }
}

/// One network of the cloud.
#[derive(Debug)]
pub struct Net {
    pub(super) cloud: Cloud,
    /// By the station's number.
    pub health: Vec<Health>,
    /// Nothing comes through, in either direction.
    pub silent: bool,
    /// Nothing can be sent into it.
    pub refuses: bool,
    /// What comes in is not shown to the receiver, but to sockets.
    pub bypassed: bool,
    pub(super) place: Place,
    /// Frames that the receiver passed on: for whoever asks for neighbours.
    inbox: VecDeque<wire::Said>,
}

/// All networks, and what is on its way.
#[derive(Debug)]
pub struct Air {
    /// The networks, by the agent's numbers.
    pub nets: Vec<Net>,
    random: Random,
    /// When a frame arrives, and which.
    queue: BinaryHeap<Reverse<(u64, u32)>>,
    frames: Vec<Letter>,
    free: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Letter {
    bytes: [u8; LEN_MAX],
    length: u8,
    net: u16,
}

impl Air {
    pub(super) fn new(seed: u64, networks: &[(Cloud, Sender)]) -> Self {
        let net = |(number, (cloud, sender)): (usize, &(Cloud, Sender))| {
            let place = Place { network: number as u16, interface: 10 + number as u32, tags: sender.tags.word(), mac: sender.mac };
            let health = vec![Health::default(); cloud.stations() as usize];
            Net { cloud: *cloud, health, silent: false, refuses: false, bypassed: false, place, inbox: VecDeque::new() }
        };
        let nets = networks.iter().enumerate().map(net).collect();
        Air { nets, random: Random::new(seed), queue: BinaryHeap::new(), frames: vec![], free: vec![] }
    }

    /// The IPv4 address of a station.
    pub fn address(&self, net: usize, station: u32) -> Option<IpAddr> {
        self.nets.get(net)?.cloud.address(station).map(IpAddr::from)
    }

    /// A frame of the agent's. Whoever it is for answers in time, late, or not at all.
    pub(super) fn ask(&mut self, net: u16, frame: &[u8], now: Mono) {
        let here = &self.nets[usize::from(net)];
        let Some(asked) = answer::read(frame, here.cloud).filter(|_| !here.silent) else { return };
        let health = here.health[asked.station.number as usize];
        let Some(from) = speaker(asked, health.behaviour, frame) else { return };
        let chance = self.random.bits();
        if chance < health.loss {
            return;
        }
        let mut letter = Letter { bytes: [0; LEN_MAX], length: frame.len() as u8, net };
        letter.bytes[..frame.len()].copy_from_slice(frame);
        answer::write(&mut letter.bytes[..frame.len()], asked.question, from);
        let at = now.nanos() + QUICKEST + self.random.below(SPREAD) + health.late;
        let place = self.free.pop().unwrap_or(self.frames.len() as u32);
        match self.frames.get_mut(place as usize) {
            Some(free) => *free = letter,
            None => self.frames.push(letter),
        }
        self.queue.push(Reverse((at, place)));
    }

    /// Hands over all that has arrived up to a moment.
    pub(super) fn deliver(&mut self, arrays: &Arrays, now: Mono) {
        while let Some(&Reverse((at, place))) = self.queue.peek()
            && at <= now.nanos()
        {
            self.queue.pop();
            self.free.push(place);
            let Letter { bytes, length, net } = &self.frames[place as usize];
            let (net, frame) = (&mut self.nets[usize::from(*net)], &bytes[..usize::from(*length)]);
            if !net.silent
                && (net.bypassed || !hear(arrays, net.place, frame, Mono::from_nanos(at)).consumed())
                && let Some(found) = wire::neighbour(frame, net.place.mac)
            {
                net.inbox.push_back(found);
            }
        }
    }

    /// Nothing of what is on its way arrives.
    pub(super) fn drop_all(&mut self) {
        self.free.extend(self.queue.drain().map(|Reverse((_, place))| place));
    }

    pub(super) fn neighbour(&mut self, net: u16) -> Option<wire::Said> {
        self.nets[usize::from(net)].inbox.pop_front()
    }
}

/// The MAC that an answer comes from, if there is one. The rules are those of the lab's fleet, but for a second owner, who would answer
/// besides, and for what routers say in place of a host.
fn speaker(asked: Asked, behaviour: Behaviour, frame: &[u8]) -> Option<[u8; 6]> {
    let Asked { question, station, address, to_all } = asked;
    let own = mac(if station.routed { GATEWAY } else { address });
    let dead = behaviour.has(Behaviour::DEAD);
    if question.is_on_link() && to_all && !station.routed && behaviour.has(Behaviour::PROXIED) {
        return Some(own);
    }
    let strange = behaviour.has(Behaviour::WRONG_MAC) && !station.routed;
    let reached = frame[..6] == own || strange && frame[..6] == wrong_mac(address) || question.is_on_link() && to_all;
    let filter = if question.is_on_link() { Behaviour::NEIGHBOUR_FILTERED } else { Behaviour::ICMP_FILTERED };
    let filtered = behaviour.has(filter);
    if dead || filtered || !reached || question.is_on_link() && station.routed {
        return None;
    }
    Some(if strange { wrong_mac(address) } else { own })
}
