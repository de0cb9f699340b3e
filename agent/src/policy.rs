//! Policy: how often, how, and for whom an address is probed. Checked on both sides with the same rules.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How an address is probed (the patent's detection method).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Asked on the link, unicast to the known MAC: ARP (RFC 826), or neighbour discovery (RFC 4861) of an IPv6 address.
    Arp,
    /// ICMP echo (RFC 792, RFC 4443).
    Icmp,
    /// On the link as `arp`, behind a gateway as `icmp`.
    Auto,
    /// As `arp` and as `icmp` in turn, each once an interval: what answers to either is up, and which of them is silent is said.
    Both,
}

impl Method {
    /// All of them.
    pub const ALL: [Method; 4] = [Method::Arp, Method::Icmp, Method::Auto, Method::Both];

    /// The lower-case name, as in policy files.
    pub fn name(self) -> &'static str {
        match self {
            Method::Arp => "arp",
            Method::Icmp => "icmp",
            Method::Auto => "auto",
            Method::Both => "both",
        }
    }

    /// Its number in tables; never 0.
    pub fn code(self) -> u8 {
        match self {
            Method::Arp => 1,
            Method::Icmp => 2,
            Method::Auto => 3,
            Method::Both => 4,
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One policy, all defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Policy {
    /// Unique name.
    pub name: String,
    /// Time between two probes of an address that is up.
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
    /// How long a reply may take.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// Time between two probes of an address whose verdict is being confirmed.
    #[serde(with = "humantime_serde")]
    pub confirm_interval: Duration,
    /// Misses that make an address down, of the last `down_of` outcomes.
    pub down_after: u8,
    /// Outcomes that are looked at for that; as many as `down_after`: misses in a row.
    pub down_of: u8,
    /// Replies that make a down address up, of the last `up_of` outcomes.
    pub up_after: u8,
    /// Outcomes that are looked at for that; as many as `up_after`: replies in a row.
    pub up_of: u8,
    /// How to probe.
    pub method: Method,
    /// Names of the agent's alarm routes; empty: nobody is told.
    pub alarm: Vec<String>,
}

/// So many of the last so many outcomes: what turns a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quorum {
    /// N.
    pub count: u8,
    /// M; as many as N: in a row.
    pub of: u8,
}

impl Quorum {
    /// So many in a row.
    pub const fn run(count: u8) -> Self {
        Quorum { count, of: count }
    }

    /// Whether it is N in a row.
    pub const fn is_run(self) -> bool {
        self.of <= self.count
    }

    /// How many of the M may be of the other kind.
    pub const fn slack(self) -> u8 {
        self.of.saturating_sub(self.count)
    }
}

/// `3`, or `3 of 5`.
impl fmt::Display for Quorum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_run() { f.pad(&self.count.to_string()) } else { f.pad(&format!("{} of {}", self.count, self.of)) }
    }
}

/// One rule that a policy breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: found {found}, allowed: {allowed}")]
pub struct PolicyMistake {
    /// Which field.
    pub field: &'static str,
    /// Its value, as people write it.
    pub found: String,
    /// What would be right.
    pub allowed: String,
}

/// Shortest and longest interval.
pub const INTERVAL: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(24 * 3600));
/// Shortest and longest timeout. The upper end is what a `u16` of milliseconds holds in the kernel's `TARGET`, rounded down.
pub const TIMEOUT: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(60));
/// Shortest confirmation interval.
pub const CONFIRM_MIN: Duration = Duration::from_millis(10);

/// Most outcomes of which some are counted: as many as the agent remembers of an address.
pub const OF_MAX: u8 = 31;
/// By how many they may be more than what is counted: what a table has room for.
pub const SLACK_MAX: u8 = 15;

impl Policy {
    /// What makes an address down.
    pub fn down(&self) -> Quorum {
        Quorum { count: self.down_after, of: self.down_of }
    }

    /// What makes a down address up.
    pub fn up(&self) -> Quorum {
        Quorum { count: self.up_after, of: self.up_of }
    }

    /// Time between two probes of an address that is up: the interval, or half of it where it is asked and pinged in turn.
    pub fn pace(&self) -> Duration {
        if self.method == Method::Both { self.interval / 2 } else { self.interval }
    }

    /// Every rule this policy breaks; empty when it is good. All times are whole milliseconds.
    ///
    /// `confirm_interval >= timeout / 2` because the kernel keeps the send times of the last two probes of an
    /// address: a third must not leave before the first one's deadline. With [`Method::Both`] these two are one of each kind. Its pace
    /// keeps the rules that an interval keeps otherwise: no probe waits any more when the next one leaves in its turn.
    pub fn mistakes(&self) -> Vec<PolicyMistake> {
        let mut mistakes = Vec::new();
        let mut check = |good: bool, field: &'static str, found: String, allowed: String| {
            if !good {
                mistakes.push(PolicyMistake { field, found, allowed });
            }
        };
        let text = |d: Duration| humantime::format_duration(d).to_string();
        let whole = |d: Duration| d.subsec_nanos().is_multiple_of(1_000_000);
        let (pace, named) = match self.method {
            Method::Both => (self.pace(), "half the interval"),
            _ => (self.pace(), "the interval"),
        };
        let shortest = if self.method == Method::Both { 2 * INTERVAL.0 } else { INTERVAL.0 };
        check(
            (shortest..=INTERVAL.1).contains(&self.interval) && whole(self.interval),
            "interval",
            text(self.interval),
            format!("{} to {}, whole milliseconds", text(shortest), text(INTERVAL.1)),
        );
        check(
            (TIMEOUT.0..=TIMEOUT.1.min(pace)).contains(&self.timeout) && whole(self.timeout),
            "timeout",
            text(self.timeout),
            format!("{} to {} and at most {named} ({}), whole milliseconds", text(TIMEOUT.0), text(TIMEOUT.1), text(pace)),
        );
        let least = CONFIRM_MIN.max(self.timeout / 2);
        check(
            (least..=pace).contains(&self.confirm_interval) && whole(self.confirm_interval),
            "confirm_interval",
            text(self.confirm_interval),
            format!("{} (at least 10ms and half the timeout) to {named} ({}), whole milliseconds", text(least), text(pace)),
        );
        check((1..=100).contains(&self.down_after), "down_after", self.down_after.to_string(), "1 to 100".into());
        check((1..=100).contains(&self.up_after), "up_after", self.up_after.to_string(), "1 to 100".into());
        for (field, after, Quorum { count, of }) in [("down_of", "down_after", self.down()), ("up_of", "up_after", self.up())] {
            let most = count.saturating_add(SLACK_MAX).min(OF_MAX).max(count);
            check((count..=most).contains(&of), field, of.to_string(), format!("{after} ({count}) to {most}"));
        }
        mistakes
    }

    /// The longest time from the death of an address to its verdict `down`:
    /// `interval + 2 timeout + (down_after - 2) confirm_interval`, or `interval + timeout` where one miss is enough. What is dead
    /// misses every probe, so it makes no difference of how many outcomes the misses are counted.
    ///
    /// With [`Method::Both`] that holds of an address that answered both. One of which only one layer answered is re-probed on that
    /// layer with every second re-probe: `interval + 2 timeout + (2 down_after - 3) confirm_interval`, which is said of them all.
    pub fn detection_bound(&self) -> Duration {
        let more = match u32::from(self.down_after) {
            0 | 1 => return self.interval + self.timeout,
            n if self.method == Method::Both => 2 * n - 3,
            n => n - 2,
        };
        self.interval + 2 * self.timeout + more * self.confirm_interval
    }

    /// The chance that a round of an address that is alive ends in `down`, where each probe or its answer is lost with
    /// probability `loss`, independently of the others. A round is what one turn on the dial leads to while the address is up and
    /// nothing is counted against it: its probe and, if that is missed, the re-probes until it is down, or up with nothing counted
    /// again. There is one round each interval, so this over the interval is the rate of false alarms of an address.
    ///
    /// N in a row, or one of any: `p^N`, exactly. N of M: at most `p P(N - 1 or more misses among M - 1) / (1 - p)^(M - N + 1)`, and at
    /// least that without the divisor. For each false `down` there is a miss from which on M outcomes hold N misses; a round that
    /// began has `1 / (1 - p)^(M - N + 1)` misses on average before that many replies in a row end it.
    ///
    /// With [`Method::Both`]: of an address that answers on one layer only. One that answers both is safer, by a factor of about p,
    /// for a miss counts only where the other layer missed as well.
    pub fn false_down_rate(&self, loss: f64) -> f64 {
        let Quorum { count, of } = self.down();
        if self.down().is_run() || count == 1 {
            return loss.powi(count.into());
        }
        let (more, others) = (i32::from(count) - 1, i32::from(of) - 1);
        // The terms of the binomial distribution from `more` up, each from the one before.
        let mut ways = (0..more).fold(1.0, |ways, k| ways * f64::from(others - k) / f64::from(k + 1));
        let mut chance = 0.0;
        for misses in more..=others {
            chance += ways * loss.powi(misses) * (1.0 - loss).powi(others - misses);
            ways *= f64::from(others - misses) / f64::from(misses + 1);
        }
        (loss * chance / (1.0 - loss).powi(of as i32 - i32::from(count) + 1)).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn detection_bound_is_the_arithmetic_of_the_design() {
        assert_eq!(policy().detection_bound(), Duration::from_millis(1800));
        assert_eq!(Policy { down_after: 1, down_of: 1, ..policy() }.detection_bound(), Duration::from_millis(1300));
    }

    #[test]
    fn two_layers_take_turns_at_the_pace_of_half_the_interval() {
        let both = |interval, timeout, confirm_interval| {
            let [interval, timeout, confirm_interval] = [interval, timeout, confirm_interval].map(Duration::from_millis);
            Policy { method: Method::Both, interval, timeout, confirm_interval, ..policy() }
        };
        assert_eq!(both(1000, 300, 200).pace(), Duration::from_millis(500));
        for (times, bad) in [
            ((1000, 300, 200), vec![]),
            ((501, 250, 200), vec![]),
            ((200, 100, 100), vec![]),
            ((199, 60, 60), vec!["interval"]),
            ((400, 250, 200), vec!["timeout"]),
            ((400, 200, 201), vec!["confirm_interval"]),
        ] {
            let mistakes = both(times.0, times.1, times.2).mistakes();
            assert_eq!(mistakes.iter().map(|mistake| mistake.field).collect::<Vec<_>>(), bad, "{times:?}");
        }
        let allowed = &both(400, 250, 200).mistakes()[0].allowed;
        assert_eq!(allowed, "1ms to 1m and at most half the interval (200ms), whole milliseconds");
        assert_eq!(both(1000, 300, 200).detection_bound(), Duration::from_millis(2200));
        let one = Policy { down_after: 1, down_of: 1, ..both(1000, 300, 200) };
        assert_eq!(one.detection_bound(), Duration::from_millis(1300));
    }

    #[test]
    fn every_field_out_of_range_is_named() {
        assert_eq!(policy().mistakes(), []);
        let bad = Policy {
            interval: Duration::from_millis(99),
            timeout: Duration::from_millis(100),
            confirm_interval: Duration::from_millis(5),
            down_after: 0,
            down_of: 16,
            up_after: 101,
            up_of: 101,
            ..policy()
        };
        let fields: Vec<_> = bad.mistakes().into_iter().map(|m| m.field).collect();
        assert_eq!(fields, ["interval", "timeout", "confirm_interval", "down_after", "up_after", "down_of"]);
    }

    #[test]
    fn outcomes_that_are_looked_at_are_no_fewer_than_what_is_counted_and_have_room_in_a_table() {
        let of = |count, of| Policy { down_after: count, down_of: of, up_after: count, up_of: of, ..policy() }.mistakes();
        for (count, good) in [(1, 1..=16), (3, 3..=18), (16, 16..=31), (30, 30..=31), (31, 31..=31), (100, 100..=100)] {
            for m in 0..=u8::MAX {
                let fields: Vec<_> = of(count, m).into_iter().map(|mistake| mistake.field).collect();
                assert_eq!(fields, if good.contains(&m) { vec![] } else { vec!["down_of", "up_of"] }, "{count} of {m}");
            }
        }
        assert_eq!(of(3, 2)[0].to_string(), "down_of: found 2, allowed: down_after (3) to 18");
    }

    #[test]
    fn quorum_reads_as_people_say_it() {
        assert_eq!((Quorum::run(3).to_string(), Quorum { count: 3, of: 5 }.to_string()), ("3".into(), "3 of 5".into()));
    }

    #[test]
    fn false_down_rate_is_the_arithmetic_of_its_words() {
        let rate = |count, of, loss| Policy { down_after: count, down_of: of, ..policy() }.false_down_rate(loss);
        assert!((rate(3, 3, 0.01) - 1e-6).abs() < 1e-18);
        // Two of three: a miss, then at least one among two, in rounds that two replies in a row end.
        let by_hand = 0.1 * (1.0 - 0.9 * 0.9) / (0.9 * 0.9);
        assert!((rate(2, 3, 0.1) - by_hand).abs() < 1e-15, "{}", rate(2, 3, 0.1));
        assert_eq!([rate(3, 5, 0.0), rate(3, 5, 1.0), rate(31, 31, 1.0), rate(1, 16, 0.5)], [0.0, 1.0, 1.0, 0.5]);
        assert!(rate(3, 4, 0.01) < rate(3, 5, 0.01) && rate(3, 3, 0.01) < rate(3, 4, 0.01));
        assert!(rate(16, 31, 0.01) > 0.0 && rate(16, 31, 0.01) < 1e-22, "small numbers do not vanish");
    }
}
