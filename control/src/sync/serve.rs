//! Metrics and health of the controller, like the agent's.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

use super::courier::Board;
use super::say;
use crate::source::openstack::notify::Standing;

/// How a source stands.
#[derive(Clone, Debug, Default)]
pub struct SourceStanding {
    /// Its name.
    pub name: String,
    /// Hosts in what is believed of it.
    pub hosts: u64,
    /// When it was last believed, in seconds since the Unix epoch.
    pub last_good: u64,
    /// Why its last list was not.
    pub error: Option<String>,
    /// How its notifications stand, if it listens to any.
    pub notifications: Option<Arc<Standing>>,
}

/// What is shown.
#[derive(Clone, Debug, Default)]
pub struct Show {
    /// Each source.
    pub sources: Arc<Mutex<Vec<SourceStanding>>>,
    /// Each agent, by name.
    pub agents: Arc<Vec<(String, Board)>>,
    /// Addresses that no agent is attached to.
    pub nobodys: Arc<Mutex<u64>>,
    /// Why no tables could be made when that was tried last: then nothing is pushed, whatever the sources say.
    pub unplanned: Arc<Mutex<Option<String>>>,
}

impl Show {
    /// What is known of the sources now.
    pub fn sources(&self) -> Vec<SourceStanding> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes what is known of one.
    pub fn source(&self, at: usize, change: impl FnOnce(&mut SourceStanding)) {
        if let Some(standing) = self.sources.lock().unwrap_or_else(PoisonError::into_inner).get_mut(at) {
            change(standing);
        }
    }

    /// Why no tables could be made, if they could not.
    pub fn unplanned(&self) -> Option<String> {
        self.unplanned.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes that.
    pub fn planned(&self, unplanned: Option<String>) {
        *self.unplanned.lock().unwrap_or_else(PoisonError::into_inner) = unplanned;
    }

    /// Why it is not ready: all that is not as it should be, a line each.
    pub fn troubles(&self) -> Vec<String> {
        let sources = self.sources().into_iter().filter_map(|source| Some(format!("source {}: {}", source.name, source.error?)));
        let agents = self.agents.iter().filter_map(|(name, board)| {
            let standing = board.standing();
            let why = || standing.error.unwrap_or_else(|| "it has no table from here yet".into());
            (!standing.in_step).then(|| format!("agent {name}: {}", why()))
        });
        sources.chain(self.unplanned()).chain(agents).collect()
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfSource {
    source: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfAgent {
    agent: String,
}

/// Serves as long as the process runs.
pub async fn serve(listener: TcpListener, show: Show) {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/-/healthy", get(|| async { "ok\n" }))
        .route("/-/ready", get(ready))
        .with_state(show);
    if let Err(error) = axum::serve(listener, router).await {
        say(&format!("metrics are served no more: {error}"));
    }
}

async fn ready(State(show): State<Show>) -> Response {
    let troubles = show.troubles();
    match troubles.is_empty() {
        true => "ok\n".into_response(),
        false => (StatusCode::SERVICE_UNAVAILABLE, troubles.join("\n") + "\n").into_response(),
    }
}

async fn metrics(State(show): State<Show>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &registry(&show)) {
        Ok(()) => ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn registry(show: &Show) -> Registry {
    let mut registry = Registry::default();
    let (hosts, good, up) = (gauges::<OfSource>(), gauges::<OfSource>(), gauges::<OfSource>());
    let (connected, messages, broken) = (gauges::<OfSource>(), counters::<OfSource>(), counters::<OfSource>());
    for SourceStanding { name, hosts: count, last_good, error, notifications } in show.sources() {
        let labels = OfSource { source: name };
        if let Some(standing) = notifications {
            connected.get_or_create(&labels).set(i64::from(standing.connected.load(Ordering::Relaxed)));
            messages.get_or_create(&labels).inc_by(standing.messages.load(Ordering::Relaxed));
            broken.get_or_create(&labels).inc_by(standing.broken.load(Ordering::Relaxed));
        }
        hosts.get_or_create(&labels).set(count as i64);
        good.get_or_create(&labels).set(last_good as i64);
        up.get_or_create(&labels).set(i64::from(error.is_none()));
    }
    let (reachable, in_step, addresses, pushes) = (gauges::<OfAgent>(), gauges::<OfAgent>(), gauges::<OfAgent>(), counters::<OfAgent>());
    for (name, board) in show.agents.iter() {
        let (labels, standing) = (OfAgent { agent: name.clone() }, board.standing());
        reachable.get_or_create(&labels).set(i64::from(standing.reachable));
        in_step.get_or_create(&labels).set(i64::from(standing.in_step));
        addresses.get_or_create(&labels).set(standing.addresses as i64);
        pushes.get_or_create(&labels).inc_by(standing.pushes);
    }
    let nobodys: Gauge = Gauge::default();
    nobodys.set(*show.nobodys.lock().unwrap_or_else(PoisonError::into_inner) as i64);
    let planned: Gauge = Gauge::default();
    planned.set(i64::from(show.unplanned().is_none()));
    registry.register("rollcall_sync_source_hosts", "Hosts in what is believed of a source", hosts);
    registry.register("rollcall_sync_source_last_success_timestamp_seconds", "When a list of a source was last believed", good);
    registry.register("rollcall_sync_source_up", "Whether the last list of a source was believed", up);
    registry.register("rollcall_sync_plan_up", "Whether tables could be made when that was tried last; else nothing is pushed", planned);
    registry.register("rollcall_sync_notifications_connected", "Whether notifications of a source are heard", connected);
    registry.register("rollcall_sync_notifications", "Notifications that came since the start", messages);
    registry.register("rollcall_sync_notifications_broken", "Of these, those that could not be read", broken);
    registry.register("rollcall_sync_agent_up", "Whether an agent answered when it was asked last", reachable);
    registry.register("rollcall_sync_agent_in_step", "Whether an agent runs the table that it should", in_step);
    registry.register("rollcall_sync_agent_addresses", "Addresses in the table of an agent", addresses);
    registry.register("rollcall_sync_agent_pushes", "Tables and deltas that an agent took since the start", pushes);
    registry.register("rollcall_sync_addresses_without_agent", "Addresses in networks that no agent is attached to", nobodys);
    registry
}

fn gauges<L: Clone + std::hash::Hash + Eq + EncodeLabelSet>() -> Family<L, Gauge> {
    Family::default()
}

fn counters<L: Clone + std::hash::Hash + Eq + EncodeLabelSet>() -> Family<L, Counter> {
    Family::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_grows_is_a_counter_by_name_and_type() {
        let notifications = Arc::new(Standing { messages: 7.into(), broken: 2.into(), ..Standing::default() });
        let source = SourceStanding { name: "cloud".into(), notifications: Some(notifications), ..SourceStanding::default() };
        let agents = Arc::new(vec![("a".to_owned(), Board::default())]);
        let show = Show { sources: Arc::new(Mutex::new(vec![source])), agents, ..Show::default() };
        let mut text = String::new();
        encode(&mut text, &registry(&show)).unwrap();
        for line in [
            "# TYPE rollcall_sync_notifications counter",
            "rollcall_sync_notifications_total{source=\"cloud\"} 7",
            "rollcall_sync_notifications_broken_total{source=\"cloud\"} 2",
            "rollcall_sync_agent_pushes_total{agent=\"a\"} 0",
        ] {
            assert!(text.contains(&format!("{line}\n")), "{line}: {text}");
        }
    }
}
