//! The scenarios of `tests/scenarios`, in memory: hours in seconds.

use std::path::Path;

use rollcall_tests::scenario;

#[test]
fn every_scenario_goes_in_memory_as_an_operator_expects() {
    let scenarios = scenario::all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")).unwrap();
    assert!(scenarios.len() >= 15);
    let mut failures = Vec::new();
    for scenario in &scenarios {
        let outcome = scenario::in_memory(scenario).unwrap();
        failures.extend(outcome.failures.into_iter().map(|failure| format!("{}: {failure}", outcome.name)));
    }
    assert_eq!(failures, [] as [String; 0]);
}

#[test]
fn every_short_scenario_goes_in_the_lab_by_every_way_as_in_memory() {
    if !nix::unistd::geteuid().is_root() {
        println!("SKIPPED: every_short_scenario_goes_in_the_lab_by_every_way_as_in_memory: network namespaces and XDP need root");
        return;
    }
    let scenarios = scenario::all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")).unwrap();
    let mut plays = Vec::new();
    for (number, scenario) in scenarios.iter().enumerate() {
        match scenario::only_in_memory(scenario) {
            Some(why) => println!("in memory alone: {}: {why}", scenario.name),
            None => plays.extend(scenario::WAYS.map(|ways| (number, scenario, ways))),
        }
    }
    assert!(plays.len() >= 4 * 5);
    // They sleep most of the time, each in a lab of its own; some at a time, for each makes its lab first, and those that take as long
    // together.
    plays.sort_by_key(|(_, scenario, _)| scenario.lasts());
    let mut failures = Vec::new();
    for some in plays.chunks(20) {
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                some.iter().map(|(number, scenario, ways)| scope.spawn(move || scenario::in_lab(scenario, *ways, *number))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for outcome in outcomes {
            match outcome {
                Ok(outcome) => {
                    println!("{}: {}", outcome.name, if outcome.failures.is_empty() { "as expected" } else { "NOT as expected" });
                    failures.extend(outcome.failures.into_iter().map(|failure| format!("{}: {failure}", outcome.name)));
                }
                Err(error) => failures.push(format!("{error:#}")),
            }
        }
    }
    assert_eq!(failures, [] as [String; 0]);
}
