//! What the demo was asked for.

use std::time::Duration;

use clap::Parser;
use rollcall_agent::policy::{Method, Policy};

use crate::policy::{interval, method};

/// Hosts that are silenced.
pub(super) const SILENCED: usize = 37;
/// Of those, hosts that are deleted while they are silent.
pub(super) const STOPPED: usize = 5;

/// The whole of rollcall on a simulated cloud: list, policies, compile, push, probe, alarm, stop, recover
///
/// Makes two network namespaces, and removes them at the end, also after Ctrl-C. Needs root. The exit status is 0 only
/// when every expectation held
#[derive(Clone, Debug, Parser)]
#[command(name = "cargo xtask demo", bin_name = "cargo xtask demo")]
pub struct Options {
    /// Hosts of the cloud
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(50..=1_000_000))]
    pub hosts: u32,
    /// How they are probed
    #[arg(long, value_parser = method, default_value = "arp", value_name = "arp|icmp")]
    pub method: Method,
    /// How often each is probed
    #[arg(long, value_parser = interval, default_value = "1s", value_name = "DURATION")]
    pub interval: Duration,
    /// How long to watch the cloud while everybody is alive, counting false downs
    #[arg(long, visible_aliases = ["watch", "keep-for"], default_value_t = 5, value_name = "SECONDS")]
    pub steady: u64,
    /// Which hosts are silenced, and when: the same seed, the same hosts and moments
    #[arg(long)]
    pub seed: Option<u64>,
    /// XDP in the network stack rather than in the driver, on both sides
    #[arg(long)]
    pub generic: bool,
    /// Print one JSON object on standard output, and the story on standard error
    #[arg(long)]
    pub json: bool,
}

impl Options {
    /// The policy of everybody: what the policy file says, for the arithmetic.
    pub(super) fn policy(&self) -> Policy {
        // At the usual second: timeout 300 ms, confirmation every 200 ms.
        let share = |parts: u32| Duration::from_millis(u64::try_from((self.interval * parts / 10).as_millis()).unwrap_or(u64::MAX));
        Policy {
            name: "everybody".into(),
            interval: self.interval,
            timeout: share(3).clamp(Duration::from_millis(20), Duration::from_secs(1)),
            confirm_interval: share(2).clamp(Duration::from_millis(10), Duration::from_secs(1)),
            down_after: 3,
            down_of: 3,
            up_after: 2,
            up_of: 2,
            method: self.method,
            alarm: vec!["oncall".into()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_interval_that_is_taken_makes_a_policy_without_mistakes() {
        for text in ["100ms", "101ms", "1s", "7s", "10m"] {
            let options = Options::parse_from(["demo", "--interval", text]);
            assert_eq!(options.policy().mistakes(), [], "{text}");
        }
        assert!(Options::try_parse_from(["demo", "--interval", "99ms"]).is_err());
        assert!(Options::try_parse_from(["demo", "--hosts", "49"]).is_err());
        let usual = Options::parse_from(["demo"]).policy();
        assert_eq!((usual.timeout.as_millis(), usual.confirm_interval.as_millis()), (300, 200));
    }
}
