//! A receiver for webhooks that answers as a test wants it to, and an alarm stage to feed.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use rollcall_agent::alarm::{Change, Down, Key, Matter, Recovery, RouteConfig, RouteReport, Service, Subject};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What the receiver saw and how it answers.
pub(crate) type Answer = dyn Fn(&HeaderMap, &Value) -> (StatusCode, String) + Send + Sync;

pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    /// The bodies that were acknowledged.
    pub(crate) accepted: Arc<Mutex<Vec<Value>>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

#[derive(Clone)]
struct Desk {
    answer: Arc<Answer>,
    accepted: Arc<Mutex<Vec<Value>>>,
}

impl Receiver {
    pub(crate) async fn start(port: u16, answer: impl Fn(&HeaderMap, &Value) -> (StatusCode, String) + Send + Sync + 'static) -> Receiver {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let desk = Desk { answer: Arc::new(answer), accepted: Arc::default() };
        let accepted = desk.accepted.clone();
        let app = Router::new().route("/in", post(take)).with_state(desk);
        let (stop, mut stopped) = watch::channel(false);
        let stopped = async move { drop(stopped.wait_for(|stop| *stop).await) };
        let task = tokio::spawn(async move { axum::serve(listener, app).with_graceful_shutdown(stopped).await.unwrap() });
        Receiver { address, accepted, stop, task }
    }

    /// Ends it, with all its connections.
    pub(crate) async fn close(mut self) {
        self.stop.send_replace(true);
        (&mut self.task).await.unwrap();
    }

    pub(crate) async fn always(status: StatusCode) -> Receiver {
        Receiver::start(0, move |_, _| (status, String::new())).await
    }

    pub(crate) fn alarms(&self) -> Vec<Value> {
        self.accepted.lock().unwrap().iter().flat_map(|body| body["alarms"].as_array().unwrap().clone()).collect()
    }

    pub(crate) fn seen(&self) -> Vec<(String, String)> {
        self.alarms().iter().map(|alarm| (text(&alarm["address"]), text(&alarm["status"]))).collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take(State(desk): State<Desk>, headers: HeaderMap, axum::Json(body): axum::Json<Value>) -> (StatusCode, String) {
    let answer = (desk.answer)(&headers, &body);
    if answer.0.is_success() {
        desk.accepted.lock().unwrap().push(body);
    }
    answer
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not a string: {value}")).to_owned()
}

pub(crate) fn route(address: SocketAddr, more: &str) -> Vec<RouteConfig> {
    #[derive(serde::Deserialize)]
    struct File {
        route: Vec<RouteConfig>,
    }
    let text = format!(
        "[[route]]\ntype = \"webhook\"\nname = \"pager\"\nurl = \"http://{address}/in\"\nretry_min = \"10ms\"\nretry_max = \"40ms\"\n{more}"
    );
    toml::from_str::<File>(&text).unwrap().route
}

pub(crate) fn start(routes: &[RouteConfig], directory: &Path) -> Service {
    Recovery::read(routes, directory).unwrap().start([])
}

pub(crate) fn address(host: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, host))
}

pub(crate) fn key(host: u8) -> Key {
    Key::new("net-a", address(host))
}

pub(crate) fn down(host: u8) -> Change {
    let at = SystemTime::now();
    let subject = Subject {
        id: format!("i-{host:04}"),
        name: format!("web-{host}"),
        project: "shop".into(),
        network: "net-a".into(),
        address: address(host),
        mac: Some("fa:16:3e:00:00:01".into()),
        tags: vec!["edge".into()],
        policy: "gold".into(),
        routes: vec!["pager".into()],
        matter: Matter::Down,
    };
    Change::Down(Down {
        subject: Arc::new(subject),
        at,
        since: at - Duration::from_millis(700),
        last_reply: Some(at - Duration::from_millis(1700)),
        misses: 3,
        interval: Duration::from_secs(1),
        timeout: Duration::from_millis(300),
    })
}

pub(crate) fn up(host: u8) -> Change {
    Change::Up { key: key(host), at: SystemTime::now() }
}

pub(crate) fn forgotten(host: u8) -> Change {
    Change::Forgotten { key: key(host), at: SystemTime::now() }
}

/// Waits for what must come; a test that waits in vain says for what.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited 30 s in vain: {what}");
}

/// A port of the loopback where nobody listens.
pub(crate) async fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

pub(crate) fn pager(service: &Service) -> RouteReport {
    service.stats().remove(0)
}
