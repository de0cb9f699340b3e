//! The webhook route against a real HTTP receiver that is away, refuses, or sees the agent die.
#![cfg(feature = "dataplane")]

mod receiver;

use std::collections::HashSet;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::StatusCode;
use rollcall_agent::alarm::{JournalError, Recovery, StartError};
use serde_json::Value;
use tokio::net::TcpListener;

use receiver::{Receiver, address, closed_port, down, forgotten, pager, route, start, text, until, up};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_doubled_or_reordered_while_the_receiver_is_away() {
    let directory = tempfile::tempdir().unwrap();
    let there = closed_port().await;
    let service = start(&route(there, "max_batch = 20"), directory.path());
    (1..=200).for_each(|host| service.send(down(host)));
    until("attempts at a closed port", || pager(&service).failed_attempts >= 3).await;
    (1..=100).for_each(|host| service.send(up(host)));
    until("the recoveries are queued", || pager(&service).queued == 300).await;
    assert!(pager(&service).oldest.is_some() && pager(&service).failing);

    let refused = Mutex::new(0);
    let receiver = Receiver::start(there.port(), move |_, _| {
        let mut refused = refused.lock().unwrap();
        *refused += 1;
        if *refused <= 4 { (StatusCode::SERVICE_UNAVAILABLE, "starting".into()) } else { (StatusCode::ACCEPTED, String::new()) }
    })
    .await;
    until("all 300", || receiver.alarms().len() >= 300).await;
    service.shutdown(Duration::from_secs(1)).await;

    let alarms = receiver.alarms();
    assert_eq!(alarms.len(), 300);
    assert_eq!(alarms.iter().map(|alarm| text(&alarm["id"])).collect::<HashSet<_>>().len(), 300);
    for host in 1..=200 {
        let told: Vec<_> =
            receiver.seen().into_iter().filter(|(seen, _)| *seen == address(host).to_string()).map(|(_, status)| status).collect();
        assert_eq!(told, if host <= 100 { vec!["firing", "resolved"] } else { vec!["firing"] }, "{host}");
    }
    for body in receiver.accepted.lock().unwrap().iter() {
        assert_eq!((&body["version"], &body["route"]), (&Value::from(1), &Value::from("pager")));
        assert!((1..=20).contains(&body["alarms"].as_array().unwrap().len()));
    }
    let report = pager(&service);
    assert_eq!((report.delivered, report.queued, report.dropped, report.oldest), (300, 0, 0, None));
    assert_eq!(service.firing_count(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn flapping_while_the_receiver_is_away_is_folded_into_one_outage_that_counts_it() {
    let directory = tempfile::tempdir().unwrap();
    let there = closed_port().await;
    let service = start(&route(there, ""), directory.path());
    for _ in 0..50 {
        service.send(down(1));
        service.send(up(1));
    }
    service.send(down(2));
    until("all changes are taken", || service.firing_count() == 1).await;
    assert!(pager(&service).queued <= 6, "it grows with the outages");
    let receiver = Receiver::start(there.port(), |_, _| (StatusCode::OK, String::new())).await;
    until("all is told", || pager(&service).queued == 0).await;
    let mut outages = 0;
    let mut open = None;
    for alarm in receiver.alarms().iter().filter(|alarm| alarm["address"] == "10.0.0.1") {
        if alarm["status"] == "firing" {
            assert_eq!(open.replace(alarm["alarm"].clone()), None);
        } else {
            assert_eq!((&alarm["status"], open.take()), (&Value::from("resolved"), Some(alarm["alarm"].clone())));
            outages += 1 + alarm["folded"].as_u64().unwrap();
        }
    }
    assert_eq!((outages, open), (50, None));
    assert!(pager(&service).folded >= 1, "nothing was folded");
    service.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_that_the_receiver_refuses_is_given_up_and_blocks_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(0, |_, body| {
        let poisoned = body["alarms"].as_array().unwrap().iter().any(|alarm| alarm["address"] == "10.0.0.13");
        if poisoned { (StatusCode::UNPROCESSABLE_ENTITY, "no such host".into()) } else { (StatusCode::OK, String::new()) }
    })
    .await;
    let service = start(&route(receiver.address, "max_batch = 50"), directory.path());
    (1..=50).for_each(|host| service.send(down(host)));
    until("the other 49", || receiver.alarms().len() == 49).await;
    until("the one is given up", || pager(&service).dropped == 1 && pager(&service).queued == 0).await;
    assert_eq!(pager(&service).delivered, 49);
    assert!(!receiver.seen().iter().any(|(address, _)| address == "10.0.0.13"));
    service.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_does_not_let_us_in_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let letting_in = Arc::new(Mutex::new(false));
    let open = letting_in.clone();
    let receiver =
        Receiver::start(
            0,
            move |_, _| {
                if *open.lock().unwrap() { (StatusCode::OK, String::new()) } else { (StatusCode::UNAUTHORIZED, String::new()) }
            },
        )
        .await;
    let service = start(&route(receiver.address, ""), directory.path());
    service.send(down(1));
    until("more attempts than a refused content gets", || pager(&service).failed_attempts > 12).await;
    assert_eq!((pager(&service).dropped, pager(&service).queued), (0, 1));
    *letting_in.lock().unwrap() = true;
    until("told", || receiver.seen().len() == 1).await;
    service.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_host_is_told_only_to_whom_it_was_told_before() {
    let directory = tempfile::tempdir().unwrap();
    let there = closed_port().await;
    let first = Receiver::start(there.port(), |_, _| (StatusCode::OK, String::new())).await;
    let service = start(&route(there, ""), directory.path());
    service.send(down(1));
    until("the first is told", || first.seen().len() == 1 && pager(&service).queued == 0).await;
    first.close().await;
    service.send(down(2));
    until("the receiver is away", || pager(&service).failing).await;
    service.send(forgotten(2));
    service.send(forgotten(1));
    until("both are forgotten", || service.firing_count() == 0).await;
    let second = Receiver::start(there.port(), |_, _| (StatusCode::OK, String::new())).await;
    service.send(down(3));
    until("the third is told", || second.seen().iter().any(|(address, _)| address == "10.0.0.3")).await;
    let seen = second.seen();
    assert!(seen.contains(&("10.0.0.1".into(), "forgotten".into())), "{seen:?}");
    assert!(!seen.contains(&("10.0.0.2".into(), "firing".into())), "{seen:?}");
    service.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_tells_what_waited_and_repeats_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let there = closed_port().await;
    let routes = route(there, "");
    let service = start(&routes, directory.path());
    (1..=3).for_each(|host| service.send(down(host)));
    service.shutdown(Duration::from_secs(1)).await;

    let recovery = Recovery::read(&routes, directory.path()).unwrap();
    assert_eq!(recovery.firing.len(), 3);
    match Recovery::read(&routes, directory.path()) {
        Err(StartError::Journal(JournalError::Locked { .. })) => {}
        other => panic!("a second agent on the same state directory: {other:?}"),
    }
    let receiver = Receiver::start(there.port(), |_, _| (StatusCode::OK, String::new())).await;
    // The table that was read at the start no longer has the third.
    let service = recovery.start([forgotten(3)]);
    (1..=2).for_each(|host| service.send(down(host)));
    until("two are told", || receiver.seen().len() == 2 && pager(&service).queued == 0).await;
    service.shutdown(Duration::from_secs(1)).await;

    let service = Recovery::read(&routes, directory.path()).unwrap().start([]);
    assert_eq!(service.firing_count(), 2);
    (1..=2).for_each(|host| service.send(down(host)));
    service.send(up(1));
    until("the end of the first", || receiver.seen().len() == 3).await;
    service.shutdown(Duration::from_secs(1)).await;
    let mut seen = receiver.seen();
    seen.sort();
    assert_eq!(seen, [("10.0.0.1", "firing"), ("10.0.0.1", "resolved"), ("10.0.0.2", "firing")].map(|(a, s)| (a.into(), s.into())));
}

#[tokio::test(flavor = "multi_thread")]
async fn token_and_headers_arrive_and_never_show_in_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "t0ken-s3cret\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone()).finish();
    tracing::subscriber::set_global_default(subscriber).expect("each test is a process of its own, or this is the only one that logs");
    // A receiver that repeats what it was sent, as careless ones do.
    let receiver = Receiver::start(0, |headers, _| (StatusCode::FORBIDDEN, format!("{headers:?} /in?key=qu3ry"))).await;
    let more = format!("token_file = {file:?}\nheaders = {{ x-key = \"h3ader\" }}");
    let service = start(&route(receiver.address, &more), directory.path());
    service.send(down(1));
    until("a refused attempt", || pager(&service).failed_attempts >= 2).await;
    service.shutdown(Duration::from_secs(1)).await;
    let shown = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(shown.contains("403 Forbidden") && shown.contains("Bearer ***"), "{shown}");
    assert!(!shown.contains("s3cret") && !shown.contains("h3ader"), "{shown}");
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_log_of_mistakes_names_every_bad_route_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut routes = route("127.0.0.1:9".parse().unwrap(), "token_file = \"/no/such/file\"");
    routes.extend(route("127.0.0.1:9".parse().unwrap(), "timeout = \"1ms\""));
    let error = Recovery::read(&routes, directory.path()).unwrap_err().to_string();
    for part in ["each name once", "timeout: found 1ms", "token_file: found /no/such/file"] {
        assert!(error.contains(part), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_does_not_wait_for_a_receiver_that_hangs_and_the_notice_goes_out_after_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    // Takes connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let there = silent.local_addr().unwrap();
    let service = start(&route(there, ""), directory.path());
    service.send(down(1));
    let (connection, _) = silent.accept().await.unwrap();
    service.shutdown(Duration::from_millis(300)).await;
    drop((connection, silent));
    let receiver = Receiver::start(there.port(), |_, _| (StatusCode::OK, String::new())).await;
    let service = start(&route(there, ""), directory.path());
    until("told", || receiver.seen() == [("10.0.0.1".to_owned(), "firing".to_owned())]).await;
    service.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_of_another_version_is_refused_and_a_damaged_one_is_kept_aside() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::always(StatusCode::OK).await;
    let routes = route(receiver.address, "");
    let service = start(&routes, directory.path());
    (1..=2).for_each(|host| service.send(down(host)));
    until("told", || pager(&service).delivered == 2).await;
    service.shutdown(Duration::from_secs(1)).await;

    let journal = directory.path().join("alarms.journal");
    let mut bytes = std::fs::read(&journal).unwrap();
    let line = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 40;
    bytes[line] ^= 1;
    std::fs::write(&journal, &bytes).unwrap();
    let recovery = Recovery::read(&routes, directory.path()).unwrap();
    assert_eq!(recovery.firing.len(), 1, "the other line is whole");
    drop(recovery);
    let kept = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap())
        .find(|entry| entry.file_name().to_string_lossy().contains("damaged"));
    assert_eq!(std::fs::read(kept.expect("a copy is kept").path()).unwrap(), bytes);

    let newer = br#"{"record":"journal","version":2}"#;
    let sum = xxhash_rust::xxh3::xxh3_64(newer);
    std::fs::write(&journal, [format!("{sum:016x} ").as_bytes(), newer, b"\n"].concat()).unwrap();
    let error = Recovery::read(&routes, directory.path()).unwrap_err().to_string();
    assert!(error.contains("alarms.journal: the journal has version 2, this agent reads version 1"), "{error}");
}
