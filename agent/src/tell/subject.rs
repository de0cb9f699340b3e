//! Whom an alarm is about, as the table in force has it.

use std::sync::Arc;
use std::time::Duration;

use crate::alarm::{Down, Fall, Matter, NO_ADDRESS, Outage, OutageHost, Outbreak, Subject};
use crate::clock::from_unix_ms;
use crate::roster::Roster;
use crate::table::Record;

/// The beginning of an alarm about one address.
pub(super) fn address(roster: &Roster, record: &Record, matter: Matter, fall: Fall) -> Down {
    let table = &roster.table;
    let host = table.host(record.host());
    let policy = &table.policies()[usize::from(record.policy())];
    Down {
        subject: Arc::new(Subject {
            id: host.id().into(),
            name: host.name().into(),
            project: host.project().into(),
            network: table.network(record.network()).into(),
            address: record.address(),
            mac: record.mac().map(|mac| mac.to_string()),
            tags: host.tags().map(str::to_owned).collect(),
            policy: policy.name.clone(),
            routes: policy.alarm.clone(),
            matter,
        }),
        at: from_unix_ms(fall.at_ms),
        since: from_unix_ms(fall.since_ms),
        last_reply: fall.last_reply_ms.map(from_unix_ms),
        misses: u32::from(fall.misses),
        interval: policy.interval,
        timeout: policy.timeout,
    }
}

/// The beginning of an outage's alarm.
pub(super) fn outage(roster: &Roster, outbreak: Outbreak) -> Down {
    let table = &roster.table;
    let Outbreak { group, wave, silent, watched, hosts, routes, since_ms, at_ms } = outbreak;
    let host = |slot: u32| {
        let record = roster.record(slot)?;
        let host = table.host(record.host());
        let (id, name, network) = (host.id().into(), host.name().into(), table.network(record.network()).into());
        Some(OutageHost { id, name, network, address: record.address() })
    };
    let hosts = hosts.into_iter().filter_map(host).collect();
    let matter = Matter::Outage(Outage { scope: group.scope(), name: group.name(), wave, silent, watched, hosts });
    of_nobody(group.network().unwrap_or_default(), matter, routes, since_ms, at_ms)
}

/// The beginning of an alarm that is about no single address.
pub(super) fn of_nobody(network: &str, matter: Matter, routes: Vec<String>, since_ms: u64, at_ms: u64) -> Down {
    let nobody = String::new;
    Down {
        subject: Arc::new(Subject {
            id: nobody(),
            name: nobody(),
            project: nobody(),
            network: network.into(),
            address: NO_ADDRESS,
            mac: None,
            tags: vec![],
            policy: nobody(),
            routes,
            matter,
        }),
        at: from_unix_ms(at_ms),
        since: from_unix_ms(since_ms),
        last_reply: None,
        misses: 0,
        interval: Duration::ZERO,
        timeout: Duration::ZERO,
    }
}
