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
}

impl Method {
    /// All of them.
    pub const ALL: [Method; 3] = [Method::Arp, Method::Icmp, Method::Auto];

    /// The lower-case name, as in policy files.
    pub fn name(self) -> &'static str {
        match self {
            Method::Arp => "arp",
            Method::Icmp => "icmp",
            Method::Auto => "auto",
        }
    }

    /// Its number in tables; never 0.
    pub fn code(self) -> u8 {
        match self {
            Method::Arp => 1,
            Method::Icmp => 2,
            Method::Auto => 3,
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
    /// Consecutive misses that make an address down.
    pub down_after: u8,
    /// Consecutive replies that make a down address up.
    pub up_after: u8,
    /// How to probe.
    pub method: Method,
    /// Names of the agent's alarm routes; empty: nobody is told.
    pub alarm: Vec<String>,
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

impl Policy {
    /// Every rule this policy breaks; empty when it is good. All times are whole milliseconds.
    ///
    /// `confirm_interval >= timeout / 2` because the kernel keeps the send times of the last two probes of an
    /// address: a third must not leave before the first one's deadline.
    pub fn mistakes(&self) -> Vec<PolicyMistake> {
        let mut mistakes = Vec::new();
        let mut check = |good: bool, field: &'static str, found: String, allowed: String| {
            if !good {
                mistakes.push(PolicyMistake { field, found, allowed });
            }
        };
        let text = |d: Duration| humantime::format_duration(d).to_string();
        let whole = |d: Duration| d.subsec_nanos().is_multiple_of(1_000_000);
        check(
            (INTERVAL.0..=INTERVAL.1).contains(&self.interval) && whole(self.interval),
            "interval",
            text(self.interval),
            format!("{} to {}, whole milliseconds", text(INTERVAL.0), text(INTERVAL.1)),
        );
        check(
            (TIMEOUT.0..=TIMEOUT.1.min(self.interval)).contains(&self.timeout) && whole(self.timeout),
            "timeout",
            text(self.timeout),
            format!("{} to {} and at most the interval ({}), whole milliseconds", text(TIMEOUT.0), text(TIMEOUT.1), text(self.interval)),
        );
        let least = CONFIRM_MIN.max(self.timeout / 2);
        check(
            (least..=self.interval).contains(&self.confirm_interval) && whole(self.confirm_interval),
            "confirm_interval",
            text(self.confirm_interval),
            format!("{} (at least 10ms and half the timeout) to the interval ({}), whole milliseconds", text(least), text(self.interval)),
        );
        check((1..=100).contains(&self.down_after), "down_after", self.down_after.to_string(), "1 to 100".into());
        check((1..=100).contains(&self.up_after), "up_after", self.up_after.to_string(), "1 to 100".into());
        mistakes
    }

    /// The longest time from the death of an address to its verdict `down`:
    /// `interval + 2 timeout + (down_after - 2) confirm_interval`, or `interval + timeout` where one miss is enough.
    pub fn detection_bound(&self) -> Duration {
        match u32::from(self.down_after) {
            0 | 1 => self.interval + self.timeout,
            n => self.interval + 2 * self.timeout + (n - 2) * self.confirm_interval,
        }
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
            up_after: 2,
            method: Method::Arp,
            alarm: vec![],
        }
    }

    #[test]
    fn detection_bound_is_the_arithmetic_of_the_design() {
        assert_eq!(policy().detection_bound(), Duration::from_millis(1800));
        assert_eq!(Policy { down_after: 1, ..policy() }.detection_bound(), Duration::from_millis(1300));
    }

    #[test]
    fn every_field_out_of_range_is_named() {
        assert_eq!(policy().mistakes(), []);
        let bad = Policy {
            interval: Duration::from_millis(99),
            timeout: Duration::from_millis(100),
            confirm_interval: Duration::from_millis(5),
            down_after: 0,
            up_after: 101,
            ..policy()
        };
        let fields: Vec<_> = bad.mistakes().into_iter().map(|m| m.field).collect();
        assert_eq!(fields, ["interval", "timeout", "confirm_interval", "down_after", "up_after"]);
    }
}
