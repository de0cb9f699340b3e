//! Layers: an address of `method = "both"` is asked on the link and pinged in turn. What each layer says, and what follows of it for
//! the verdict and the conditions. Pure.
//!
//! An answer of either layer is an answer of the address. A miss counts against the address unless the other layer shows that it is
//! there:
//!
//! | the other layer | the layer that missed | |
//! |---|---|---|
//! | answered its last probe | | does not count |
//! | | is silent for good, while the other is not | does not count: it says nothing new |
//! | missed its last probe too, or has not answered yet | | counts |
//!
//! A layer is silent for good when it would be *down* by the policy's own thresholds, and comes back as a down address does. One that
//! is silent while the other is up is a condition: ICMP filtered, or asymmetric. It holds until the layer is back, or the address down.

use crate::recent::Recent;
use crate::unit::{Condition, Verdict};
use crate::verdict::{Judgement, Outcome, Thresholds};

/// How a probe speaks to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// Asked on the link: ARP or neighbour discovery.
    Neighbour,
    /// Pinged: ICMP echo.
    Echo,
}

impl Layer {
    /// Of the probe with that sequence: even ones ask (`rollcall_agent_ebpf::target::asks`).
    pub const fn of(sequence: u16) -> Self {
        if sequence & 1 == 0 { Layer::Neighbour } else { Layer::Echo }
    }

    const fn other(self) -> Self {
        match self {
            Layer::Neighbour => Layer::Echo,
            Layer::Echo => Layer::Neighbour,
        }
    }
}

/// What one layer said.
#[derive(Clone, Copy, Debug, Default)]
struct Said {
    judgement: Judgement,
    recent: Recent,
}

impl Said {
    /// Down, and not a single answer of late.
    fn is_silent(&self) -> bool {
        self.judgement.frozen() == Verdict::Down && !self.judgement.wants_confirmation()
    }
}

/// What is known of both layers of an address.
#[derive(Clone, Copy, Debug, Default)]
pub struct Layers {
    said: [Said; 2],
    /// When the latest probe was sent whose miss did not count because the other layer had answered before it; 0: something was
    /// answered since.
    waits: u32,
    condition: Option<Condition>,
}

impl Layers {
    /// Takes what became of a probe of a layer, sent at a stamp that is not 0. `None`: it does not count for the address. Otherwise the
    /// stamp since which the address is as the outcome says: where a miss that did not count began the silence, that one's.
    pub fn take(&mut self, layer: Layer, outcome: Outcome, stamp: u32, thresholds: Thresholds) -> Option<u32> {
        let (own, other) = (self.said[layer as usize], self.said[layer.other() as usize]);
        let reply = match outcome {
            // Our own fault: it says nothing of the layer but that it is not known, and as much of the address as ever.
            Outcome::Void(_) => {
                let said = &mut self.said[layer as usize];
                said.judgement.judge(outcome, thresholds, said.recent);
                return Some(stamp);
            }
            Outcome::Reply => true,
            Outcome::Miss => false,
        };
        let said = &mut self.said[layer as usize];
        said.recent = said.recent.and(reply);
        said.judgement.judge(outcome, thresholds, said.recent);
        if reply {
            self.waits = 0;
            return Some(stamp);
        }
        if own.is_silent() && other.judgement.frozen() != Verdict::Down {
            return None;
        }
        if other.recent.is_reply() {
            self.waits = stamp;
            return None;
        }
        Some(if self.waits == 0 { stamp } else { self.waits })
    }

    /// What began or ended, given the verdict of the address: the condition, and whether it holds from now on. To be asked until
    /// there is nothing more.
    pub fn turned(&mut self, address: Verdict) -> Option<(Condition, bool)> {
        let due = self.due(address);
        match (self.condition, due) {
            (before, due) if before == due => None,
            (Some(over), _) => {
                self.condition = None;
                Some((over, false))
            }
            (None, due) => {
                self.condition = due;
                due.map(|condition| (condition, true))
            }
        }
    }

    /// What holds now.
    pub fn condition(&self) -> Option<Condition> {
        self.condition
    }

    /// Goes on under another policy.
    pub fn adopt(&mut self, thresholds: Thresholds) {
        for said in &mut self.said {
            said.judgement.adopt(thresholds, said.recent);
        }
    }

    fn due(&self, address: Verdict) -> Option<Condition> {
        use Verdict::{Down, Up};
        let [neighbour, echo] = [0, 1].map(|layer| self.said[layer].judgement.frozen());
        // What answered last before nothing could be seen of it is no answer now.
        let [sees_neighbour, sees_echo] = [0, 1].map(|layer| self.said[layer].judgement.is_seen());
        match (neighbour, echo) {
            _ if address == Down => None,
            (Up, Down) if sees_neighbour => Some(Condition::IcmpFiltered),
            (Down, Up) if sees_echo => Some(Condition::Asymmetric),
            // A lost packet of the layer that answers changes nothing.
            (now, Down) if now != Down => self.condition.filter(|condition| *condition == Condition::IcmpFiltered),
            (Down, now) if now != Down => self.condition.filter(|condition| *condition == Condition::Asymmetric),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
