//! When nothing is pushed, and that it shows; that the process ends where a task of it does.

use super::*;

#[tokio::test]
async fn policy_file_that_breaks_is_shown_until_it_is_mended_and_the_agents_keep_their_tables() {
    let agent = Agent::start().await;
    let desk = Desk::new(&[("a", agent.address())], &["list"]);
    let (hand, source) = script(Ok(hosts(0..10)));
    let running = desk.run(false, vec![source]);
    agent.until(10).await;
    running.until_well().await;
    desk.policy("[defaults]\ninterval = \"soon\"\n");
    hand.tells(hosts(0..9));
    running.until_trouble("nothing is pushed: ").await;
    assert!(running.show.unplanned().is_some_and(|why| why.contains("policies.toml")), "{:?}", running.show.unplanned());
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(agent.table().len(), 10);
    desk.policy("[defaults]\n");
    hand.lists(Ok(hosts(0..9)));
    agent.until(9).await;
    running.until_well().await;
    running.end().await;
}

#[tokio::test]
async fn source_that_was_never_listed_holds_up_the_others_and_that_is_shown() {
    let agent = Agent::start().await;
    let desk = Desk::new(&[("a", agent.address())], &["list", "netbox"]);
    let ((_list, list), (netbox, other)) = (script(Ok(hosts(0..10))), script(Err("it is away")));
    let running = desk.run(false, vec![list, other]);
    running.until_trouble("source netbox: source \"netbox\": it is away").await;
    running.until_trouble("nothing is pushed before source \"netbox\" was listed once").await;
    tokio::time::sleep(A_WHILE).await;
    assert!(agent.table().is_empty());
    netbox.lists(Ok(hosts(10..12)));
    agent.until(12).await;
    running.until_well().await;
    // Afterwards it may be away as long as it wants.
    netbox.lists(Err("it is away"));
    running.until_trouble("source netbox: ").await;
    assert_eq!(running.show.unplanned(), None);
    running.end().await;
}

/// A source that breaks the task that listens to it.
struct Mad;

impl Source for Mad {
    fn name(&self) -> &str {
        "mad"
    }

    fn list<'a>(&'a mut self, _: Meanwhile<'a>) -> BoxFuture<'a, Result<Listing, SourceError>> {
        panic!("as it were");
    }

    fn known(&self) -> Option<Listing> {
        None
    }
}

#[tokio::test]
async fn process_ends_with_an_error_when_one_of_its_tasks_does() {
    let desk = Desk::new(&[("a", nobody().await)], &["mad"]);
    let running = desk.run(false, vec![Box::new(Mad)]);
    let ended = tokio::time::timeout(PATIENCE, running.task).await.expect("it goes on without the source").unwrap();
    let error = ended.unwrap_err().to_string();
    assert!(error.contains("source \"mad\" ended") && error.contains("as it were"), "{error}");
}
