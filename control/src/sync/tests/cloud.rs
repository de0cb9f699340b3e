//! A small OpenStack that goes wrong when it is told to.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;

use crate::source::openstack::{OpenStack, OpenStackSettings};

/// Ports, each of a server of its own.
pub(crate) const PORTS: usize = 20;
/// On a page.
const PAGE: usize = 5;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// The third page of the ports fails.
    Page,
    /// It breaks off.
    Truncated,
    /// Behind the second page the second comes again.
    Circle,
    /// A role is lost: 200, and nobody there.
    Empty,
    /// The token is revoked, and no new one is given.
    Revoked,
    /// A tenth is left.
    Shrunk,
}

#[derive(Clone)]
pub(crate) struct Cloud {
    fault: Arc<Mutex<Fault>>,
    base: String,
}

impl Cloud {
    pub(crate) async fn start() -> Cloud {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let cloud = Cloud { fault: Arc::new(Mutex::new(Fault::None)), base: format!("http://{}", listener.local_addr().unwrap()) };
        let router = Router::new()
            .route("/identity/v3/auth/tokens", post(token))
            .route("/network/v2.0/networks", get(|| async { Json(json!({"networks": [{"id": "net", "name": "blue"}]})) }))
            .route("/network/v2.0/ports", get(ports))
            .route("/compute/servers/detail", get(servers))
            .with_state(cloud.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        cloud
    }

    pub(crate) fn set(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }

    fn fault(&self) -> Fault {
        *self.fault.lock().unwrap()
    }

    pub(crate) fn source(&self) -> OpenStack {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clouds.yaml");
        let auth = format!("auth_url: {}/identity, username: u, password: hunter2, project_name: p", self.base);
        std::fs::write(&path, format!("clouds: {{lab: {{auth: {{{auth}}}}}}}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let settings = OpenStackSettings::new("cloud", Some("lab".into()), Some(path));
        OpenStack::new(OpenStackSettings { timeout: Duration::from_secs(2), ..settings }).unwrap()
    }
}

async fn token(State(cloud): State<Cloud>) -> Response {
    if cloud.fault() == Fault::Revoked {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let endpoint = |kind: &str| json!({"type": kind, "endpoints": [{"interface": "public", "region_id": "R", "url": format!("{}/{kind}", cloud.base)}]});
    let body = json!({"token": {"issued_at": "2026-11-22T17:37:30.000000Z", "expires_at": "2036-11-22T18:37:30.000000Z",
        "catalog": [endpoint("network"), endpoint("compute")]}});
    (StatusCode::CREATED, [("X-Subject-Token", "token-1")], Json(body)).into_response()
}

async fn ports(State(cloud): State<Cloud>, Query(query): Query<BTreeMap<String, String>>) -> Response {
    let fault = cloud.fault();
    let from = query.get("marker").map_or(0, |marker| marker[1..].parse::<usize>().unwrap() + 1);
    let port = |n: usize| {
        json!({"id": format!("p{n:02}"), "network_id": "net", "mac_address": format!("fa:16:3e:00:00:{n:02x}"), "device_id": format!("s{n:02}"),
            "device_owner": "compute:nova", "revision_number": 1, "fixed_ips": [{"subnet_id": "sub", "ip_address": format!("10.0.0.{}", n + 1)}]})
    };
    match fault {
        Fault::Revoked => return StatusCode::UNAUTHORIZED.into_response(),
        Fault::Page if from == 2 * PAGE => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Fault::Truncated if from == 2 * PAGE => return (StatusCode::OK, r#"{"ports": [{"id": "p10", "netw"#).into_response(),
        Fault::Empty => return Json(json!({"ports": []})).into_response(),
        Fault::Shrunk => return Json(json!({"ports": [port(0), port(1)]})).into_response(),
        _ => {}
    }
    let last = (from + PAGE).min(PORTS) - 1;
    let marker = if fault == Fault::Circle && from == PAGE { PAGE - 1 } else { last };
    let link = (last + 1 < PORTS).then(|| json!({"rel": "next", "href": format!("{}/network/v2.0/ports?marker=p{marker:02}", cloud.base)}));
    let page: Vec<_> = (from..=last).map(port).collect();
    Json(json!({"ports": page, "ports_links": link.into_iter().collect::<Vec<_>>()})).into_response()
}

async fn servers() -> Response {
    let server = |n: usize| json!({"id": format!("s{n:02}"), "name": format!("web-{n}"), "tenant_id": "shop", "status": "ACTIVE"});
    Json(json!({"servers": (0..PORTS).map(server).collect::<Vec<_>>()})).into_response()
}
