use Outcome::{Miss, Reply, Void};

use super::*;
use crate::policy::Quorum;
use crate::unit::Blind;

const THREE_TWO: Thresholds = Thresholds { down: Quorum::run(3), up: Quorum::run(2) };

/// An address as the engine keeps it.
#[derive(Clone)]
struct Address {
    layers: Layers,
    judgement: Judgement,
    recent: Recent,
    thresholds: Thresholds,
    /// Probes so far; the next one's sequence.
    probes: u16,
    /// Since when it is silent.
    first_miss: u32,
    /// Whatever was told, in order.
    told: Vec<String>,
}

impl Address {
    fn new(thresholds: Thresholds) -> Self {
        let (layers, judgement, recent) = Default::default();
        Address { layers, judgement, recent, thresholds, probes: 0, first_miss: 0, told: vec![] }
    }

    fn judge(&mut self, outcome: Outcome) {
        let (layer, stamp) = (Layer::of(self.probes), u32::from(self.probes) + 1);
        self.probes += 1;
        if let Some(since) = self.layers.take(layer, outcome, stamp, self.thresholds) {
            if outcome == Miss && self.judgement.misses() == 0 && self.verdict() != Verdict::Down {
                self.first_miss = since;
            }
            if !matches!(outcome, Void(_)) {
                self.recent = self.recent.and(outcome == Reply);
            }
            let turn = self.judgement.judge(outcome, self.thresholds, self.recent);
            self.told.extend(turn.map(|turn| turn.to.to_string()));
        }
        while let Some((condition, holds)) = self.layers.turned(self.judgement.frozen()) {
            self.told.push(format!("{}{condition}", if holds { "" } else { "not " }));
        }
    }

    /// `!` for a reply, `.` for a miss, asked and pinged in turn. What was told of it.
    fn play(&mut self, marks: &str) -> Vec<String> {
        marks.chars().for_each(|mark| self.judge(if mark == '!' { Reply } else { Miss }));
        std::mem::take(&mut self.told)
    }

    fn verdict(&self) -> Verdict {
        self.judgement.frozen()
    }
}

fn played(marks: &str) -> Address {
    let mut address = Address::new(THREE_TWO);
    address.play(marks);
    address
}

#[test]
fn address_that_dies_is_down_after_the_misses_of_both_layers_and_silent_since_the_first() {
    let mut address = played("!!!!!!");
    assert_eq!(address.play("..."), ["suspect"]);
    assert_eq!(address.play("."), ["down"]);
    assert_eq!(address.first_miss, 7, "the first miss did not count, but it was one");
}

#[test]
fn one_lost_packet_of_either_layer_makes_no_suspect() {
    for lost in [".", "!."] {
        let mut address = played("!!!!");
        assert_eq!(address.play(&format!("{lost}!!!!")), [] as [&str; 0]);
        assert!(address.judgement.is_well());
    }
}

#[test]
fn filter_that_drops_icmp_is_named_and_never_makes_a_suspect() {
    let mut address = Address::new(THREE_TWO);
    assert_eq!(address.play("!.!.!"), ["up"]);
    assert_eq!(address.play("."), ["icmp-filtered"]);
    assert_eq!(address.play(&"!.".repeat(50)), [] as [&str; 0]);
    assert!(address.judgement.is_well());
    assert_eq!(address.layers.condition(), Some(Condition::IcmpFiltered));
}

#[test]
fn address_that_answers_only_pings_is_asymmetric_and_up() {
    let mut address = Address::new(THREE_TWO);
    assert_eq!(address.play(".!.!.!"), ["suspect", "up", "asymmetric"]);
    assert_eq!(address.play(&".!".repeat(50)), [] as [&str; 0]);
}

#[test]
fn lost_question_of_a_filtered_address_makes_a_suspect_and_leaves_the_condition() {
    let mut address = played("!.!.!.!.");
    assert_eq!(address.play(".."), ["suspect"]);
    assert_eq!(address.play("!."), ["up"]);
    assert_eq!(address.layers.condition(), Some(Condition::IcmpFiltered));
}

#[test]
fn filtered_address_that_dies_is_down_after_its_own_misses_and_the_condition_is_over() {
    let mut address = played("!.!.!.!.");
    assert_eq!(address.play("...."), ["suspect"]);
    assert_eq!(address.play("."), ["down", "not icmp-filtered"]);
    assert_eq!(address.first_miss, 9);
    assert_eq!(address.play(".......!."), [] as [&str; 0], "one reply does not resolve");
    assert_eq!(address.play("!"), ["up", "icmp-filtered"], "the filter is still there");
}

#[test]
fn layer_that_is_back_ends_the_condition_after_as_many_answers_as_a_down_address_needs() {
    let mut address = played("!.!.!.");
    assert_eq!(address.play("!!"), [] as [&str; 0]);
    assert_eq!(address.play("!!"), ["not icmp-filtered"]);
    // One ping in three times is no layer that is back.
    let mut address = played("!.!.!.");
    assert_eq!(address.play("!!!.!.!!!.!."), [] as [&str; 0]);
}

#[test]
fn when_the_one_layer_goes_and_the_other_comes_the_address_stays_up() {
    let mut address = played("!.!.!.");
    // The filter is lifted in the moment in which the questions get lost.
    assert_eq!(address.play(".!.!"), ["suspect", "up", "not icmp-filtered"]);
    assert_eq!(address.play(".!"), ["asymmetric"]);
}

#[test]
fn ping_that_came_back_a_moment_before_the_end_delays_nothing() {
    let mut address = played("!.!.!.!.");
    address.play("!!");
    assert_eq!(address.play("...."), ["suspect"]);
    assert_eq!(address.play("."), ["down", "not icmp-filtered"]);
}

#[test]
fn what_says_nothing_of_a_layer_changes_neither_layer_nor_condition() {
    let mut address = played("!.!.!.");
    for _ in 0..4 {
        address.play("!");
        address.judge(Void(Blind::NoGateway));
    }
    assert_eq!((address.verdict(), address.layers.condition()), (Verdict::Up, Some(Condition::IcmpFiltered)));
    // Where the other layer is silent, the address is unknown and not down: nobody could be asked.
    let mut address = played("!!!!");
    for _ in 0..6 {
        address.judge(Miss);
        address.judge(Void(Blind::NoGateway));
    }
    assert_eq!((address.judgement.verdict(), address.verdict()), (Verdict::Unknown, Verdict::Up));
    assert!(!address.told.iter().any(|told| told.contains("asymmetric")), "it does not answer pings: none reached it: {:?}", address.told);
}

/// All that can become of so many probes.
fn histories(probes: u32) -> impl Iterator<Item = String> {
    (0..1u32 << probes).map(move |bits| (0..probes).map(|at| if bits >> at & 1 == 1 { '!' } else { '.' }).collect())
}

#[test]
fn whatever_came_before_a_dead_address_is_down_within_twice_the_misses_and_a_well_one_within_one_more() {
    let windows = Thresholds { down: Quorum { count: 3, of: 5 }, up: Quorum { count: 2, of: 3 } };
    for thresholds in [THREE_TWO, windows, Thresholds { down: Quorum::run(1), ..THREE_TWO }] {
        let count = usize::from(thresholds.down.count);
        for history in histories(13).filter(|history| history.ends_with('!')) {
            let mut address = Address::new(thresholds);
            address.play(&history);
            if address.verdict() == Verdict::Down {
                continue;
            }
            let is_well = address.layers.said.iter().all(|said| said.judgement.is_well());
            address.play(&".".repeat(if is_well { count + 1 } else { 2 * count }));
            assert_eq!(address.verdict(), Verdict::Down, "{history} {thresholds:?}");
        }
    }
}

#[test]
fn no_address_is_down_while_one_of_its_layers_answers_every_probe() {
    for history in histories(14) {
        let mut address = Address::new(THREE_TWO);
        let marks: String = history.chars().flat_map(|mark| ['!', mark]).collect();
        let told = address.play(&marks);
        assert!(!told.iter().any(|told| told == "down" || told == "suspect"), "{marks}: {told:?}");
    }
}

#[test]
fn a_living_address_is_falsely_down_no_more_often_than_its_policy_says() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut lost = |loss: f64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((state >> 11) as f64 / (1u64 << 53) as f64) < loss
    };
    let loss = 0.2;
    let mut downs = |pings: bool| {
        let (mut address, mut downs) = (played(if pings { "!!!!" } else { "!.!.!." }), 0u32);
        for _ in 0..1_000_000 {
            let silent = !pings && Layer::of(address.probes) == Layer::Echo;
            address.probes &= 1;
            address.judge(if silent || lost(loss) { Miss } else { Reply });
            downs += address.told.drain(..).filter(|told| told == "down").count() as u32;
        }
        f64::from(downs)
    };
    // A filtered address has a turn with every second probe: p^3 of those that begin, which are those of an address that is well.
    let (filtered, both, stated) = (downs(false), downs(true), 500_000.0 * loss.powi(3));
    assert!(filtered < stated + 5.0 * stated.sqrt() && filtered > stated / 3.0, "{filtered} for {stated}");
    assert!(both < filtered, "who answers both is safer: {both} for {filtered}");
}
