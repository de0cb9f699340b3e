//! `[storm]`, `[flapping]` and `[agent_alarm]` of the agent's configuration.

use std::time::Duration;

use serde::Deserialize;

/// `[storm]`: when many silent addresses are one alarm.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StormConfig {
    /// More than this share of a network, subnet or tag; 1: never.
    pub share: f64,
    /// And at least so many addresses of it.
    pub at_least: u32,
    /// Fell silent within this time, or within what their policy takes to notice it, where that is longer.
    #[serde(with = "humantime_serde")]
    pub window: Duration,
    /// How long a single alarm may wait for that to show.
    #[serde(with = "humantime_serde")]
    pub hold: Duration,
    /// How tags begin that hosts share with those that fail together; empty: no tag does.
    pub tag: String,
}

/// `[flapping]`: when an address that turns again and again is one alarm.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FlapConfig {
    /// So many turns between up and down; 0: never.
    pub changes: u32,
    /// Within this time.
    #[serde(with = "humantime_serde")]
    pub window: Duration,
}

/// `[agent_alarm]`: when the agent cannot see, and who hears of it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AgentAlarmConfig {
    /// How long it must last, and how long it must be over.
    #[serde(with = "humantime_serde")]
    pub hold: Duration,
    /// Routes; none named: all.
    pub routes: Option<Vec<String>>,
}

impl Default for StormConfig {
    fn default() -> Self {
        let (window, hold) = (Duration::from_secs(60), Duration::from_secs(5));
        StormConfig { share: 0.3, at_least: 20, window, hold, tag: "hypervisor=".into() }
    }
}

impl Default for FlapConfig {
    fn default() -> Self {
        FlapConfig { changes: 6, window: Duration::from_secs(600) }
    }
}

impl Default for AgentAlarmConfig {
    fn default() -> Self {
        AgentAlarmConfig { hold: Duration::from_secs(3), routes: None }
    }
}

/// Most turns that are counted of an address.
const CHANGES_MAX: u32 = 100;

fn mistake(setting: &str, found: impl std::fmt::Display, allowed: &str) -> String {
    format!("{setting}: found {found}, allowed: {allowed}")
}

fn duration(mistakes: &mut Vec<String>, setting: &str, found: Duration, least: Duration, most: Duration) {
    if !(least..=most).contains(&found) {
        let text = humantime::format_duration;
        mistakes.push(mistake(setting, text(found), &format!("{} to {}", text(least), text(most))));
    }
}

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

impl StormConfig {
    /// Every rule that is broken.
    pub fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        if !(0.01..=1.0).contains(&self.share) {
            mistakes.push(mistake("storm: share", self.share, "0.01 to 1.0 (1.0: never)"));
        }
        if self.at_least < 2 {
            mistakes.push(mistake("storm: at_least", self.at_least, "2 or more"));
        }
        duration(&mut mistakes, "storm: window", self.window, SECOND, HOUR);
        duration(&mut mistakes, "storm: hold", self.hold, Duration::ZERO, self.window.max(SECOND));
        mistakes
    }
}

impl FlapConfig {
    /// Every rule that is broken.
    pub fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        if self.changes != 0 && !(3..=CHANGES_MAX).contains(&self.changes) {
            mistakes.push(mistake("flapping: changes", self.changes, &format!("3 to {CHANGES_MAX}, or 0: never")));
        }
        duration(&mut mistakes, "flapping: window", self.window, SECOND, 24 * HOUR);
        mistakes
    }
}

impl AgentAlarmConfig {
    /// Every rule that is broken, on an agent that has these routes.
    pub fn mistakes(&self, known: &[&str]) -> Vec<String> {
        let mut mistakes = Vec::new();
        duration(&mut mistakes, "agent_alarm: hold", self.hold, Duration::ZERO, HOUR);
        for route in self.routes.iter().flatten().filter(|route| !known.contains(&route.as_str())) {
            let allowed = if known.is_empty() { "none, for there is no [[route]]".to_owned() } else { known.join(", ") };
            mistakes.push(mistake("agent_alarm: routes", format!("{route:?}"), &allowed));
        }
        mistakes
    }
}
