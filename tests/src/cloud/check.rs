//! The figures: what the platform takes, what we take, and how soon a change arrives.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use rollcall_control::source::Source as _;
use rollcall_control::source::openstack::OpenStack;
use serde_json::json;

use super::bulk;
use super::churn::{self, Churn};
use super::events::{Follower, Proxy, round, spread};
use super::site::Site;

/// The platform's side against a cloud of real services (`cargo xtask cloud up`), and an hour of churn by a simulated clock.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask cloud check", version, about, max_term_width = 100)]
struct Options {
    /// `cloud.json` of the cloud.
    #[arg(long)]
    cloud: PathBuf,
    /// Changes through the API: a third each of ports made, changed, deleted.
    #[arg(long, default_value_t = 210)]
    changes: u32,
    /// Changes without notifications, likewise.
    #[arg(long, default_value_t = 210)]
    polled: u32,
    /// The interval of those.
    #[arg(long, default_value = "2m", value_parser = humantime::parse_duration)]
    interval: Duration,
    /// The last line of standard output is one JSON object.
    #[arg(long)]
    json: bool,
    #[arg(long, hide = true, default_value_t = 0)]
    samples: u64,
}

/// Runs as the command line says. The exit status is 0 only when nobody was woken for nothing, and everybody for something, and nothing came
/// too late.
pub fn main() -> ExitCode {
    let runtime = tokio::runtime::Runtime::new();
    match runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(run(&Options::parse()))) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> Result<bool> {
    let say = |text: &str| eprintln!("cloud check: {text}");
    crate::netns::need_root("an agent in a lab")?;
    let site = Site::open(&options.cloud).await?;
    // First: memory that others take is not to be counted.
    say("a hundred thousand ports as JSON");
    let bulk = tokio::task::spawn_blocking(|| bulk::run(100_000)).await??;
    say("listing all, as the account of the least rights");
    let Steps { ports, listed, compiled, pushed } = steps(&site).await?;
    say("an hour of churn by a simulated clock");
    let Churn { acts, deaths, wrong, missed, .. } = tokio::task::spawn_blocking(|| churn::run(1, Duration::from_secs(3_600))).await??;
    say(&format!("{} changes, with notifications", options.changes));
    let mut times = events(&site, options.changes.div_ceil(3)).await?;
    times.sort_unstable();
    say(&format!("{} changes, without notifications", options.polled));
    let mut polled = polled(&site, options.polled.div_ceil(3), options.interval).await?;
    polled.sort_unstable();
    let ms = |time: Duration| (time.as_secs_f64() * 1_000.0).round();
    let seconds = |time: Duration| (time.as_secs_f64() * 1_000.0).round() / 1_000.0;
    let mebibytes = |bytes: u64| bytes.div_ceil(1 << 20);
    println!(
        "100000 ports and servers, {} MiB of JSON: parsed, joined, compiled in {:.2} s; at most {} MiB of memory, the JSON in it",
        mebibytes(bulk.bytes as u64),
        bulk.took.as_secs_f64(),
        mebibytes(bulk.peak)
    );
    println!(
        "{ports} ports: listed in {:.1} s, joined and compiled in {:.3} s, pushed in {:.3} s",
        listed.as_secs_f64(),
        compiled.as_secs_f64(),
        pushed.as_secs_f64()
    );
    let [p50, p99, longest] = [0.5, 0.99, 1.0].map(|share| quantile(&times, share));
    let [polled_p50, polled_p99, polled_longest] = [0.5, 0.99, 1.0].map(|share| quantile(&polled, share));
    println!("{} changes with notifications: p50 {} ms, p99 {} ms, longest {} ms", times.len(), ms(p50), ms(p99), ms(longest));
    println!(
        "{} changes without, interval {}: p50 {:.1} s, p99 {:.1} s, longest {:.1} s",
        polled.len(),
        humantime::format_duration(options.interval),
        polled_p50.as_secs_f64(),
        polled_p99.as_secs_f64(),
        polled_longest.as_secs_f64()
    );
    println!("an hour of churn: {acts} acts of owners, {deaths} deaths: {wrong} wrong alarms, {missed} missed");
    if options.json {
        let figures = json!({"ports": ports, "listed_s": seconds(listed), "compiled_s": seconds(compiled), "pushed_s": seconds(pushed),
            "changes": times.len(),
            "event_p50_ms": ms(p50), "event_p99_ms": ms(p99), "event_max_ms": ms(longest), "polled_changes": polled.len(),
            "polled_interval_s": seconds(options.interval), "polled_p50_s": seconds(polled_p50), "polled_p99_s": seconds(polled_p99),
            "polled_max_s": seconds(polled_longest),
            "acts": acts, "deaths": deaths, "wrong_alarms": wrong, "missed_alarms": missed, "samples_imported": options.samples, "bulk_ports": 100_000, "bulk_s": seconds(bulk.took), "bulk_peak_bytes": bulk.peak});
        println!("{figures}");
    }
    let late = late(&Latest { event: p99, polled: polled_longest, interval: options.interval, bulk: bulk.took });
    late.iter().for_each(|late| say(late));
    Ok(wrong == 0 && missed == 0 && late.is_empty())
}

/// What must not take long.
struct Latest {
    /// 99 % of the changes that are told of.
    event: Duration,
    /// All others.
    polled: Duration,
    /// Between two lists.
    interval: Duration,
    /// A hundred thousand ports until they are a table.
    bulk: Duration,
}

/// What took too long.
fn late(latest: &Latest) -> Vec<String> {
    let Latest { event, polled, interval, bulk } = *latest;
    let second = Duration::from_secs(1);
    let bounds = [
        ("99 % of the changes with notifications", event, second.saturating_sub(Duration::from_nanos(1))),
        ("a change without notifications", polled, interval),
        ("a table of 100000 ports", bulk, 2 * second),
    ];
    let late = bounds.into_iter().filter(|(_, took, most)| took > most);
    late.map(|(what, took, _)| format!("too late: {what} took {:.3} s", took.as_secs_f64())).collect()
}

/// How many ports there are, and what each step takes from the services to the agent.
struct Steps {
    ports: u64,
    /// The services list ports and servers.
    listed: Duration,
    /// We make a table of them.
    compiled: Duration,
    /// An agent has it and follows it.
    pushed: Duration,
}

async fn steps(site: &Site) -> Result<Steps> {
    let mut source = OpenStack::new(site.settings("monitor")?).map_err(|error| anyhow::anyhow!("{error}"))?;
    let began = Instant::now();
    source.list(&mut |_| {}).await.map_err(|error| anyhow::anyhow!("{error}"))?;
    let listed = began.elapsed();
    // The join is a part of what was measured so far; it is a hundredth of it.
    let began = Instant::now();
    let listing = source.known().context("it was listed")?;
    let table = churn::table(&listing.hosts, b"[defaults]\ninterval = \"10s\"\n", 1)?;
    let compiled = began.elapsed();
    let folder = tempfile::tempdir()?;
    let proxy = Proxy::start(site, folder.path()).await?;
    let began = Instant::now();
    proxy.agent.push(&table).await?;
    Ok(Steps { ports: site.count("ports")?, listed, compiled, pushed: began.elapsed() })
}

/// The time within which that share of sorted ones lies.
fn quantile(times: &[Duration], share: f64) -> Duration {
    times[((times.len() as f64 * share).ceil() as usize).clamp(1, times.len()) - 1]
}

async fn events(site: &Site, rounds: u32) -> Result<Vec<Duration>> {
    let folder = tempfile::tempdir()?;
    let follower = Follower::start(site, folder.path(), "10m", true).await?;
    follower.until_said("hears notifications").await?;
    // Neutron has no exchange before the first thing that it ever tells, which is therefore heard by nobody: it is not one of those measured.
    if follower.said().contains("no exchange \"neutron\"") {
        round(site, &follower, u32::MAX).await?;
    }
    let mut times = Vec::new();
    for number in 0..rounds {
        times.extend(round(site, &follower, number).await?);
    }
    Ok(times)
}

/// How long changes take of which nobody tells: each third of them is made in the course of a third of an interval.
async fn polled(site: &Site, ports: u32, interval: Duration) -> Result<Vec<Duration>> {
    let folder = tempfile::tempdir()?;
    let follower = Follower::start(site, folder.path(), &humantime::format_duration(interval).to_string(), false).await?;
    spread(site, &follower, ports, interval / 3 / ports.max(1)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_that_are_too_late_are_named_and_others_are_not() {
        let ms = Duration::from_millis;
        let good = Latest { event: ms(999), polled: ms(120_000), interval: ms(120_000), bulk: ms(2_000) };
        assert!(late(&good).is_empty());
        let bad = Latest { event: ms(1_000), polled: ms(120_001), interval: ms(120_000), bulk: ms(2_001) };
        assert_eq!(
            late(&bad),
            [
                "too late: 99 % of the changes with notifications took 1.000 s",
                "too late: a change without notifications took 120.001 s",
                "too late: a table of 100000 ports took 2.001 s"
            ]
        );
    }
}
