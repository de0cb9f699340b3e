//! A policy as the demo and the benchmark are asked for it, and as `rollcall` reads it.

use std::time::Duration;

use rollcall_agent::policy::{Method, Policy};

/// `arp` or `icmp`.
pub(crate) fn method(text: &str) -> Result<Method, String> {
    [Method::Arp, Method::Icmp].into_iter().find(|method| method.name() == text).ok_or_else(|| "allowed: arp, icmp".into())
}

/// An interval from 100 ms to ten minutes.
pub(crate) fn interval(text: &str) -> Result<Duration, String> {
    let interval = humantime::parse_duration(text).map_err(|error| format!("{error}; such as 1s or 500ms"))?;
    let allowed = Duration::from_millis(100)..=Duration::from_secs(600);
    if allowed.contains(&interval) { Ok(interval) } else { Err("allowed: 100ms to 10m".into()) }
}

/// A policy file with this policy for everybody.
pub(crate) fn toml(policy: &Policy) -> String {
    let time = humantime::format_duration;
    format!(
        "[[policy]]\nname = \"{}\"\ninterval = \"{}\"\nmethod = \"{}\"\ntimeout = \"{}\"\nconfirm_interval = \"{}\"\n\
         down_after = {}\ndown_of = {}\nup_after = {}\nup_of = {}\nalarm = {:?}\n",
        policy.name,
        time(policy.interval),
        policy.method,
        time(policy.timeout),
        time(policy.confirm_interval),
        policy.down_after,
        policy.down_of,
        policy.up_after,
        policy.up_of,
        policy.alarm,
    )
}
