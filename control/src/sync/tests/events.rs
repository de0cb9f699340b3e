//! What sources tell between two lists.

use super::*;

#[tokio::test]
async fn under_a_steady_stream_of_events_the_agent_gets_its_table_all_the_same() {
    let agent = Agent::start().await;
    let desk = Desk::new(&[("a", agent.address())], &["list"]);
    let (hand, source) = script(Ok(hosts(0..10)));
    let running = desk.run(false, vec![source]);
    agent.until(10).await;
    // The lists say nothing any more: what comes is told.
    hand.lists(Err("the platform is away"));
    let began = Instant::now();
    let mut taken = None;
    for n in 0.. {
        hand.tells(hosts(0..11 + n % 2));
        if taken.is_none() && agent.table().len() > 10 {
            taken = Some(began.elapsed());
        }
        if began.elapsed() > Duration::from_secs(2) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(taken.is_some_and(|taken| taken < Duration::from_secs(1)), "{taken:?}");
    running.end().await;
}

#[tokio::test]
async fn word_of_a_single_host_does_not_make_a_source_well_that_cannot_be_listed() {
    let agent = Agent::start().await;
    let desk = Desk::new(&[("a", agent.address())], &["list"]);
    let (hand, source) = script(Ok(hosts(0..10)));
    let running = desk.run(false, vec![source]);
    agent.until(10).await;
    hand.lists(Err("Keystone is away"));
    running.until_trouble("source list: source \"list\": Keystone is away").await;
    let before = running.show.sources()[0].clone();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    for n in 1..10 {
        hand.tells(hosts(n..10));
        agent.until(10 - n as usize).await;
        let now = running.show.sources()[0].clone();
        assert_eq!((now.error, now.last_good, now.hosts), (before.error.clone(), before.last_good, u64::from(10 - n)));
    }
    hand.lists(Ok(hosts(9..10)));
    running.until_well().await;
    assert!(running.show.sources()[0].last_good > before.last_good);
    running.end().await;
}
