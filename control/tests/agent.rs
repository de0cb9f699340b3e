//! The verbs that talk to an agent, against a server that takes tables and deltas as the agent's API says.

use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use rollcall_agent::api::{Problem, PushOutcome, Status, StopOutcome, StopRequest};
use rollcall_agent::table::{Delta, Table, is_delta};

/// What the server holds: a table, and what it was asked.
struct Desk {
    table: Arc<Table>,
    seen: Vec<String>,
    token: Option<String>,
}

type Shared = Arc<Mutex<Desk>>;

fn refuse(status: StatusCode, error: &str) -> Response {
    (status, Json(Problem { error: error.into(), details: vec!["one detail".into()] })).into_response()
}

async fn status(State(desk): State<Shared>) -> Json<Status> {
    let mut desk = desk.lock().unwrap();
    desk.seen.push("status".into());
    Json(Status {
        version: "0".into(),
        started: "2024-01-01T00:00:00.000Z".into(),
        generation: desk.table.generation(),
        digest: desk.table.digest().to_string(),
        hosts: desk.table.hosts() as u64,
        addresses: desk.table.len() as u64,
        verdicts: [("up".to_owned(), 2)].into(),
        conditions: [("flapping".to_owned(), 1)].into(),
        alarms_firing: 0,
        networks: vec![],
        policies: desk.table.policies().to_vec(),
        probes_sent: 0,
        replies: 0,
        misses: 0,
        voids: 0,
    })
}

async fn table(State(desk): State<Shared>, headers: HeaderMap, bytes: Bytes) -> Response {
    let mut desk = desk.lock().unwrap();
    let token = headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
    if desk.token != token {
        return refuse(StatusCode::UNAUTHORIZED, "the token is wrong");
    }
    desk.seen.push(if is_delta(&bytes) { "delta" } else { "table" }.to_owned());
    let new = if is_delta(&bytes) {
        match Delta::from_bytes(&bytes[..]).and_then(|delta| delta.apply(&desk.table)) {
            Ok(table) => table,
            Err(error) => return refuse(StatusCode::CONFLICT, &error.to_string()),
        }
    } else {
        Table::from_bytes(&bytes[..]).unwrap()
    };
    let generation = desk.table.generation() + 1;
    desk.table = Arc::new(new.with_generation(generation));
    let (digest, addresses) = (desk.table.digest().to_string(), desk.table.len() as u64);
    Json(PushOutcome { generation, digest, addresses, added: 0, removed: 0, changed: 0, unchanged: 0, warnings: vec![] }).into_response()
}

async fn stop(State(desk): State<Shared>, Json(request): Json<StopRequest>) -> Json<StopOutcome> {
    let mut desk = desk.lock().unwrap();
    let ids: Vec<&str> = request.hosts.iter().map(String::as_str).collect();
    let (rest, unknown, addresses) = desk.table.without_hosts(&ids);
    let stopped = request.hosts.iter().filter(|id| !unknown.contains(id)).cloned().collect();
    let generation = desk.table.generation() + 1;
    desk.table = Arc::new(rest.with_generation(generation));
    Json(StopOutcome { stopped, unknown, addresses, generation, digest: desk.table.digest().to_string() })
}

async fn hosts(State(desk): State<Shared>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    desk.lock().unwrap().seen.push(format!("hosts?{query}"));
    match query.contains("format=csv") {
        true => "id,name\nvm-1,\n".into_response(),
        false => "[]".into_response(),
    }
}

async fn host(State(desk): State<Shared>, Path(id): Path<String>) -> Response {
    desk.lock().unwrap().seen.push(format!("host {id}"));
    refuse(StatusCode::NOT_FOUND, "no such host")
}

const EVENT: &str = r#"{"at":"2024-01-01T00:00:00.000Z","id":"vm-1","name":"","project":"","network":"red","address":"10.0.0.1","policy":"default","from":"suspect","to":"down","reason":null}"#;

/// One event a connection: whoever wants more has to come again.
async fn events() -> Response {
    ([("content-type", "text/event-stream")], format!(": hello\n\ndata: {EVENT}\n\n")).into_response()
}

/// A server, and a directory with a cache and host lists.
struct Bench {
    desk: Shared,
    agent: String,
    directory: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

impl Bench {
    fn new() -> Bench {
        let desk = Arc::new(Mutex::new(Desk { table: Arc::new(Table::empty()), seen: vec![], token: None }));
        let router = Router::new()
            .route("/v1/status", get(status))
            .route("/v1/table", put(table))
            .route("/v1/stop", post(stop))
            .route("/v1/hosts", get(hosts))
            .route("/v1/hosts/{id}", get(host))
            .route("/v1/events", get(events))
            .with_state(desk.clone());
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let agent = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(async move { axum::serve(listener, router).await });
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("p"), "[defaults]\n").unwrap();
        Bench { desk, agent, directory, _runtime: runtime }
    }

    /// Writes a host list of so many hosts, the first of which has this name.
    fn list(&self, hosts: u32, name: &str) {
        let mut text = format!("id,name,network,address\nvm-0,{name},red,10.0.0.1\n");
        for host in 1..hosts {
            text.push_str(&format!("vm-{host},,red,10.0.1.{host}\n"));
        }
        std::fs::write(self.directory.path().join("h"), text).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_rollcall"))
            .args(arguments)
            .current_dir(self.directory.path())
            .env("ROLLCALL_AGENT", &self.agent)
            .env("XDG_STATE_HOME", self.directory.path().join("state"))
            .env_remove("ROLLCALL_TOKEN_FILE")
            .output()
            .unwrap()
    }

    /// Standard output of a command that must succeed.
    fn good(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn push(&self) -> String {
        self.good(&["push", "-f", "h", "-p", "p"])
    }

    fn seen(&self) -> Vec<String> {
        std::mem::take(&mut self.desk.lock().unwrap().seen)
    }
}

#[test]
fn a_push_sends_the_whole_table_then_what_changed_then_nothing() {
    let bench = Bench::new();
    bench.list(50, "one");
    bench.push();
    assert_eq!(bench.seen(), ["status", "table"]);
    bench.list(51, "renamed");
    bench.push();
    assert_eq!(bench.seen(), ["status", "delta"]);
    let before = bench.desk.lock().unwrap().table.digest();
    assert!(bench.push().contains("runs this table already"));
    assert_eq!(bench.seen(), ["status"]);
    assert_eq!(bench.desk.lock().unwrap().table.digest(), before);
    assert_eq!(bench.desk.lock().unwrap().table.len(), 51);
}

#[test]
fn a_push_after_a_stop_is_still_a_delta_and_a_push_after_a_stranger_is_whole() {
    let bench = Bench::new();
    bench.list(50, "one");
    bench.push();
    assert!(bench.good(&["stop", "vm-7", "vm-8"]).contains("stopped 2 hosts, forgot 2 addresses"));
    bench.list(52, "one");
    bench.seen();
    bench.push();
    assert_eq!(bench.seen(), ["status", "delta"]);
    let (rest, _, _) = bench.desk.lock().unwrap().table.without_hosts(&["vm-9"]);
    bench.desk.lock().unwrap().table = Arc::new(rest.with_generation(9));
    bench.push();
    assert_eq!(bench.seen(), ["status", "table"]);
    assert_eq!(bench.desk.lock().unwrap().table.len(), 52);
}

#[test]
fn a_base_by_name_serves_whoever_has_no_cache() {
    let bench = Bench::new();
    bench.list(50, "one");
    bench.good(&["compile", "-f", "h", "-p", "p", "-o", "old"]);
    bench.good(&["push", "old"]);
    bench.list(49, "one");
    bench.good(&["compile", "-f", "h", "-p", "p", "-o", "new"]);
    bench.seen();
    bench.good(&["push", "new", "--base", "old", "--cache", "elsewhere"]);
    assert_eq!(bench.seen(), ["status", "delta"]);
    bench.good(&["push", "old", "--full"]);
    assert_eq!(bench.seen(), ["status", "table"]);
}

#[test]
fn a_token_is_sent_from_its_file_and_asked_for_where_it_is_missing() {
    let bench = Bench::new();
    bench.list(2, "one");
    bench.desk.lock().unwrap().token = Some("Bearer secret".into());
    let output = bench.run(&["push", "-f", "h", "-p", "p"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(error.contains("the token is wrong\n  one detail") && error.contains("--token-file"), "{error}");
    let token = bench.directory.path().join("token");
    std::fs::write(&token, "secret\n").unwrap();
    let mode = |mode| std::fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    mode(0o644);
    let output = bench.run(&["push", "-f", "h", "-p", "p", "--token-file", "token"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("--token-file") && error.contains("chmod 600 token") && !error.contains("secret\n"), "{error}");
    mode(0o600);
    bench.good(&["push", "-f", "h", "-p", "p", "--token-file", "token"]);
}

#[test]
fn stopping_an_unknown_host_says_which() {
    let bench = Bench::new();
    bench.list(3, "one");
    bench.push();
    let output = bench.run(&["stop", "vm-1", "vm-x"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&output.stdout).contains("stopped 1 host,"));
    assert!(String::from_utf8_lossy(&output.stderr).contains("knows no host vm-x"));
    assert_eq!(bench.desk.lock().unwrap().table.len(), 2);
}

#[test]
fn questions_reach_the_agent_as_they_were_asked() {
    let bench = Bench::new();
    assert_eq!(bench.good(&["hosts", "--json"]), "[]\n");
    bench.good(&["hosts", "--verdict", "down", "--network", "a b", "-q", "x&y", "--limit", "5"]);
    assert_eq!(bench.good(&["hosts", "--csv"]), "id,name\nvm-1,\n");
    assert_eq!(bench.seen(), ["hosts?", "hosts?verdict=down&network=a+b&q=x%26y&limit=5", "hosts?format=csv"]);
    let output = bench.run(&["host", "rack/7 ü"]);
    assert_eq!(output.status.code(), Some(4));
    assert_eq!(bench.seen(), ["host rack/7 ü"]);
    assert!(bench.good(&["status"]).contains("up        2\n"));
    assert_eq!(bench.run(&["hosts", "--verdict", "dead"]).status.code(), Some(2));
}

#[test]
fn watch_comes_again_when_the_stream_ends() {
    let bench = Bench::new();
    let output = bench.run(&["watch", "--json", "--count", "2"]);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{EVENT}\n{EVENT}\n"));
    assert!(String::from_utf8(output.stderr).unwrap().contains("connected again"));
    let line = bench.good(&["watch", "--count", "1"]);
    assert_eq!(line, "2024-01-01T00:00:00.000Z suspect -> down  vm-1 -  red 10.0.0.1  default\n");
}
