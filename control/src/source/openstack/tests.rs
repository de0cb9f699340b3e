//! What real services do not do when they are asked to: pages that fail, turn in circles, break off, tokens that are revoked.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::change::ServerChange;
use super::*;
use crate::hosts::Monitor;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// The third page of the ports fails.
    Page3(StatusCode),
    /// The page behind the second is the second.
    Circle,
    /// A page breaks off.
    Truncated,
    /// The last port of a page is deleted before the next is asked for, once or always.
    MarkerGone {
        times: u32,
    },
    /// The token is good for nothing after the first page; a new one is.
    Revoked,
    /// So is every new one.
    Locked,
    /// 200, and nobody there.
    Empty,
    /// Nova says so.
    NoServers,
    /// Neutron sends us somewhere else.
    Elsewhere,
    /// Links name a host that is not for us.
    Proxied,
    /// Nobody answers the ports.
    Hangs,
    /// Whatever is asked for, what was sent comes back, with that status.
    Echo(StatusCode),
    /// The servers changed a third of a grace ago, by a clock of Nova's that is not ours.
    Young,
}

#[derive(Clone)]
struct Cloud {
    fault: Arc<Mutex<Fault>>,
    base: String,
    tokens: Arc<AtomicU32>,
    asked: Arc<AtomicU32>,
    gone: Arc<AtomicU32>,
    ports: u32,
}

impl Cloud {
    /// So many ports, each with its server, in pages of three whatever is asked for.
    async fn start(ports: u32) -> Cloud {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let cloud = Cloud {
            fault: Arc::new(Mutex::new(Fault::None)),
            base,
            tokens: Arc::default(),
            asked: Arc::default(),
            gone: Arc::default(),
            ports,
        };
        let router = Router::new()
            .route("/identity/v3/auth/tokens", post(token))
            .route("/network/v2.0/networks", get(|| async { axum::Json(json!({"networks": [{"id": "net", "name": "blue"}]})) }))
            .route("/network/v2.0/ports", get(ports_page))
            .route("/compute/servers/detail", get(servers_page))
            .with_state(cloud.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        cloud
    }

    fn set(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
        self.asked.store(0, Ordering::Relaxed);
    }

    fn fault(&self) -> Fault {
        *self.fault.lock().unwrap()
    }

    fn source(&self) -> OpenStack {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clouds.yaml");
        let text = format!(
            "clouds:\n  lab:\n    auth:\n      auth_url: {}/identity\n      username: u\n      password: hunter2\n      project_name: p\n",
            self.base
        );
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let settings = OpenStackSettings::new("lab", Some("lab".into()), Some(path));
        OpenStack::new(OpenStackSettings { timeout: Duration::from_secs(2), ..settings }).unwrap()
    }
}

async fn token(State(cloud): State<Cloud>, asked: String) -> Response {
    if let Fault::Echo(status) = cloud.fault() {
        return (status, format!("<html>you sent {asked}")).into_response();
    }
    let number = cloud.tokens.fetch_add(1, Ordering::Relaxed) + 1;
    let endpoint = |kind: &str| json!({"type": kind, "endpoints": [{"interface": "public", "region_id": "R", "url": format!("{}/{kind}", cloud.base)}]});
    let body = json!({"token": {"issued_at": "2026-11-22T17:37:30.000000Z", "expires_at": "2026-11-22T18:37:30.000000Z",
        "catalog": [endpoint("network"), endpoint("compute")]}});
    (StatusCode::CREATED, [("X-Subject-Token", format!("token-{number}"))], axum::Json(body)).into_response()
}

/// Three records from behind the marker on, and a link.
fn page(cloud: &Cloud, key: &str, ids: &[String], record: impl Fn(&str) -> Value, query: &BTreeMap<String, String>, host: &str) -> Value {
    let from = query.get("marker").map_or(0, |marker| ids.iter().position(|id| id == marker).map_or(ids.len(), |at| at + 1));
    let some = &ids[from..ids.len().min(from + 3)];
    let mut links = vec![];
    if from + 3 < ids.len() {
        let marker = if cloud.fault() == Fault::Circle && from >= 3 { &ids[from - 1] } else { &some[2] };
        links.push(json!({"rel": "next", "href": format!("{host}/somewhere?limit=3&marker={marker}")}));
    }
    if from > 0 {
        links.push(json!({"rel": "previous", "href": "x"}));
    }
    json!({key: some.iter().map(|id| record(id)).collect::<Vec<_>>(), format!("{key}_links"): links})
}

async fn ports_page(State(cloud): State<Cloud>, headers: HeaderMap, Query(query): Query<BTreeMap<String, String>>) -> Response {
    let asked = cloud.asked.fetch_add(1, Ordering::Relaxed) + 1;
    let ids: Vec<String> = (0..cloud.ports).map(|n| format!("p{n:03}")).collect();
    let record = |id: &str| {
        let n: u32 = id[1..].parse().unwrap();
        json!({"id": id, "network_id": "net", "mac_address": format!("fa:16:3e:00:00:{n:02x}"), "device_id": format!("s{n:03}"),
            "device_owner": "compute:nova", "fixed_ips": [{"subnet_id": "sub", "ip_address": format!("10.0.0.{}", n + 1)}], "revision_number": 1})
    };
    let mut host = cloud.base.as_str();
    match cloud.fault() {
        Fault::Page3(status) if asked >= 3 => return (status, r#"{"NeutronError": {"message": "it went wrong"}}"#).into_response(),
        Fault::Truncated if asked == 2 => return (StatusCode::OK, r#"{"ports": [{"id": "p003", "network_"#).into_response(),
        Fault::MarkerGone { times } if query.contains_key("marker") && cloud.gone.fetch_add(1, Ordering::Relaxed) < times => {
            return (StatusCode::NOT_FOUND, r#"{"NeutronError": {"type": "PortNotFound", "message": "Port p002 could not be found."}}"#)
                .into_response();
        }
        Fault::Revoked if asked >= 2 && headers["X-Auth-Token"] == "token-1" => return StatusCode::UNAUTHORIZED.into_response(),
        Fault::Locked if asked >= 2 => return StatusCode::UNAUTHORIZED.into_response(),
        Fault::Empty => return axum::Json(json!({"ports": []})).into_response(),
        Fault::Elsewhere => return (StatusCode::FOUND, [("Location", "http://127.0.0.1:1/")]).into_response(),
        Fault::Proxied => host = "http://10.255.255.1:9696",
        Fault::Echo(status) => {
            let token = headers["X-Auth-Token"].to_str().unwrap();
            return (status, axum::Json(json!({"error": {"message": format!("no X-Auth-Token {token}, no hunter2")}}))).into_response();
        }
        Fault::Hangs => tokio::time::sleep(Duration::from_secs(60)).await,
        _ => {}
    }
    axum::Json(page(&cloud, "ports", &ids, record, &query, host)).into_response()
}

async fn servers_page(State(cloud): State<Cloud>, Query(query): Query<BTreeMap<String, String>>) -> Response {
    if cloud.fault() == Fault::NoServers {
        return axum::Json(json!({"servers": []})).into_response();
    }
    let ids: Vec<String> = (0..cloud.ports).map(|n| format!("s{n:03}")).collect();
    let mut record = json!({"tenant_id": "shop", "status": "ACTIVE"});
    let mut headers = HeaderMap::new();
    if cloud.fault() == Fault::Young {
        record["updated"] = "2026-11-22T17:59:40Z".into();
        headers.insert("Date", "Sun, 22 Nov 2026 18:00:00 GMT".parse().unwrap());
    }
    let record = |id: &str| {
        let mut record = record.clone();
        (record["id"], record["name"]) = (id.into(), id.into());
        record
    };
    (headers, axum::Json(page(&cloud, "servers", &ids, record, &query, &cloud.base))).into_response()
}

async fn list(source: &mut OpenStack) -> Result<usize, String> {
    source.list(&mut |_| {}).await.map(|listing| listing.hosts.len()).map_err(|error| error.to_string())
}

#[tokio::test]
async fn pages_are_followed_though_nobody_asked_for_them_and_whatever_host_their_links_name() {
    let cloud = Cloud::start(10).await;
    let mut source = cloud.source();
    assert_eq!(list(&mut source).await, Ok(10));
    cloud.set(Fault::Proxied);
    assert_eq!(list(&mut source).await, Ok(10));
    // An exact multiple of a page.
    let cloud = Cloud::start(9).await;
    assert_eq!(list(&mut cloud.source()).await, Ok(9));
}

#[tokio::test]
async fn fault_of_the_platform_is_an_error_that_says_what_and_changes_nothing() {
    let cloud = Cloud::start(10).await;
    let mut source = cloud.source();
    assert_eq!(list(&mut source).await, Ok(10));
    let before = source.known().unwrap();
    for (fault, said) in [
        (Fault::Page3(StatusCode::INTERNAL_SERVER_ERROR), "/network/v2.0/ports answers 500: it went wrong"),
        (Fault::Page3(StatusCode::FORBIDDEN), "refuses the credential: 403: it went wrong"),
        (Fault::Circle, "pages that go round in a circle"),
        (Fault::Truncated, "page 2: EOF while parsing"),
        (Fault::MarkerGone { times: 99 }, "a list that changed under each of 5 walks through its pages"),
        (Fault::Locked, "refuses the credential: 401"),
        (Fault::NoServers, "0 servers, and 10 of 10 ports belong to others"),
        (Fault::Elsewhere, "answers 302"),
        (Fault::Echo(StatusCode::FORBIDDEN), "403: no X-Auth-Token (secret), no (secret)"),
        (Fault::Echo(StatusCode::CONFLICT), "409: no X-Auth-Token (secret), no (secret)"),
        (Fault::Echo(StatusCode::BAD_GATEWAY), "502: no X-Auth-Token (secret), no (secret)"),
        (Fault::Hangs, "cannot be reached"),
    ] {
        cloud.set(fault);
        let error = list(&mut source).await.unwrap_err();
        assert!(error.contains(said) && !error.contains("hunter2") && !error.contains("token-"), "{fault:?}: {error}");
        assert_eq!(source.known().unwrap(), before, "{fault:?}");
    }
    cloud.set(Fault::None);
    assert_eq!(list(&mut source).await, Ok(10));
}

#[tokio::test]
async fn password_that_a_proxy_answers_is_not_shown() {
    let cloud = Cloud::start(1).await;
    for status in [StatusCode::UNAUTHORIZED, StatusCode::BAD_REQUEST, StatusCode::BAD_GATEWAY] {
        cloud.set(Fault::Echo(status));
        let error = list(&mut cloud.source()).await.unwrap_err();
        assert!(error.contains(&status.as_u16().to_string()) && !error.contains("hunt"), "{error}");
    }
    let mut source = cloud.source();
    source.client.credential.request = json!({"identity": {"password": {"user": {"password": "a\"b\\c"}}}});
    assert_eq!(source.client.said(br#"you sent {"password": "a\"b\\c"} or a"b\c"#), r#"you sent {"password": "(secret)"} or (secret)"#);
}

#[tokio::test]
async fn whoever_lists_a_cloud_for_the_first_time_leaves_young_servers_their_grace() {
    let cloud = Cloud::start(2).await;
    cloud.set(Fault::Young);
    // Each is one that was started anew, as by cron.
    for _ in 0..2 {
        let mut source = cloud.source();
        let listing = source.list(&mut |_| {}).await.unwrap();
        assert!(listing.hosts.iter().all(|host| host.monitor == Monitor::Silent), "{listing:?}");
        let left = source.world.next_grace().unwrap().saturating_duration_since(Instant::now());
        assert!((Duration::from_secs(30)..=Duration::from_secs(40)).contains(&left), "{left:?}");
    }
}

#[tokio::test]
async fn port_that_is_deleted_under_the_marker_begins_the_walk_anew() {
    let cloud = Cloud::start(10).await;
    cloud.set(Fault::MarkerGone { times: 2 });
    assert_eq!(list(&mut cloud.source()).await, Ok(10));
    assert!(cloud.asked.load(Ordering::Relaxed) > 4);
}

#[tokio::test]
async fn token_that_is_revoked_in_the_middle_of_a_list_is_renewed_once() {
    let cloud = Cloud::start(10).await;
    cloud.set(Fault::Revoked);
    assert_eq!(list(&mut cloud.source()).await, Ok(10));
    assert_eq!(cloud.tokens.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn lost_role_is_an_empty_list_which_is_not_believed_and_does_not_come_in_with_the_next_change() {
    let cloud = Cloud::start(10).await;
    let (sender, changes) = mpsc::channel(16);
    let source = cloud.source().following(Guard { percent: 20, allow: false }).unwrap();
    let mut source = OpenStack { changes: Some(changes), ..source };
    assert_eq!(list(&mut source).await, Ok(10));
    cloud.set(Fault::Empty);
    let error = list(&mut source).await.unwrap_err();
    assert!(error.contains("10 of 10 addresses would be watched no more"), "{error}");
    sender.send(Change::ServerGone("s003".into())).await.unwrap();
    source.changed().await;
    assert_eq!(source.known().unwrap().hosts.len(), 9);
    // That it is told to be gone is no shrinking of the list.
    cloud.set(Fault::None);
    assert_eq!(list(&mut source).await, Ok(9));
}

#[tokio::test]
async fn keystone_that_is_away_is_named() {
    let cloud = Cloud { base: "http://127.0.0.1:1".into(), ..Cloud::start(1).await };
    let error = list(&mut cloud.source()).await.unwrap_err();
    assert!(error.contains("http://127.0.0.1:1/identity/v3/auth/tokens cannot be reached"), "{error}");
}

#[tokio::test]
async fn changes_are_heard_between_lists_and_during_one_and_none_is_undone_by_an_older_list() {
    let cloud = Cloud::start(4).await;
    let (sender, changes) = mpsc::channel(16);
    let mut source = OpenStack { changes: Some(changes), ..cloud.source() };
    assert_eq!(list(&mut source).await, Ok(4));
    let stopped = |id: &str| Change::Server(ServerChange { id: id.into(), status: Some("SHUTOFF".into()), ..ServerChange::default() });
    let monitor = |listing: &Listing, id: &str| listing.hosts.iter().find(|host| host.id == id).map(|host| host.monitor);
    sender.send(stopped("s000")).await.unwrap();
    source.changed().await;
    assert_eq!(monitor(&source.known().unwrap(), "s000"), Some(Monitor::Silent));
    // Neutron takes its time; meanwhile one is stopped and one is deleted. The list, which is older, has both as they were.
    cloud.set(Fault::Hangs);
    let later = cloud.clone();
    tokio::spawn(async move {
        sender.send(stopped("s001")).await.unwrap();
        sender.send(Change::ServerGone("s002".into())).await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        later.set(Fault::None);
        // Whoever hears us still has to be there.
        tokio::time::sleep(Duration::from_secs(30)).await;
        drop(sender);
    });
    let mut meanwhile = Vec::new();
    let listed = source.list(&mut |listing| meanwhile.push(listing)).await.unwrap();
    let last = meanwhile.last().expect("told while it was listed");
    assert_eq!((monitor(last, "s001"), monitor(last, "s002")), (Some(Monitor::Silent), None));
    assert_eq!((monitor(&listed, "s001"), monitor(&listed, "s002")), (Some(Monitor::Silent), None));
    assert!(!source.wants_list());
}

#[tokio::test]
async fn lost_messages_want_a_list_out_of_turn_but_not_at_once_after_one() {
    let cloud = Cloud::start(4).await;
    let (sender, changes) = mpsc::channel(16);
    let mut source = OpenStack { changes: Some(changes), ..cloud.source() };
    sender.send(Change::Lost).await.unwrap();
    source.changed().await;
    assert!(source.wants_list(), "nothing was asked for so far");
    assert_eq!(list(&mut source).await, Ok(4));
    assert!(!source.wants_list());
    sender.send(Change::Lost).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(100), source.changed()).await.is_err());
    assert!(!source.wants_list() && source.wants_at().is_some());
    // A platform that takes long is left alone for longer.
    source.took = Duration::from_secs(36);
    assert_eq!(source.wants_at(), source.asked.map(|asked| asked + Duration::from_secs(108)));
}
