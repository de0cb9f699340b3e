//! Many at once, and one again and again: what whoever is woken hears of it.

use std::time::Duration;

use rollcall_agent::unit::Verdict;
use rollcall_tests::fleet::Mode;
use rollcall_tests::webhook::{Arrival, Receiver};

use crate::stage::{PATIENCE, Stage, a_while, cloud};

/// Status and kind of each, in order, those about single silent hosts left out.
fn told(receiver: &Receiver) -> Vec<(String, String)> {
    let other = receiver.arrivals().into_iter().filter(|arrival| arrival.alarm.kind != "down");
    other.map(|Arrival { alarm, .. }| (alarm.status, alarm.kind)).collect()
}

/// Ids of the hosts of which it was told by themselves that they are down.
fn singly(receiver: &Receiver) -> Vec<String> {
    let down = receiver.with_status("firing").into_iter().filter(|arrival| arrival.alarm.kind == "down");
    let mut ids: Vec<String> = down.map(|arrival| arrival.alarm.host.id).collect();
    ids.sort();
    ids
}

fn outage(status: &str) -> (String, String) {
    (status.to_owned(), "outage".to_owned())
}

async fn until(what: &str, stage: &Stage, receiver: &Receiver, holds: impl Fn(&Receiver) -> bool) {
    let began = std::time::Instant::now();
    while !holds(receiver) {
        assert!(began.elapsed() < PATIENCE, "{what}: told {:?}, singly {:?}\n{}", told(receiver), singly(receiver), stage.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn many_that_fall_silent_at_once_are_one_alarm_and_those_that_stay_silent_get_their_own() {
    let Some(stage) = Stage::new("storm", cloud(100, 0), Mode::Native) else { return };
    stage.play(async {
        let receiver = Receiver::start().await?;
        let mut agent = stage.agent(Some(&receiver), "").await?;
        stage.push(&agent, &stage.table(100, 0)).await?;
        stage.until(&mut agent, Verdict::Up, 100).await?;
        (1..=60).for_each(|station| stage.lab.fleet().kill(station));
        stage.until(&mut agent, Verdict::Down, 60).await?;
        until("the outage", &stage, &receiver, |receiver| told(receiver) == [outage("firing")]).await;
        let arrival = receiver.arrivals().into_iter().find(|arrival| arrival.alarm.kind == "outage").unwrap();
        let (alarm, detail) = (&arrival.alarm, &arrival.alarm.detail);
        assert_eq!((alarm.network.as_str(), alarm.address, alarm.host.id.as_str()), ("lab", None, ""));
        assert_eq!((&detail["scope"], &detail["name"], &detail["watched"]), (&"network".into(), &"lab".into(), &100.into()), "{detail}");
        let (silent, hosts) = (detail["silent"].as_u64().unwrap(), detail["hosts"].as_array().unwrap().len() as u64);
        assert!((31..=60).contains(&silent) && silent == hosts, "{detail}");
        assert!(alarm.summary.starts_with("network lab: ") && alarm.summary.contains("of 100 addresses fell silent at once"), "{alarm:?}");
        a_while().await;
        // Those that fell before it could be more than chance.
        let before = singly(&receiver);
        assert!(before.len() <= 7, "{before:?}");
        assert_eq!(agent.status().await?.alarms_firing, 1 + before.len() as u64);

        stage.stop(&agent, &["vm-000060"]).await?;
        (1..=55).for_each(|station| stage.lab.fleet().revive(station));
        until("its end", &stage, &receiver, |receiver| told(receiver) == [outage("firing"), outage("resolved")]).await;
        until("those that stay silent", &stage, &receiver, |receiver| agent_alarms(receiver) == 4).await;
        a_while().await;
        let left: Vec<String> = singly(&receiver).into_iter().filter(|id| id.as_str() > "vm-000055").collect();
        assert_eq!(left, ["vm-000056", "vm-000057", "vm-000058", "vm-000059"], "each once, and the stopped one never");
        assert_eq!(agent.status().await?.alarms_firing, 4);
        Ok(())
    });
}

/// Single alarms of silent hosts that fire by what was told.
fn agent_alarms(receiver: &Receiver) -> usize {
    let of_hosts: Vec<Arrival> = receiver.arrivals().into_iter().filter(|arrival| arrival.alarm.kind == "down").collect();
    let firing = of_hosts.iter().filter(|arrival| arrival.alarm.status == "firing").count();
    firing - of_hosts.iter().filter(|arrival| arrival.alarm.status != "firing").count()
}

#[test]
fn outage_outlives_a_crash_and_ends_when_its_hosts_answer() {
    let Some(stage) = Stage::new("stormkill", cloud(60, 0), Mode::Native) else { return };
    stage.play(async {
        let receiver = Receiver::start().await?;
        let settings = "[storm]\nwindow = \"4s\"\nhold = \"2s\"";
        let mut agent = stage.agent(Some(&receiver), settings).await?;
        stage.push(&agent, &stage.table(60, 0)).await?;
        stage.until(&mut agent, Verdict::Up, 60).await?;
        (1..=50).for_each(|station| stage.lab.fleet().kill(station));
        stage.until(&mut agent, Verdict::Down, 50).await?;
        until("the outage", &stage, &receiver, |receiver| told(receiver) == [outage("firing")]).await;
        stage.until_taken(&agent).await?;
        let before = receiver.arrivals().len();
        agent.crash().await?;
        let mut agent = stage.agent(Some(&receiver), settings).await?;
        stage.until(&mut agent, Verdict::Down, 50).await?;
        tokio::time::sleep(Duration::from_secs(8)).await;
        assert_eq!(receiver.arrivals().len(), before, "nothing is told twice, and nobody singly: {:?}\n{}", told(&receiver), stage.log());
        (1..=48).for_each(|station| stage.lab.fleet().revive(station));
        until("its end", &stage, &receiver, |receiver| told(receiver) == [outage("firing"), outage("resolved")]).await;
        until("those that stay silent", &stage, &receiver, |receiver| agent_alarms(receiver) == 2).await;
        Ok(())
    });
}

#[test]
fn host_that_flaps_is_told_once_is_shown_so_and_then_is_quiet_until_it_is_stable() {
    let Some(stage) = Stage::new("flaps", cloud(20, 0), Mode::Native) else { return };
    stage.play(async {
        let receiver = Receiver::start().await?;
        let mut agent = stage.agent(Some(&receiver), "[flapping]\nchanges = 4\nwindow = \"15s\"").await?;
        stage.push(&agent, &stage.table(20, 0)).await?;
        stage.until(&mut agent, Verdict::Up, 20).await?;
        for _ in 0..4 {
            stage.lab.fleet().kill(3);
            stage.until_host(&agent, "vm-000003", Verdict::Down).await?;
            stage.lab.fleet().revive(3);
            stage.until_host(&agent, "vm-000003", Verdict::Up).await?;
        }
        let flapping = |status: &str| (status.to_owned(), "flapping".to_owned());
        until("the alarm", &stage, &receiver, |receiver| told(receiver) == [flapping("firing")]).await;
        assert_eq!(singly(&receiver).len(), 2, "the first two times it was a host that was down");
        let host = agent.host("vm-000003").await?.unwrap();
        assert_eq!(host.addresses[0].now.conditions.to_string(), "flapping");
        assert!(host.addresses[0].explanation.iter().any(|sentence| sentence.starts_with("flapping: ")), "{host:?}");
        assert!(agent.get("/metrics").await?.1.contains(r#"rollcall_conditions{network="lab",condition="flapping"} 1"#));
        let csv = agent.get("/v1/hosts?condition=flapping&format=csv").await?.1;
        assert!(csv.lines().count() == 2 && csv.trim_end().ends_with(",flapping"), "{csv}");
        assert_eq!(agent.status().await?.conditions.get("flapping"), Some(&1));
        // It dies for good while it flaps: told when it is stable.
        stage.lab.fleet().kill(3);
        stage.until_host(&agent, "vm-000003", Verdict::Down).await?;
        a_while().await;
        assert_eq!(singly(&receiver).len(), 2);
        until("its end", &stage, &receiver, |receiver| told(receiver) == [flapping("firing"), flapping("resolved")]).await;
        until("its own alarm", &stage, &receiver, |receiver| singly(receiver).len() == 3).await;
        let host = agent.host("vm-000003").await?.unwrap();
        assert!(host.addresses[0].now.conditions.is_empty());
        let changes: Vec<_> = host.addresses[0].changes.iter().filter_map(|event| event.holds).collect();
        assert_eq!(changes, [true, false]);
        Ok(())
    });
}
