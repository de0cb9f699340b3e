use std::collections::HashMap;
use std::time::Duration;

use super::*;
use crate::policy::Method;
use Outcome::{Miss, Reply, Void};

const THREE_TWO: Thresholds = Thresholds { down: Quorum::run(3), up: Quorum::run(2) };
/// Down at 3 of 5, up at 3 of 4.
const WINDOWS: Thresholds = Thresholds { down: Quorum { count: 3, of: 5 }, up: Quorum { count: 3, of: 4 } };

/// An address and what is remembered of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Case {
    judgement: Judgement,
    recent: Recent,
    thresholds: Thresholds,
}

impl Case {
    fn new(thresholds: Thresholds) -> Self {
        Case { judgement: Judgement::NEW, recent: Recent::default(), thresholds }
    }

    fn judge(&mut self, outcome: Outcome) -> Option<Turn> {
        self.recent = match outcome {
            Void(_) => self.recent,
            reply_or_miss => self.recent.and(reply_or_miss == Reply),
        };
        self.judgement.judge(outcome, self.thresholds, self.recent)
    }

    /// `!` for a reply, `.` for a miss. What it turned to, in order.
    fn play(&mut self, marks: &str) -> Vec<Verdict> {
        marks.chars().filter_map(|mark| self.judge(if mark == '!' { Reply } else { Miss })).map(|turn| turn.to).collect()
    }
}

fn run(outcomes: &[Outcome]) -> (Judgement, Vec<(Verdict, Verdict)>) {
    let mut case = Case::new(THREE_TWO);
    let turns = outcomes.iter().filter_map(|outcome| case.judge(*outcome)).map(|turn| (turn.from, turn.to)).collect();
    (case.judgement, turns)
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
    assert_eq!(judgement.judge(Miss, THREE_TWO, Recent::default()), Some(Turn { from: Verdict::Unknown, to: Verdict::Down }));
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
    let one = Thresholds { down: Quorum::run(1), up: Quorum::run(1) };
    let mut case = Case { judgement: Judgement::restored(Verdict::Up), ..Case::new(one) };
    assert_eq!(case.judge(Miss).unwrap().to, Verdict::Down);
    assert_eq!(case.judge(Reply).unwrap().to, Verdict::Up);
    assert!(!case.judgement.wants_confirmation());
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

#[test]
fn three_misses_of_the_last_five_are_down_and_three_replies_of_the_last_four_are_up() {
    use Verdict::{Down, Suspect, Up};
    for marks in ["!...", "!..!.", "!.!..", "!.!.!.", "!.!!..", "!.!!.!.."] {
        let before = &marks[..marks.len() - 1];
        assert_eq!(Case::new(WINDOWS).play(before), [Up, Suspect], "{before}");
        assert_eq!(Case::new(WINDOWS).play(marks), [Up, Suspect, Down], "{marks}");
    }
    for (marks, up) in [("!!", false), ("!!!", true), ("!!.!", true), ("!.!!", true), ("!.!.!", false), ("!.!.!!", true), ("!!..!!", false)]
    {
        let mut case = Case { judgement: Judgement::restored(Down), ..Case::new(WINDOWS) };
        assert_eq!(case.play(marks), if up { vec![Up] } else { vec![] }, "{marks}");
    }
}

#[test]
fn suspicion_lasts_until_so_many_replies_in_a_row_that_no_window_holds_enough_misses() {
    use Verdict::{Suspect, Up};
    let mut case = Case::new(WINDOWS);
    assert_eq!(case.play("!.!!"), [Up, Suspect]);
    assert!(case.judgement.wants_confirmation(), "one more reply settles it, a miss would count");
    assert_eq!(case.play("!"), [Up]);
    assert!(case.judgement.is_well());
    // Nothing of before is left: it takes three misses again.
    assert_eq!(case.play(".."), [Suspect]);
}

#[test]
fn what_was_counted_before_a_turn_is_not_counted_again() {
    use Verdict::{Down, Suspect, Up};
    let two = Thresholds { down: Quorum { count: 3, of: 8 }, up: Quorum::run(1) };
    let mut case = Case::new(two);
    assert_eq!(case.play("!...!."), [Up, Suspect, Down, Up, Suspect], "four misses among the last five, one since it is up");
    assert_eq!(case.play(".."), [Down]);
    let mut case = Case::new(Thresholds { down: Quorum { count: 2, of: 4 }, up: Quorum { count: 2, of: 4 } });
    assert_eq!(case.play("!.!."), [Up, Suspect, Down]);
    assert_eq!(case.play("!"), [], "the reply of before it was down does not count");
    assert_eq!(case.play("!"), [Up]);
}

#[test]
fn misses_that_are_shown_are_those_that_count() {
    let mut case = Case::new(WINDOWS);
    case.play("!.!.");
    assert_eq!(case.judgement.misses(), 2);
    case.play("!");
    assert_eq!(case.judgement.misses(), 2, "a reply takes none away");
    case.play(".");
    assert_eq!((case.judgement.verdict(), case.judgement.misses()), (Verdict::Down, 3));
}

#[test]
fn recovery_that_comes_to_nothing_is_over_and_needs_no_re_probes() {
    let mut case = Case { judgement: Judgement::restored(Verdict::Down), ..Case::new(WINDOWS) };
    case.play("!!.");
    assert!(case.judgement.wants_confirmation(), "one of four may be missed");
    case.play(".");
    assert!(!case.judgement.wants_confirmation());
    assert_eq!(case.play("!.!"), []);
    assert_eq!(case.play("!"), [Verdict::Up]);
}

#[test]
fn windows_as_long_as_what_is_counted_are_outcomes_in_a_row() {
    // All courses of twelve outcomes, judged as a run and by windows of the same length that are looked at one by one.
    for bits in 0..1u32 << 12 {
        let mut case = Case::new(THREE_TWO);
        let (mut verdict, mut alike) = (Verdict::Pending, (false, 0));
        for at in 0..12 {
            let reply = bits >> at & 1 == 1;
            alike = if alike.0 == reply { (reply, alike.1 + 1) } else { (reply, 1) };
            verdict = match (verdict, reply) {
                (Verdict::Down, true) if alike.1 >= 2 => Verdict::Up,
                (Verdict::Down, _) => Verdict::Down,
                (_, true) => Verdict::Up,
                (_, false) if alike.1 >= 3 => Verdict::Down,
                (_, false) => Verdict::Suspect,
            };
            case.judge(if reply { Reply } else { Miss });
            assert_eq!(case.judgement.verdict(), verdict, "{:?}", case.recent.marks());
        }
    }
}

#[test]
fn every_course_of_outcomes_is_judged_as_its_windows_say() {
    // As the policy's words have it, without what the judgement keeps: the outcomes since the last turn to or from down.
    for bits in 0..1u32 << 14 {
        let mut case = Case::new(WINDOWS);
        let (mut down, mut since) = (false, Vec::new());
        for at in 0..14 {
            let reply = bits >> at & 1 == 1;
            since.push(reply);
            let among = |of: usize, reply: bool| since.iter().rev().take(of).filter(|one| **one == reply).count();
            let turns = if down { among(4, true) >= 3 } else { among(5, false) >= 3 };
            if turns {
                (down, since) = (!down, Vec::new());
            }
            case.judge(if reply { Reply } else { Miss });
            assert_eq!(case.judgement.verdict() == Verdict::Down, down, "{}", case.recent.marks());
        }
    }
}

#[test]
fn policy_that_wants_misses_in_a_row_counts_on_only_from_those_that_were() {
    let mut case = Case::new(WINDOWS);
    case.play("!..!");
    case.thresholds = THREE_TWO;
    case.judgement.adopt(THREE_TWO, case.recent);
    assert_eq!(case.play(".."), []);
    assert_eq!(case.play("."), [Verdict::Down]);
    let mut case = Case::new(Thresholds { down: Quorum::run(50), ..THREE_TWO });
    case.play(&".".repeat(45));
    case.thresholds = Thresholds { down: Quorum::run(47), ..THREE_TWO };
    case.judgement.adopt(case.thresholds, case.recent);
    assert_eq!(case.play(".."), [Verdict::Down], "more than is remembered of an address");
}

/// The chance that a round ends in down, where each outcome is a miss with probability `loss`: all courses of a round, until what
/// is left of them has no weight.
fn chance_of_down(thresholds: Thresholds, loss: f64) -> f64 {
    let mut first = Case::new(thresholds);
    first.play("!");
    first.judge(Miss);
    let mut courses = HashMap::from([(first, loss)]);
    let mut chance = 0.0;
    while courses.values().sum::<f64>() > 1e-16 {
        for (case, weight) in std::mem::take(&mut courses) {
            if case.judgement.verdict() == Verdict::Down {
                chance += weight;
            } else if !case.judgement.is_well() {
                for (outcome, weight) in [(Reply, weight * (1.0 - loss)), (Miss, weight * loss)] {
                    let mut next = case;
                    next.judge(outcome);
                    // Only what can still count tells courses apart.
                    next.recent = next.recent.last(thresholds.down.of);
                    *courses.entry(next).or_default() += weight;
                }
            }
        }
    }
    chance
}

#[test]
fn false_down_rate_is_what_the_judgement_does() {
    for loss in [0.01, 0.1, 0.3] {
        for (count, of) in [(1, 1), (1, 4), (2, 2), (3, 3), (5, 5), (2, 3), (3, 4), (3, 5), (2, 8), (4, 8)] {
            let policy = Policy { down_after: count, down_of: of, ..policy() };
            let (exact, rate) = (chance_of_down(Thresholds::from(&policy), loss), policy.false_down_rate(loss));
            if count == of || count == 1 {
                assert!((rate / exact - 1.0).abs() < 1e-6, "{count} of {of} at {loss}: {rate} for {exact}");
            } else {
                let most = (1.0 - loss).powi(i32::from(of - count) + 1).recip();
                assert!(
                    exact <= rate * (1.0 + 1e-6) && rate <= exact * most * (1.0 + 1e-6),
                    "{count} of {of} at {loss}: {rate} for {exact}"
                );
            }
        }
    }
}

#[test]
fn false_downs_of_a_lossy_host_come_as_often_as_stated() {
    // xorshift64: the same numbers each time.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut lost = |loss: f64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((state >> 11) as f64 / (1u64 << 53) as f64) < loss
    };
    for (count, of, loss) in [(2, 2, 0.1), (3, 5, 0.1), (4, 10, 0.05)] {
        let policy = Policy { down_after: count, down_of: of, ..policy() };
        let (mut rounds, mut downs) = (0u32, 0u32);
        while rounds < 1_000_000 {
            let mut case = Case { judgement: Judgement::restored(Verdict::Up), ..Case::new(Thresholds::from(&policy)) };
            rounds += 1;
            while case.judge(if lost(loss) { Miss } else { Reply }).is_none_or(|turn| turn.to == Verdict::Suspect)
                && !case.judgement.is_well()
            {}
            downs += u32::from(case.judgement.verdict() == Verdict::Down);
        }
        let (seen, stated) = (f64::from(downs) / f64::from(rounds), policy.false_down_rate(loss));
        let (least, noise) = (stated * (1.0 - loss).powi(i32::from(of - count) + 1), 5.0 * (stated / f64::from(rounds)).sqrt());
        assert!((least - noise..=stated + noise).contains(&seen), "{count} of {of} at {loss}: {seen} seen, {stated} stated");
    }
}

fn policy() -> Policy {
    Policy {
        name: "gold".into(),
        interval: Duration::from_secs(1),
        timeout: Duration::from_millis(300),
        confirm_interval: Duration::from_millis(200),
        down_after: 3,
        down_of: 3,
        up_after: 2,
        up_of: 2,
        method: Method::Arp,
        alarm: vec![],
    }
}
