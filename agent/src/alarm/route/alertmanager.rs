//! Route `alertmanager`: API v2, `POST /api/v2/alerts`, with a client's duties as its documentation names them:
//! firing alerts are sent again and again, resolved ones with an explicit end and for some minutes more.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use reqwest::Url;
use serde::Serialize;

use super::Failure;
use super::endpoint::{Endpoint, EndpointConfig};
use crate::alarm::config::{AlertmanagerConfig, RouteMistake};
use crate::alarm::matter::{Matter, What};
use crate::alarm::notice::{Alarm, Notice, stamp};

/// The labels that identify an alert: nothing here changes while it fires.
pub(in crate::alarm) const LABELS: [&str; 9] =
    ["alertname", "network", "address", "host_id", "host", "project", "policy", "scope", "group"];

/// For how long a resolved alert is repeated, for an Alertmanager that missed it or was restarted.
pub(in crate::alarm) const REPEAT_RESOLVED: Duration = Duration::from_secs(300);

/// An Alertmanager.
#[derive(Debug)]
pub(in crate::alarm) struct Alertmanager {
    endpoint: Endpoint,
    resend: Duration,
    labels: BTreeMap<String, String>,
    external_url: Option<Url>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Alert<'a> {
    labels: BTreeMap<&'a str, &'a str>,
    annotations: BTreeMap<&'static str, String>,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL", skip_serializing_if = "Option::is_none")]
    generator_url: Option<String>,
}

impl Alertmanager {
    pub(super) fn open(config: &AlertmanagerConfig) -> Result<Alertmanager, RouteMistake> {
        let endpoint = Endpoint::open(EndpointConfig {
            route: &config.name,
            url: &config.url,
            path: "/api/v2/alerts",
            token_file: config.token_file.as_deref(),
            token_env: config.token_env.as_deref(),
            headers: &config.headers,
            timeout: config.timeout,
        })?;
        let external_url = config.external_url.as_deref().map(|text| {
            Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https")).ok_or_else(|| RouteMistake {
                route: config.name.clone(),
                field: "external_url",
                found: format!("{text:?}"),
                allowed: "http://HOST[:PORT] or https://HOST[:PORT]".into(),
            })
        });
        let labels = config.labels.clone();
        Ok(Alertmanager { endpoint, resend: config.resend, labels, external_url: external_url.transpose()? })
    }

    pub(super) async fn deliver(&self, notices: &[Notice], now: SystemTime) -> Result<(), Failure> {
        self.endpoint.post(self.body(notices, now)).await
    }

    fn body(&self, notices: &[Notice], now: SystemTime) -> Vec<u8> {
        let text = |notice: &Notice| (notice.alarm.subject.address.to_string(), notice.alarm.subject.matter.group());
        let texts: Vec<(String, String)> = notices.iter().map(text).collect();
        let alerts: Vec<Alert<'_>> =
            notices.iter().zip(&texts).map(|(notice, (address, group))| self.alert(notice, address, group, now)).collect();
        // Strings alone: there is nothing here that JSON could not say.
        serde_json::to_vec(&alerts).unwrap_or_default()
    }

    fn alert<'a>(&'a self, notice: &'a Notice, address: &'a str, group: &'a str, now: SystemTime) -> Alert<'a> {
        let Alarm { subject, at, .. } = &*notice.alarm;
        let what = subject.matter.what();
        let (scope, group) = match &subject.matter {
            Matter::Outage(outage) => (outage.scope.name(), group),
            Matter::Blind { .. } => ("", group),
            _ => ("", ""),
        };
        let address = if what.is_of_address() { address } else { "" };
        let own: [&str; 9] =
            [alertname(what), &subject.network, address, &subject.id, &subject.name, &subject.project, &subject.policy, scope, group];
        let mut labels: BTreeMap<&str, &str> = self.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        labels.extend(LABELS.into_iter().zip(own).filter(|(_, value)| !value.is_empty()));
        let (host, place) = (format!("{} ({}) in {}", subject.name, subject.address, subject.network), subject.address);
        let summary = match &subject.matter {
            Matter::Down => format!("{host} is down"),
            Matter::Conflict { .. } => format!("{host}: another MAC answers for the address"),
            Matter::Flapping { .. } => format!("{host} is flapping"),
            Matter::Outage(outage) => {
                format!("{} {}: {} of {} addresses fell silent", outage.scope, outage.name, outage.silent, outage.watched)
            }
            Matter::Blind { reason, networks } if networks.is_empty() => format!("the agent sees none of its networks: {reason}"),
            Matter::Blind { reason, networks } => format!("the agent cannot see {}: {reason}", networks.join(", ")),
        };
        let description = match what.is_of_address() {
            true => format!("{place} in {} {}", subject.network, notice.evidence()),
            false => notice.evidence(),
        };
        let mut annotations = BTreeMap::from([("summary", summary), ("description", description)]);
        if let Matter::Outage(outage) = &subject.matter {
            let hosts: Vec<String> = outage.hosts.iter().map(|host| format!("{} ({})", host.name, host.address)).collect();
            annotations.insert("hosts", hosts.join(", "));
        }
        if !subject.tags.is_empty() {
            annotations.insert("tags", subject.tags.join(", "));
        }
        let generator_url = self.external_url.as_ref().and_then(|base| {
            let mut url = base.clone();
            match what {
                What::Outage => {
                    url.path_segments_mut().ok()?.pop_if_empty().extend(["v1", "hosts"]);
                    url.query_pairs_mut().append_pair("verdict", "down");
                }
                What::Blind => drop(url.path_segments_mut().ok()?.pop_if_empty().extend(["v1", "status"])),
                _ => drop(url.path_segments_mut().ok()?.pop_if_empty().extend(["v1", "hosts", &subject.id])),
            }
            Some(url.into())
        });
        // While it fires the end is a promise to send again: kept, it moves on; broken, the alert ends by itself.
        let ends_at = notice.ended.unwrap_or_else(|| now.max(*at) + 4 * self.resend);
        Alert { labels, annotations, starts_at: stamp(*at), ends_at: stamp(ends_at.max(*at)), generator_url }
    }
}

/// The alert's name.
fn alertname(what: What) -> &'static str {
    match what {
        What::Down => "RollcallHostDown",
        What::Conflict => "RollcallAddressConflict",
        What::Flapping => "RollcallHostFlapping",
        What::Outage => "RollcallNetworkOutage",
        What::Blind => "RollcallAgentBlind",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::alarm::matter::{Outage, Scope};
    use crate::alarm::notice::Kind;
    use crate::alarm::{RouteConfig, sample};
    use crate::unit::Blind;

    fn route(text: &str) -> Result<Alertmanager, RouteMistake> {
        let text = format!("type = \"alertmanager\"\nname = \"am\"\nurl = \"http://127.0.0.1:9/prefix/\"\n{text}");
        let RouteConfig::Alertmanager(config) = toml::from_str(&text).unwrap() else { panic!() };
        Alertmanager::open(&config)
    }

    #[test]
    fn labels_are_identity_alone_and_the_end_moves_on_while_it_fires() {
        let route = route("external_url = \"https://agent.example/a\"\nlabels = { severity = \"critical\" }").unwrap();
        let mut down = sample::down("10.0.0.1", 1_000);
        Arc::make_mut(&mut down.subject).id = "i/1".into();
        let alarm = Arc::new(Alarm::from(down));
        let firing = Notice { alarm: alarm.clone(), kind: Kind::Firing, ended: None, folded: 0 };
        let body: Value = serde_json::from_slice(&route.body(&[firing], sample::at(1_100))).unwrap();
        assert_eq!(
            body[0]["labels"],
            json!({"alertname": "RollcallHostDown", "network": "net-a", "address": "10.0.0.1", "host_id": "i/1",
                   "host": "web", "project": "shop", "policy": "gold", "severity": "critical"})
        );
        assert_eq!(body[0]["startsAt"], stamp(sample::at(1_000)));
        assert_eq!(body[0]["endsAt"], stamp(sample::at(1_100 + 240)));
        assert_eq!(body[0]["generatorURL"], "https://agent.example/a/v1/hosts/i%2F1");
        let resolved = Notice { alarm, kind: Kind::Resolved, ended: Some(sample::at(1_050)), folded: 0 };
        let body: Value = serde_json::from_slice(&route.body(&[resolved], sample::at(1_100))).unwrap();
        assert_eq!(body[0]["endsAt"], stamp(sample::at(1_050)));
    }

    #[test]
    fn a_bad_external_url_is_a_mistake_of_that_field() {
        let mistake = route("external_url = \"agent.example\"").unwrap_err();
        assert_eq!((mistake.field, mistake.route.as_str()), ("external_url", "am"));
    }

    #[test]
    fn other_matters_are_alerts_of_their_own_name_with_identity_alone_in_their_labels() {
        let route = route("external_url = \"https://agent.example\"").unwrap();
        let first = |matter: Matter, network: &str| {
            let mut down = sample::about(matter, 1_000);
            let subject = Arc::make_mut(&mut down.subject);
            subject.network = network.into();
            if !subject.matter.what().is_of_address() {
                (subject.id, subject.name, subject.project, subject.policy) = Default::default();
            }
            let notice = Notice { alarm: Arc::new(Alarm::from(down)), kind: Kind::Firing, ended: None, folded: 0 };
            serde_json::from_slice::<Value>(&route.body(&[notice], sample::at(1_100))).unwrap()[0].take()
        };
        let of_address = |name: &str| json!({"alertname": name, "network": "net-a", "address": "10.0.0.1", "host_id": "i-10.0.0.1", "host": "web", "project": "shop", "policy": "gold"});
        let conflict = first(Matter::Conflict { expected: None, found: Some("02:00:00:00:00:66".into()) }, "net-a");
        assert_eq!(conflict["labels"], of_address("RollcallAddressConflict"));
        assert!(conflict["annotations"]["description"].as_str().unwrap().contains("02:00:00:00:00:66"));
        let flapping = first(Matter::Flapping { changes: 6, window: Duration::from_secs(600) }, "net-a");
        assert_eq!(flapping["labels"], of_address("RollcallHostFlapping"));
        let outage = Outage { scope: Scope::Tag, name: "hypervisor=h1".into(), wave: 1, silent: 25, watched: 40, hosts: vec![] };
        let outage = first(Matter::Outage(outage), "");
        assert_eq!(outage["labels"], json!({"alertname": "RollcallNetworkOutage", "scope": "tag", "group": "tag hypervisor=h1"}));
        assert_eq!(outage["generatorURL"], "https://agent.example/v1/hosts?verdict=down");
        let blind = first(Matter::Blind { reason: Blind::LinkDown, networks: vec!["net-a".into()] }, "net-a");
        assert_eq!(blind["labels"], json!({"alertname": "RollcallAgentBlind", "network": "net-a"}));
        assert_eq!(blind["annotations"]["summary"], "the agent cannot see net-a: link-down");
    }
}
