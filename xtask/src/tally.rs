//! Counting what test programs print: passed, failed, and SKIPPED, which is never counted as passed.

/// What the test programs said.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Below zero between a skipped test's word and its program's result.
    pub(crate) passed: i64,
    pub(crate) failed: i64,
    skipped: Vec<String>,
    /// The test whose output is being shown.
    current: String,
}

impl Tally {
    pub(crate) fn note(&mut self, line: &str) {
        let line = line.trim();
        if let Some(name) = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----")) {
            self.current = name.into();
        } else if let Some(what) = line.strip_prefix("SKIPPED: ") {
            let named = self.current.is_empty() || what.contains(&self.current);
            self.skipped.push(if named { what.into() } else { format!("{}: {what}", self.current) });
            // The harness counts it as passed; we do not.
            self.passed -= 1;
        } else if let Some((name, reason)) = line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... ignored")) {
            let reason = reason.trim_start_matches(", ");
            self.skipped.push(format!("{name}: {}", if reason.is_empty() { "marked as ignored" } else { reason }));
        } else if let Some(result) = line.strip_prefix("test result: ") {
            let count = |what: &str| {
                result.split(['.', ';']).find_map(|part| part.trim().strip_suffix(what)?.trim().parse::<i64>().ok()).unwrap_or_default()
            };
            self.passed += count("passed");
            self.failed += count("failed");
        }
    }

    pub(crate) fn print(&self) {
        println!();
        for what in &self.skipped {
            println!("SKIPPED {what}");
        }
        println!("tests: {} passed, {} failed, {} SKIPPED", self.passed, self.failed, self.skipped.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skipped_test_is_listed_and_not_counted_as_passed() {
        let mut tally = Tally::default();
        let printed = "running 3 tests\n\
                       test a ... ok\n\
                       test b ... ignored, needs a second machine\n\
                       ---- c stdout ----\n\
                       SKIPPED: c: needs root\n\
                       ---- d stdout ----\n\
                       SKIPPED: there is no ping\n\
                       test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
                       test result: FAILED. 4 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out";
        printed.lines().for_each(|line| tally.note(line));
        assert_eq!((tally.passed, tally.failed), (4, 1));
        assert_eq!(tally.skipped, ["b: needs a second machine", "c: needs root", "d: there is no ping"]);
    }
}
