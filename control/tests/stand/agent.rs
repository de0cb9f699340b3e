//! An agent that stands in for a real one, as far as `rollcall sync` can tell: status, table, list of hosts.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use rollcall_agent::api::{Problem, PushOutcome, Status};
use rollcall_agent::table::{Delta, Table, is_delta};
use serde_json::json;

/// How long a test waits for what should be at once.
const PATIENCE: Duration = Duration::from_secs(20);

type Shared = Arc<Mutex<Arc<Table>>>;

/// The agent; it ends with this.
pub(crate) struct Agent {
    table: Shared,
    listed: Arc<AtomicU32>,
    address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Agent {
    /// One that runs nothing yet.
    pub(crate) async fn start() -> Agent {
        Agent::at(SocketAddr::from(([127, 0, 0, 1], 0)), Table::empty()).await
    }

    /// One that runs a table.
    pub(crate) async fn at(address: SocketAddr, table: Table) -> Agent {
        let began = Instant::now();
        // Whoever had the address before may still be about to leave it.
        let listener = loop {
            match tokio::net::TcpListener::bind(address).await {
                Ok(listener) => break listener,
                Err(error) => assert!(began.elapsed() < PATIENCE, "{address}: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let address = listener.local_addr().unwrap();
        let table = Arc::new(Mutex::new(Arc::new(table)));
        let listed = Arc::new(AtomicU32::new(0));
        let count = listed.clone();
        let hosts = move |table: State<Shared>, query: RawQuery| {
            count.fetch_add(1, Ordering::Relaxed);
            hosts(table, query)
        };
        let router = Router::new()
            .route("/v1/status", get(status))
            .route("/v1/table", put(put_table))
            .route("/v1/hosts", get(hosts))
            // A connection that is kept would be answered after the agent has ended.
            .layer(map_response(async |mut response: Response| {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                response
            }))
            .with_state(table.clone());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Agent { table, listed, address, task }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often it was asked for all that it watches.
    pub(crate) fn listed(&self) -> u32 {
        self.listed.load(Ordering::Relaxed)
    }

    pub(crate) fn table(&self) -> Arc<Table> {
        self.table.lock().unwrap().clone()
    }

    /// Waits until it watches so many addresses.
    pub(crate) async fn until(&self, addresses: usize) {
        let began = Instant::now();
        while self.table().len() != addresses {
            assert!(began.elapsed() < PATIENCE, "{} addresses, expected {addresses}", self.table().len());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn status(State(table): State<Shared>) -> Json<Status> {
    let table = table.lock().unwrap();
    Json(Status {
        version: "0".into(),
        started: "2024-01-01T00:00:00.000Z".into(),
        generation: table.generation(),
        digest: table.digest().to_string(),
        hosts: table.hosts() as u64,
        addresses: table.len() as u64,
        verdicts: [].into(),
        conditions: [].into(),
        alarms_firing: 0,
        networks: vec![],
        policies: table.policies().to_vec(),
        probes_sent: 0,
        replies: 0,
        misses: 0,
        voids: 0,
    })
}

async fn put_table(State(table): State<Shared>, bytes: Bytes) -> Response {
    let mut table = table.lock().unwrap();
    let new = if is_delta(&bytes) {
        match Delta::from_bytes(&bytes[..]).and_then(|delta| delta.apply(&table)) {
            Ok(table) => table,
            Err(error) => return (StatusCode::CONFLICT, Json(Problem { error: error.to_string(), details: vec![] })).into_response(),
        }
    } else {
        Table::from_bytes(&bytes[..]).unwrap()
    };
    let generation = table.generation() + 1;
    *table = Arc::new(new.with_generation(generation));
    let (digest, addresses) = (table.digest().to_string(), table.len() as u64);
    Json(PushOutcome { generation, digest, addresses, added: 0, removed: 0, changed: 0, unchanged: 0, warnings: vec![] }).into_response()
}

async fn hosts(State(table): State<Shared>, RawQuery(query): RawQuery) -> Response {
    let table = table.lock().unwrap();
    let rows = table.records().iter().map(|record| {
        let policy = table.policies()[usize::from(record.policy())].name.clone();
        (table.host(record.host()).id().to_owned(), table.network(record.network()).to_owned(), record.address(), policy)
    });
    if query.unwrap_or_default().contains("format=csv") {
        let rows = rows.map(|(id, network, address, policy)| format!("{id},,,{network},{address},,{policy}\n"));
        return ("id,name,project,network,address,mac,policy\n".to_owned() + &rows.collect::<String>()).into_response();
    }
    let rows = rows.map(|(id, network, address, policy)| {
        json!({"id": id, "name": "", "project": "", "network": network, "address": address, "mac": null, "policy": policy, "method": "arp",
            "verdict": "up", "reason": null, "since": "", "rtt_seconds": null, "misses": 0})
    });
    Json(rows.collect::<Vec<_>>()).into_response()
}
