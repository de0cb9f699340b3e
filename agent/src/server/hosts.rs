//! `GET /v1/hosts` and `GET /v1/hosts/{id}`.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use serde::Deserialize;

use super::{Agent, Refusal};
use crate::api::{AddressDetail, AddressReport, HostDetail};
use crate::clock::rfc3339;
use crate::roster::Roster;
use crate::unit::{Mac, Verdict};
use crate::view::View;

/// Records that are written between two looks at the connection.
const PIECE: usize = 1000;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    verdict: Option<Verdict>,
    network: Option<String>,
    project: Option<String>,
    policy: Option<String>,
    /// Part of id, name or address.
    q: Option<String>,
    limit: Option<usize>,
    #[serde(default)]
    format: Format,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    #[default]
    Json,
    Csv,
}

impl Filter {
    fn takes(&self, report: &AddressReport) -> bool {
        let same = |wish: &Option<String>, found: &str| wish.as_deref().is_none_or(|wish| wish == found);
        self.verdict.is_none_or(|verdict| verdict == report.verdict)
            && same(&self.network, &report.network)
            && same(&self.project, &report.project)
            && same(&self.policy, &report.policy)
            && self.q.as_deref().is_none_or(|q| report.id.contains(q) || report.name.contains(q) || report.address.to_string().contains(q))
    }
}

/// The list, written piece by piece: a million addresses never stand in memory as text.
pub(super) async fn list(State(agent): State<Arc<Agent>>, filter: Result<Query<Filter>, QueryRejection>) -> Result<Response, Refusal> {
    let Query(filter) = filter.map_err(|rejection| {
        let allowed = "allowed: verdict=pending|up|suspect|down|unknown, network=, project=, policy=, q=, limit=, format=json|csv";
        Refusal::new(StatusCode::BAD_REQUEST, format!("{}; {allowed}", rejection.body_text()))
    })?;
    let kind = match filter.format {
        Format::Json => "application/json",
        Format::Csv => "text/csv; charset=utf-8",
    };
    let pieces = Pieces { view: agent.view.clone(), roster: agent.view.roster.load_full(), filter, next: 0, found: 0, state: Part::Head };
    let body = Body::from_stream(stream::unfold(pieces, |mut pieces| async {
        tokio::task::yield_now().await;
        pieces.piece().map(|bytes| (Ok::<_, Infallible>(bytes), pieces))
    }));
    Ok(([(header::CONTENT_TYPE, kind)], body).into_response())
}

struct Pieces {
    view: Arc<View>,
    roster: Arc<Roster>,
    filter: Filter,
    next: usize,
    found: usize,
    state: Part,
}

enum Part {
    Head,
    Rows,
    Done,
}

impl Pieces {
    fn piece(&mut self) -> Option<Bytes> {
        let mut text = String::new();
        match self.state {
            Part::Head => {
                text.push_str(match self.filter.format {
                    Format::Json => "[",
                    Format::Csv => "id,name,project,network,address,mac,policy,method,verdict,reason,since,rtt_seconds,misses\n",
                });
                self.state = Part::Rows;
            }
            Part::Rows => {
                let end = (self.next + PIECE).min(self.roster.table.end() as usize);
                let limit = self.filter.limit.unwrap_or(usize::MAX);
                for record in self.next..end {
                    if self.found < limit
                        && let Some(report) = report(&self.view, &self.roster, record as u32)
                        && self.filter.takes(&report)
                    {
                        self.write(&mut text, &report);
                        self.found += 1;
                    }
                }
                self.next = end;
                if end == self.roster.table.end() as usize || self.found >= limit {
                    if matches!(self.filter.format, Format::Json) {
                        text.push_str("\n]\n");
                    }
                    self.state = Part::Done;
                }
            }
            Part::Done => return None,
        }
        Some(text.into())
    }

    fn write(&self, text: &mut String, report: &AddressReport) {
        match self.filter.format {
            Format::Json => {
                text.push_str(if self.found == 0 { "\n" } else { ",\n" });
                text.push_str(&serde_json::to_string(report).unwrap_or_default());
            }
            Format::Csv => {
                let mut csv = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
                if csv.serialize(report).is_ok() {
                    text.push_str(&String::from_utf8_lossy(&csv.into_inner().unwrap_or_default()));
                }
            }
        }
    }
}

/// One record as the agent sees it now.
pub(super) fn report(view: &View, roster: &Roster, index: u32) -> Option<AddressReport> {
    let table = &roster.table;
    let record = table.record(index)?;
    let slot = roster.slot(index)?;
    let host = table.host(record.host());
    let policy = &table.policies()[usize::from(record.policy())];
    let shown = view.shown(slot, roster.network(&record));
    let arrays = view.arrays.load();
    let mac = record.mac().or_else(|| arrays.target(slot).map(|target| Mac(target.mac)).filter(|mac| mac.is_unicast()));
    Some(AddressReport {
        id: host.id().into(),
        name: host.name().into(),
        project: host.project().into(),
        network: table.network(record.network()).into(),
        address: record.address(),
        mac: mac.map(|mac| mac.to_string()),
        policy: policy.name.clone(),
        method: policy.method,
        verdict: shown.verdict,
        reason: shown.blind,
        since: rfc3339(shown.since_ms),
        rtt_seconds: arrays.rtt(slot).map(|nanos| nanos as f64 / 1e9),
        misses: u32::from(shown.misses),
    })
}

pub(super) async fn detail(State(agent): State<Arc<Agent>>, Path(id): Path<String>) -> Result<Json<HostDetail>, Refusal> {
    let roster = agent.view.roster.load_full();
    let table = &roster.table;
    // An address is as good as an id for somebody who has only that.
    let by_address = || {
        let address: IpAddr = id.parse().ok()?;
        table.networks().find_map(|network| table.find(network, address)).and_then(|id| table.record(id)).map(|record| record.host())
    };
    let Some(index) = table.find_host(&id).or_else(by_address) else {
        return Err(Refusal::new(StatusCode::NOT_FOUND, format!("no host {id:?} is watched here: it is not in the table, or was stopped")));
    };
    let host = table.host(index);
    let arrays = agent.view.arrays.load();
    let addresses = table.addresses_of(index).filter_map(|record| {
        let now = report(&agent.view, &roster, record)?;
        let slot = roster.slot(record)?;
        let change = |turn: crate::tell::Remembered| crate::api::Event {
            at: rfc3339(turn.at_ms),
            id: now.id.clone(),
            name: now.name.clone(),
            project: now.project.clone(),
            network: now.network.clone(),
            address: now.address,
            policy: now.policy.clone(),
            from: turn.from,
            to: turn.to,
            reason: turn.reason,
        };
        Some(AddressDetail {
            recent: agent.view.recent(slot),
            other_mac: arrays.other_mac(slot).map(|(mac, _)| Mac(mac).to_string()),
            changes: agent.events.of(slot).into_iter().map(change).collect(),
            now,
        })
    });
    Ok(Json(HostDetail {
        id: host.id().into(),
        name: host.name().into(),
        project: host.project().into(),
        tags: host.tags().map(str::to_owned).collect(),
        addresses: addresses.collect(),
    }))
}
