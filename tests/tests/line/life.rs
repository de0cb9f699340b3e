//! The life of a host under watch: silent, told, back, stopped, forgotten; and tables that change under way.

use reqwest::StatusCode;
use rollcall_agent::api::{PushOutcome, StopOutcome};
use rollcall_agent::policy::{Method, Policy};
use rollcall_agent::table::Delta;
use rollcall_agent::unit::Verdict;
use rollcall_agent_ebpf::fleet::Behaviour;
use rollcall_tests::fleet::Mode;
use rollcall_tests::webhook::Receiver;

use crate::stage::{PATIENCE, Stage, a_while, cloud};

#[test]
fn silent_host_is_told_once_and_so_is_its_return() {
    let Some(stage) = Stage::new("told", cloud(50, 0), Mode::Native) else { return };
    stage.play(async {
        let receiver = Receiver::start().await?;
        let mut agent = stage.agent(Some(&receiver), "").await?;
        stage.push(&agent, &stage.table(50, 0)).await?;
        stage.until(&mut agent, Verdict::Up, 50).await?;
        stage.lab.fleet().kill(7);
        let arrived = receiver.beyond(0, PATIENCE).await;
        assert_eq!(arrived.len(), 1, "{}", stage.log());
        let alarm = &arrived[0].alarm;
        assert_eq!((alarm.status.as_str(), alarm.host.id.as_str(), alarm.misses), ("firing", "vm-000007", 3));
        a_while().await;
        assert_eq!(receiver.arrivals().len(), 1, "told once");
        assert_eq!(agent.status().await?.alarms_firing, 1);
        stage.lab.fleet().revive(7);
        let arrived = receiver.beyond(1, PATIENCE).await;
        assert_eq!((arrived[0].alarm.status.as_str(), arrived.len()), ("resolved", 1));
        stage.until(&mut agent, Verdict::Up, 50).await?;
        let host = agent.host("vm-000007").await?.unwrap();
        let turns: Vec<_> = host.addresses[0].changes.iter().map(|event| event.to).collect();
        assert_eq!(turns, [Verdict::Up, Verdict::Suspect, Verdict::Down, Verdict::Up]);
        Ok(())
    });
}

#[test]
fn stopped_host_is_probed_no_more_and_forgotten_with_its_alarm() {
    let Some(stage) = Stage::new("stopped", cloud(20, 0), Mode::Native) else { return };
    stage.play(async {
        let receiver = Receiver::start().await?;
        let mut agent = stage.agent(Some(&receiver), "").await?;
        stage.push(&agent, &stage.table(20, 0)).await?;
        stage.until(&mut agent, Verdict::Up, 20).await?;
        stage.lab.fleet().kill(3);
        receiver.beyond(0, PATIENCE).await;
        assert!(agent.get("/metrics").await?.1.contains("vm-000003"));

        let (status, body) = stage.stop(&agent, &["vm-000003", "vm-000004", "vm-999999"]).await?;
        assert_eq!(status, StatusCode::OK, "{body}");
        let outcome: StopOutcome = serde_json::from_str(&body)?;
        assert_eq!(outcome.stopped, ["vm-000003", "vm-000004"]);
        assert_eq!((outcome.unknown, outcome.addresses, outcome.generation), (vec!["vm-999999".to_owned()], 2, 2));
        assert!(agent.host("vm-000003").await?.is_none());
        assert!(!agent.get("/metrics").await?.1.contains("vm-000003"));

        // The one that was told is closed at the receiver; the healthy one that dies now is nobody's business.
        stage.lab.fleet().kill(4);
        let before = stage.lab.fleet().counters()?;
        a_while().await;
        let arrivals: Vec<_> = receiver.arrivals().into_iter().map(|arrival| (arrival.alarm.status, arrival.alarm.host.id)).collect();
        let told = |status: &str| (status.to_owned(), "vm-000003".to_owned());
        assert_eq!(arrivals, [told("firing"), told("forgotten")]);
        let after = stage.lab.fleet().counters()?;
        let dead = |counters: &std::collections::BTreeMap<&str, u64>| {
            counters.iter().filter(|(name, _)| name.contains("dead")).map(|(_, count)| count).sum::<u64>()
        };
        assert_eq!(dead(&after), dead(&before), "no probe reached the stopped hosts: {after:?}");
        assert_eq!(agent.status().await?.alarms_firing, 0);

        // It may come back, and starts anew.
        let outcome = stage.push(&agent, &stage.table(20, 0)).await?;
        assert_eq!((outcome.added, outcome.unchanged), (2, 18));
        let host = stage.until_host(&agent, "vm-000003", Verdict::Down).await?;
        assert!(host.addresses[0].changes.iter().all(|event| event.to != Verdict::Up), "nothing is left of its first life");
        Ok(())
    });
}

#[test]
fn table_larger_than_the_arrays_grows_them_and_nothing_is_lost() {
    let Some(stage) = Stage::new("grows", cloud(6000, 100), Mode::Native) else { return };
    stage.play(async {
        let receiver = Receiver::start().await?;
        let mut agent = stage.agent(Some(&receiver), "").await?;
        let near_icmp = |host: &rollcall_tests::population::Host, policy: &mut rollcall_agent::policy::Policy| {
            if host.station.is_multiple_of(2) {
                (policy.method, policy.name) = (Method::Icmp, "echo".into());
            }
        };
        stage.push(&agent, &stage.table_with(500, 50, near_icmp)).await?;
        stage.until(&mut agent, Verdict::Up, 550).await?;
        let before = agent.host("vm-000002").await?.unwrap();
        let outcome = stage.push(&agent, &stage.table_with(6000, 100, near_icmp)).await?;
        assert_eq!((outcome.added, outcome.unchanged, outcome.removed, outcome.changed), (5550, 550, 0, 0));
        assert!(stage.log().contains("the arrays grew"), "{}", stage.log());
        stage.until(&mut agent, Verdict::Up, 6100).await?;
        let after = agent.host("vm-000002").await?.unwrap();
        assert_eq!(after.addresses[0].now.since, before.addresses[0].now.since, "an unchanged host keeps its state");
        assert!(
            after.addresses[0].recent.starts_with(&before.addresses[0].recent),
            "{} then {}",
            before.addresses[0].recent,
            after.addresses[0].recent
        );
        a_while().await;
        assert!(receiver.arrivals().is_empty(), "nobody was silent");
        let metrics = agent.get("/metrics").await?.1;
        for series in metrics.lines().filter(|line| line.starts_with("rollcall_misses_total")) {
            assert!(series.ends_with(" 0"), "a reply was lost: {series}");
        }
        Ok(())
    });
}

#[test]
fn delta_changes_only_what_it_names() {
    let Some(stage) = Stage::new("delta", cloud(30, 0), Mode::Native) else { return };
    stage.play(async {
        let receiver = Receiver::start().await?;
        let mut agent = stage.agent(Some(&receiver), "").await?;
        let first = stage.table(20, 0);
        stage.push(&agent, &first).await?;
        stage.until(&mut agent, Verdict::Up, 20).await?;
        stage.lab.fleet().kill(5);
        stage.until_host(&agent, "vm-000005", Verdict::Down).await?;
        let second = stage.table_with(30, 0, |host, policy| {
            if host.station == 6 {
                (policy.method, policy.name) = (Method::Icmp, "echo".into());
            }
        });
        let delta = Delta::between(&first, &second);
        let (status, body) = stage.put(&agent, delta.bytes()).await?;
        assert_eq!(status, StatusCode::OK, "{body}");
        let outcome: PushOutcome = serde_json::from_str(&body)?;
        assert_eq!((outcome.added, outcome.changed, outcome.removed, outcome.unchanged), (10, 1, 0, 19));
        assert_eq!(outcome.digest, second.digest().to_string());
        stage.until(&mut agent, Verdict::Up, 29).await?;
        assert_eq!(receiver.arrivals().len(), 1, "the host that was down stays down, and is not told again");
        let (status, body) = stage.put(&agent, delta.bytes()).await?;
        assert_eq!(status, StatusCode::CONFLICT, "the same delta again is against a table that is gone: {body}");
        assert!(body.contains("push the whole table"), "{body}");
        Ok(())
    });
}

#[test]
fn another_mac_does_not_count_as_an_answer_and_is_shown() {
    let Some(stage) = Stage::new("mac", cloud(5, 0), Mode::Native) else { return };
    stage.play(async {
        let mut agent = stage.agent(None, "").await?;
        stage.push(&agent, &stage.table(5, 0)).await?;
        stage.until(&mut agent, Verdict::Up, 5).await?;
        stage.lab.fleet().change(2, |behaviour| behaviour.with(Behaviour::WRONG_MAC, true));
        let host = stage.until_host(&agent, "vm-000002", Verdict::Down).await?;
        let other = host.addresses[0].other_mac.clone();
        assert!(other.is_some() && other != host.addresses[0].now.mac, "{host:?}");
        Ok(())
    });
}

#[test]
fn lost_frames_make_suspects_but_no_alarm() {
    let Some(stage) = Stage::new("loss", cloud(200, 0), Mode::Native) else { return };
    stage.play(async {
        let receiver = Receiver::start().await?;
        let mut agent = stage.agent(Some(&receiver), "").await?;
        stage.push(&agent, &stage.table_with(200, 0, |_, policy| (policy.down_after, policy.down_of) = (12, 12))).await?;
        stage.until(&mut agent, Verdict::Up, 200).await?;
        (1..=200).for_each(|station| stage.lab.fleet().change(station, |behaviour| behaviour.with_loss_per_mille(200)));
        a_while().await;
        a_while().await;
        // p^12 = 4e-9 a round: an alarm here is a bug, not chance.
        assert!(receiver.arrivals().is_empty());
        let metrics = agent.get("/metrics").await?.1;
        let misses: f64 = metrics
            .lines()
            .filter(|line| line.starts_with("rollcall_misses_total"))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum();
        assert!(misses > 100.0, "{misses} misses: the loss was not seen");
        Ok(())
    });
}

#[test]
fn misses_among_the_last_probes_make_lossy_hosts_down_where_no_run_of_them_would() {
    let Some(stage) = Stage::new("window", cloud(20, 0), Mode::Native) else { return };
    stage.play(async {
        let mut agent = stage.agent(None, "").await?;
        let windows = |_: &_, policy: &mut Policy| {
            (policy.down_after, policy.down_of) = (16, 31);
            (policy.up_after, policy.up_of) = (12, 13);
        };
        stage.push(&agent, &stage.table_with(20, 0, windows)).await?;
        stage.until(&mut agent, Verdict::Up, 20).await?;
        let lose = |per_mille| {
            (1..=20).for_each(|station| stage.lab.fleet().change(station, |behaviour| behaviour.with_loss_per_mille(per_mille)));
        };
        // Sixteen misses in a row would take a host some twenty minutes.
        lose(700);
        stage.until(&mut agent, Verdict::Down, 20).await?;
        let host = agent.host("vm-000001").await?.unwrap();
        assert!(host.addresses[0].explanation.iter().any(|text| text.contains("16 probes of the last 31 without one")), "{host:?}");
        lose(0);
        stage.until(&mut agent, Verdict::Up, 20).await?;
        Ok(())
    });
}

#[test]
fn policy_that_changes_under_a_suspect_still_comes_to_a_verdict() {
    let Some(stage) = Stage::new("strict", cloud(10, 0), Mode::Native) else { return };
    stage.play(async {
        let receiver = Receiver::start().await?;
        let mut agent = stage.agent(Some(&receiver), "").await?;
        let after = |misses: u8| stage.table_with(10, 0, move |_, policy| (policy.down_after, policy.down_of) = (misses, misses));
        stage.push(&agent, &after(50)).await?;
        stage.until(&mut agent, Verdict::Up, 10).await?;
        stage.lab.fleet().kill(1);
        stage.until_host(&agent, "vm-000001", Verdict::Suspect).await?;
        a_while().await;
        let outcome = stage.push(&agent, &after(2)).await?;
        assert_eq!(outcome.changed, 10);
        stage.until_host(&agent, "vm-000001", Verdict::Down).await?;
        assert_eq!(receiver.beyond(0, PATIENCE).await.len(), 1);
        Ok(())
    });
}
