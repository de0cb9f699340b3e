//! What the virtual machine says on its serial line: which test programs began and how they ended, and what they counted.

use anyhow::{Result, ensure};

use crate::tally::Tally;

const MARK: &str = "rollcall-vm ";

/// What was said so far.
#[derive(Debug, Default)]
pub(crate) struct Console {
    tally: Tally,
    /// The program that runs, and how many tests had failed before it.
    running: Option<(String, i64)>,
    /// Programs that ended.
    ended: usize,
    /// What went wrong beside the tests that failed.
    broken: Vec<String>,
    done: bool,
}

impl Console {
    /// Takes a line.
    pub(crate) fn note(&mut self, line: &str) {
        let Some(mark) = line.trim().strip_prefix(MARK) else {
            self.tally.note(line);
            return;
        };
        let mut words = mark.split(' ');
        match (words.next(), words.next(), words.next()) {
            (Some("begin"), Some(name), None) => {
                self.cut_short();
                self.running = Some((name.into(), self.tally.failed));
            }
            (Some("end"), Some(name), Some(status)) => {
                let before = self.running.take().filter(|(running, _)| running == name).map(|(_, failed)| failed);
                match before {
                    None => self.broken.push(format!("{name} ended, and did not run")),
                    Some(failed) if status != "0" && failed == self.tally.failed => {
                        self.broken.push(format!("{name} ended with status {status}, and no test of it failed"));
                    }
                    Some(_) => self.ended += 1,
                }
            }
            (Some("done"), None, None) => self.done = true,
            _ => {}
        }
    }

    /// No more will come.
    pub(crate) fn close(&mut self, why: Option<String>) {
        self.cut_short();
        self.broken.extend(why);
        if !self.done {
            self.broken.push("the virtual machine ended before its tests did".into());
        }
    }

    fn cut_short(&mut self) {
        if let Some((name, _)) = self.running.take() {
            self.broken.push(format!("{name} did not end"));
        }
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.done && self.broken.is_empty()
    }

    pub(crate) fn print(&self) {
        self.tally.print();
    }

    /// Whether all went well, with so many programs.
    pub(crate) fn check(&self, programs: usize) -> Result<()> {
        ensure!(self.broken.is_empty(), "{}", self.broken.join("; "));
        ensure!(self.tally.failed == 0, "{} tests failed", self.tally.failed);
        ensure!(self.done && self.tally.passed > 0, "not a single test ran");
        ensure!(self.ended == programs, "{} of {programs} test programs ran", self.ended);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(text: &str) -> Console {
        let mut console = Console::default();
        text.lines().for_each(|line| console.note(line));
        console.close(None);
        console
    }

    const RESULT: &str = "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 1 filtered out; finished in 2.00s\r\n";

    #[test]
    fn run_is_good_when_every_program_ended_and_nothing_failed() {
        let console = heard(&format!("rollcall-vm begin xdp\r\n{RESULT}rollcall-vm end xdp 0\r\nrollcall-vm done\r\n"));
        console.check(1).unwrap();
        assert_eq!(console.tally.passed, 3);
        assert_eq!(console.check(2).unwrap_err().to_string(), "1 of 2 test programs ran");
    }

    #[test]
    fn machine_that_stops_under_way_is_no_success() {
        let error = |text: &str| heard(text).check(1).unwrap_err().to_string();
        let cut = format!("rollcall-vm begin xdp\n{RESULT}rollcall-vm end xdp 0\nrollcall-vm begin line\ntest a ... ok\n");
        assert!(error(&cut).contains("line did not end"));
        assert!(error(&cut).contains("ended before its tests did"));
        assert!(error("").contains("ended before its tests did"));
        assert!(error("rollcall-vm done\n").contains("not a single test ran"));
    }

    #[test]
    fn program_that_crashes_is_no_success() {
        let crashed = heard(&format!("rollcall-vm begin xdp\n{RESULT}rollcall-vm end xdp 139\nrollcall-vm done\n"));
        assert!(crashed.check(1).unwrap_err().to_string().contains("xdp ended with status 139"));
        let failed = RESULT.replace("0 failed", "1 failed");
        let failed = heard(&format!("rollcall-vm begin xdp\n{failed}rollcall-vm end xdp 101\nrollcall-vm done\n"));
        assert_eq!(failed.check(1).unwrap_err().to_string(), "1 tests failed");
    }

    #[test]
    fn what_was_skipped_is_not_counted_as_passed() {
        let skipped = format!("rollcall-vm begin lab\nSKIPPED: a: there is no ping\n{RESULT}rollcall-vm end lab 0\nrollcall-vm done\n");
        assert_eq!(heard(&skipped).tally.passed, 2);
    }
}
