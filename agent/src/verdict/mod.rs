//! Verdict: what the agent says of an address, from the outcomes of its probes. Pure.
//!
//! ```text
//!             reply                 miss                     enough misses
//!  pending ---------> up ---------------------> suspect --------------------------> down
//!                      ^     enough replies       |                                  |
//!                      +--------------------------+                                  |
//!                      +------------------------ enough replies --------------------+
//! ```
//! A pending address that misses is suspect as well. `unknown` lies over the verdict below: while the agent cannot
//! see, that verdict is frozen, and it counts on from there.
//!
//! Enough is N of the last M outcomes ([`Quorum`]), of those since the verdict turned to up or down. What cannot become enough any
//! more ends a suspicion, or a recovery: M - N + 1 outcomes of the other kind in a row, for no M outcomes around those hold N of
//! this kind. Where N is M that is one of the other kind, and N in a row are enough.

use crate::policy::{Policy, Quorum};
use crate::recent::{RECENT, Recent};
use crate::unit::{Blind, Verdict};

/// What became of one probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A matching reply came in time.
    Reply,
    /// The deadline passed without one, and nothing on our side explains it.
    Miss,
    /// The deadline passed, or the probe never left, for a reason on our side: evidence of nothing.
    Void(Blind),
}

/// How many outcomes turn a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Thresholds {
    /// Misses to be down.
    pub down: Quorum,
    /// Replies to be up again.
    pub up: Quorum,
}

impl From<&Policy> for Thresholds {
    fn from(policy: &Policy) -> Self {
        Thresholds { down: policy.down(), up: policy.up() }
    }
}

/// The verdict of one address and what was counted for its next turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Judgement {
    verdict: Verdict,
    blind: Option<Blind>,
    misses: u8,
    replies: u8,
    voids: u8,
    /// Outcomes since the suspicion or the recovery under way began: what lies before is not counted again.
    since: u8,
}

/// Voids in a row after which the agent admits that it cannot tell.
const VOIDS_UNKNOWN: u8 = 3;

/// A verdict that turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// As it was seen before.
    pub from: Verdict,
    /// As it is seen now.
    pub to: Verdict,
}

impl Default for Judgement {
    fn default() -> Self {
        Judgement::NEW
    }
}

impl Judgement {
    /// Of an address that was never probed.
    pub const NEW: Judgement = Judgement { verdict: Verdict::Pending, blind: None, misses: 0, replies: 0, voids: 0, since: 0 };

    /// A verdict from before a restart. `suspect` and `unknown` are not kept: they start as pending.
    pub fn restored(verdict: Verdict) -> Self {
        let verdict = match verdict {
            Verdict::Up | Verdict::Down => verdict,
            Verdict::Pending | Verdict::Suspect | Verdict::Unknown => Verdict::Pending,
        };
        Judgement { verdict, ..Judgement::default() }
    }

    /// The verdict to show.
    pub fn verdict(&self) -> Verdict {
        if self.blind.is_some() { Verdict::Unknown } else { self.verdict }
    }

    /// The verdict under `unknown`.
    pub fn frozen(&self) -> Verdict {
        self.verdict
    }

    /// Why it is unknown.
    pub fn blind(&self) -> Option<Blind> {
        self.blind
    }

    /// Whether the latest probe said anything.
    pub fn is_seen(&self) -> bool {
        self.voids == 0 && self.blind.is_none()
    }

    /// Misses behind the verdict: in a row, or among the last outcomes that the policy looks at.
    pub fn misses(&self) -> u8 {
        self.misses
    }

    /// Up, and nothing counted against it: one more reply changes nothing.
    pub fn is_well(&self) -> bool {
        self.verdict == Verdict::Up && self.blind.is_none() && self.misses == 0 && self.voids == 0
    }

    /// Takes one outcome into account. `recent` holds the last ones, this one included unless it is void; it is looked at only
    /// where the policy counts N of M.
    pub fn judge(&mut self, outcome: Outcome, thresholds: Thresholds, recent: Recent) -> Option<Turn> {
        let from = self.verdict();
        match outcome {
            Outcome::Void(blind) => {
                self.voids = self.voids.saturating_add(1);
                if self.voids >= VOIDS_UNKNOWN {
                    self.blind = Some(blind);
                }
            }
            Outcome::Reply => {
                self.seen();
                match self.verdict {
                    Verdict::Down => self.recover(thresholds.up, recent),
                    _ => self.relieve(thresholds.down, recent),
                }
            }
            Outcome::Miss => {
                self.seen();
                match self.verdict {
                    Verdict::Down => self.relapse(thresholds.up, recent),
                    _ => self.suspect(thresholds.down, recent),
                }
            }
        }
        self.turned(from)
    }

    /// A miss of an address that is not down.
    fn suspect(&mut self, down: Quorum, recent: Recent) {
        self.since = (self.since + 1).min(RECENT);
        self.misses = if down.is_run() { self.misses.saturating_add(1) } else { recent.misses(down.of.min(self.since)) };
        self.verdict = Verdict::Suspect;
        if self.misses >= down.count {
            self.verdict = Verdict::Down;
            (self.replies, self.since) = (0, 0);
        }
    }

    /// A reply of an address that is not down.
    fn relieve(&mut self, down: Quorum, recent: Recent) {
        if self.verdict == Verdict::Suspect && !down.is_run() && recent.run() <= down.slack() {
            self.since = (self.since + 1).min(RECENT);
            self.misses = recent.misses(down.of.min(self.since));
            return;
        }
        self.verdict = Verdict::Up;
        (self.misses, self.since) = (0, 0);
    }

    /// A reply of an address that is down.
    fn recover(&mut self, up: Quorum, recent: Recent) {
        self.since = (self.since + 1).min(RECENT);
        self.misses = 0;
        self.replies = if up.is_run() { self.replies.saturating_add(1) } else { recent.replies(up.of.min(self.since)) };
        if self.replies >= up.count {
            self.verdict = Verdict::Up;
            (self.replies, self.since) = (0, 0);
        }
    }

    /// A miss of an address that is down.
    fn relapse(&mut self, up: Quorum, recent: Recent) {
        self.misses = self.misses.saturating_add(1);
        if self.replies > 0 && !up.is_run() && recent.run() <= up.slack() {
            self.since = (self.since + 1).min(RECENT);
            self.replies = recent.replies(up.of.min(self.since));
            return;
        }
        (self.replies, self.since) = (0, 0);
    }

    /// The agent cannot probe this address at all (or can again, with `None`).
    pub fn set_blind(&mut self, blind: Option<Blind>) -> Option<Turn> {
        let from = self.verdict();
        self.blind = blind;
        self.voids = 0;
        self.turned(from)
    }

    /// Whether fast re-probes would settle something: a suspect, or a down address that began to answer.
    pub fn wants_confirmation(&self) -> bool {
        match self.verdict {
            Verdict::Suspect => true,
            Verdict::Down => self.replies > 0,
            Verdict::Pending | Verdict::Up | Verdict::Unknown => false,
        }
    }

    /// How many more outcomes could still settle it; re-probes beyond that are of no use. At least one, also where a new
    /// policy is met already: the next outcome turns the verdict. Where N of M count, one that is not enough may leave as much
    /// open as there was, so what is under way is never too much.
    pub fn open(&self, thresholds: Thresholds) -> u8 {
        let (quorum, counted) = match self.verdict {
            Verdict::Down => (thresholds.up, self.replies),
            _ => (thresholds.down, self.misses),
        };
        if quorum.is_run() { quorum.count.saturating_sub(counted).max(1) } else { quorum.of }
    }

    /// Goes on under new thresholds: where those want outcomes in a row, only what was in a row counts on.
    pub fn adopt(&mut self, thresholds: Thresholds, recent: Recent) {
        let run = |quorum: Quorum, counted: u8, reply: bool| match recent.run() {
            _ if !quorum.is_run() => counted,
            _ if recent.is_reply() != reply => 0,
            RECENT.. => counted,
            run => counted.min(run),
        };
        match self.verdict {
            Verdict::Down => self.replies = run(thresholds.up, self.replies, true),
            _ => self.misses = run(thresholds.down, self.misses, false),
        }
    }

    fn seen(&mut self) {
        self.blind = None;
        self.voids = 0;
    }

    fn turned(&self, from: Verdict) -> Option<Turn> {
        let to = self.verdict();
        (from != to).then_some(Turn { from, to })
    }
}

#[cfg(test)]
mod tests;
