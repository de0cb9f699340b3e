//! Verdict: what the agent says of an address, from the outcomes of its probes. Pure.
//!
//! ```text
//!             reply                 miss                    misses = down_after
//!  pending ---------> up ---------------------> suspect --------------------------> down
//!                      ^           reply          |                                  |
//!                      +--------------------------+                                  |
//!                      +-------------------- up_after replies in a row -------------+
//! ```
//! A pending address that misses is suspect as well. `unknown` lies over the verdict below: while the agent cannot
//! see, that verdict is frozen, and it counts on from there.

use crate::policy::Policy;
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

/// How many outcomes in a row turn a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Misses to be down.
    pub down_after: u8,
    /// Replies to be up again.
    pub up_after: u8,
}

impl From<&Policy> for Thresholds {
    fn from(policy: &Policy) -> Self {
        Thresholds { down_after: policy.down_after, up_after: policy.up_after }
    }
}

/// The verdict of one address and the outcomes in a row behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    verdict: Verdict,
    blind: Option<Blind>,
    misses: u8,
    replies: u8,
    voids: u8,
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
    pub const NEW: Judgement = Judgement { verdict: Verdict::Pending, blind: None, misses: 0, replies: 0, voids: 0 };

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

    /// Misses in a row.
    pub fn misses(&self) -> u8 {
        self.misses
    }

    /// Up, and nothing counted against it: one more reply changes nothing.
    pub fn is_well(&self) -> bool {
        self.verdict == Verdict::Up && self.blind.is_none() && self.misses == 0 && self.voids == 0
    }

    /// Takes one outcome into account.
    pub fn judge(&mut self, outcome: Outcome, thresholds: Thresholds) -> Option<Turn> {
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
                self.misses = 0;
                self.replies = self.replies.saturating_add(1);
                if self.verdict != Verdict::Down || self.replies >= thresholds.up_after {
                    self.verdict = Verdict::Up;
                }
            }
            Outcome::Miss => {
                self.seen();
                self.replies = 0;
                self.misses = self.misses.saturating_add(1);
                if self.misses >= thresholds.down_after {
                    self.verdict = Verdict::Down;
                } else if self.verdict != Verdict::Down {
                    self.verdict = Verdict::Suspect;
                }
            }
        }
        self.turned(from)
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
    /// policy is met already: the next outcome turns the verdict.
    pub fn open(&self, thresholds: Thresholds) -> u8 {
        let open = match self.verdict {
            Verdict::Down => thresholds.up_after.saturating_sub(self.replies),
            _ => thresholds.down_after.saturating_sub(self.misses),
        };
        open.max(1)
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
mod tests {
    use super::*;
    use Outcome::{Miss, Reply, Void};

    const THREE_TWO: Thresholds = Thresholds { down_after: 3, up_after: 2 };

    fn run(outcomes: &[Outcome]) -> (Judgement, Vec<(Verdict, Verdict)>) {
        let mut judgement = Judgement::default();
        let turns = outcomes.iter().filter_map(|o| judgement.judge(*o, THREE_TWO)).map(|t| (t.from, t.to)).collect();
        (judgement, turns)
    }

    #[test]
    fn three_misses_in_a_row_are_down_and_two_replies_are_up() {
        use Verdict::{Down, Pending, Suspect, Up};
        let (_, turns) = run(&[Reply, Miss, Miss, Miss, Miss, Reply, Miss, Reply, Reply]);
        assert_eq!(turns, [(Pending, Up), (Up, Suspect), (Suspect, Down), (Down, Up)]);
    }

    #[test]
    fn one_reply_ends_a_suspicion_and_the_count_starts_again() {
        let (judgement, _) = run(&[Reply, Miss, Miss, Reply, Miss, Miss]);
        assert_eq!((judgement.verdict(), judgement.misses()), (Verdict::Suspect, 2));
    }

    #[test]
    fn host_that_never_answered_goes_down_too() {
        assert_eq!(run(&[Miss, Miss, Miss]).0.verdict(), Verdict::Down);
    }

    #[test]
    fn voids_never_make_down_and_three_in_a_row_make_unknown() {
        let (judgement, turns) = run(&[Reply, Miss, Void(Blind::SendError), Miss, Void(Blind::SendError)]);
        assert_eq!((judgement.verdict(), turns.len()), (Verdict::Suspect, 2));
        let (mut judgement, _) = run(&[Miss, Miss, Miss, Void(Blind::Overload), Void(Blind::Overload), Void(Blind::Overload)]);
        assert_eq!((judgement.verdict(), judgement.frozen(), judgement.blind()), (Verdict::Unknown, Verdict::Down, Some(Blind::Overload)));
        assert_eq!(judgement.judge(Miss, THREE_TWO), Some(Turn { from: Verdict::Unknown, to: Verdict::Down }));
    }

    #[test]
    fn blindness_freezes_the_verdict_below() {
        let (mut judgement, _) = run(&[Reply, Miss]);
        assert_eq!(judgement.set_blind(Some(Blind::NoMac)), Some(Turn { from: Verdict::Suspect, to: Verdict::Unknown }));
        assert_eq!(judgement.set_blind(None), Some(Turn { from: Verdict::Unknown, to: Verdict::Suspect }));
        assert_eq!(judgement.misses(), 1);
    }

    #[test]
    fn thresholds_of_one_turn_at_once() {
        let one = Thresholds { down_after: 1, up_after: 1 };
        let mut judgement = Judgement::restored(Verdict::Up);
        assert_eq!(judgement.judge(Miss, one).unwrap().to, Verdict::Down);
        assert_eq!(judgement.judge(Reply, one).unwrap().to, Verdict::Up);
        assert!(!judgement.wants_confirmation());
    }

    #[test]
    fn confirmation_is_wanted_only_where_it_can_settle_something() {
        assert!(run(&[Reply, Miss]).0.wants_confirmation());
        assert!(!run(&[Reply]).0.wants_confirmation());
        assert!(!run(&[Miss, Miss, Miss]).0.wants_confirmation());
        let (judgement, _) = run(&[Miss, Miss, Miss, Reply]);
        assert!(judgement.wants_confirmation());
        assert_eq!(judgement.open(THREE_TWO), 1);
    }
}
