//! Neutron's notifications (`neutron_lib/callbacks`, `neutron/notifiers`): the object after the change, or its id once it is gone.

use serde::Deserialize;
use serde_json::Value;

use super::super::change::Change;
use super::super::model::{FloatingIp, Port};

/// What one is told of a port. A bulk is one message.
#[derive(Deserialize)]
struct Ports {
    #[serde(default)]
    port: Option<Port>,
    #[serde(default)]
    ports: Vec<Port>,
}

#[derive(Deserialize)]
struct Gone {
    #[serde(alias = "port_id", alias = "floatingip_id")]
    id: String,
}

#[derive(Deserialize)]
struct FloatingIps {
    #[serde(default)]
    floatingip: Option<FloatingIp>,
    #[serde(default)]
    floatingips: Vec<FloatingIp>,
}

/// What it tells; `None`: it cannot be read. Only what is over has happened.
pub(super) fn changes(kind: &str, event: &str, payload: Value) -> Option<Vec<Change>> {
    match (kind, event) {
        ("port", "create.end" | "update.end") => {
            let Ports { port, ports } = serde_json::from_value(payload).ok()?;
            let all: Vec<Change> = port.into_iter().chain(ports).map(|port| Change::Port(Box::new(port))).collect();
            (!all.is_empty()).then_some(all)
        }
        ("port", "delete.end") => {
            // The whole port stands there as well, and has an id of its own.
            let id = payload.get("port_id").cloned().map(|id| serde_json::json!({ "id": id }))?;
            let Gone { id } = serde_json::from_value(id).ok()?;
            Some(vec![Change::PortGone(id)])
        }
        ("floatingip", "create.end" | "update.end") => {
            let FloatingIps { floatingip, floatingips } = serde_json::from_value(payload).ok()?;
            Some(floatingip.into_iter().chain(floatingips).map(Change::FloatingIp).collect())
        }
        ("floatingip", "delete.end") => {
            let id = payload.get("floatingip_id")?.as_str()?.to_owned();
            Some(vec![Change::FloatingIpGone(id)])
        }
        // Tags of a port say whether it is watched, and are told without the port.
        ("tag", "create.end" | "update.end" | "delete.end" | "delete_all.end") => Some(match payload.get("parent_resource") {
            Some(resource) if resource == "ports" => vec![Change::Lost],
            _ => vec![],
        }),
        _ => Some(vec![]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(kind: &str, event: &str, payload: &str) -> Option<Vec<Change>> {
        changes(kind, event, serde_json::from_str(payload).unwrap())
    }

    const PORT: &str = r#"{"id": "p1", "network_id": "n", "mac_address": "fa:16:3e:00:00:01", "revision_number": 3}"#;

    #[test]
    fn port_is_as_it_is_after_the_change_and_a_bulk_is_several() {
        let one = told("port", "update.end", &format!(r#"{{"port": {PORT}}}"#)).unwrap();
        assert!(matches!(&one[..], [Change::Port(port)] if port.revision_number == 3));
        let bulk = told("port", "create.end", &format!(r#"{{"ports": [{PORT}, {PORT}]}}"#)).unwrap();
        assert_eq!(bulk.len(), 2);
        assert_eq!(told("port", "create.start", r#"{"port": {"network_id": "n"}}"#), Some(vec![]));
        assert_eq!(told("port", "create.end", "{}"), None);
    }

    #[test]
    fn what_is_gone_is_named_by_its_id() {
        let port = told("port", "delete.end", &format!(r#"{{"port_id": "p9", "port": {PORT}}}"#)).unwrap();
        assert_eq!(port, [Change::PortGone("p9".into())]);
        assert_eq!(told("port", "delete.start", r#"{"port_id": "p9"}"#), Some(vec![]));
        let ip = told("floatingip", "delete.end", r#"{"floatingip_id": "f", "floatingip": {}}"#).unwrap();
        assert_eq!(ip, [Change::FloatingIpGone("f".into())]);
        assert_eq!(told("port", "delete.end", r#"{"port_id": 7}"#), None);
    }

    #[test]
    fn floating_ip_says_where_it_leads() {
        let ip = r#"{"floatingip": {"id": "f", "floating_ip_address": "198.51.100.43", "floating_network_id": "ext", "port_id": null, "status": "DOWN"}}"#;
        assert!(matches!(&told("floatingip", "create.end", ip).unwrap()[..], [Change::FloatingIp(ip)] if ip.port_id.is_none()));
    }

    #[test]
    fn tags_of_ports_want_a_list() {
        assert_eq!(
            told("tag", "update.end", r#"{"parent_resource": "ports", "parent_resource_id": "p", "tags": []}"#),
            Some(vec![Change::Lost])
        );
        assert_eq!(told("tag", "update.end", r#"{"parent_resource": "networks"}"#), Some(vec![]));
    }
}
