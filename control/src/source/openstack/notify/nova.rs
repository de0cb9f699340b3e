//! Nova's notifications, versioned (`instance.*`, nova/notifications/objects/instance.py) and legacy (`compute.instance.*`).

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::super::change::{Change, ServerChange};

/// What is done to a server, by the legacy notifications' names, while it is not expected to answer. They do not say the task state.
const ACTIONS: [&str; 22] = [
    "power_off",
    "power_on",
    "pause",
    "unpause",
    "suspend",
    "resume",
    "shelve",
    "shelve_offload",
    "unshelve",
    "reboot",
    "rebuild",
    "resize",
    "resize.prep",
    "resize.confirm",
    "resize.revert",
    "finish_resize",
    "live_migration.pre",
    "live_migration.post",
    "live_migration.post.dest",
    "live_migration.rollback",
    "rescue",
    "unrescue",
];

/// Nova's `vm_state` in the words of the API's `status` (nova/api/openstack/common.py, the default of each state; what is being done to
/// the server is in the task state).
fn status(vm_state: &str) -> &'static str {
    match vm_state {
        "active" => "ACTIVE",
        "building" => "BUILD",
        "stopped" => "SHUTOFF",
        "resized" => "VERIFY_RESIZE",
        "paused" => "PAUSED",
        "suspended" => "SUSPENDED",
        "rescued" => "RESCUE",
        "deleted" => "DELETED",
        "soft-delete" => "SOFT_DELETED",
        "shelved" => "SHELVED",
        "shelved_offloaded" => "SHELVED_OFFLOADED",
        _ => "ERROR",
    }
}

/// A field that may be null tells something by it: `Some(None)`.
fn told<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(from).map(Some)
}

#[derive(Deserialize)]
struct Object {
    #[serde(rename = "nova_object.data")]
    data: Versioned,
}

#[derive(Deserialize)]
struct Versioned {
    uuid: String,
    #[serde(default)]
    display_name: Option<String>,
    #[serde(default)]
    tenant_id: Option<String>,
    #[serde(default)]
    state: Option<String>,
    #[serde(default, deserialize_with = "told")]
    task_state: Option<Option<String>>,
    #[serde(default)]
    metadata: Option<BTreeMap<String, String>>,
    #[serde(default)]
    host: Option<String>,
}

/// `instance.EVENT`; `None`: it cannot be read.
pub(super) fn versioned(event: &str, payload: Value) -> Option<Vec<Change>> {
    let Object { data } = serde_json::from_value(payload).ok()?;
    if event == "delete.end" {
        return Some(vec![Change::ServerGone(data.uuid)]);
    }
    let Versioned { uuid, display_name, tenant_id, state, task_state, metadata, host } = data;
    let task_state = if event == "delete.start" { Some(Some("deleting".to_owned())) } else { task_state };
    Some(vec![Change::Server(ServerChange {
        id: uuid,
        name: display_name,
        project: tenant_id,
        status: state.map(|state| status(&state).to_owned()),
        task_state,
        metadata,
        host,
        fixed_ips: vec![],
    })])
}

#[derive(Deserialize)]
struct Legacy {
    instance_id: String,
    #[serde(default)]
    display_name: Option<String>,
    #[serde(default)]
    tenant_id: Option<String>,
    #[serde(default)]
    state: Option<String>,
    /// Of an update.
    #[serde(default, deserialize_with = "told")]
    new_task_state: Option<Option<String>>,
    #[serde(default)]
    metadata: Option<Value>,
    #[serde(default)]
    host: Option<String>,
}

/// `compute.instance.EVENT`; `None`: it cannot be read.
pub(super) fn legacy(event: &str, payload: Value) -> Option<Vec<Change>> {
    // Some are written as `live_migration._post.start`.
    let action = event.strip_suffix(".start").or_else(|| event.strip_suffix(".end")).unwrap_or(event).replace("._", ".");
    let action = action.as_str();
    let known = ACTIONS.contains(&action) || ["create", "delete", "soft_delete", "restore", "update"].contains(&action);
    if !known {
        return Some(vec![]);
    }
    let Legacy { instance_id, display_name, tenant_id, state, new_task_state, metadata, host } = serde_json::from_value(payload).ok()?;
    let begins = event.ends_with(".start");
    let task_state = match (action, begins) {
        ("delete", false) => return Some(vec![Change::ServerGone(instance_id)]),
        ("update", _) => new_task_state,
        ("delete" | "soft_delete", true) => Some(Some("deleting".to_owned())),
        (_, true) => Some(Some(action.to_owned())),
        (_, false) => Some(None),
    };
    Some(vec![Change::Server(ServerChange {
        id: instance_id,
        name: display_name,
        project: tenant_id,
        status: state.map(|state| status(&state).to_owned()),
        task_state,
        // An empty one was a list in some releases.
        metadata: metadata.and_then(|metadata| serde_json::from_value(metadata).ok()),
        host,
        fixed_ips: vec![],
    })])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hosts::Monitor;
    use crate::source::openstack::life;

    /// What the message makes of its server: how it is expected to be, or that it is gone.
    fn expected(change: &[Change]) -> Option<Monitor> {
        match change {
            [Change::Server(change)] => {
                let task = change.task_state.clone().flatten();
                Some(life::monitor(change.status.as_deref().unwrap_or("ACTIVE"), task.as_deref()))
            }
            [Change::ServerGone(id)] if id == "a" => Some(Monitor::Off),
            _ => None,
        }
    }

    fn of_versioned(event: &str, state: &str, task: Option<&str>) -> Option<Monitor> {
        let data = serde_json::json!({"uuid": "a", "display_name": "web", "tenant_id": "shop", "state": state, "task_state": task,
            "metadata": {"rollcall": "on"}, "host": "compute-001", "block_devices": [], "ip_addresses": []});
        let payload =
            serde_json::json!({"nova_object.name": "InstanceActionPayload", "nova_object.version": "1.8", "nova_object.data": data});
        expected(&versioned(event, payload).unwrap())
    }

    fn of_legacy(event: &str, state: &str, task: Option<&str>) -> Option<Monitor> {
        let mut payload =
            serde_json::json!({"instance_id": "a", "display_name": "web", "tenant_id": "shop", "state": state, "metadata": {}});
        if event == "update" {
            payload["new_task_state"] = serde_json::json!(task);
        }
        expected(&legacy(event, payload).unwrap())
    }

    /// As a real Nova 34 tells of a server's life, in its order.
    #[test]
    fn life_of_a_server_is_followed_by_either_kind() {
        use Monitor::{Off, On, Silent};
        let life = [
            ("create.start", "building", Some("spawning"), Silent),
            ("update", "active", None, On),
            ("create.end", "active", None, On),
            ("update", "active", Some("powering-off"), Silent),
            ("power_off.start", "active", Some("powering-off"), Silent),
            ("update", "stopped", None, Silent),
            ("power_off.end", "stopped", None, Silent),
            ("power_on.start", "stopped", Some("powering-on"), Silent),
            ("power_on.end", "active", None, On),
            ("reboot.start", "active", Some("rebooting"), Silent),
            ("pause.end", "paused", None, Silent),
            ("soft_delete.end", "soft-delete", None, Off),
            ("delete.start", "active", Some("deleting"), Silent),
            ("delete.end", "deleted", None, Off),
        ];
        for (event, state, task, is) in life {
            assert_eq!(of_versioned(event, state, task), Some(is), "instance.{event} {state}");
            assert_eq!(of_legacy(event, state, task), Some(is), "compute.instance.{event} {state}");
        }
        assert_eq!(of_versioned("live_migration_post.start", "active", Some("migrating")), Some(Silent));
        assert_eq!(of_legacy("live_migration._post.start", "active", None), Some(Silent));
    }

    #[test]
    fn all_that_is_said_of_a_server_is_taken() {
        let payload = serde_json::json!({"nova_object.data": {"uuid": "a", "display_name": "web", "tenant_id": "shop", "state": "active",
            "task_state": null, "metadata": {"rollcall-policy": "gold"}, "host": "compute-001"}});
        let changes = versioned("update", payload).unwrap();
        let [Change::Server(change)] = &changes[..] else { panic!("{changes:?}") };
        assert_eq!(
            (change.name.as_deref(), change.project.as_deref(), change.host.as_deref()),
            (Some("web"), Some("shop"), Some("compute-001"))
        );
        assert_eq!((change.status.as_deref(), &change.task_state), (Some("ACTIVE"), &Some(None)));
        assert_eq!(change.metadata.as_ref().unwrap()["rollcall-policy"], "gold");
    }

    #[test]
    fn what_is_no_life_says_nothing_and_what_is_broken_says_so() {
        assert_eq!(of_legacy("exists", "active", None), None);
        assert_eq!(of_legacy("shutdown.end", "active", None), None, "a part of a deletion");
        assert_eq!(versioned("update", serde_json::json!({"nova_object.data": {"state": "active"}})), None);
        assert_eq!(legacy("update", serde_json::json!({})), None);
    }
}
