//! `test`: every test that this machine can run. A test that cannot run here says `SKIPPED: name: reason`; those are
//! listed at the end, and are not counted as passed.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::workspace::Profile;
use crate::{build_ebpf, debian, step, workspace};

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let arguments = Arguments::parse(arguments)?;
    build_ebpf::run(&[])?;
    workspace::build_programs(Profile::Debug)?;
    // What is missing makes tests skip, and they say why: no reason to stop here.
    for outcome in [tools(), alertmanager()] {
        if let Err(error) = outcome {
            eprintln!("xtask: {error:#}");
        }
    }
    let mut command = arguments.command();
    eprintln!("xtask: {}", step::text(&command));
    command.env("PATH", path()?).stdout(Stdio::piped());
    let mut child = command.spawn().context("cannot run cargo test")?;
    let stdout = child.stdout.take().context("cargo test has no standard output")?;
    let mut tally = Tally::default();
    for line in BufReader::new(stdout).lines() {
        let line = line.context("cannot read what cargo test prints")?;
        println!("{line}");
        tally.note(&line);
    }
    let status = child.wait()?;
    tally.print();
    ensure!(status.success() && tally.failed == 0, "tests failed ({status})");
    ensure!(tally.passed > 0, "not a single test ran");
    Ok(())
}

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
struct Arguments {
    fast: bool,
    /// For `cargo test`.
    cargo: Vec<String>,
    /// For the test programs.
    programs: Vec<String>,
}

impl Arguments {
    fn parse(arguments: &[String]) -> Result<Self> {
        let mut parts = arguments.splitn(3, |argument| argument == "--").map(<[String]>::to_vec);
        let own = parts.next().unwrap_or_default();
        let (cargo, programs) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let mut fast = false;
        for argument in own {
            match argument.as_str() {
                "--fast" => fast = true,
                other => bail!("test takes --fast, and arguments for `cargo test` after --; found: {other}"),
            }
        }
        Ok(Self { fast, cargo, programs })
    }

    fn command(&self) -> Command {
        let mut command = workspace::cargo();
        command.args(["test", "--no-fail-fast"]);
        let chosen = |argument: &String| argument.starts_with("-p") || argument.starts_with("--package");
        if !self.cargo.iter().any(chosen) {
            command.arg("--workspace");
        }
        if self.fast {
            command.args(["--lib", "--bins"]);
        }
        command.args(&self.cargo);
        // Otherwise nobody sees what a test that passed, or skipped, has printed.
        command.args(["--", "--show-output"]).args(&self.programs);
        command
    }
}

/// What the test programs said.
#[derive(Debug, Default)]
struct Tally {
    /// Below zero between a skipped test's word and its program's result.
    passed: i64,
    failed: i64,
    skipped: Vec<String>,
    /// The test whose output is being shown.
    current: String,
}

impl Tally {
    fn note(&mut self, line: &str) {
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

    fn print(&self) {
        println!();
        for what in &self.skipped {
            println!("SKIPPED {what}");
        }
        println!("tests: {} passed, {} failed, {} SKIPPED", self.passed, self.failed, self.skipped.len());
    }
}

/// Programs that tests run.
fn tools() -> Result<()> {
    let wanted = [("ip", "iproute2"), ("ping", "iputils-ping"), ("ethtool", "ethtool")];
    let missing: Vec<&str> = wanted.iter().filter(|(program, _)| !step::in_path(program)).map(|(_, package)| *package).collect();
    if missing.is_empty() { Ok(()) } else { debian::ensure(&missing, "testing in namespaces") }
}

/// Alertmanager from Debian's package, unpacked and not installed: no service starts, nothing of the system changes.
fn alertmanager() -> Result<()> {
    const PACKAGE: &str = "prometheus-alertmanager";
    let folder = alertmanager_folder();
    let wrapper = folder.join("bin").join(PACKAGE);
    if step::in_path(PACKAGE) || wrapper.is_file() {
        return Ok(());
    }
    if !step::in_path("apt-get") || !step::in_path("dpkg") {
        bail!("testing against a real Alertmanager needs `{PACKAGE}` in the PATH; install what your system calls so");
    }
    let unpacked = debian::unpack(PACKAGE, &folder).and_then(|()| write_wrapper(&folder, &wrapper));
    unpacked.with_context(|| format!("testing against a real Alertmanager needs the package {PACKAGE}; try: apt-get install {PACKAGE}"))
}

/// Debian's Alertmanager looks for its templates under /usr/share: the wrapper shows it the unpacked ones there, in a mount
/// namespace of its own that ends with it.
fn write_wrapper(folder: &Path, wrapper: &Path) -> Result<()> {
    let script = format!(
        "#!/bin/sh\nexec unshare --mount sh -c 'mount --bind \"$0/usr/share\" /usr/share && exec \"$0/usr/bin/prometheus-alertmanager\" \"$@\"' '{}' \"$@\"\n",
        folder.display()
    );
    std::fs::create_dir_all(folder.join("bin"))?;
    std::fs::write(wrapper, script)?;
    std::fs::set_permissions(wrapper, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    Ok(())
}

fn alertmanager_folder() -> PathBuf {
    workspace::target().join("tools/alertmanager")
}

/// Our `PATH`, with what was unpacked, and where Debian keeps the tools of administrators.
fn path() -> Result<std::ffi::OsString> {
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let own = [alertmanager_folder().join("bin"), "/usr/sbin".into(), "/sbin".into()];
    std::env::join_paths(std::env::split_paths(&inherited).chain(own)).context("the PATH cannot be extended")
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

    #[test]
    fn arguments_go_to_cargo_and_to_the_test_programs() {
        let words = |text: &str| text.split(' ').map(String::from).collect::<Vec<_>>();
        let parsed = Arguments::parse(&words("--fast -- -p xtask name -- --exact")).unwrap();
        assert_eq!(parsed, Arguments { fast: true, cargo: words("-p xtask name"), programs: words("--exact") });
        assert!(step::text(&parsed.command()).ends_with("test --no-fail-fast --lib --bins -p xtask name -- --show-output --exact"));
        assert!(step::text(&Arguments::parse(&[]).unwrap().command()).contains("--workspace"));
        assert!(Arguments::parse(&words("name")).is_err());
    }
}
