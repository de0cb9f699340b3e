//! `[[route]]` of the agent's configuration: where alarms go, with the secrets that the table never holds.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

/// One route.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum RouteConfig {
    /// Lines in the agent's log.
    Log(LogConfig),
    /// JSON to an HTTP receiver.
    Webhook(WebhookConfig),
    /// Alertmanager's API v2.
    Alertmanager(AlertmanagerConfig),
}

/// `type = "log"`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// The name that policies use.
    pub name: String,
}

/// `type = "webhook"`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// The name that policies use.
    pub name: String,
    /// Where to POST.
    pub url: Secret,
    /// File with a bearer token; read for every POST, so it may be replaced at any time.
    pub token_file: Option<PathBuf>,
    /// Environment variable with a bearer token.
    pub token_env: Option<String>,
    /// Further headers.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// How long one POST may take.
    #[serde(default = "ten_seconds", with = "humantime_serde")]
    pub timeout: Duration,
    /// Most alarms in one POST, 1 to 10,000.
    #[serde(default = "hundred")]
    pub max_batch: usize,
    /// First wait after a failure.
    #[serde(default = "one_second", with = "humantime_serde")]
    pub retry_min: Duration,
    /// Longest wait between two attempts.
    #[serde(default = "thirty_seconds", with = "humantime_serde")]
    pub retry_max: Duration,
}

/// `type = "alertmanager"`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertmanagerConfig {
    /// The name that policies use.
    pub name: String,
    /// Alertmanager's address, without `/api/v2/alerts`.
    pub url: Secret,
    /// File with a bearer token; read for every POST, so it may be replaced at any time.
    pub token_file: Option<PathBuf>,
    /// Environment variable with a bearer token.
    pub token_env: Option<String>,
    /// Further headers.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// How long one POST may take.
    #[serde(default = "ten_seconds", with = "humantime_serde")]
    pub timeout: Duration,
    /// Most alerts in one POST, 1 to 10,000.
    #[serde(default = "five_hundred")]
    pub max_batch: usize,
    /// First wait after a failure.
    #[serde(default = "one_second", with = "humantime_serde")]
    pub retry_min: Duration,
    /// Longest wait between two attempts.
    #[serde(default = "thirty_seconds", with = "humantime_serde")]
    pub retry_max: Duration,
    /// How often a firing alert is sent again; Alertmanager resolves it after four times this without word from us.
    #[serde(default = "one_minute", with = "humantime_serde")]
    pub resend: Duration,
    /// Where people reach this agent's API: `generatorURL` then leads to the host there.
    pub external_url: Option<String>,
    /// Labels for every alert, as `severity = "critical"`.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

fn one_second() -> Duration {
    Duration::from_secs(1)
}
fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}
fn thirty_seconds() -> Duration {
    Duration::from_secs(30)
}
fn one_minute() -> Duration {
    Duration::from_secs(60)
}
fn hundred() -> usize {
    100
}
fn five_hundred() -> usize {
    500
}

/// Text that must not be seen: a URL may hold a password or be itself the secret, a header may hold a key.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text, for the wire alone.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Secret {
        Secret(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What is wrong with a route.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("route {route:?}: {field}: found {found}, allowed: {allowed}")]
pub struct RouteMistake {
    /// Which route.
    pub route: String,
    /// Which field.
    pub field: &'static str,
    /// What was found; never a secret.
    pub found: String,
    /// What would be right.
    pub allowed: String,
}

impl RouteConfig {
    /// The name that policies use.
    pub fn name(&self) -> &str {
        match self {
            RouteConfig::Log(config) => &config.name,
            RouteConfig::Webhook(config) => &config.name,
            RouteConfig::Alertmanager(config) => &config.name,
        }
    }

    /// The `type`.
    pub fn kind(&self) -> &'static str {
        match self {
            RouteConfig::Log(_) => "log",
            RouteConfig::Webhook(_) => "webhook",
            RouteConfig::Alertmanager(_) => "alertmanager",
        }
    }

    /// Every rule that the numbers and labels break. URLs, tokens and headers are checked when the route is opened.
    fn mistakes(&self) -> Vec<RouteMistake> {
        let mut mistakes = Vec::new();
        let mut check = |good: bool, field, found: String, allowed: &str| {
            if !good {
                mistakes.push(RouteMistake { route: self.name().into(), field, found, allowed: allowed.into() });
            }
        };
        let text = |duration: Duration| humantime::format_duration(duration).to_string();
        let name = self.name();
        check(
            !name.is_empty() && name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)),
            "name",
            format!("{name:?}"),
            "1 to 64 letters, digits, '-', '_' and '.'",
        );
        let (timeout, max_batch, least, most) = match self {
            RouteConfig::Log(_) => return mistakes,
            RouteConfig::Webhook(c) => (c.timeout, c.max_batch, c.retry_min, c.retry_max),
            RouteConfig::Alertmanager(c) => (c.timeout, c.max_batch, c.retry_min, c.retry_max),
        };
        let (ms, second, hour) = (Duration::from_millis(1), Duration::from_secs(1), Duration::from_secs(3600));
        check((100 * ms..=300 * second).contains(&timeout), "timeout", text(timeout), "100ms to 5m");
        check((1..=10_000).contains(&max_batch), "max_batch", max_batch.to_string(), "1 to 10000");
        check((10 * ms..=hour).contains(&least), "retry_min", text(least), "10ms to 1h");
        check((least..=hour).contains(&most), "retry_max", text(most), "retry_min to 1h");
        if let RouteConfig::Alertmanager(config) = self {
            check((second..=hour).contains(&config.resend), "resend", text(config.resend), "1s to 1h");
            for label in config.labels.keys() {
                let first = label.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
                let rest = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
                let own = super::route::alertmanager::LABELS.contains(&label.as_str());
                check(
                    first && rest && !own,
                    "labels",
                    format!("{label:?}"),
                    "[a-zA-Z_][a-zA-Z0-9_]*, and none of alertname, network, address, host, host_id, project, policy, scope, group",
                );
            }
        }
        mistakes
    }
}

/// Every mistake of all routes, names that are used twice included. Opens nothing: [`super::check_routes`] does.
pub(super) fn mistakes(routes: &[RouteConfig]) -> Vec<RouteMistake> {
    let mut seen = BTreeSet::new();
    let mut mistakes = Vec::new();
    for route in routes {
        if !seen.insert(route.name()) {
            mistakes.push(RouteMistake {
                route: route.name().into(),
                field: "name",
                found: "a second route of this name".into(),
                allowed: "each name once".into(),
            });
        }
        mistakes.extend(route.mistakes());
    }
    mistakes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct File {
        route: Vec<RouteConfig>,
    }

    fn parse(text: &str) -> Result<Vec<RouteConfig>, toml::de::Error> {
        toml::from_str::<File>(text).map(|file| file.route)
    }

    #[test]
    fn three_routes_with_their_defaults_are_read_and_good() {
        let routes = parse(
            "[[route]]\ntype = \"log\"\nname = \"log\"\n\
             [[route]]\ntype = \"webhook\"\nname = \"pager\"\nurl = \"https://pager.example/in\"\nretry_max = \"1m\"\n\
             [[route]]\ntype = \"alertmanager\"\nname = \"am\"\nurl = \"http://127.0.0.1:9093\"\nlabels = { severity = \"critical\" }\n",
        )
        .unwrap();
        assert_eq!(mistakes(&routes), []);
        let RouteConfig::Webhook(webhook) = &routes[1] else { panic!() };
        assert_eq!((webhook.max_batch, webhook.retry_min, webhook.retry_max), (100, one_second(), one_minute()));
    }

    #[test]
    fn an_unknown_field_or_type_is_refused_by_name() {
        let error = parse("[[route]]\ntype = \"webhook\"\nname = \"a\"\nurl = \"http://x\"\nmax_bach = 3\n").unwrap_err();
        assert!(error.to_string().contains("max_bach"), "{error}");
        let error = parse("[[route]]\ntype = \"email\"\nname = \"a\"\n").unwrap_err();
        assert!(error.to_string().contains("email") && error.to_string().contains("alertmanager"), "{error}");
    }

    #[test]
    fn every_mistake_of_every_route_is_reported_at_once() {
        let routes = parse(
            "[[route]]\ntype = \"log\"\nname = \"a b\"\n[[route]]\ntype = \"log\"\nname = \"a b\"\n\
             [[route]]\ntype = \"alertmanager\"\nname = \"am\"\nurl = \"http://x\"\ntimeout = \"1ms\"\nmax_batch = 0\n\
             retry_min = \"2s\"\nretry_max = \"1s\"\nresend = \"2h\"\nlabels = { \"1x\" = \"\", host = \"y\" }\n",
        )
        .unwrap();
        let fields: Vec<_> = mistakes(&routes).into_iter().map(|mistake| mistake.field).collect();
        assert_eq!(fields, ["name", "name", "name", "timeout", "max_batch", "retry_max", "resend", "labels", "labels"]);
    }

    #[test]
    fn debug_output_shows_no_url_and_no_header() {
        let routes = parse(
            "[[route]]\ntype = \"webhook\"\nname = \"a\"\nurl = \"https://hooks.example/T0/s3cret\"\nheaders = { x-key = \"k3y\" }\n",
        );
        let text = format!("{:?}", routes.unwrap());
        assert!(!text.contains("s3cret") && !text.contains("k3y"), "{text}");
    }
}
