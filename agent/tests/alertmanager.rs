//! The Alertmanager route against a real Alertmanager, as Debian packages it.
#![cfg(feature = "dataplane")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rollcall_agent::alarm::{Change, Down, Key, Matter, Recovery, RouteConfig, Service, Subject};
use serde_json::Value;

/// As in the PATH: `cargo xtask test` unpacks Debian's package where none is installed.
const BINARY: &str = "prometheus-alertmanager";

/// A running Alertmanager on a port of its own; ends with the test, whatever way the test ends.
struct Alertmanager {
    child: Child,
    address: SocketAddr,
    http: reqwest::Client,
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        // It may have ended by itself: then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Alertmanager {
    async fn start(directory: &Path, address: SocketAddr) -> Alertmanager {
        let config = directory.join("alertmanager.yml");
        std::fs::write(&config, "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n").unwrap();
        let storage = tempfile::tempdir_in(directory).unwrap().keep();
        let log = std::fs::File::create(directory.join("alertmanager.log")).unwrap();
        let child = Command::new(BINARY)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.path={}", storage.display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--cluster.listen-address=")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
        let alertmanager = Alertmanager { child, address, http };
        for _ in 0..1000 {
            if alertmanager.ask("/-/ready").await.is_some_and(|answer| answer.status().is_success()) {
                return alertmanager;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("Alertmanager is not ready after 20 s: {}", std::fs::read_to_string(directory.join("alertmanager.log")).unwrap());
    }

    async fn ask(&self, path: &str) -> Option<reqwest::Response> {
        self.http.get(format!("http://{}{path}", self.address)).send().await.ok()
    }

    /// The alerts that it holds to be firing.
    async fn alerts(&self) -> Vec<Value> {
        self.ask("/api/v2/alerts").await.unwrap().json().await.unwrap()
    }

    async fn until(&self, what: &str, holds: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let mut alerts = Vec::new();
        for _ in 0..600 {
            alerts = self.alerts().await;
            if holds(&alerts) {
                return alerts;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("waited 30 s in vain: {what}; it has {alerts:?}");
    }
}

/// A directory and an address for one Alertmanager; `None` when there is none to run.
fn place() -> Option<(tempfile::TempDir, SocketAddr)> {
    if Command::new(BINARY).arg("--version").output().is_err() {
        println!("SKIPPED: prometheus-alertmanager is not installed: apt-get install prometheus-alertmanager");
        return None;
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    Some((tempfile::tempdir().unwrap(), listener.local_addr().unwrap()))
}

fn service(address: SocketAddr, state_dir: &Path) -> Service {
    #[derive(serde::Deserialize)]
    struct File {
        route: Vec<RouteConfig>,
    }
    let text = format!(
        "[[route]]\ntype = \"alertmanager\"\nname = \"am\"\nurl = \"http://{address}\"\nresend = \"1s\"\nretry_min = \"50ms\"\n\
         retry_max = \"200ms\"\nexternal_url = \"http://agent.example:9000\"\nlabels = {{ severity = \"critical\" }}\n"
    );
    Recovery::read(&toml::from_str::<File>(&text).unwrap().route, state_dir).unwrap().start([])
}

fn key(host: u16) -> Key {
    let [high, low] = host.to_be_bytes();
    Key::new("net-a", IpAddr::V4(Ipv4Addr::new(10, 0, high, low)))
}

fn down(host: u16) -> Change {
    let at = SystemTime::now();
    let Key { network, address, .. } = key(host);
    let subject = Subject {
        id: format!("i-{host:04}"),
        name: format!("web-{host}"),
        project: "shop".into(),
        network,
        address,
        mac: None,
        tags: vec!["edge".into()],
        policy: "gold".into(),
        routes: vec!["am".into()],
        matter: Matter::Down,
    };
    Change::Down(Down {
        subject: Arc::new(subject),
        at,
        since: at - Duration::from_millis(700),
        last_reply: None,
        misses: 3,
        interval: Duration::from_secs(1),
        timeout: Duration::from_millis(300),
    })
}

fn ends(alerts: &[Value]) -> SystemTime {
    humantime::parse_rfc3339(alerts[0]["endsAt"].as_str().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_lives_as_long_as_it_fires_and_no_longer() {
    let Some((directory, address)) = place() else { return };
    let state_dir = directory.path().join("state");
    let alertmanager = Alertmanager::start(directory.path(), address).await;
    let agent = service(address, &state_dir);
    agent.send(down(1));
    let first = alertmanager.until("the alert fires", |alerts| alerts.len() == 1).await;
    let labels = serde_json::json!({
        "alertname": "RollcallHostDown", "network": "net-a", "address": "10.0.0.1", "host_id": "i-0001", "host": "web-1",
        "project": "shop", "policy": "gold", "severity": "critical",
    });
    assert_eq!(first[0]["labels"], labels);
    assert_eq!(first[0]["generatorURL"], "http://agent.example:9000/v1/hosts/i-0001");
    assert_eq!(first[0]["annotations"]["summary"], "web-1 (10.0.0.1) in net-a is down");

    // Sent again and again: its end moves beyond the one that the first POST gave it, and it stays one alert.
    let beyond = ends(&first) + Duration::from_secs(2);
    let kept = alertmanager.until("it is sent again", |alerts| alerts.len() == 1 && ends(alerts) > beyond).await;
    assert_eq!((&kept[0]["startsAt"], &kept[0]["fingerprint"]), (&first[0]["startsAt"], &first[0]["fingerprint"]));

    // The agent dies: nobody keeps the alert alive, so it must have been the agent.
    agent.shutdown(Duration::from_secs(1)).await;
    alertmanager.until("it ends without the agent", <[Value]>::is_empty).await;

    // The agent is back, and needs no new verdict to go on.
    let agent = service(address, &state_dir);
    assert_eq!(agent.firing_count(), 1);
    let again = alertmanager.until("it fires again", |alerts| alerts.len() == 1).await;
    assert_eq!(again[0]["labels"], labels);

    // Alertmanager itself loses its memory.
    drop(alertmanager);
    let alertmanager = Alertmanager::start(directory.path(), address).await;
    alertmanager.until("the new one is told as well", |alerts| alerts.len() == 1).await;

    agent.send(Change::Up { key: key(1), at: SystemTime::now() });
    alertmanager.until("it is resolved", <[Value]>::is_empty).await;
    // The end is repeated, and stays the end.
    let rounds = agent.stats()[0].delivered;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(alertmanager.alerts().await, Vec::<Value>::new());
    assert_eq!((agent.stats()[0].delivered, agent.stats()[0].queued), (rounds, 0));

    // The next outage of the same address is an alert again, though the end of the last one is still repeated.
    agent.send(down(1));
    let next = alertmanager.until("the next outage", |alerts| alerts.len() == 1).await;
    assert!(next[0]["startsAt"].as_str() > first[0]["startsAt"].as_str());
    let beyond = ends(&next) + Duration::from_secs(2);
    alertmanager.until("it is kept alive too", |alerts| alerts.len() == 1 && ends(alerts) > beyond).await;
    agent.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_arrives_whole_after_the_alertmanager_was_away_and_a_stop_makes_it_vanish() {
    let Some((directory, address)) = place() else { return };
    let agent = service(address, &directory.path().join("state"));
    (1..=1200).for_each(|host| agent.send(down(host)));
    while agent.stats()[0].failed_attempts < 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    agent.send(Change::Up { key: key(1), at: SystemTime::now() });
    agent.send(Change::Forgotten { key: key(2), at: SystemTime::now() });
    let alertmanager = Alertmanager::start(directory.path(), address).await;
    let alerts = alertmanager.until("all but those that ended meanwhile", |alerts| alerts.len() == 1198).await;
    for gone in ["i-0001", "i-0002"] {
        assert!(!alerts.iter().any(|alert| alert["labels"]["host_id"] == gone), "{gone}");
    }
    (3..=1200).for_each(|host| agent.send(Change::Forgotten { key: key(host), at: SystemTime::now() }));
    alertmanager.until("the stopped hosts' alerts vanish", <[Value]>::is_empty).await;
    assert_eq!(agent.firing_count(), 0);
    agent.shutdown(Duration::from_secs(1)).await;
}
