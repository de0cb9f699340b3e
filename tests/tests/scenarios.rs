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
