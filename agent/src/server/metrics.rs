//! `GET /metrics` in OpenMetrics. Aggregates always; series of single addresses only for those that are not up, and
//! only so many of them.

use std::fmt::Error;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use hdrhistogram::Histogram;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use rollcall_agent_ebpf::reason::Reason;

use super::tally::Tally;
use super::{Agent, Refusal, blocking};
use crate::clock::unix_ms;
use crate::roster::Roster;
use crate::unit::{Blind, Verdict};
use crate::view::View;

/// Upper bounds of the RTT and lateness buckets, in seconds.
const BUCKETS: [f64; 16] =
    [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, f64::INFINITY];

pub(super) async fn metrics(State(agent): State<Arc<Agent>>) -> Result<Response, Refusal> {
    let walker = agent.clone();
    let _turn = walker.walks.lock().await;
    let text = blocking(move || encode(&agent)).await??;
    Ok(([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response())
}

fn encode(agent: &Arc<Agent>) -> Result<String, Refusal> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape(agent.clone())));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).map_err(|error| {
        Refusal::new(axum::http::StatusCode::INTERNAL_SERVER_ERROR, format!("the metrics could not be written: {error}"))
    })?;
    Ok(text)
}

struct Scrape(Arc<Agent>);

impl std::fmt::Debug for Scrape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scrape")
    }
}

/// One family: its name and help, and a way to add one series after the other.
macro_rules! family {
    ($encoder:expr, $name:literal, $help:literal, $unit:expr, $kind:expr, |$family:ident| $body:block) => {{
        #[allow(unused_mut)]
        let mut $family = $encoder.encode_descriptor($name, $help, $unit, $kind)?;
        $body
    }};
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), Error> {
        let agent = &self.0;
        let view = &agent.view;
        let roster = view.roster.load_full();
        let tally = Tally::of(view, &roster, agent.abnormal_max);
        agent_families(agent, &roster, &mut encoder)?;
        engine_families(view, &mut encoder)?;
        verdict_families(agent, &roster, &tally, &mut encoder)?;
        probe_families(view, &mut encoder)?;
        network_families(view, &mut encoder)?;
        alarm_families(agent, &mut encoder)?;
        // The walk made every record resident; the page cache has them for the next one.
        roster.table.cool();
        Ok(())
    }
}

fn agent_families(agent: &Agent, roster: &Roster, encoder: &mut DescriptorEncoder) -> Result<(), Error> {
    let view = &agent.view;
    family!(encoder, "rollcall_agent", "Version of the agent", None, MetricType::Info, |family| {
        Info::new([("version", env!("CARGO_PKG_VERSION"))]).encode(family)?;
    });
    family!(encoder, "rollcall_agent_start_time", "When the agent started", Some(&Unit::Seconds), MetricType::Gauge, |family| {
        ConstGauge::new(unix_ms(agent.started) as f64 / 1000.0).encode(family)?;
    });
    family!(encoder, "rollcall_table_generation", "Generation of the table in force", None, MetricType::Gauge, |family| {
        ConstGauge::new(roster.generation as i64).encode(family)?;
    });
    family!(encoder, "rollcall_table_hosts", "Hosts in the table in force", None, MetricType::Gauge, |family| {
        ConstGauge::new(roster.table.hosts() as i64).encode(family)?;
    });
    let arrays = view.arrays.load();
    family!(encoder, "rollcall_slots", "Room for addresses in the kernel's arrays", None, MetricType::Gauge, |family| {
        ConstGauge::new(i64::from(arrays.capacity())).encode(family)?;
    });
    family!(
        encoder,
        "rollcall_kernel_arrays",
        "Memory of the arrays shared with the kernel",
        Some(&Unit::Bytes),
        MetricType::Gauge,
        |family| {
            ConstGauge::new(arrays.bytes() as i64).encode(family)?;
        }
    );
    Ok(())
}

/// How well the engine keeps its time.
fn engine_families(view: &View, encoder: &mut DescriptorEncoder) -> Result<(), Error> {
    family!(encoder, "rollcall_engine_stalls", "Times that the engine stood still for over 100 ms", None, MetricType::Counter, |family| {
        ConstCounter::new(view.stalls.value()).encode(family)?;
    });
    family!(
        encoder,
        "rollcall_probes_waiting",
        "Probes that are due and wait for their turn under the cap",
        None,
        MetricType::Gauge,
        |family| {
            ConstGauge::new(view.waiting.load(Ordering::Relaxed) as i64).encode(family)?;
        }
    );
    family!(
        encoder,
        "rollcall_probes_skipped",
        "Probes skipped because the cap or a stall left no room for them",
        None,
        MetricType::Counter,
        |family| {
            ConstCounter::new(view.skipped.value()).encode(family)?;
        }
    );
    family!(
        encoder,
        "rollcall_probe_lateness",
        "How late probes left after their turn",
        Some(&Unit::Seconds),
        MetricType::Histogram,
        |family| {
            let (sum, count, buckets) = classic(&view.late)?;
            family.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
    );
    family!(
        encoder,
        "rollcall_probes_late",
        "Probes that left later after their turn than the label says: exact, unlike the histogram near its bounds",
        None,
        MetricType::Counter,
        |family| {
            ConstCounter::new(view.late_10ms.value()).encode(family.encode_family(&[("over", "10ms")])?)?;
        }
    );
    family!(
        encoder,
        "rollcall_engine_pause",
        "Time between two turns of the engine beyond its tick",
        Some(&Unit::Seconds),
        MetricType::Histogram,
        |family| {
            let (sum, count, buckets) = classic(&view.pauses)?;
            family.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
    );
    family!(
        encoder,
        "rollcall_engine_pause_max",
        "The longest of these pauses since the start",
        Some(&Unit::Seconds),
        MetricType::Gauge,
        |family| {
            ConstGauge::new(view.pause_max.load(Ordering::Relaxed) as f64 / 1e9).encode(family)?;
        }
    );
    Ok(())
}

fn verdict_families(agent: &Agent, roster: &Roster, tally: &Tally, encoder: &mut DescriptorEncoder) -> Result<(), Error> {
    let table = &roster.table;
    family!(encoder, "rollcall_addresses", "Addresses by verdict", None, MetricType::Gauge, |family| {
        for ((network, policy), counts) in &tally.by_group {
            let policy = &table.policies()[usize::from(*policy)].name;
            for (verdict, count) in Verdict::ALL.iter().zip(counts) {
                let labels = [("network", table.network(*network)), ("policy", policy.as_str()), ("verdict", verdict.name())];
                ConstGauge::new(*count as i64).encode(family.encode_family(&labels)?)?;
            }
        }
    });
    family!(
        encoder,
        "rollcall_conditions",
        "Addresses of which more is to be said than their verdict",
        None,
        MetricType::Gauge,
        |family| {
            for ((network, condition), count) in super::tally::conditions(&agent.view, roster) {
                let labels = [("network", table.network(network)), ("condition", condition.name())];
                ConstGauge::new(count as i64).encode(family.encode_family(&labels)?)?;
            }
        }
    );
    family!(
        encoder,
        "rollcall_address_verdict",
        "1 for each address that is not up, up to metrics_max_abnormal of them",
        None,
        MetricType::Gauge,
        |family| {
            for index in &tally.abnormal {
                let Some(report) = super::hosts::report(&agent.view, roster, *index) else { continue };
                let address = report.address.to_string();
                let labels = [
                    ("network", report.network.as_str()),
                    ("address", &address),
                    ("host_id", &report.id),
                    ("host", &report.name),
                    ("project", &report.project),
                    ("policy", &report.policy),
                    ("verdict", report.verdict.name()),
                    ("reason", report.reason.map_or("", Blind::name)),
                ];
                ConstGauge::new(1i64).encode(family.encode_family(&labels)?)?;
            }
        }
    );
    family!(
        encoder,
        "rollcall_abnormal_addresses_suppressed",
        "Addresses that are not up and have no series of their own, because of metrics_max_abnormal",
        None,
        MetricType::Gauge,
        |family| {
            ConstGauge::new((tally.abnormal_count - tally.abnormal.len() as u64) as i64).encode(family)?;
        }
    );
    Ok(())
}

fn probe_families(view: &View, encoder: &mut DescriptorEncoder) -> Result<(), Error> {
    let series: Vec<_> = view.series.read().map_err(|_| Error)?.values().cloned().collect();
    type Counter = (&'static str, &'static str, fn(&crate::view::Series) -> u64);
    let counters: [Counter; 4] = [
        ("rollcall_probes_sent", "Probes that left", |series| series.sent.value()),
        ("rollcall_replies", "Probes answered in time", |series| series.replies.value()),
        ("rollcall_misses", "Probes not answered in time", |series| series.misses.value()),
        ("rollcall_probes_void", "Probes that say nothing, for a reason on the agent's side", |series| series.voids.value()),
    ];
    for (name, help, value) in counters {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for series in &series {
            let labels = [("network", series.group.network.as_str()), ("policy", series.group.policy.name.as_str())];
            ConstCounter::new(value(series)).encode(family.encode_family(&labels)?)?;
        }
    }
    family!(encoder, "rollcall_rtt", "Round-trip time of replies in time", Some(&Unit::Seconds), MetricType::Histogram, |family| {
        for series in &series {
            let labels = [("network", series.group.network.as_str()), ("policy", series.group.policy.name.as_str())];
            let (sum, count, buckets) = classic(&series.rtt)?;
            family.encode_family(&labels)?.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
    });
    family!(
        encoder,
        "rollcall_frames_received",
        "Frames that the receiver saw, by what it made of them",
        None,
        MetricType::Counter,
        |family| {
            for (reason, count) in Reason::ALL.iter().zip(&view.frames) {
                ConstCounter::new(count.load(Ordering::Relaxed)).encode(family.encode_family(&[("reason", reason.label())])?)?;
            }
        }
    );
    Ok(())
}

fn network_families(view: &View, encoder: &mut DescriptorEncoder) -> Result<(), Error> {
    family!(encoder, "rollcall_datapath", "How probes leave and replies come in", None, MetricType::Info, |family| {
        for network in &view.networks {
            let labels = [
                ("network", network.name.as_str()),
                ("interface", &network.interface()),
                ("transmit", network.datapath().0),
                ("receive", network.datapath().1),
            ];
            family.encode_info(&labels)?;
        }
    });
    family!(
        encoder,
        "rollcall_network_blind",
        "1 while the agent cannot see the network, with the reason",
        None,
        MetricType::Gauge,
        |family| {
            for network in &view.networks {
                let blind = network.blind();
                let labels = [("network", network.name.as_str()), ("reason", blind.map_or("", Blind::name))];
                ConstGauge::new(i64::from(blind.is_some())).encode(family.encode_family(&labels)?)?;
            }
        }
    );
    family!(
        encoder,
        "rollcall_send_errors",
        "System calls that could not send all that they should",
        None,
        MetricType::Counter,
        |family| {
            for network in &view.networks {
                ConstCounter::new(network.send_errors.value()).encode(family.encode_family(&[("network", network.name.as_str())])?)?;
            }
        }
    );
    family!(
        encoder,
        "rollcall_unresolved_addresses",
        "Addresses and gateways whose MAC the agent asks for",
        None,
        MetricType::Gauge,
        |family| {
            for network in &view.networks {
                let open = network.unresolved.load(Ordering::Relaxed) as i64;
                ConstGauge::new(open).encode(family.encode_family(&[("network", network.name.as_str())])?)?;
            }
        }
    );
    Ok(())
}

fn alarm_families(agent: &Agent, encoder: &mut DescriptorEncoder) -> Result<(), Error> {
    family!(encoder, "rollcall_alarms_firing", "Alarms that fire", None, MetricType::Gauge, |family| {
        ConstGauge::new(agent.alarms.firing_count() as i64).encode(family)?;
    });
    let routes = agent.alarms.stats();
    let labels = |route: &crate::alarm::RouteReport| [("route", route.name.clone()), ("type", route.kind.to_owned())];
    type Counter = (&'static str, &'static str, fn(&crate::alarm::RouteReport) -> u64);
    let counters: [Counter; 4] = [
        ("rollcall_notices_delivered", "Notices that a receiver acknowledged", |route| route.delivered),
        ("rollcall_notice_attempts_failed", "Attempts to deliver that failed", |route| route.failed_attempts),
        ("rollcall_notices_dropped", "Notices given up because the receiver refused their content", |route| route.dropped),
        ("rollcall_notices_folded", "Outages folded into earlier ones while the receiver was away", |route| route.folded),
    ];
    for (name, help, value) in counters {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for route in &routes {
            ConstCounter::new(value(route)).encode(family.encode_family(&labels(route))?)?;
        }
    }
    family!(encoder, "rollcall_notices_queued", "Notices that wait or are on their way", None, MetricType::Gauge, |family| {
        for route in &routes {
            ConstGauge::new(route.queued as i64).encode(family.encode_family(&labels(route))?)?;
        }
    });
    family!(
        encoder,
        "rollcall_notice_oldest_age",
        "Age of the oldest notice that waits",
        Some(&Unit::Seconds),
        MetricType::Gauge,
        |family| {
            for route in &routes {
                let age = route.oldest.and_then(|oldest| SystemTime::now().duration_since(oldest).ok()).unwrap_or_default();
                ConstGauge::new(age.as_secs_f64()).encode(family.encode_family(&labels(route))?)?;
            }
        }
    );
    Ok(())
}

/// Sum, count, and the count of each bucket.
type Classic = (f64, u64, Vec<(f64, u64)>);

/// A histogram of nanoseconds as sum, count and the counts of [`BUCKETS`], in seconds. A cell of the histogram that lies
/// across a bound, less than a hundredth of it wide, counts as beyond it.
fn classic(histogram: &Mutex<Histogram<u64>>) -> Result<Classic, Error> {
    // By a copy: the engine must not wait until it is read.
    let histogram = histogram.lock().map(|histogram| histogram.clone()).map_err(|_| Error)?;
    let mut counts = [0; BUCKETS.len()];
    let mut sum = 0.0;
    for value in histogram.iter_recorded() {
        let seconds = value.value_iterated_to() as f64 / 1e9;
        let at = BUCKETS.iter().position(|bound| seconds <= *bound).unwrap_or(BUCKETS.len() - 1);
        counts[at] += value.count_since_last_iteration();
        sum += seconds * value.count_since_last_iteration() as f64;
    }
    Ok((sum, histogram.len(), BUCKETS.into_iter().zip(counts).collect()))
}
