//! The HTTP API and the metrics. See [`crate::api`] for calls and types.

mod explain;
mod hosts;
mod metrics;
mod row;
mod stamp;
mod tally;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::extract::rejection::JsonRejection;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use futures::{Stream, StreamExt};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;

use crate::alarm::Service;
use crate::api::{NetworkStatus, Problem, Status, StopRequest};
use crate::clock::{rfc3339, unix_ms};
use crate::register::{Body, Register, RegisterError};
use crate::state::Arrival;
use crate::tell::Events;
use crate::view::View;

/// Largest table that is taken: 16 million addresses with long names fit.
const BODY_MAX: usize = 4 << 30;
/// Longest piece of a table that is held in memory while it arrives.
const IN_MEMORY: usize = 1 << 20;
/// How long a table may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(120);

/// All that the calls need.
pub struct Agent {
    /// What the engine shows.
    pub view: Arc<View>,
    /// Which table is in force.
    pub register: Arc<Register>,
    /// Verdict changes.
    pub events: Arc<Events>,
    /// The alarm stage.
    pub alarms: Service,
    /// Token for changing calls.
    pub token: Option<String>,
    /// Most series of single addresses.
    pub abnormal_max: usize,
    /// When the agent started.
    pub started: SystemTime,
    /// Held by the push that is under way.
    pub pushes: tokio::sync::Mutex<()>,
    /// Held by whoever walks over all addresses, for the time of a walk or of a piece of it: however many scrapes and
    /// lists are asked for, they keep one thread busy.
    pub walks: tokio::sync::Mutex<()>,
    /// True once the agent stops: streams end then.
    pub stopping: watch::Receiver<bool>,
}

/// A refusal, as the caller sees it.
pub(crate) struct Refusal(StatusCode, Problem);

impl Refusal {
    pub(crate) fn new(status: StatusCode, error: impl ToString) -> Self {
        Refusal(status, Problem { error: error.to_string(), details: vec![] })
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(self.1)).into_response()
    }
}

impl From<RegisterError> for Refusal {
    fn from(error: RegisterError) -> Self {
        let status = match &error {
            RegisterError::Table(_) | RegisterError::High(_) => StatusCode::BAD_REQUEST,
            RegisterError::Base { .. } | RegisterError::Old { .. } => StatusCode::CONFLICT,
            RegisterError::Plan(_) => StatusCode::UNPROCESSABLE_ENTITY,
            RegisterError::Reply(_) | RegisterError::State(_) => StatusCode::INSUFFICIENT_STORAGE,
            RegisterError::Engine(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Refusal::new(status, error)
    }
}

/// The routes.
pub fn router(agent: Arc<Agent>) -> Router {
    let changing = Router::new()
        .route("/v1/table", put(put_table))
        .route("/v1/stop", post(stop))
        .route_layer(middleware::from_fn_with_state(agent.clone(), authorize));
    Router::new()
        .route("/-/healthy", get(|| async { "ok\n" }))
        .route("/-/ready", get(ready))
        .route("/metrics", get(metrics::metrics))
        .route("/v1/status", get(status))
        .route("/v1/hosts", get(hosts::list))
        .route("/v1/hosts/{id}", get(hosts::detail))
        .route("/v1/events", get(events))
        .merge(changing)
        .fallback(|| async {
            Refusal::new(
                StatusCode::NOT_FOUND,
                "no such call: see /v1/status, /v1/hosts, /v1/hosts/{id}, /v1/events, /v1/table, /v1/stop, /metrics, /-/healthy, /-/ready",
            )
        })
        .method_not_allowed_fallback(|| async {
            Refusal::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "this call does not take that method: PUT /v1/table, POST /v1/stop, GET for all others",
            )
        })
        .with_state(agent)
}

async fn authorize(State(agent): State<Arc<Agent>>, request: Request, next: Next) -> Response {
    let Some(token) = &agent.token else { return next.run(request).await };
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    match given {
        Some(given) if same(given.as_bytes(), token.as_bytes()) => next.run(request).await,
        Some(_) => Refusal::new(StatusCode::UNAUTHORIZED, "the token is not the one of the agent's token_file").into_response(),
        None => Refusal::new(
            StatusCode::UNAUTHORIZED,
            "this call needs the agent's token: Authorization: Bearer TOKEN (rollcall --token-file FILE)",
        )
        .into_response(),
    }
}

/// Compares in a time that does not depend on where the first difference is.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

async fn ready(State(agent): State<Arc<Agent>>) -> Response {
    if agent.view.roster.load().generation == 0 {
        return Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "no table yet: push one").into_response();
    }
    match agent.view.networks.iter().find_map(|network| Some((network, network.blind()?))) {
        Some((network, blind)) => {
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, format!("network {} cannot be seen: {blind}", network.name)).into_response()
        }
        None => "ok\n".into_response(),
    }
}

async fn put_table(State(agent): State<Arc<Agent>>, request: Request) -> Result<Response, Refusal> {
    // One table at a time stands in memory; a second push waits at its first byte.
    let _turn = agent.pushes.lock().await;
    let body = tokio::time::timeout(BODY_TIME, receive(&agent, request.into_body())).await;
    let body = body.map_err(|_| not_whole(format!("it took more than {BODY_TIME:?}")))??;
    let agent = agent.clone();
    let outcome = blocking(move || agent.register.put(body)).await?;
    Ok(Json(outcome?).into_response())
}

fn not_whole(why: impl std::fmt::Display) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, format!("the table did not arrive whole: {why}"))
}

/// What is pushed: a delta in memory, a table in a file, so that the agent never holds a large one.
async fn receive(agent: &Arc<Agent>, body: axum::body::Body) -> Result<Body, Refusal> {
    let mut pieces = body.into_data_stream();
    let mut bytes = Vec::new();
    let mut files = None;
    let mut length = 0;
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(not_whole)?;
        length += piece.len();
        if length > BODY_MAX {
            return Err(not_whole(format!("it has more than {BODY_MAX} bytes")));
        }
        bytes.extend_from_slice(&piece);
        if bytes.len() > IN_MEMORY {
            let file = files.take();
            let full = std::mem::replace(&mut bytes, Vec::with_capacity(IN_MEMORY + piece.len()));
            files = Some(store(agent, file, full).await?);
        }
    }
    match files {
        None => Ok(Body::Bytes(bytes)),
        Some(file) => Ok(Body::File(store(agent, Some(file), bytes).await?)),
    }
}

/// Writes what has arrived to its file, which is made for the first piece.
async fn store(agent: &Arc<Agent>, file: Option<Arrival>, bytes: Vec<u8>) -> Result<Arrival, Refusal> {
    let agent = agent.clone();
    let stored = blocking(move || -> Result<Arrival, RegisterError> {
        let mut file = match file {
            Some(file) => file,
            None => agent.register.arrival()?,
        };
        file.write(&bytes)?;
        Ok(file)
    });
    Ok(stored.await??)
}

async fn stop(
    State(agent): State<Arc<Agent>>,
    headers: HeaderMap,
    request: Result<Json<StopRequest>, JsonRejection>,
) -> Result<Response, Refusal> {
    let Json(StopRequest { hosts }) = request.map_err(|rejection| {
        let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("no content type");
        let allowed = "allowed: {\"hosts\": [\"ID\", ...]} as application/json";
        Refusal::new(StatusCode::BAD_REQUEST, format!("{} (found {kind}), {allowed}", rejection.body_text()))
    })?;
    if hosts.is_empty() {
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "hosts: found an empty list, allowed: at least one host id"));
    }
    let outcome = blocking(move || agent.register.stop(&hosts)).await?;
    Ok(Json(outcome?).into_response())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    let gone = |error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the call was broken off: {error}"));
    tokio::task::spawn_blocking(work).await.map_err(gone)
}

async fn status(State(agent): State<Arc<Agent>>) -> Result<Json<Status>, Refusal> {
    let walker = agent.clone();
    let _turn = walker.walks.lock().await;
    blocking(move || Json(agent.status())).await
}

impl Agent {
    fn status(&self) -> Status {
        let roster = self.view.roster.load();
        let tally = tally::Tally::of(&self.view, &roster, 0);
        roster.table.cool();
        let networks = self.view.networks.iter().enumerate().map(|(number, network)| NetworkStatus {
            name: network.name.clone(),
            interface: network.interface(),
            transmit: network.datapath().0.into(),
            receive: network.datapath().1.into(),
            addresses: tally.in_network(number as u16),
            blind: network.blind(),
        });
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            started: rfc3339(unix_ms(self.started)),
            generation: roster.generation,
            digest: roster.digest.to_string(),
            hosts: roster.table.hosts() as u64,
            addresses: roster.table.len() as u64,
            verdicts: tally.verdicts(),
            conditions: tally::conditions(&self.view, &roster).into_iter().fold(BTreeMap::new(), |mut sums, ((_, condition), count)| {
                *sums.entry(condition.name().to_owned()).or_default() += count;
                sums
            }),
            alarms_firing: self.alarms.firing_count(),
            networks: networks.collect(),
            policies: roster.table.policies().to_vec(),
            probes_sent: self.view.totals.sent.value(),
            replies: self.view.totals.replies.value(),
            misses: self.view.totals.misses.value(),
            voids: self.view.totals.voids.value(),
        }
    }
}

async fn events(State(agent): State<Arc<Agent>>) -> Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
    let mut stopping = agent.stopping.clone();
    let received = futures::stream::unfold(agent.events.subscribe(), |mut receiver| async {
        match receiver.recv().await {
            Ok(event) => {
                let name = if event.condition.is_some() { "condition" } else { "verdict" };
                Some((sse::Event::default().event(name).json_data(&*event).unwrap_or_default(), receiver))
            }
            // Said, not hidden: the reader asks for the present with GET /v1/hosts.
            Err(RecvError::Lagged(missed)) => Some((sse::Event::default().event("lagged").data(missed.to_string()), receiver)),
            Err(RecvError::Closed) => None,
        }
    });
    let end = async move { drop(stopping.wait_for(|stopping| *stopping).await) };
    Sse::new(received.take_until(Box::pin(end)).map(Ok)).keep_alive(KeepAlive::new().interval(Duration::from_secs(15)))
}
