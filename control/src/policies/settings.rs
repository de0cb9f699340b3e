//! What `[defaults]` and every `[[policy]]` may set.

use std::ops::RangeInclusive;
use std::time::Duration;

use rollcall_agent::policy::{INTERVAL, Method};
use rollcall_agent::table::MAX_LIST;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::reader::{Reader, shown};
use crate::mistake::quoted;

/// Every key.
pub(super) const SETTINGS: [&str; 10] =
    ["interval", "timeout", "confirm_interval", "down_after", "down_of", "up_after", "up_of", "method", "alarm", "expected_silent"];

/// Least and most time between two probes of a host that is expected to be silent.
const SLOW: RangeInclusive<Duration> = Duration::from_secs(1)..=INTERVAL.1;

/// What is done about a host that is expected to be silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// It is probed as often as this, or as its policy says if that is less often, and nobody is told.
    Slow(Duration),
    /// It is not probed.
    Stop,
}

impl Default for Silence {
    fn default() -> Self {
        Silence::Slow(Duration::from_secs(60))
    }
}

/// What one place of the file sets, each with its line.
#[derive(Debug, Default)]
pub(super) struct Settings {
    pub(super) interval: Option<(Duration, u32)>,
    pub(super) timeout: Option<(Duration, u32)>,
    pub(super) confirm_interval: Option<(Duration, u32)>,
    pub(super) down_after: Option<(u8, u32)>,
    pub(super) down_of: Option<(u8, u32)>,
    pub(super) up_after: Option<(u8, u32)>,
    pub(super) up_of: Option<(u8, u32)>,
    pub(super) method: Option<(Method, u32)>,
    pub(super) alarm: Option<(Vec<String>, u32)>,
    pub(super) silence: Option<(Silence, u32)>,
}

impl Settings {
    pub(super) fn read(reader: &mut Reader<'_>, table: &DeTable<'_>, what: &str) -> Settings {
        let mut settings = Settings::default();
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            let field = format!("{what}: {name}");
            let line = reader.at(value);
            match name {
                "interval" => settings.interval = duration(reader, value, &field).zip(Some(line)),
                "timeout" => settings.timeout = duration(reader, value, &field).zip(Some(line)),
                "confirm_interval" => settings.confirm_interval = duration(reader, value, &field).zip(Some(line)),
                "down_after" => settings.down_after = count(reader, value, &field, "1 to 100").zip(Some(line)),
                "down_of" => settings.down_of = count(reader, value, &field, "down_after to 15 more than that, at most 31").zip(Some(line)),
                "up_after" => settings.up_after = count(reader, value, &field, "1 to 100").zip(Some(line)),
                "up_of" => settings.up_of = count(reader, value, &field, "up_after to 15 more than that, at most 31").zip(Some(line)),
                "method" => settings.method = method(reader, value, &field).zip(Some(line)),
                "alarm" => settings.alarm = alarm(reader, value, &field).zip(Some(line)),
                "expected_silent" => settings.silence = silence(reader, value, &field).zip(Some(line)),
                _ => {}
            }
        }
        settings
    }

    /// The line where a field of a policy is set, if it is.
    pub(super) fn line(&self, field: &str) -> Option<u32> {
        match field {
            "interval" => self.interval.map(|(_, line)| line),
            "timeout" => self.timeout.map(|(_, line)| line),
            "confirm_interval" => self.confirm_interval.map(|(_, line)| line),
            "down_after" => self.down_after.map(|(_, line)| line),
            "down_of" => self.down_of.map(|(_, line)| line),
            "up_after" => self.up_after.map(|(_, line)| line),
            "up_of" => self.up_of.map(|(_, line)| line),
            _ => None,
        }
    }
}

fn duration(reader: &mut Reader<'_>, value: &Spanned<DeValue<'_>>, field: &str) -> Option<Duration> {
    let duration = value.get_ref().as_str().and_then(|text| humantime::parse_duration(text).ok());
    if duration.is_none() {
        let line = reader.at(value);
        let allowed = "a duration with its unit between quotes, such as \"1s\", \"500ms\", \"5m\" or \"1h 30m\"";
        reader.mistake(line, field, shown(value.get_ref()), allowed);
    }
    duration
}

fn silence(reader: &mut Reader<'_>, value: &Spanned<DeValue<'_>>, field: &str) -> Option<Silence> {
    let silence = match value.get_ref().as_str() {
        Some("stop") => Some(Silence::Stop),
        Some(text) => {
            humantime::parse_duration(text).ok().filter(|pause| SLOW.contains(pause) && pause.subsec_nanos() == 0).map(Silence::Slow)
        }
        None => None,
    };
    if silence.is_none() {
        let line = reader.at(value);
        reader.mistake(
            line,
            field,
            shown(value.get_ref()),
            "\"stop\", or how often it is probed all the same, from \"1s\" to \"24h\" in whole seconds",
        );
    }
    silence
}

fn count(reader: &mut Reader<'_>, value: &Spanned<DeValue<'_>>, field: &str, allowed: &str) -> Option<u8> {
    let number = value.get_ref().as_integer().and_then(|number| u8::from_str_radix(number.as_str(), number.radix()).ok());
    if number.is_none() {
        let line = reader.at(value);
        reader.mistake(line, field, shown(value.get_ref()), format!("{allowed}, without quotes"));
    }
    number
}

fn method(reader: &mut Reader<'_>, value: &Spanned<DeValue<'_>>, field: &str) -> Option<Method> {
    let method = value.get_ref().as_str().and_then(|text| Method::ALL.into_iter().find(|method| method.name() == text));
    if method.is_none() {
        let line = reader.at(value);
        reader.mistake(line, field, shown(value.get_ref()), "\"arp\", \"icmp\", \"auto\" or \"both\"");
    }
    method
}

fn alarm(reader: &mut Reader<'_>, value: &Spanned<DeValue<'_>>, field: &str) -> Option<Vec<String>> {
    let routes = reader.strings(value, field)?;
    let mut names: Vec<String> = Vec::with_capacity(routes.len());
    for (route, line) in routes {
        if names.contains(&route) {
            reader.mistake(line, field, format!("{} twice", quoted(&route)), "each route once");
        } else {
            names.push(route);
        }
    }
    if names.len() > MAX_LIST {
        let line = reader.at(value);
        reader.mistake(line, field, format!("{} routes", names.len()), format!("at most {MAX_LIST}"));
    }
    Some(names)
}
