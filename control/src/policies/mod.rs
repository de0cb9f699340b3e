//! Policy files: TOML with `[defaults]` and any number of `[[policy]]`, of which the first that matches wins.
//!
//! A host that no policy matches gets the policy `default`, made of `[defaults]`. A file without `[defaults]` has no
//! such policy: there, a host that nothing matches is a mistake.

use std::time::Duration;

use rollcall_agent::policy::{Method, Policy};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use self::reader::Reader;
use self::settings::{SETTINGS, Settings};
use crate::mistake::{Mistakes, quoted};

mod condition;
mod reader;
mod settings;

pub use self::condition::{Condition, NamePattern};
pub use self::settings::Silence;

/// Name of the policy that `[defaults]` makes.
pub const DEFAULT: &str = "default";

/// What the name of a policy ends with that is made of another one for hosts that are expected to be silent.
pub const EXPECTED_SILENT: &str = "+expected-silent";

/// What stands for a policy while its hosts are expected to be silent; `None`: they are not probed.
pub fn when_silent(policy: &Policy, silence: Silence) -> Option<Policy> {
    let Silence::Slow(pause) = silence else { return None };
    let name = format!("{}{EXPECTED_SILENT}", policy.name);
    Some(Policy { name, interval: policy.interval.max(pause), alarm: vec![], ..policy.clone() })
}

/// A policy file, read.
#[derive(Debug, Default)]
pub struct PolicyFile {
    /// The file's name, as the user gave it.
    pub file: String,
    /// In the order of the file.
    pub rules: Vec<Rule>,
    /// The policy of hosts that no rule matches.
    pub fallback: Option<Policy>,
    /// What it does about hosts that are expected to be silent.
    pub fallback_silence: Silence,
}

/// One `[[policy]]`.
#[derive(Debug)]
pub struct Rule {
    /// What it says, all defaults filled in.
    pub policy: Policy,
    /// What it does about hosts that are expected to be silent.
    pub silence: Silence,
    /// Whom it says it of.
    pub condition: Condition,
    /// Where it begins.
    pub line: u32,
}

impl PolicyFile {
    /// Reads a policy file, and notes every mistake of it.
    pub fn read(file: &str, bytes: &[u8], mistakes: &mut Mistakes) -> PolicyFile {
        let mut read = PolicyFile { file: file.to_owned(), ..PolicyFile::default() };
        let mut reader = Reader::new(file, mistakes);
        let text = match str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let found = format!("bytes that are not UTF-8, after {} good ones", error.valid_up_to());
                reader.mistake(0, "encoding", found, "UTF-8");
                return read;
            }
        };
        reader.text(text);
        let (root, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let line = error.span().map_or(0, |span| reader.line(span.start));
            let found = error.message().lines().collect::<Vec<_>>().join("; ");
            reader.mistake(line, "TOML", found, "TOML 1.0 (text between quotes, lists between brackets)");
        }
        if errors.is_empty() {
            read.walk(&mut reader, root.get_ref());
        }
        read
    }

    fn walk(&mut self, reader: &mut Reader<'_>, root: &DeTable<'_>) {
        reader.known_keys(root, "", &["defaults", "policy"]);
        let mut defaults = Settings::default();
        if let Some(value) = root.get("defaults") {
            let line = reader.line(value.span().start);
            match value.get_ref() {
                DeValue::Table(table) => {
                    reader.known_keys(table, "defaults", &SETTINGS);
                    defaults = Settings::read(reader, table, "defaults");
                    let policy = complete(DEFAULT, &Settings::default(), &defaults);
                    report(reader, "defaults", line, &policy, &Settings::default(), &defaults);
                    self.fallback = Some(policy);
                    self.fallback_silence = silence(&Settings::default(), &defaults);
                }
                other => reader.mistake(line, "defaults", reader::shown(other), "a table: [defaults]"),
            }
        }
        match root.get("policy").map(|value| (value.get_ref(), reader.line(value.span().start))) {
            None if self.fallback.is_some() => {}
            None => reader.mistake(0, "policy", "nothing".into(), "at least one [[policy]], or [defaults]"),
            Some((DeValue::Array(list), _)) => {
                for value in list.iter() {
                    self.rule(reader, value, &defaults);
                }
            }
            Some((other, line)) => reader.mistake(line, "policy", reader::shown(other), "[[policy]], in two brackets"),
        }
    }

    fn rule(&mut self, reader: &mut Reader<'_>, value: &Spanned<DeValue<'_>>, defaults: &Settings) {
        let line = reader.line(value.span().start);
        let DeValue::Table(table) = value.get_ref() else {
            return reader.mistake(line, "policy", reader::shown(value.get_ref()), "a table: [[policy]]");
        };
        let name = match table.get("name") {
            None => {
                reader.mistake(line, "policy: name", "nothing".into(), "a name of its own for every policy");
                None
            }
            Some(value) => reader.string(value, "policy: name"),
        };
        let what = format!("policy {}", quoted(name.as_deref().unwrap_or("?")));
        if let Some(name) = &name {
            if name.ends_with(EXPECTED_SILENT) {
                let allowed = format!("another name: rollcall makes policies with the ending {EXPECTED_SILENT} itself");
                reader.mistake(line, &what, quoted(name), allowed);
            }
            if name == DEFAULT {
                let allowed = "another name: \"default\" is what [defaults] makes for hosts that no policy matches";
                reader.mistake(line, &what, quoted(name), allowed);
            }
            if let Some(first) = self.rules.iter().find(|rule| rule.policy.name == *name) {
                let found = format!("a second one, the first is {}:{}", self.file, first.line);
                reader.mistake(line, &what, found, "each name once");
            }
        }
        let known: Vec<&str> = ["name", "match"].into_iter().chain(SETTINGS).collect();
        reader.known_keys(table, &what, &known);
        let own = Settings::read(reader, table, &what);
        let condition = match table.get("match").map(|value| (value, value.get_ref())) {
            None => Condition::default(),
            Some((_, DeValue::Table(table))) => Condition::read(reader, table, &format!("{what}: match")),
            Some((value, other)) => {
                let line = reader.line(value.span().start);
                reader.mistake(line, &format!("{what}: match"), reader::shown(other), "a table: [policy.match]");
                Condition::default()
            }
        };
        let policy = complete(name.as_deref().unwrap_or("?"), &own, defaults);
        report(reader, &what, line, &policy, &own, defaults);
        let silence = silence(&own, defaults);
        self.rules.push(Rule { policy, silence, condition, line });
    }
}

/// A policy of its own settings, else those of `[defaults]`, else the built-in ones.
///
/// Built in: interval 1s, timeout 300ms or the interval if that is shorter, confirm_interval 200ms or half the timeout if that
/// is longer (at most the interval; with method both, half the interval stands for it in both), down_after 3, up_after 2, both in a row, method arp, alarm ["log"]. A `down_of` of `[defaults]`
/// goes with its `down_after`: a policy with a `down_after` of its own alone means in a row. Likewise `up_of`.
fn complete(name: &str, own: &Settings, defaults: &Settings) -> Policy {
    fn pick<T: Clone>(own: &Option<(T, u32)>, default: &Option<(T, u32)>) -> Option<T> {
        own.as_ref().or(default.as_ref()).map(|(value, _)| value.clone())
    }
    let interval = pick(&own.interval, &defaults.interval).unwrap_or(Duration::from_secs(1));
    let method = pick(&own.method, &defaults.method).unwrap_or(Method::Arp);
    // Half the interval where layers take turns, in whole milliseconds.
    let pace = if method == Method::Both { Duration::from_millis(interval.as_millis() as u64 / 2) } else { interval };
    let timeout = pick(&own.timeout, &defaults.timeout).unwrap_or(pace.min(Duration::from_millis(300)));
    let confirm_interval = pick(&own.confirm_interval, &defaults.confirm_interval).unwrap_or_else(|| {
        let half = Duration::from_millis(timeout.as_millis().div_ceil(2) as u64);
        half.max(Duration::from_millis(200)).min(pace)
    });
    fn window(after: [&Option<(u8, u32)>; 2], of: [&Option<(u8, u32)>; 2], built_in: u8) -> (u8, u8) {
        let count = pick(after[0], after[1]).unwrap_or(built_in);
        let inherited = if after[0].is_some() { &None } else { of[1] };
        (count, pick(of[0], inherited).unwrap_or(count))
    }
    let (down_after, down_of) = window([&own.down_after, &defaults.down_after], [&own.down_of, &defaults.down_of], 3);
    let (up_after, up_of) = window([&own.up_after, &defaults.up_after], [&own.up_of, &defaults.up_of], 2);
    Policy {
        name: name.to_owned(),
        interval,
        timeout,
        confirm_interval,
        down_after,
        down_of,
        up_after,
        up_of,
        method,
        alarm: pick(&own.alarm, &defaults.alarm).unwrap_or_else(|| vec!["log".to_owned()]),
    }
}

fn silence(own: &Settings, defaults: &Settings) -> Silence {
    own.silence.or(defaults.silence).map(|(silence, _)| silence).unwrap_or_default()
}

/// Notes the rules that a complete policy breaks: each where its value stands, so one bad default is one mistake
/// unless a policy makes it worse. A built-in value that does not fit follows from a mistake that is told already.
fn report(reader: &mut Reader<'_>, what: &str, line: u32, policy: &Policy, own: &Settings, defaults: &Settings) {
    for mistake in policy.mistakes() {
        let own = own.line(mistake.field);
        if own.is_none() && defaults.line(mistake.field).is_none() {
            continue;
        }
        let inherited = own.is_none() && policy.name != DEFAULT && defaults_alone_break(defaults, &mistake);
        if !inherited {
            let at = own.or_else(|| defaults.line(mistake.field).filter(|_| policy.name == DEFAULT)).unwrap_or(line);
            reader.mistake(at, &format!("{what}: {}", mistake.field), mistake.found, mistake.allowed);
        }
    }
}

fn defaults_alone_break(defaults: &Settings, mistake: &rollcall_agent::policy::PolicyMistake) -> bool {
    complete(DEFAULT, &Settings::default(), defaults).mistakes().contains(mistake)
}

#[cfg(test)]
mod tests;
