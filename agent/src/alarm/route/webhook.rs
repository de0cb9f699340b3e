//! Route `webhook`: one documented JSON object for each POST. The schema is in [`crate::alarm`].

use std::time::SystemTime;

use serde::Serialize;

use super::Failure;
use super::endpoint::{Endpoint, EndpointConfig};
use crate::alarm::config::{RouteMistake, WebhookConfig};
use crate::alarm::matter::{Matter, Outage};
use crate::alarm::notice::{Notice, stamp};
use crate::unit::Blind;

/// Version of the schema. New fields may come without a new version: receivers ignore what they do not know.
const VERSION: u32 = 1;

/// A receiver of JSON.
#[derive(Debug)]
pub(in crate::alarm) struct Webhook {
    route: String,
    endpoint: Endpoint,
}

#[derive(Serialize)]
struct Body<'a> {
    version: u32,
    agent: &'static str,
    route: &'a str,
    sent: String,
    alarms: Vec<Item<'a>>,
}

#[derive(Serialize)]
struct Item<'a> {
    id: String,
    alarm: String,
    status: &'static str,
    kind: &'static str,
    summary: String,
    host: Option<Host<'a>>,
    network: Option<&'a str>,
    address: Option<String>,
    mac: Option<&'a str>,
    policy: Option<&'a str>,
    at: String,
    since: String,
    last_reply: Option<String>,
    ended: Option<String>,
    misses: u32,
    interval_seconds: f64,
    timeout_seconds: f64,
    folded: u32,
    detail: Option<Detail<'a>>,
}

/// What there is to be said of a matter; the fields are named in [`crate::alarm`].
#[derive(Serialize)]
#[serde(untagged)]
enum Detail<'a> {
    Conflict { expected_mac: Option<&'a str>, found_mac: Option<&'a str> },
    Flapping { changes: u32, window_seconds: f64 },
    Outage(&'a Outage),
    Blind { reason: Blind, networks: &'a [String] },
}

#[derive(Serialize)]
struct Host<'a> {
    id: &'a str,
    name: &'a str,
    project: &'a str,
    tags: &'a [String],
}

impl Webhook {
    pub(super) fn open(config: &WebhookConfig) -> Result<Webhook, RouteMistake> {
        let endpoint = Endpoint::open(EndpointConfig {
            route: &config.name,
            url: &config.url,
            path: "",
            token_file: config.token_file.as_deref(),
            token_env: config.token_env.as_deref(),
            headers: &config.headers,
            timeout: config.timeout,
        })?;
        Ok(Webhook { route: config.name.clone(), endpoint })
    }

    pub(super) async fn deliver(&self, notices: &[Notice], now: SystemTime) -> Result<(), Failure> {
        self.endpoint.post(body(&self.route, notices, now)).await
    }
}

fn body(route: &str, notices: &[Notice], now: SystemTime) -> Vec<u8> {
    let body = Body {
        version: VERSION,
        agent: concat!("rollcall-agent/", env!("CARGO_PKG_VERSION")),
        route,
        sent: stamp(now),
        alarms: notices.iter().map(item).collect(),
    };
    // Strings and numbers alone: there is nothing here that JSON could not say.
    serde_json::to_vec(&body).unwrap_or_default()
}

fn item(notice: &Notice) -> Item<'_> {
    let alarm = &*notice.alarm;
    let subject = &*alarm.subject;
    let of_address = subject.matter.what().is_of_address();
    Item {
        id: notice.id(),
        alarm: alarm.id.to_string(),
        status: notice.kind.name(),
        kind: subject.matter.what().name(),
        summary: notice.summary(),
        host: of_address.then(|| Host { id: &subject.id, name: &subject.name, project: &subject.project, tags: &subject.tags }),
        network: Some(subject.network.as_str()).filter(|name| !name.is_empty()),
        address: of_address.then(|| subject.address.to_string()),
        mac: subject.mac.as_deref(),
        policy: of_address.then_some(subject.policy.as_str()),
        at: stamp(alarm.at),
        since: stamp(alarm.since),
        last_reply: alarm.last_reply.map(stamp),
        ended: notice.ended.map(stamp),
        misses: alarm.misses,
        interval_seconds: alarm.interval.as_secs_f64(),
        timeout_seconds: alarm.timeout.as_secs_f64(),
        folded: notice.folded,
        detail: detail(&subject.matter),
    }
}

fn detail(matter: &Matter) -> Option<Detail<'_>> {
    match matter {
        Matter::Down => None,
        Matter::Conflict { expected, found } => Some(Detail::Conflict { expected_mac: expected.as_deref(), found_mac: found.as_deref() }),
        Matter::Flapping { changes, window } => Some(Detail::Flapping { changes: *changes, window_seconds: window.as_secs_f64() }),
        Matter::Outage(outage) => Some(Detail::Outage(outage)),
        Matter::Blind { reason, networks } => Some(Detail::Blind { reason: *reason, networks }),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::alarm::matter::{OutageHost, Scope};
    use crate::alarm::notice::{Alarm, Kind};
    use crate::alarm::sample;

    #[test]
    fn the_body_is_the_documented_schema_to_the_last_field() {
        let alarm = Arc::new(Alarm::from(sample::down("10.0.0.1", 1_000)));
        let ended = Some(sample::at(1_060));
        let notices = [
            Notice { alarm: alarm.clone(), kind: Kind::Firing, ended: None, folded: 0 },
            Notice { alarm: alarm.clone(), kind: Kind::Resolved, ended, folded: 1 },
        ];
        let body: Value = serde_json::from_slice(&body("pager", &notices, sample::at(1_001))).unwrap();
        let firing = json!({
            "id": format!("{}.firing", alarm.id), "alarm": alarm.id.to_string(), "status": "firing",
            "kind": "down", "detail": null, "summary": notices[0].summary(),
            "host": {"id": "i-10.0.0.1", "name": "web", "project": "shop", "tags": ["edge"]},
            "network": "net-a", "address": "10.0.0.1", "mac": "fa:16:3e:00:00:01", "policy": "gold",
            "at": "1970-01-01T00:16:40.000Z", "since": "1970-01-01T00:16:39.000Z",
            "last_reply": "1970-01-01T00:16:38.000Z", "ended": null,
            "misses": 3, "interval_seconds": 1.0, "timeout_seconds": 0.3, "folded": 0,
        });
        let mut resolved = firing.clone();
        resolved["id"] = format!("{}.resolved", alarm.id).into();
        resolved["status"] = "resolved".into();
        resolved["summary"] = notices[1].summary().into();
        resolved["ended"] = "1970-01-01T00:17:40.000Z".into();
        resolved["folded"] = 1.into();
        let expected = json!({
            "version": 1, "agent": concat!("rollcall-agent/", env!("CARGO_PKG_VERSION")), "route": "pager",
            "sent": "1970-01-01T00:16:41.000Z", "alarms": [firing, resolved],
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn other_matters_say_their_kind_and_detail_and_what_they_are_not_about_is_null() {
        let host = OutageHost { id: "i-1".into(), name: "web".into(), network: "net-a".into(), address: [10, 0, 0, 1].into() };
        let outage = Outage { scope: Scope::Tag, name: "hypervisor=h1".into(), wave: 1, silent: 25, watched: 40, hosts: vec![host] };
        let cases = [
            (
                Matter::Conflict { expected: Some("fa:16:3e:00:00:01".into()), found: Some("02:00:00:00:00:66".into()) },
                json!({"expected_mac": "fa:16:3e:00:00:01", "found_mac": "02:00:00:00:00:66"}),
            ),
            (Matter::Flapping { changes: 6, window: Duration::from_secs(600) }, json!({"changes": 6, "window_seconds": 600.0})),
            (
                Matter::Outage(outage),
                json!({"scope": "tag", "name": "hypervisor=h1", "wave": 1, "silent": 25, "watched": 40,
                       "hosts": [{"id": "i-1", "name": "web", "network": "net-a", "address": "10.0.0.1"}]}),
            ),
            (
                Matter::Blind { reason: Blind::LinkDown, networks: vec!["a".into(), "b".into()] },
                json!({"reason": "link-down", "networks": ["a", "b"]}),
            ),
        ];
        for (matter, detail) in cases {
            let (kind, of_address) = (matter.what().name(), matter.what().is_of_address());
            let alarm = Arc::new(Alarm::from(sample::about(matter, 1_000)));
            let notice = Notice { alarm, kind: Kind::Firing, ended: None, folded: 0 };
            let body: Value = serde_json::from_slice(&body("pager", &[notice], sample::at(1_001))).unwrap();
            let item = &body["alarms"][0];
            assert_eq!((&item["kind"], &item["detail"]), (&json!(kind), &detail));
            for field in ["host", "address", "policy"] {
                assert_eq!(item[field].is_null(), !of_address, "{kind}: {field}");
            }
        }
    }
}
