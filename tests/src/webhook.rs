//! A real receiver of the agent's webhook: takes the alarms, and notes when each arrived.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use serde::{Deserialize, Deserializer};
use tokio::sync::watch;

/// What the agent posts, as far as a receiver needs it.
#[derive(Clone, Debug, Deserialize)]
struct Body {
    version: u32,
    alarms: Vec<Alarm>,
}

/// One message about one alarm.
#[derive(Clone, Debug, Deserialize)]
pub struct Alarm {
    /// Unique name of the message: sent twice, it is the same.
    pub id: String,
    /// `firing`, `resolved` or `forgotten`.
    pub status: String,
    /// `down`, `conflict`, `flapping`, `outage` or `agent-blind`.
    pub kind: String,
    /// One sentence for people.
    pub summary: String,
    /// Whom it is about; of nobody where it is about no single host.
    #[serde(deserialize_with = "or_default")]
    pub host: AlarmHost,
    /// The network.
    #[serde(deserialize_with = "or_default")]
    pub network: String,
    /// The address.
    pub address: Option<IpAddr>,
    /// What there is to be said of other kinds than `down`.
    pub detail: serde_json::Value,
    /// When the agent came to the verdict `down`.
    #[serde(deserialize_with = "time")]
    pub at: SystemTime,
    /// Misses in a row that made it.
    pub misses: u32,
}

/// Whom an alarm is about.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct AlarmHost {
    /// The platform's id.
    pub id: String,
    /// The name.
    pub name: String,
}

/// An alarm that arrived.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// When.
    pub at: Instant,
    /// What.
    pub alarm: Alarm,
}

/// The receiver. It answers 204, and 400 to what it does not understand, until it is dropped.
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    count: watch::Receiver<usize>,
    server: tokio::task::JoinHandle<()>,
}

struct Shared {
    arrivals: Mutex<Vec<Arrival>>,
    /// What the agent said of itself.
    of_agent: Mutex<Vec<Arrival>>,
    count: watch::Sender<usize>,
}

impl Receiver {
    /// Listens on a free port of the loopback interface of the calling thread's namespace.
    pub async fn start() -> Result<Self> {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.context("the webhook receiver cannot listen on loopback")?;
        let address = listener.local_addr()?;
        let (sender, count) = watch::channel(0);
        let shared = Arc::new(Shared { arrivals: Mutex::default(), of_agent: Mutex::default(), count: sender });
        let router = Router::new().route("/alarms", post(take)).with_state(shared.clone());
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                eprintln!("warning: the webhook receiver stopped: {error}");
            }
        });
        Ok(Self { address, shared, count, server })
    }

    /// Where the agent posts to.
    pub fn url(&self) -> String {
        format!("http://{}/alarms", self.address)
    }

    /// What the agent said so far of itself: that it cannot see. It is not among the others, which are about hosts.
    pub fn of_agent(&self) -> Vec<Arrival> {
        self.shared.of_agent.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All that arrived so far about hosts, in order.
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.shared.arrivals().clone()
    }

    /// Those that arrived so far with one status.
    pub fn with_status(&self, status: &str) -> Vec<Arrival> {
        self.shared.arrivals().iter().filter(|arrival| arrival.alarm.status == status).cloned().collect()
    }

    /// Waits until more than `seen` have arrived, or the patience ends: those beyond `seen`.
    pub async fn beyond(&self, seen: usize, patience: Duration) -> Vec<Arrival> {
        let mut count = self.count.clone();
        let _ = tokio::time::timeout(patience, count.wait_for(|count| *count > seen)).await;
        self.shared.arrivals().get(seen..).unwrap_or_default().to_vec()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Shared {
    fn arrivals(&self) -> std::sync::MutexGuard<'_, Vec<Arrival>> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn take(State(shared): State<Arc<Shared>>, Json(body): Json<Body>) -> StatusCode {
    let at = Instant::now();
    if body.version != 1 {
        return StatusCode::BAD_REQUEST;
    }
    let count = {
        let (own, hosts): (Vec<_>, Vec<_>) =
            body.alarms.into_iter().map(|alarm| Arrival { at, alarm }).partition(|arrival| arrival.alarm.kind == "agent-blind");
        shared.of_agent.lock().unwrap_or_else(PoisonError::into_inner).extend(own);
        let mut arrivals = shared.arrivals();
        arrivals.extend(hosts);
        arrivals.len()
    };
    shared.count.send_replace(count);
    StatusCode::NO_CONTENT
}

fn or_default<'de, T: Default + Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_rfc3339(&text).map_err(serde::de::Error::custom)
}
