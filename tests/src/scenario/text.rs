//! A scenario as it is written.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rollcall_agent::policy::{Method, Policy};
use rollcall_agent::unit::{Blind, Condition, Verdict};
use serde::Deserialize;

/// A scenario.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// What it is about, in a sentence.
    pub describe: String,
    /// The networks; the same addresses are in all of them.
    pub network: Vec<Network>,
    /// How all hosts are probed.
    #[serde(default)]
    pub policy: Rules,
    /// The agent's cap.
    #[serde(default = "much")]
    pub pps: u32,
    /// What happens.
    #[serde(default)]
    pub at: Vec<Event>,
    /// What is to be seen.
    pub expect: Vec<Expectation>,
}

fn much() -> u32 {
    1_000_000
}

/// One network.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// Hosts on the link.
    pub hosts: u32,
    /// Hosts behind the gateway, which come after the others: `vm 41` where 40 are on the link.
    #[serde(default)]
    pub behind_gateway: u32,
    /// Which addresses each host has.
    #[serde(default)]
    pub family: Families,
    /// The list gives no MACs: the agent must ask for them.
    #[serde(default)]
    pub without_macs: bool,
}

/// Which addresses a host has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Families {
    /// IPv4.
    #[default]
    IPv4,
    /// IPv6.
    IPv6,
    /// Both.
    #[serde(rename = "both")]
    Both,
}

/// The policy.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rules {
    #[serde(with = "humantime_serde")]
    interval: Duration,
    #[serde(with = "humantime_serde")]
    timeout: Duration,
    #[serde(with = "humantime_serde")]
    confirm_interval: Duration,
    down_after: u8,
    /// As `down_after` where nothing is said.
    down_of: Option<u8>,
    up_after: u8,
    up_of: Option<u8>,
    method: Method,
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            interval: Duration::from_secs(1),
            timeout: Duration::from_millis(300),
            confirm_interval: Duration::from_millis(200),
            down_after: 3,
            down_of: None,
            up_after: 2,
            up_of: None,
            method: Method::Auto,
        }
    }
}

impl From<&Rules> for Policy {
    fn from(rules: &Rules) -> Policy {
        let Rules { interval, timeout, confirm_interval, down_after, up_after, method, .. } = *rules;
        let (down_of, up_of) = (rules.down_of.unwrap_or(down_after), rules.up_of.unwrap_or(up_after));
        Policy { name: "scenario".into(), interval, timeout, confirm_interval, down_after, down_of, up_after, up_of, method, alarm: vec![] }
    }
}

/// Something that happens.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// When, after the beginning.
    #[serde(with = "humantime_serde")]
    pub time: Duration,
    /// To whom.
    #[serde(default)]
    pub who: Option<String>,
    /// What.
    pub what: What,
    /// Of `loses`.
    #[serde(default)]
    pub percent: f64,
    /// Of `answers late`, `the agent stands still`, `the machine sleeps` and `the clock is set forward`: how much, how long.
    #[serde(default, with = "humantime_serde")]
    pub by: Duration,
}

/// What may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum What {
    #[serde(rename = "dies")]
    Dies,
    #[serde(rename = "comes back")]
    ComesBack,
    #[serde(rename = "loses")]
    Loses,
    #[serde(rename = "answers late")]
    AnswersLate,
    #[serde(rename = "filters ICMP")]
    FiltersIcmp,
    #[serde(rename = "does not answer ARP")]
    FiltersArp,
    #[serde(rename = "filters nothing")]
    FiltersNothing,
    #[serde(rename = "another machine takes its address")]
    AnotherMachine,
    #[serde(rename = "has its address back")]
    OwnMachine,
    #[serde(rename = "a switch answers broadcasts for it")]
    Proxied,
    #[serde(rename = "is deleted")]
    IsDeleted,
    #[serde(rename = "link down")]
    LinkDown,
    #[serde(rename = "link up")]
    LinkUp,
    #[serde(rename = "everything is silent")]
    Silent,
    #[serde(rename = "everything is heard again")]
    Heard,
    #[serde(rename = "no probe can be sent")]
    Refused,
    #[serde(rename = "probes can be sent again")]
    Accepted,
    #[serde(rename = "answers pass the receiver by")]
    PassedBy,
    #[serde(rename = "the clock is set forward")]
    ClockSet,
    #[serde(rename = "the agent stands still")]
    StandsStill,
    #[serde(rename = "the machine sleeps")]
    Sleeps,
}

impl What {
    /// Whether it is nothing that happens to single stations.
    fn is_of_all(self) -> bool {
        matches!(
            self,
            What::LinkDown
                | What::LinkUp
                | What::Silent
                | What::Heard
                | What::Refused
                | What::Accepted
                | What::PassedBy
                | What::ClockSet
                | What::StandsStill
                | What::Sleeps
        )
    }
}

/// What is to be seen at a moment.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// When.
    #[serde(with = "humantime_serde")]
    pub by: Duration,
    /// Of whom.
    #[serde(default)]
    pub who: Option<String>,
    /// Which verdict they have.
    #[serde(default)]
    pub what: Option<Verdict>,
    /// Why it is unknown.
    #[serde(default)]
    pub reason: Option<Blind>,
    /// How many alarms of each kind were told since the beginning; a kind that is not named: none.
    #[serde(default)]
    pub alarms: Option<BTreeMap<String, usize>>,
    /// Of how many addresses each condition holds; one that is not named: of none.
    #[serde(default)]
    pub conditions: Option<BTreeMap<Condition, usize>>,
}

impl Scenario {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut scenario: Scenario = toml::from_str(&text).with_context(|| format!("{}", path.display()))?;
        scenario.at.sort_by_key(|event| event.time);
        scenario.expect.sort_by_key(|expectation| expectation.by);
        scenario.check().with_context(|| format!("{}", path.display()))?;
        Ok(scenario)
    }

    /// When the last of it is looked at.
    pub fn lasts(&self) -> Duration {
        self.expect.last().map_or(Duration::ZERO, |expectation| expectation.by)
    }

    /// What cannot come true, or is never looked at, is a mistake of whoever wrote it.
    fn check(&self) -> Result<()> {
        let Some(last) = self.expect.last().filter(|_| !self.network.is_empty()) else {
            bail!("a scenario has networks, and something to expect");
        };
        for event in &self.at {
            let (time, what) = (humantime::format_duration(event.time), event.what);
            ensure!(event.time <= last.by, "at {time}: {what:?} comes after the last expectation: nobody would see it");
            ensure!((event.percent > 0.0) == (what == What::Loses), "at {time}: {what:?}: percent is for \"loses\", which needs it");
            let lasts = matches!(what, What::AnswersLate | What::StandsStill | What::Sleeps | What::ClockSet);
            ensure!(event.by.is_zero() != lasts, "at {time}: {what:?}: by is for what takes or lasts so long, which needs it");
            ensure!(event.who.is_none() || !what.is_of_all(), "at {time}: {what:?} happens to everybody: it has no who");
            self.who(event.who.as_deref().unwrap_or("everybody"))?;
        }
        for Expectation { by, who, what, reason, alarms, conditions } in &self.expect {
            let by = humantime::format_duration(*by);
            let nothing = what.is_none() && alarms.is_none() && conditions.is_none();
            ensure!(!nothing, "by {by}: nothing is expected: neither what nor alarms nor conditions");
            ensure!(what.is_some() || who.is_none() && reason.is_none(), "by {by}: who and reason say nothing without what");
            self.who(who.as_deref().unwrap_or("everybody"))?;
        }
        Ok(())
    }

    /// Whom words mean: networks by number, and stations in each. `vm 3`, `vm 1..20`, `gateway`, `everybody`, and any of them after
    /// `network NAME:`; without a network the first one is meant, by `everybody` all.
    pub fn who(&self, words: &str) -> Result<Vec<(usize, u32)>> {
        let (networks, words) = match words.strip_prefix("network ").and_then(|rest| rest.split_once(": ")) {
            Some((name, rest)) => {
                let number = self.network.iter().position(|network| network.name == name);
                (vec![number.with_context(|| format!("no network is called {name:?}"))?], rest)
            }
            None if words == "everybody" => ((0..self.network.len()).collect(), words),
            None => (vec![0], words),
        };
        let mut stations = Vec::new();
        for number in networks {
            let all = self.network[number].hosts + self.network[number].behind_gateway;
            let (first, last) = match words.strip_prefix("vm ").map(|range| range.split_once("..").unwrap_or((range, range))) {
                Some((first, last)) => (first.parse()?, last.parse()?),
                None if words == "everybody" => (1, all),
                None if words == "gateway" => (0, 0),
                None => bail!("who is {words:?}? (allowed: vm 3, vm 1..20, gateway, everybody)"),
            };
            if first > last || last > all || first == 0 && words != "gateway" {
                bail!("{words:?}: network {} has vm 1..{all}", self.network[number].name);
            }
            stations.extend((first..=last).map(|station| (number, station)));
        }
        Ok(stations)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NET: &str = "name = \"n\"\ndescribe = \"d\"\n[[network]]\nname = \"a\"\nhosts = 5\n";
    const UP: &str = "[[expect]]\nby = \"9s\"\nwhat = \"up\"\n";

    fn wrong(text: &str) -> String {
        let scenario: Scenario = toml::from_str(&format!("{NET}{text}")).unwrap();
        scenario.check().map_or_else(|why| why.to_string(), |()| String::new())
    }

    #[test]
    fn what_would_never_be_looked_at_is_refused() {
        assert_eq!(wrong(UP), "");
        let at = |event: &str| wrong(&format!("[[at]]\ntime = \"1s\"\n{event}\n{UP}"));
        assert_eq!(at("who = \"vm 1\"\nwhat = \"dies\""), "");
        assert_eq!(at("what = \"loses\"\npercent = 5"), "");
        for (event, said) in [
            ("what = \"loses\"", "needs it"),
            ("what = \"dies\"\npercent = 5", "percent is for"),
            ("what = \"answers late\"", "needs it"),
            ("what = \"dies\"\nby = \"1s\"", "by is for"),
            ("what = \"link down\"\nwho = \"vm 1\"", "has no who"),
            ("what = \"dies\"\nwho = \"vm 6\"", "vm 1..5"),
        ] {
            assert!(at(event).contains(said), "{event}: {:?}", at(event));
        }
        assert!(wrong(&format!("[[at]]\ntime = \"10s\"\nwhat = \"dies\"\n{UP}")).contains("after the last"));
        assert!(wrong("[[expect]]\nby = \"9s\"").contains("nothing is expected"));
        assert!(wrong("[[expect]]\nby = \"9s\"\nwho = \"vm 1\"\nalarms = {}").contains("without what"));
    }
}
