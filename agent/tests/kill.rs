//! `kill -9`, for real: a process that runs the alarm stage is killed again and again.
//!
//! Alone in its process: what is being started holds for a moment all that is open, and tests that close a port or a lock and open it
//! again would find it taken.
#![cfg(feature = "dataplane")]

#[path = "webhook/receiver.rs"]
#[allow(dead_code, reason = "tests of another process use the rest")]
mod receiver;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use axum::http::StatusCode;

use receiver::{Receiver, address, down, pager, route, start, text, until, up};

const KILLED_HOSTS: u8 = 40;

/// What the kill test kills: an agent's alarm stage whose hosts come and go.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "the process that a_killed_agent_... starts and kills; no test by itself"]
async fn victim() {
    use rand::Rng;
    let directory = std::env::var("VICTIM_STATE").unwrap();
    let there = std::env::var("VICTIM_RECEIVER").unwrap().parse().unwrap();
    let last = std::env::var("VICTIM_LAST").is_ok();
    let service = start(&route(there, "max_batch = 10"), Path::new(&directory));
    if !last {
        // Until it is killed.
        loop {
            let host = rand::rng().random_range(1..=KILLED_HOSTS);
            service.send(if rand::rng().random_bool(0.5) { down(host) } else { up(host) });
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
    }
    (1..=KILLED_HOSTS).for_each(|host| service.send(up(host)));
    until("each recovery is taken", || service.firing_count() == 0).await;
    (1..=KILLED_HOSTS).filter(|host| host % 2 == 0).for_each(|host| service.send(down(host)));
    until("each change is taken", || service.firing_count() == u64::from(KILLED_HOSTS / 2)).await;
    until("all is told", || pager(&service).queued == 0).await;
    service.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_agent_forgets_no_alarm_and_repeats_only_what_was_on_its_way() {
    let directory = tempfile::tempdir().unwrap();
    let posts = Arc::new(AtomicU32::new(0));
    let count = posts.clone();
    let receiver = Receiver::start(0, move |_, _| {
        let before = count.fetch_add(1, Relaxed);
        if before % 7 == 6 { (StatusCode::SERVICE_UNAVAILABLE, String::new()) } else { (StatusCode::OK, String::new()) }
    })
    .await;
    let victim = |last: bool| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["victim", "--exact", "--ignored"]).stdout(Stdio::null());
        command.env("VICTIM_STATE", directory.path()).env("VICTIM_RECEIVER", receiver.address.to_string());
        if last {
            command.env("VICTIM_LAST", "1");
        }
        command.spawn().unwrap()
    };
    const KILLS: u32 = 12;
    for round in 0..KILLS {
        let mut child = victim(false);
        let before = posts.load(Relaxed);
        until("the victim tells something", || posts.load(Relaxed) > before + 3 * round).await;
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let mut child = victim(true);
    assert!(tokio::task::spawn_blocking(move || child.wait().unwrap().success()).await.unwrap());

    let mut seen = HashSet::new();
    let mut open: BTreeMap<String, String> = BTreeMap::new();
    let mut repeated = 0;
    for alarm in receiver.alarms() {
        if !seen.insert(text(&alarm["id"])) {
            repeated += 1;
            continue;
        }
        let (address, id) = (text(&alarm["address"]), text(&alarm["alarm"]));
        match alarm["status"].as_str().unwrap() {
            "firing" => assert_eq!(open.insert(address, id), None, "two alarms of one address: {alarm}"),
            _ => assert_eq!(open.remove(&address), Some(id), "an end without its beginning: {alarm}"),
        }
    }
    let expected: HashSet<_> = (1..=KILLED_HOSTS).filter(|host| host % 2 == 0).map(|host| address(host).to_string()).collect();
    assert_eq!(open.into_keys().collect::<HashSet<_>>(), expected);
    // One batch of at most 10 can be in doubt at each kill.
    assert!(repeated <= KILLS * 10, "{repeated} of {} repeated", seen.len());
    println!("{} notices, {repeated} repeated, {KILLS} kills", seen.len());
}
