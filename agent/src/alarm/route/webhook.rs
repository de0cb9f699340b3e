//! Route `webhook`: one documented JSON object for each POST. The schema is in [`crate::alarm`].

use std::time::SystemTime;

use serde::Serialize;

use super::Failure;
use super::endpoint::{Endpoint, EndpointConfig};
use crate::alarm::config::{RouteMistake, WebhookConfig};
use crate::alarm::notice::{Notice, stamp};

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
    summary: String,
    host: Host<'a>,
    network: &'a str,
    address: String,
    mac: Option<&'a str>,
    policy: &'a str,
    at: String,
    since: String,
    last_reply: Option<String>,
    ended: Option<String>,
    misses: u32,
    interval_seconds: f64,
    timeout_seconds: f64,
    folded: u32,
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
    Item {
        id: notice.id(),
        alarm: alarm.id.to_string(),
        status: notice.kind.name(),
        summary: notice.summary(),
        host: Host { id: &subject.id, name: &subject.name, project: &subject.project, tags: &subject.tags },
        network: &subject.network,
        address: subject.address.to_string(),
        mac: subject.mac.as_deref(),
        policy: &subject.policy,
        at: stamp(alarm.at),
        since: stamp(alarm.since),
        last_reply: alarm.last_reply.map(stamp),
        ended: notice.ended.map(stamp),
        misses: alarm.misses,
        interval_seconds: alarm.interval.as_secs_f64(),
        timeout_seconds: alarm.timeout.as_secs_f64(),
        folded: notice.folded,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
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
            "summary": notices[0].summary(),
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
}
