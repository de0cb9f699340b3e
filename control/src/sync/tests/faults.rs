//! From a platform that is ill to an agent's table, which stays as it is, but for the hosts that it is told to be gone.

use super::cloud::{Cloud, Fault, PORTS};
use super::*;
use crate::source::openstack::change::Change;

const FAULTS: [(Fault, &str); 6] = [
    (Fault::Page, "answers 500"),
    (Fault::Truncated, "EOF while parsing"),
    (Fault::Circle, "pages that go round in a circle"),
    (Fault::Empty, "addresses would be watched no more"),
    (Fault::Revoked, "refuses the credential: 401"),
    (Fault::Shrunk, "addresses would be watched no more"),
];

/// Each fault, and while it lasts a deletion that the platform tells of.
async fn survive(allow_shrink: bool) {
    let (cloud, agent) = (Cloud::start().await, Agent::start().await);
    let desk = Desk::new(&[("a", agent.address())], &["cloud"]);
    let (sender, changes) = mpsc::channel(16);
    // As the controller opens it, but for the broker.
    let guard = Controller::new(desk.config(), allow_shrink).unwrap().guard;
    let source = cloud.source().following(guard).unwrap().told_by(changes);
    let running = desk.run(allow_shrink, vec![Box::new(source)]);
    agent.until(PORTS).await;
    running.until_well().await;
    for (deleted, (fault, said)) in FAULTS.into_iter().enumerate() {
        let before = agent.table();
        cloud.set(fault);
        running.until_trouble(said).await;
        tokio::time::sleep(A_WHILE).await;
        assert_eq!(agent.table().digest(), before.digest(), "{fault:?}");
        // The last of them first: a list that shrank to few never had them.
        let gone = format!("s{:02}", PORTS - 1 - deleted);
        assert!(before.find_host(&gone).is_some());
        sender.send(Change::ServerGone(gone.clone())).await.unwrap();
        agent.until(before.len() - 1).await;
        tokio::time::sleep(A_WHILE).await;
        assert_eq!((agent.table().len(), agent.table().find_host(&gone)), (before.len() - 1, None), "{fault:?}");
        assert!(running.show.sources()[0].error.as_ref().is_some_and(|error| error.contains(said)), "{fault:?}");
        cloud.set(Fault::None);
        running.until_well().await;
        assert_eq!(agent.table().len(), before.len() - 1, "{fault:?}: what is deleted stays so, though a list still has it");
    }
    running.end().await;
}

#[tokio::test]
async fn no_fault_of_the_platform_changes_a_table_and_deletions_go_on_meanwhile() {
    survive(false).await;
}

#[tokio::test]
async fn that_the_first_lists_were_allowed_to_shrink_changes_nothing_of_it() {
    survive(true).await;
}
