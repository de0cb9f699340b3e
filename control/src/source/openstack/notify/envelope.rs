//! The envelope of oslo.messaging, and what is in it.

use serde::Deserialize;
use serde_json::Value;

use super::super::change::Change;
use super::{neutron, nova};

/// A message is no larger; a bulk of a thousand ports has a twentieth of that.
const LARGEST: usize = 32 << 20;

/// A notification (`oslo_messaging/notify/messaging.py`), without what does not matter here.
#[derive(Deserialize)]
struct Notification {
    event_type: String,
    #[serde(default)]
    payload: Value,
}

/// What a message tells. Pure; `None`: it cannot be read, so something may have changed.
pub fn changes(body: &[u8]) -> Option<Vec<Change>> {
    if body.len() > LARGEST {
        return None;
    }
    let mut value: Value = serde_json::from_slice(body).ok()?;
    // Version 2 of the envelope holds the message as a text; without an envelope it is the message itself.
    if let Some(inner) = value.get("oslo.message") {
        value = serde_json::from_str(inner.as_str()?).ok()?;
    }
    let Notification { event_type, payload } = serde_json::from_value(value).ok()?;
    match event_type.split_once('.')? {
        ("instance", event) => nova::versioned(event, payload),
        ("compute", event) => match event.strip_prefix("instance.") {
            Some(event) => nova::legacy(event, payload),
            None => Some(vec![]),
        },
        (kind, event) => neutron::changes(kind, event, payload),
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng as _};

    use super::*;

    /// As a real Neutron 29 sent it, shortened.
    const CREATED: &str = r#"{"event_type": "port.create.end", "priority": "INFO", "payload": {"port": {"id": "p1", "network_id": "net",
        "mac_address": "fa:16:3e:2a:22:18", "device_id": "", "device_owner": "compute:nova", "revision_number": 1,
        "fixed_ips": [{"subnet_id": "s", "ip_address": "10.10.21.116"}], "binding:host_id": ""}}, "timestamp": "2026-11-22 17:41:57.520186"}"#;

    #[test]
    fn message_is_read_with_and_without_its_envelope() {
        let bare = changes(CREATED.as_bytes()).unwrap();
        let wrapped = serde_json::json!({"oslo.version": "2.0", "oslo.message": CREATED}).to_string();
        assert_eq!(changes(wrapped.as_bytes()).unwrap(), bare);
        assert!(matches!(&bare[..], [Change::Port(port)] if port.id == "p1"), "{bare:?}");
    }

    #[test]
    fn what_does_not_concern_hosts_says_nothing_and_what_cannot_be_read_says_so() {
        for other in ["compute.metrics.update", "router.create.end", "port.create.start", "identity.user.created", "metrics.update"] {
            let message = format!(r#"{{"event_type": "{other}", "payload": {{}}}}"#);
            assert_eq!(changes(message.as_bytes()), Some(vec![]), "{other}");
        }
        for broken in
            ["", "[]", "{}", r#"{"oslo.message": 7}"#, r#"{"oslo.message": "{"}"#, &CREATED.replace("\"id\"", "\"di\""), &CREATED[..99]]
        {
            assert_eq!(changes(broken.as_bytes()), None, "{broken}");
        }
    }

    #[test]
    fn nothing_that_anybody_sends_ends_the_listening() {
        let seed = rand::rng().random();
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let nova = r#"{"event_type": "instance.delete.end", "payload": {"nova_object.data": {"uuid": "a", "state": "deleted", "task_state": null, "metadata": {"a": "b"}}}}"#;
        let mut read = 0;
        for turn in 0..20_000 {
            let mut bytes = [CREATED, nova][turn % 2].as_bytes().to_vec();
            for _ in 0..random.random_range(1..4) {
                if bytes.len() < 2 {
                    break;
                }
                let at = random.random_range(0..bytes.len());
                match random.random_range(0..3) {
                    0 => bytes[at] = random.random(),
                    1 => drop(bytes.remove(at)),
                    _ => bytes.truncate(at.max(1)),
                }
            }
            read += usize::from(changes(&bytes).is_some());
        }
        assert!(read > 0);
    }
}
