//! Addresses that went down, for this stage's tests.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Down, Key, Matter, Subject};

pub(super) fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

pub(super) fn key(address: &str) -> Key {
    Key::new("net-a", address.parse().unwrap())
}

pub(super) fn down(address: &str, seconds: u64) -> Down {
    down_in("net-a", address, seconds)
}

pub(super) fn down_in(network: &str, address: &str, seconds: u64) -> Down {
    let subject = Subject {
        id: format!("i-{address}"),
        name: "web".into(),
        project: "shop".into(),
        network: network.into(),
        address: address.parse().unwrap(),
        mac: Some("fa:16:3e:00:00:01".into()),
        tags: vec!["edge".into()],
        policy: "gold".into(),
        routes: vec!["pager".into()],
        matter: Matter::Down,
    };
    Down {
        subject: Arc::new(subject),
        at: at(seconds),
        since: at(seconds - 1),
        last_reply: Some(at(seconds - 2)),
        misses: 3,
        interval: Duration::from_secs(1),
        timeout: Duration::from_millis(300),
    }
}

/// The same address in another matter.
pub(super) fn about(matter: Matter, seconds: u64) -> Down {
    let mut down = down("10.0.0.1", seconds);
    Arc::make_mut(&mut down.subject).matter = matter;
    down
}
