//! `truth`: what is predicted beside what the engine does. Builds what it needs, lets the kernel run the mutated frames, and becomes
//! `rollcall-truth`.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::workspace::Profile;
use crate::{build_ebpf, debian, step, workspace};

/// The test that gives the XDP program mutated frames, and fails when it drops one that is not ours.
const FUZZ: &str = "fuzz::nothing_that_is_not_ours_is_ever_dropped";

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    build_ebpf::run(&[])?;
    // A thousand million probes: release builds alone are quick enough.
    let programs = workspace::build_programs(Profile::Release)?;
    let missing: Vec<&str> = [("arping", "iputils-arping"), ("fping", "fping")]
        .into_iter()
        .filter_map(|(program, package)| (!step::in_path(program)).then_some(package))
        .collect();
    if !missing.is_empty()
        && let Err(error) = debian::ensure(&missing, "the broadcast trap")
    {
        // The page names what could not be asked.
        eprintln!("xtask: {error:#}");
    }
    let mut command = Command::new(programs.join("rollcall-truth"));
    if !arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        match debian::is_root() {
            true => command.arg(format!("--fuzzed={}", fuzz()?)),
            false => command.arg("--not-fuzzed=BPF_PROG_TEST_RUN needs root"),
        };
    }
    step::become_program(command.args(arguments).current_dir(workspace::root()))
}

/// Frames that the program was given.
///
/// # Errors
/// It dropped one that is not ours: then nothing else is worth telling.
fn fuzz() -> Result<u64> {
    let mut command = workspace::cargo();
    command.args(["test", "--quiet", "--release", "-p", "rollcall-tests", "--test", "xdp", "--", "--exact", FUZZ, "--nocapture"]);
    eprintln!("xtask: {}", step::text(&command));
    // What it says of a frame that is dropped wrongly, the seed above all, must not be lost.
    let output = command.stderr(Stdio::inherit()).output().with_context(|| format!("cannot run `{}`", step::text(&command)))?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        print!("{said}");
        bail!("the test {FUZZ} failed");
    }
    frames(&said).with_context(|| format!("the test {FUZZ} said no number of frames"))
}

/// `12 of our own taken, 34 others passed`: all of them.
fn frames(said: &str) -> Option<u64> {
    let (taken, passed) = said.lines().find_map(|line| line.trim().strip_suffix(" others passed")?.split_once(" of our own taken, "))?;
    Some(taken.parse::<u64>().ok()? + passed.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_those_taken_and_those_passed() {
        assert_eq!(frames("seed 1\n12 of our own taken, 34 others passed\ntest ... ok\n"), Some(46));
        assert_eq!(frames("SKIPPED: needs root"), None);
    }
}
