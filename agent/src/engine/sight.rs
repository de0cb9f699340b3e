//! What the agent can see: carriers that come and go, interfaces that are made anew, and the word about it.

use std::time::Duration;

use tracing::{info, warn};

use super::attach::{Attached, Attachment};
use super::hearing::Hearing;
use super::{Engine, Note, Sight};
use crate::clock::Mono;
use crate::namespace;
use crate::roster::Assignment;
use crate::unit::{Blind, Family};

/// Slots that one turn looks at: a few tenths of a millisecond.
const PIECE: u32 = 1024;

/// Whether the engine keeps up, second by second.
#[derive(Debug, Default)]
pub(super) struct Overload {
    /// The latest seconds, one bit each: set where the engine stood still, or skipped more than one probe in a hundred. The newest is
    /// the lowest.
    bad: u8,
    sent: u64,
    skipped: u64,
    stalls: u64,
    told: bool,
}

impl Overload {
    /// Takes one more second; `Some` when what is to be said changed. It begins with four bad seconds of eight, and ends with
    /// eight good ones.
    fn second(&mut self, sent: u64, skipped: u64, stalls: u64) -> Option<bool> {
        let (left, more) = (sent.saturating_sub(self.sent), skipped.saturating_sub(self.skipped));
        let bad = more * 100 > left + more || stalls > self.stalls;
        (self.sent, self.skipped, self.stalls) = (sent, skipped, stalls);
        self.bad = self.bad << 1 | u8::from(bad);
        let now = if self.told { self.bad != 0 } else { self.bad.count_ones() >= 4 };
        (std::mem::replace(&mut self.told, now) != now).then_some(now)
    }
}

/// How many of a network's probes come to nothing because the driver or a socket loses frames: too few to go blind for, and too many to say
/// nothing.
#[derive(Debug, Default)]
pub(super) struct Haze {
    /// Probes that were answered.
    pub(super) judged: u64,
    voids: u64,
    why: Option<Blind>,
    seconds: Overload,
}

impl Haze {
    /// A probe came to nothing.
    pub(super) fn void(&mut self, why: Blind) {
        // Any other reason is told by itself.
        if matches!(why, Blind::SendError | Blind::Deaf) {
            self.voids += 1;
            self.why = Some(why);
        }
    }

    /// Takes one more second; why little is seen, where that is so, by the rule of [`Overload`].
    fn second(&mut self) -> Option<Blind> {
        self.seconds.second(self.judged, self.voids, 0);
        self.why.filter(|_| self.seconds.told)
    }
}

/// Nobody heard for so long, or for two rounds of the quickest policy: a network may have fallen silent.
const SILENCE: Duration = Duration::from_secs(3);

impl Engine {
    /// Tells when the agent as a whole begins to fall behind, and when it keeps up again.
    pub(super) fn look_at_load(&mut self) {
        let (skipped, stalls) = (self.view.skipped.value(), self.view.stalls.value());
        let sent = self.classes.iter().map(|(_, class)| class.series.sent.value()).sum();
        if let Some(overloaded) = self.overload.second(sent, skipped, stalls) {
            let blind = overloaded.then_some(Blind::Overload);
            self.tell(Note::Sight(Sight { network: None, blind, at_ms: self.wall_ms }));
        }
    }

    /// Tells of networks in which nobody answers any more, not even those who once showed that the agent hears, and of those whose probes
    /// come to nothing on our side.
    pub(super) fn look_for_silence(&mut self, now: Mono) {
        for number in 0..self.networks.len() {
            let quickest =
                self.classes.iter().filter(|(_, class)| class.network == Some(number as u16)).map(|(_, class)| class.timing.interval).min();
            let network = &mut self.networks[number];
            let patience = quickest.map(|interval| SILENCE.max(2 * interval));
            // Before the first table nobody can be heard.
            let silent = patience.map_or(network.was_silent, |patience| network.is_silent_since(now - patience));
            if network.blind.is_some() {
                // That is told already, and what it voids with it.
                network.haze = Haze::default();
            }
            let haze = network.haze.second();
            let dim = silent.then_some(Blind::Silent).or(haze).filter(|_| network.blind.is_none());
            if std::mem::replace(&mut network.dim, dim) != dim && network.blind.is_none() {
                self.tell(Note::Sight(Sight { network: Some(number as u16), blind: dim, at_ms: self.wall_ms }));
            }
        }
    }

    /// These networks were silent when the agent stopped, and it was told: they are until somebody there answers. Before the first turn.
    pub fn resume_silence(&mut self, names: &[&str]) {
        for network in self.networks.iter_mut().filter(|network| names.contains(&network.name.as_str())) {
            (network.dim, network.was_silent) = (Some(Blind::Silent), true);
        }
    }

    pub(super) fn networks_start(&mut self, now: Mono) {
        for number in 0..self.networks.len() {
            let network = &mut self.networks[number];
            network.hearing = Hearing::anew(now);
            network.want_gateways(now);
            match &network.tap {
                Some(tap) if tap.interface.running => {}
                Some(_) => self.link(number as u16, false, now),
                None => {
                    network.blind(Blind::LinkDown, now);
                    self.show_sight(number as u16);
                }
            }
        }
    }

    /// The carrier of a network came or went.
    pub(super) fn link(&mut self, number: u16, running: bool, now: Mono) {
        let Some(network) = self.networks.get_mut(usize::from(number)) else { return };
        match (running, network.blind) {
            (false, None | Some(Blind::SendError)) => {
                let interface = network.interface_name();
                warn!(target: "wire", network = %network.name, %interface, "the link is down: the verdicts of this network are unknown until it is back");
                self.go_blind(number, Blind::LinkDown, now);
            }
            (true, Some(Blind::LinkDown)) if network.tap.is_some() => {
                let interface = network.interface_name();
                info!(target: "wire", network = %network.name, %interface, "the link is back");
                network.sees(now);
            }
            _ => return,
        }
        self.show_sight(number);
    }

    /// Shows whether the agent sees a network, and tells of it.
    pub(super) fn show_sight(&self, number: u16) {
        let (Some(network), Some(view)) = (self.networks.get(usize::from(number)), self.view.networks.get(usize::from(number))) else {
            return;
        };
        if view.blind() != network.blind || network.tap.is_none() {
            view.set_blind(network.blind);
            self.tell(Note::Sight(Sight { network: Some(number), blind: network.blind, at_ms: self.wall_ms }));
        }
    }

    /// Nothing is attached to the interface of a network any more.
    pub(super) fn detached(&mut self, number: u16, error: &anyhow::Error, now: Mono) {
        let Some(network) = self.networks.get_mut(usize::from(number)) else { return };
        let interface = network.interface_name();
        warn!(target: "reply", network = %network.name, %interface, error = format!("{error:#}"), "replies cannot be received: the verdicts of this network are unknown until the interface is made anew or the agent restarted");
        network.tap = None;
        self.go_blind(number, Blind::LinkDown, now);
        self.show_sight(number);
    }

    /// The network namespace of a network is gone, but for what the agent has there.
    pub(super) fn leave(&mut self, number: u16, now: Mono) {
        self.program.detach(number);
        self.detached(number, &anyhow::Error::msg("its network namespace is gone"), now);
        // A thread keeps the namespace that it is in. Staying is no harm but that.
        let _ = namespace::go_home();
    }

    /// The interface of a network appeared, was made anew, or has another MAC, other addresses or another gateway. Whether the network is
    /// attached to it now.
    pub(super) fn reattach(&mut self, number: u16, attachment: Attachment, now: Mono) -> bool {
        if self.networks.len() <= usize::from(number) {
            return false;
        }
        self.program.detach(number);
        // What is under way is not heard.
        self.go_blind(number, Blind::LinkDown, now);
        // Sockets of before go first: where a namespace is gone they would keep it.
        self.networks[usize::from(number)].tap = None;
        let entered = attachment.interface.namespace.enter().map_err(anyhow::Error::from);
        let Attached { gateways, on_link, sender, tap, datapath, .. } =
            match entered.and_then(|()| attachment.attach(number, &mut self.program)) {
                Ok(attached) => attached,
                Err(error) => {
                    self.detached(number, &error, now);
                    return false;
                }
            };
        if let (Some(view), Some(tap)) = (self.view.networks.get(usize::from(number)), &tap) {
            view.set_attached(&tap.interface.name, datapath);
        }
        let network = &mut self.networks[usize::from(number)];
        if network.sender != sender || network.on_link != on_link {
            network.anew = Some(0);
        }
        (network.sender, network.on_link) = (sender, on_link);
        network.tap = tap;
        network.hearing = Hearing::anew(now);
        for (family, address) in Family::ALL.into_iter().zip(gateways) {
            let Some(network) = self.networks.get_mut(usize::from(number)) else { return false };
            let gateway = &mut network.gateways[family as usize];
            if address.is_none() || gateway.address == address {
                continue;
            }
            if let Some(before) = std::mem::replace(&mut gateway.address, address) {
                network.resolver.release(before);
                self.gateway(number, family, None, now);
            }
        }
        let network = &mut self.networks[usize::from(number)];
        network.want_gateways(now);
        let running = network.tap.as_ref().is_some_and(|tap| tap.interface.running);
        self.link(number, running, now);
        true
    }

    /// Finds the ways of addresses anew whose network has other addresses of the agent's now, a piece in each turn.
    pub(super) fn find_ways(&mut self, now: Mono) {
        for number in 0..self.networks.len() {
            let Some(next) = self.networks[number].anew else { continue };
            let all = self.cells.len() as u32;
            let end = next.saturating_add(PIECE).min(all);
            let roster = self.roster.clone();
            for slot in next..end {
                let cell = self.cells[slot as usize];
                let here = self.classes.get(cell.group).is_some_and(|class| class.network == Some(number as u16));
                if let Some(record) = roster.id(slot).filter(|_| here && cell.is_live()) {
                    self.change(&roster, Assignment { slot, record, group: cell.group, restored: None }, now);
                }
            }
            self.networks[number].anew = (end < all).then_some(end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bad_second_is_no_overload_and_its_end_takes_eight_good_ones() {
        let mut overload = Overload::default();
        let mut sent = 0;
        let mut second = |skipped, stalls| {
            sent += 1000;
            overload.second(sent, skipped, stalls)
        };
        assert_eq!((second(100, 0), second(100, 0)), (None, None));
        let turns: Vec<_> = (2..11).map(|bad| second(bad * 100, 0)).collect();
        assert_eq!(turns.iter().flatten().collect::<Vec<_>>(), [&true], "told once");
        let turns: Vec<_> = (0..9).map(|_| second(1000, 0)).collect();
        assert_eq!(turns.iter().position(|turn| *turn == Some(false)), Some(7));
        assert_eq!((0..8).filter_map(|stalls| second(1000, stalls)).collect::<Vec<_>>(), [true]);
    }

    #[test]
    fn network_whose_probes_come_to_nothing_is_told_after_four_seconds_and_one_in_a_hundred_is_not() {
        let mut haze = Haze::default();
        let mut second = |judged: u64, voids: u64| {
            haze.judged += judged;
            (0..voids).for_each(|_| haze.void(Blind::SendError));
            haze.second()
        };
        assert!((0..20).all(|_| second(990, 10).is_none()));
        let told: Vec<_> = (0..5).map(|_| second(0, 1000)).collect();
        assert_eq!(told, [None, None, None, Some(Blind::SendError), Some(Blind::SendError)]);
        let over: Vec<_> = (0..9).map(|_| second(1000, 0)).collect();
        assert_eq!(over.iter().position(Option::is_none), Some(7));
        let mut other = Haze::default();
        (0..100).for_each(|_| other.void(Blind::LinkDown));
        assert!((0..9).all(|_| other.second().is_none()), "that is told by itself");
    }

    #[test]
    fn agent_that_skips_one_probe_in_a_hundred_sees_all_the_same() {
        let mut overload = Overload::default();
        assert!((1..100).all(|second| overload.second(second * 990, second * 10, 0).is_none()));
        assert!((1..9).any(|second| overload.second(99_000 + second * 980, 990 + second * 20, 0) == Some(true)));
    }
}
