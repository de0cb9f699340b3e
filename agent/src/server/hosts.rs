//! `GET /v1/hosts` and `GET /v1/hosts/{id}`.

use std::convert::Infallible;
use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use serde::Deserialize;

use super::explain::{Subject, explain, meaning};
use super::row::{Row, Source};
use super::stamp::Stamp;
use super::{Agent, Refusal};
use crate::api::{AddressDetail, AddressReport, Evidence, HostDetail};
use crate::clock::{self, rfc3339};
use crate::engine::is_allowed;
use crate::reply::Arrays;
use crate::roster::Roster;
use crate::unit::{Condition, Mac, Verdict, unmapped};
use crate::view::View;

/// Records that are looked at in one go: a fraction of a millisecond.
const PIECE: usize = 512;
/// Room for as many rows as JSON.
const PIECE_BYTES: usize = PIECE * 320;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    verdict: Option<Verdict>,
    condition: Option<Condition>,
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
    /// `scratch` is for whatever must be written to be compared.
    fn takes(&self, row: &Row<'_>, scratch: &mut String) -> bool {
        let same = |wish: &Option<String>, found: &str| wish.as_deref().is_none_or(|wish| wish == found);
        let mut holds = |q: &str| {
            row.id.contains(q) || row.name.contains(q) || {
                scratch.clear();
                write!(scratch, "{}", row.address).is_ok() && scratch.contains(q)
            }
        };
        same(&self.network, row.network)
            && same(&self.project, row.project)
            && same(&self.policy, row.policy)
            && self.q.as_deref().is_none_or(&mut holds)
    }
}

/// The list, written piece by piece: a million addresses never stand in memory as text.
pub(super) async fn list(State(agent): State<Arc<Agent>>, filter: Result<Query<Filter>, QueryRejection>) -> Result<Response, Refusal> {
    let Query(filter) = filter.map_err(|rejection| {
        let allowed = "allowed: verdict=pending|up|suspect|down|unknown, condition=conflict|flapping|icmp-filtered|asymmetric, network=, project=, policy=, q=, limit=, format=json|csv";
        Refusal::new(StatusCode::BAD_REQUEST, format!("{}; {allowed}", rejection.body_text()))
    })?;
    let kind = match filter.format {
        Format::Json => "application/json",
        Format::Csv => "text/csv; charset=utf-8",
    };
    let roster = agent.view.roster.load_full();
    let pieces = Pieces { agent, roster, filter, next: 0, found: 0, state: Part::Head, stamp: Stamp::default(), scratch: String::new() };
    let body = Body::from_stream(stream::unfold(pieces, |mut pieces| async {
        loop {
            let text = pieces.turn().await?;
            if !text.is_empty() {
                break Some((Ok::<_, Infallible>(Bytes::from(text)), pieces));
            }
        }
    }));
    Ok(([(header::CONTENT_TYPE, kind)], body).into_response())
}

struct Pieces {
    agent: Arc<Agent>,
    roster: Arc<Roster>,
    filter: Filter,
    next: usize,
    found: usize,
    state: Part,
    stamp: Stamp,
    scratch: String,
}

enum Part {
    Head,
    Rows,
    Done,
}

impl Pieces {
    /// The next piece, when it is this list's turn: all lists together keep one thread busy at most, and no thread for long.
    async fn turn(&mut self) -> Option<Vec<u8>> {
        tokio::task::yield_now().await;
        let agent = self.agent.clone();
        let _turn = agent.walks.lock().await;
        self.piece()
    }

    fn piece(&mut self) -> Option<Vec<u8>> {
        match self.state {
            Part::Head => {
                self.state = Part::Rows;
                Some(match self.filter.format {
                    Format::Json => b"[".to_vec(),
                    Format::Csv => {
                        b"id,name,project,network,address,mac,policy,method,verdict,reason,since,rtt_seconds,misses,conditions\n".to_vec()
                    }
                })
            }
            Part::Rows => {
                let end = (self.next + PIECE).min(self.roster.table.end() as usize);
                let mut text = match self.filter.format {
                    Format::Json => self.json(end),
                    Format::Csv => self.csv(end),
                };
                self.next = end;
                if end == self.roster.table.end() as usize || self.found >= self.most() {
                    if matches!(self.filter.format, Format::Json) {
                        text.extend_from_slice(b"\n]\n");
                    }
                    self.state = Part::Done;
                    self.roster.table.cool();
                }
                Some(text)
            }
            Part::Done => None,
        }
    }

    fn most(&self) -> usize {
        self.filter.limit.unwrap_or(usize::MAX)
    }

    fn json(&mut self, end: usize) -> Vec<u8> {
        let mut text = Vec::with_capacity(PIECE_BYTES);
        self.rows(end, |row, first| {
            text.extend_from_slice(if first { b"\n" } else { b",\n" });
            // Into memory, and no value of a row is one that JSON cannot say.
            let _ = serde_json::to_writer(&mut text, row);
        });
        text
    }

    fn csv(&mut self, end: usize) -> Vec<u8> {
        let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::with_capacity(PIECE_BYTES));
        self.rows(end, |row, _| {
            // Likewise.
            let _ = writer.serialize(row);
        });
        writer.into_inner().unwrap_or_default()
    }

    /// Writes the rows from [`Pieces::next`] that the filter takes; `write` is told whether it is the first of all.
    fn rows(&mut self, end: usize, mut write: impl FnMut(&Row<'_>, bool)) {
        let arrays = self.agent.view.arrays.load();
        let source = Source { view: &self.agent.view, roster: &self.roster, arrays: &arrays };
        let most = self.most();
        for index in self.next as u32..end as u32 {
            if self.found >= most {
                return;
            }
            let Some(shown) = source.shown(index) else { continue };
            if self.filter.verdict.is_some_and(|verdict| verdict != shown.verdict) {
                continue;
            }
            let has = |condition| self.roster.slot(index).is_some_and(|slot| source.view.marks.of(slot).has(condition));
            if self.filter.condition.is_some_and(|condition| !has(condition)) {
                continue;
            }
            let Some(row) = source.row(index, shown, &mut self.stamp) else { continue };
            if self.filter.takes(&row, &mut self.scratch) {
                write(&row, self.found == 0);
                self.found += 1;
            }
        }
    }
}

/// One record as the agent sees it now.
pub(super) fn report(view: &View, roster: &Roster, index: u32) -> Option<AddressReport> {
    let source = Source { view, roster, arrays: &view.arrays.load() };
    let shown = source.shown(index)?;
    Some(source.row(index, shown, &mut Stamp::default())?.report())
}

pub(super) async fn detail(State(agent): State<Arc<Agent>>, Path(id): Path<String>) -> Result<Json<HostDetail>, Refusal> {
    let roster = agent.view.roster.load_full();
    let table = &roster.table;
    // An address is as good as an id for somebody who has only that, where one network has it.
    let mut found: Vec<u32> = table.find_host(&id).into_iter().collect();
    if let (true, Ok(address)) = (found.is_empty(), id.parse::<IpAddr>()) {
        let records = table.networks().filter_map(|network| table.record(table.find(network, address)?));
        found.extend(records.map(|record| record.host()));
        found.dedup();
    }
    let index = match found[..] {
        [index] => index,
        [] => {
            return Err(Refusal::new(
                StatusCode::NOT_FOUND,
                format!("no host {id:?} is watched here: it is not in the table, or was stopped"),
            ));
        }
        _ => {
            let ids: Vec<&str> = found.iter().map(|index| table.host(*index).id()).collect();
            let text = format!(
                "{} hosts have the address {id}, each in another network: ask for one of them by its id: {}",
                ids.len(),
                ids.join(", ")
            );
            return Err(Refusal::new(StatusCode::CONFLICT, text));
        }
    };
    let host = table.host(index);
    let arrays = agent.view.arrays.load();
    let addresses = table.addresses_of(index).filter_map(|record| {
        let now = report(&agent.view, &roster, record)?;
        address_detail(agent.as_ref(), &roster, &arrays, record, now)
    });
    Ok(Json(HostDetail {
        id: host.id().into(),
        name: host.name().into(),
        project: host.project().into(),
        tags: host.tags().map(str::to_owned).collect(),
        addresses: addresses.collect(),
    }))
}

/// What is known of one address, beside its row.
fn address_detail(agent: &Agent, roster: &Roster, arrays: &Arrays, index: u32, now: AddressReport) -> Option<AddressDetail> {
    let (slot, record) = (roster.slot(index)?, roster.table.record(index)?);
    let (mono, wall) = (clock::now(), clock::unix_ms(SystemTime::now()));
    let last_reply = agent.view.last_reply_ms(slot, mono, wall);
    // What was said before it answered again explains nothing any more.
    let evidence = arrays.evidence(slot).and_then(|said| {
        let at = wall.saturating_sub((mono.nanos() / 1_000_000).saturating_sub(said.at_ms));
        let what = meaning(record.address().is_ipv6(), said.kind, said.code).to_owned();
        let evidence = Evidence { from: unmapped(said.from), what, kind: said.kind, code: said.code, at: rfc3339(at) };
        last_reply.is_none_or(|reply| reply <= at).then_some(evidence)
    });
    let last_reply = last_reply.map(rfc3339);
    let allows = |mac: Mac| is_allowed(roster.table.host(record.host()).tags(), mac);
    let other = arrays.other_mac(slot).map(|(mac, times)| (Mac(mac).to_string(), times, allows(Mac(mac))));
    let explanation = explain(&Subject {
        verdict: now.verdict,
        reason: now.reason,
        since: &now.since,
        misses: now.misses,
        policy: &roster.table.policies()[usize::from(record.policy())],
        last_reply: last_reply.as_deref(),
        mac: now.mac.as_deref().map(|mac| (mac, record.mac().is_some())),
        other_mac: other.as_ref().map(|(mac, times, allowed)| (mac.as_str(), *times, *allowed)),
        evidence: evidence.as_ref(),
        conditions: now.conditions,
    });
    let (recent, changes) = (agent.view.recent(slot).marks(), agent.events.of(roster, index));
    Some(AddressDetail { recent, last_reply, other_mac: other.map(|(mac, ..)| mac), evidence, explanation, changes, now })
}
