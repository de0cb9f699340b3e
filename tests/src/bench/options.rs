//! What the benchmark was asked for.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use rollcall_agent::policy::{Method, Policy};

use crate::policy::{interval, method};

/// What rollcall does and costs, measured on a simulated cloud in network namespaces that are removed at the end
///
/// Needs root. Tables for people; with --json the last line of standard output is one JSON object. Nothing else should
/// run on the machine meanwhile: whatever does is in the figures
#[derive(Clone, Debug, Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
pub struct Options {
    /// What to measure
    #[arg(value_enum)]
    pub part: Part,
    /// Hosts of the cloud; peak, load, rtt and grow take several, separated by commas
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=2_000_000))]
    pub hosts: Vec<u32>,
    /// How often each host is probed (steady, detect, grow, rtt)
    #[arg(long, value_parser = interval, default_value = "1s", value_name = "DURATION")]
    pub interval: Duration,
    /// How long to measure; for peak, each transmitter
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: Option<u64>,
    /// Hosts that fall silent (detect) [default: a thousandth of them, at most 1000]
    #[arg(long, value_name = "K")]
    pub silenced: Option<u32>,
    /// How often each is measured in turn (peers)
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// How probes leave
    #[arg(long, value_enum, default_value = "auto")]
    pub transmit: Transmit,
    /// How hosts are probed
    #[arg(long, value_parser = method, value_name = "arp|icmp")]
    pub method: Option<Method>,
    /// Probes that one call of the transmitter is given (peak, peers)
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub batch: u32,
    /// Meanwhile scrape, list, snapshot and push the whole table (steady)
    #[arg(long)]
    pub load: bool,
    /// The same seed, the same hosts fall silent at the same moments
    #[arg(long)]
    pub seed: Option<u64>,
    /// Where results, plot and PERFORMANCE.md are
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub out: PathBuf,
    /// Print one JSON object as the last line of standard output
    #[arg(long)]
    pub json: bool,
    /// Keep the results in bench.json and put the tables into PERFORMANCE.md
    #[arg(long)]
    pub write: bool,
}

/// What there is to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Part {
    /// Highest loss-free round trips per second of each transmitter, on one core
    Peak,
    /// CPU, memory, lateness, loss and false downs of the agent while nothing happens
    Steady,
    /// How soon hosts that fall silent are detected
    Detect,
    /// Compiling, opening, starting, pushing
    Load,
    /// Error of the measured round-trip times
    Rtt,
    /// fping, masscan, zmap sweeping the same hosts; monitors watching the same hosts
    Peers,
    /// How cost grows with the number of hosts, with a plot
    Grow,
    /// All of these
    All,
    /// Put the tables of the kept results into PERFORMANCE.md; measures nothing
    Report,
}

impl Part {
    /// Its name on the command line and in the results.
    pub fn name(self) -> &'static str {
        match self {
            Part::Peak => "peak",
            Part::Steady => "steady",
            Part::Detect => "detect",
            Part::Load => "load",
            Part::Rtt => "rtt",
            Part::Peers => "peers",
            Part::Grow => "grow",
            Part::All => "all",
            Part::Report => "report",
        }
    }
}

/// Which transmitter the operator asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Transmit {
    /// The best that works
    Auto,
    /// In the kernel
    Kernel,
    /// By a packet socket
    Socket,
}

impl Options {
    /// The one number of hosts of a part that takes one.
    pub(super) fn hosts_or(&self, default: u32) -> u32 {
        self.hosts.last().copied().unwrap_or(default)
    }

    /// All numbers of hosts of a part that takes several, each once, in their order of size.
    pub(super) fn sizes_or(&self, default: &[u32]) -> Vec<u32> {
        let mut sizes = if self.hosts.is_empty() { default.to_vec() } else { self.hosts.clone() };
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }

    /// The policy of every host.
    pub(super) fn policy(&self, method: Method) -> Policy {
        // At the usual second: timeout 300 ms, confirmation every 200 ms.
        let share = |parts: u32| Duration::from_millis(u64::try_from((self.interval * parts / 10).as_millis()).unwrap_or(u64::MAX));
        Policy {
            name: "everybody".into(),
            interval: self.interval,
            timeout: share(3).clamp(Duration::from_millis(20), Duration::from_millis(300)),
            confirm_interval: share(2).clamp(Duration::from_millis(10), Duration::from_millis(200)),
            down_after: 3,
            down_of: 3,
            up_after: 2,
            up_of: 2,
            method,
            alarm: vec![],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn the_usual_second_has_the_policy_that_the_detection_bound_is_stated_for() {
        let policy = Options::parse_from(["bench", "detect"]).policy(Method::Arp);
        assert_eq!((policy.timeout.as_millis(), policy.confirm_interval.as_millis(), policy.down_after), (300, 200, 3));
        for text in ["100ms", "999ms", "10m"] {
            assert_eq!(Options::parse_from(["bench", "steady", "--interval", text]).policy(Method::Icmp).mistakes(), [], "{text}");
        }
    }

    #[test]
    fn sizes_are_sorted_and_each_is_measured_once() {
        let sizes = |words: &[&str]| Options::parse_from(["bench", "load"].iter().chain(words)).sizes_or(&[7]);
        assert_eq!(sizes(&[]), [7]);
        assert_eq!(sizes(&["--hosts", "100,10,100"]), [10, 100]);
    }
}
