//! The first table that a run brings an agent, and agents that are away or do not answer.

use super::*;

#[tokio::test]
async fn agent_that_comes_back_gets_its_table_and_one_that_never_answers_holds_up_nobody() {
    let (here, away) = (Agent::start().await, nobody().await);
    // Takes connections into its backlog, and never says anything.
    let mute = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let desk = Desk::new(&[("here", here.address()), ("away", away), ("mute", mute.local_addr().unwrap())], &["list"]);
    let (hand, source) = script(Ok(hosts(0..60)));
    let began = Instant::now();
    let running = desk.run(false, vec![source]);
    running.until("here has its table", |show| show.agents[0].1.standing().in_step).await;
    running.until_trouble("agent away: ").await;
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    let before = here.table().len();
    assert!((5..40).contains(&before), "a third of 60: {before}");
    // What is told goes on meanwhile.
    hand.lists(Ok(hosts(0..59)));
    running.until("59 hosts", |show| show.sources()[0].hosts == 59).await;
    let back = Agent::at(away, Table::empty()).await;
    running.until("away is back", |show| show.agents[1].1.standing().in_step).await;
    assert_eq!(back.table().len() as u64, running.agent(1).addresses);
    assert!(!back.table().is_empty() && !running.agent(2).in_step);
    running.end().await;
}

#[tokio::test]
async fn agent_that_comes_back_with_more_than_the_list_has_keeps_it_until_that_is_allowed() {
    let away = nobody().await;
    let desk = Desk::new(&[("a", away)], &["list"]);
    let held = desk.table(&hosts(0..30));
    // Few are left; all are others, as many as before.
    for (listing, said) in [(hosts(0..3), "27 of 30 addresses"), (hosts(100..130), "30 of 30 addresses")] {
        let (hand, source) = script(Ok(listing.clone()));
        let running = desk.run(false, vec![source]);
        running.until_trouble("agent a: ").await;
        let back = Agent::at(away, held.with_generation(7)).await;
        running.until_trouble(said).await;
        running.until_trouble("start it anew with --allow-shrink").await;
        // However often the table changes meanwhile, the agent is not asked for all its hosts each time.
        for n in 0..6 {
            hand.tells(Listing { hosts: [listing.hosts.clone(), hosts(300 + n..301 + n).hosts].concat(), warnings: vec![] });
            tokio::time::sleep(A_WHILE / 6).await;
        }
        assert_eq!((back.table().digest(), back.listed()), (held.digest(), 1));
        running.end().await;
        let (hand, source) = script(Ok(listing.clone()));
        let running = desk.run(true, vec![source]);
        back.until(listing.hosts.len()).await;
        running.until_well().await;
        // What was allowed is allowed once.
        hand.lists(Ok(hosts(200..201)));
        running.until_trouble("addresses would be watched no more").await;
        running.end().await;
        assert_eq!(back.table().len(), listing.hosts.len());
    }
}

#[tokio::test]
async fn hosts_that_move_to_an_agent_that_is_new_are_not_lost_and_nobody_waits_for_it() {
    let (old, new) = (Agent::start().await, nobody().await);
    let address = old.address();
    drop(old);
    let desk = Desk::new(&[("old", address), ("new", new)], &["list"]);
    let old = Agent::at(address, desk.table(&hosts(0..200))).await;
    let (_hand, source) = script(Ok(hosts(0..199)));
    let running = desk.run(false, vec![source]);
    running.until("old gave its share away", |show| show.agents[0].1.standing().in_step).await;
    let new = Agent::at(new, Table::empty()).await;
    running.until_well().await;
    assert_eq!(old.table().len() + new.table().len(), 199);
    assert!((60..140).contains(&old.table().len()));
    running.end().await;
}

#[tokio::test]
async fn push_that_failed_in_between_is_no_first_one() {
    let agent = Agent::start().await;
    let desk = Desk::new(&[("a", agent.address())], &["list"]);
    let (hand, source) = script(Ok(hosts(0..30)));
    let running = desk.run(false, vec![source]);
    running.until_well().await;
    let (address, held) = (agent.address(), agent.table());
    drop(agent);
    // The platform tells that most are deleted while the agent is away.
    hand.lists(Ok(hosts(0..5)));
    hand.tells(hosts(0..5));
    running.until_trouble("agent a: no answer").await;
    let back = Agent::at(address, held.with_generation(1)).await;
    back.until(5).await;
    running.end().await;
}
