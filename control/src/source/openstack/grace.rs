//! When the silence of a host means nothing yet. Time is an argument.

use std::time::{Duration, SystemTime};

use super::model::{Port, Server};

/// Whether a port gives its host something to get used to: it is new there, is switched on, or has one more address. Whoever has it may
/// still have to ask for that address by DHCP.
pub(super) fn arrives(before: Option<&Port>, port: &Port) -> bool {
    let Some(before) = before else { return true };
    let knows = |address: &str| before.fixed_ips.iter().any(|fixed| fixed.ip_address == address);
    before.whose() != port.whose()
        || (port.admin_state_up && !before.admin_state_up)
        || port.fixed_ips.iter().any(|fixed| !knows(&fixed.ip_address))
}

/// What is left of its grace for a server of which nothing was known before, by the platform's own clock. That clock and the one that
/// Nova writes by may differ: a change that lies further ahead than a grace says nothing, else it would be the last one for ever.
pub(super) fn left(grace: Duration, server: &Server, clock: SystemTime) -> Duration {
    let changed = server.updated.as_deref().and_then(|text| humantime::parse_rfc3339(text).ok());
    match changed.map(|changed| clock.duration_since(changed).map_err(|ahead| ahead.duration())) {
        Some(Ok(age)) => grace.saturating_sub(age),
        Some(Err(ahead)) if ahead <= grace => grace,
        Some(Err(_)) | None => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::FixedIp;
    use super::*;

    fn port(server: &str, up: bool, addresses: &[&str]) -> Port {
        let fixed = |address: &&str| FixedIp { ip_address: (*address).to_owned(), ..FixedIp::default() };
        let fixed_ips = addresses.iter().map(fixed).collect();
        Port { id: "p".into(), device_id: server.into(), admin_state_up: up, fixed_ips, ..Port::default() }
    }

    #[test]
    fn port_that_becomes_a_hosts_or_has_one_more_address_arrives_and_one_that_loses_something_does_not() {
        let before = port("a", true, &["10.0.0.1", "10.0.0.2"]);
        assert!(arrives(None, &before));
        for (after, wanted) in [
            (before.clone(), false),
            (port("b", true, &["10.0.0.1"]), true),
            (port("a", true, &["10.0.0.2", "10.0.0.3"]), true),
            (port("a", true, &["10.0.0.2"]), false),
            (port("a", false, &["10.0.0.1"]), false),
            (port("", true, &["10.0.0.1"]), true),
        ] {
            assert_eq!(arrives(Some(&before), &after), wanted, "{after:?}");
        }
        assert!(arrives(Some(&port("a", false, &["10.0.0.1"])), &port("a", true, &["10.0.0.1"])));
    }

    #[test]
    fn wrong_clock_gives_a_whole_grace_or_none() {
        let (grace, clock) = (Duration::from_secs(60), humantime::parse_rfc3339("2026-11-22T18:00:00Z").unwrap());
        for (updated, seconds) in [
            ("2026-11-22T17:59:40Z", 40),
            ("2026-11-22T17:59:40.000000Z", 40),
            ("2026-11-22T17:00:00Z", 0),
            ("2026-11-22T18:00:30Z", 60),
            ("2026-11-22T18:01:01Z", 0),
            ("2036-11-22T18:00:00Z", 0),
            ("yesterday", 0),
        ] {
            let server = Server { updated: Some(updated.into()), ..Server::default() };
            assert_eq!(left(grace, &server, clock), Duration::from_secs(seconds), "{updated}");
        }
        assert_eq!(left(grace, &Server::default(), clock), Duration::ZERO);
    }
}
