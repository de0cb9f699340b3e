//! The networks: carrier, gateway, MACs to be learned, and the times in which the agent could not see.

use std::net::IpAddr;
use std::time::Duration;

use tracing::warn;

use super::attach::{Attached, Tap};
use super::conflict::Census;
use super::gateway::Gateway;
use super::hearing::{Hearing, Showing};
use super::losses::Losses;
use super::send::Batch;
use super::sight::Haze;
use super::{Engine, Seldom, TICK};
use crate::clock::Mono;
use crate::packet::Sender;
use crate::reply::Ear;
use crate::resolve::{Asker, Resolver};
use crate::unit::{Blind, Family, Mac};
use crate::wire::Said;

/// After blindness ends, what was under way before and shortly after still counts as nothing: bridges and switches
/// need a moment to forward again.
pub(super) const GRACE: Duration = Duration::from_secs(1);
/// The same where not a single answer came since: a bridge's ports listen and learn for half a minute (IEEE 802.1D).
const GRACE_UNPROVEN: Duration = Duration::from_secs(45);
/// ARP frames that one turn looks at: a storm must not hold up the hands.
const ANSWERS: usize = 256;
const ANSWERS_ALL: usize = 4096;
/// How long a driver may take no frame at all.
const REFUSED: Duration = Duration::from_millis(50);
/// Between two tries to send into a network that refused.
const RETRY: Duration = Duration::from_secs(1);
/// Between two looks at the resolver's socket.
const RESOLVE: Duration = Duration::from_millis(5);

pub(super) struct Network {
    pub(super) name: String,
    /// The ways on and off the wire; `None` while its interface is not there.
    pub(super) tap: Option<Tap>,
    /// Of each family.
    pub(super) batches: [Batch; 2],
    pub(super) sender: Sender,
    pub(super) blind: Option<Blind>,
    /// Probing goes on and says little or nothing, and why: it was told.
    pub(super) dim: Option<Blind>,
    /// Whether more than a few probes come to nothing on our side.
    pub(super) haze: Haze,
    /// It was silent when the agent stopped, and nobody has been heard since: a start makes no deaf agent hear.
    pub(super) was_silent: bool,
    /// From when to when the agent last could not see it.
    pub(super) blind_from: Mono,
    pub(super) blind_to: Mono,
    /// Whether what is heard comes by the receiver.
    pub(super) hearing: Hearing,
    pub(super) resolver: Resolver,
    /// Of each family.
    pub(super) gateways: [Gateway; 2],
    /// Addresses on the link whose answers show that the agent hears.
    pub(super) canaries: Vec<Gateway>,
    /// When everybody is asked who has an address, to find a second owner.
    pub(super) census: Option<Census>,
    /// When a network that refused to send was last tried.
    tried: Mono,
    /// When it was last said that nothing can be sent.
    pub(super) send_told: Seldom,
    /// Since when the driver takes not a single frame.
    refused: Option<Mono>,
    /// When it did not take frames of ours.
    pub(super) losses: Losses,
    lost_told: Seldom,
    /// Since when the network can be seen again, while no answer has shown that its switches forward again too.
    unproven: Option<Mono>,
    /// When the newest probe was sent that anybody in the network answered.
    pub(super) heard: Mono,
    /// Slots on the link whose miss counts only once somebody is heard, and what had been heard when they were looked at last.
    pub(super) unheard: Vec<u32>,
    pub(super) looked: Mono,
    pub(super) on_link: Vec<(IpAddr, u8)>,
    resolved: Mono,
    /// The next slot whose way is found anew, after the interface was made anew with other addresses.
    pub(super) anew: Option<u32>,
}

impl Network {
    pub(super) fn new(attached: Attached) -> Self {
        let Attached { name, gateways, canaries, census, on_link, sender, tap, .. } = attached;
        Network {
            name,
            tap,
            batches: Default::default(),
            sender,
            blind: None,
            dim: None,
            haze: Haze::default(),
            was_silent: false,
            blind_from: Mono::default(),
            blind_to: Mono::default(),
            hearing: Hearing::anew(Mono::default()),
            resolver: Resolver::default(),
            gateways: gateways.map(Gateway::at),
            canaries: canaries.into_iter().map(|address| Gateway::at(Some(address))).collect(),
            census: census.map(Census::new),
            tried: Mono::default(),
            send_told: Seldom::default(),
            refused: None,
            losses: Losses::default(),
            lost_told: Seldom::default(),
            unproven: None,
            heard: Mono::default(),
            unheard: Vec::new(),
            looked: Mono::default(),
            on_link,
            resolved: Mono::default(),
            anew: None,
        }
    }

    /// From now on nothing of this network can be believed.
    pub(super) fn blind(&mut self, reason: Blind, now: Mono) {
        // Blindness that comes back before its grace is over is one blindness.
        if self.blind.is_none() && now > self.blind_to {
            self.blind_from = now;
        }
        if self.blind.is_none() {
            self.tried = now;
        }
        self.blind = Some(reason);
        self.blind_to = now + GRACE;
    }

    /// It could not be seen before that was noticed either.
    pub(super) fn blind_since(&mut self, since: Mono) {
        self.blind_from = self.blind_from.min(since);
    }

    pub(super) fn sees(&mut self, now: Mono) {
        self.blind = None;
        self.refused = None;
        self.blind_to = now + GRACE;
        self.unproven = Some(now);
    }

    /// So many probes were answered, the last of them sent then.
    pub(super) fn proven(&mut self, sent: Mono, probes: u64) {
        self.haze.judged += probes;
        self.heard = self.heard.max(sent);
        self.was_silent = false;
        if self.unproven.is_some_and(|since| sent >= since) {
            self.unproven = None;
        }
    }

    /// Frames left, or none could. A queue that is full empties within milliseconds: one that takes nothing for longer has no
    /// carrier, of which the kernel tells up to a second late (net/core/link_watch.c). True: that is so.
    pub(super) fn departed(&mut self, sent: usize, now: Mono) -> bool {
        if sent > 0 {
            self.refused = None;
            return false;
        }
        now.since(*self.refused.get_or_insert(now)) > REFUSED
    }

    /// The driver did not take some frames of a batch.
    pub(super) fn lost(&mut self, frames: usize, now: Mono) {
        if self.lost_told.now(now) {
            warn!(target: "wire", network = %self.name, interface = %self.interface_name(), frames, "the driver dropped probes of ours: those count as nothing, not as silence; is its transmit ring too small for the rate?");
        }
    }

    /// Where replies are heard, if not by the program.
    pub(super) fn ear(&self) -> Option<&Ear> {
        self.tap.as_ref().and_then(|tap| tap.ear.as_deref())
    }

    /// The name of its interface, for people.
    pub(super) fn interface_name(&self) -> &str {
        self.tap.as_ref().map_or("none", |tap| &tap.interface.name)
    }

    /// Whether the MAC of the gateway of a family is known.
    pub(super) fn has_gateway(&self, family: Family) -> bool {
        self.gateways[family as usize].mac.is_some()
    }

    /// Whether its addresses are being gone through, a piece in each turn.
    pub(super) fn is_changing(&self) -> bool {
        self.anew.is_some() || self.gateways.iter().any(Gateway::is_passing)
    }

    /// Whether probes are left that its interface did not take.
    pub(super) fn is_held_up(&self) -> bool {
        self.batches.iter().any(|batch| !batch.is_empty())
    }

    /// Whether an address is reached without a gateway.
    pub(super) fn is_on_link(&self, address: IpAddr) -> bool {
        let link_local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
        link_local || self.on_link.iter().any(|(prefix, length)| contains(*prefix, *length, address))
    }

    /// Who shows that the agent hears: the gateways, and the canaries.
    pub(super) fn witnesses(&self) -> impl Iterator<Item = &Gateway> {
        self.gateways.iter().chain(&self.canaries)
    }

    /// Whether nobody answered a probe that left since then, and the gateways and canaries that once did are lost as well: then this
    /// looks the same as a receiver that has died. One that never answered tells nothing.
    pub(super) fn is_silent_since(&self, sent: Mono) -> bool {
        if self.was_silent {
            return true;
        }
        let mut known = self.witnesses().filter(|witness| witness.seen != Mono::default()).peekable();
        self.heard < sent && known.peek().is_some() && known.all(|witness| witness.mac.is_none())
    }

    /// A canary was found or lost. Misses that wait for somebody to be heard are looked at again.
    pub(super) fn canary(&mut self, number: u8, mac: Option<Mac>) -> Vec<u32> {
        if let Some(canary) = self.canaries.get_mut(usize::from(number)) {
            canary.mac = mac;
        }
        std::mem::take(&mut self.unheard)
    }

    /// Asks for the MACs of gateways and canaries.
    pub(super) fn want_gateways(&mut self, now: Mono) {
        for (number, canary) in self.canaries.iter().enumerate() {
            if let Some(address) = canary.address {
                self.resolver.want(address, Asker::Canary(number as u8), now);
            }
        }
        for (family, gateway) in Family::ALL.into_iter().zip(&self.gateways) {
            if let Some(address) = gateway.address {
                self.resolver.want(address, Asker::Gateway(family), now);
            }
        }
    }
}

impl Engine {
    /// Asks for MACs, hears the answers, tries networks again that refused to send.
    pub(super) fn resolve(&mut self, now: Mono) {
        // A turn that comes a little earlier than the last one did is not to miss what is due by then.
        let beat = now.floor(TICK);
        for number in 0..self.networks.len() {
            let network = &mut self.networks[number];
            if beat.since(network.resolved) < RESOLVE {
                continue;
            }
            network.resolved = beat;
            if network.blind == Some(Blind::SendError) && now.since(network.tried) >= RETRY {
                self.try_again(number as u16, now);
            }
            let network = &mut self.networks[number];
            let Some(tap) = network.tap.as_mut().filter(|_| network.blind.is_none()) else { continue };
            if network.unproven.is_some_and(|since| now.since(since) < GRACE_UNPROVEN) {
                network.blind_to = now + GRACE;
            }
            let (mut found, mut others) = (Vec::new(), Vec::new());
            // Answers first: after a stall they may lie there already. Where replies are received by a socket, all of them lie there.
            let most = if tap.ear.is_some() { ANSWERS_ALL } else { ANSWERS };
            let (mut deaf, hearing) = (false, network.hearing);
            for _ in 0..most {
                let Ok(Some(Said { address, mac, is_to_us })) = tap.neighbours.answer() else { break };
                // Sockets hear all that is said; what is said to all the program leaves alone.
                let by_program = tap.ear.is_none() && is_to_us;
                let shows = if by_program { hearing.judge(self.arrays.passed(number as u16), now) } else { Showing::Hears };
                deaf |= shows == Showing::Deaf;
                for witness in network.gateways.iter_mut().chain(&mut network.canaries) {
                    let is_it = witness.address == Some(address) && witness.mac.is_none_or(|known| known == mac);
                    if is_it && shows == Showing::Hears {
                        witness.seen = now;
                        network.was_silent = false;
                    }
                }
                let answer = network.resolver.answered(address, mac, now);
                if answer.is_empty() {
                    others.push((address, mac));
                }
                found.extend(answer);
            }
            if deaf {
                self.deafened(number as u16, now);
                continue;
            }
            let mut asks = Vec::new();
            found.extend(network.resolver.advance(beat, &mut asks));
            let mut left = false;
            for (address, mac) in asks {
                // A question that could not be sent is asked again like one that was not answered.
                left |= tap.neighbours.ask(address, mac).is_ok();
            }
            let seen = network.gateways.iter_mut().filter(|gateway| gateway.seen == now);
            let mut doubtful: Vec<u32> = seen.flat_map(|gateway| std::mem::take(&mut gateway.doubtful)).collect();
            if network.witnesses().any(|witness| witness.seen == now) {
                doubtful.append(&mut network.unheard);
            }
            self.view.networks[number].unresolved.store(network.resolver.open() as u64, std::sync::atomic::Ordering::Relaxed);
            for found in found {
                self.found(number as u16, found, now);
            }
            for (address, mac) in others {
                self.compare(number as u16, address, mac, now);
            }
            if left {
                self.show_sight(number as u16);
            }
            self.settle_doubtful(doubtful, now);
        }
    }

    /// Lets probes into a network again that refused them. That it takes them is shown only once a frame has left: most errors last.
    fn try_again(&mut self, number: u16, now: Mono) {
        let Some(network) = self.networks.get_mut(usize::from(number)) else { return };
        network.sees(now);
        // The next probe may be minutes away.
        let known = network.witnesses().find(|witness| witness.mac.is_some()).and_then(|witness| witness.address);
        if let Some(known) = known {
            network.resolver.check(known, now);
        }
        // Where nobody is watched nothing would ever leave.
        if !self.classes.iter().any(|(_, class)| class.network == Some(number)) {
            self.show_sight(number);
        }
    }

    pub(super) fn set_blind(&mut self, slot: u32, blind: Option<Blind>) {
        if let Some(cell) = self.cells.get_mut(slot as usize).filter(|cell| cell.is_live())
            && let Some(turn) = cell.judgement.set_blind(blind)
        {
            self.turned(slot, turn);
        }
    }

    /// Whether the gateway is known that the probes of a slot pass.
    pub(super) fn has_gateway(&self, slot: u32) -> bool {
        let cell = &self.cells[slot as usize];
        let network = self.classes.get(cell.group).and_then(|class| self.networks.get(usize::from(class.network?)));
        network.is_some_and(|network| network.has_gateway(cell.family()))
    }
}

/// Whether a prefix contains an address.
fn contains(prefix: IpAddr, length: u8, address: IpAddr) -> bool {
    match (prefix, address) {
        (IpAddr::V4(prefix), IpAddr::V4(address)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            (address.to_bits() ^ prefix.to_bits()) & mask == 0
        }
        (IpAddr::V6(prefix), IpAddr::V6(address)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            (address.to_bits() ^ prefix.to_bits()) & mask == 0
        }
        _ => false,
    }
}
