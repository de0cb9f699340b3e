//! `test`: every test that this machine can run. A test that cannot run here says `SKIPPED: name: reason`; those are
//! listed at the end, and are not counted as passed.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::tally::Tally;
use crate::workspace::Profile;
use crate::{build_ebpf, debian, kernel, step, workspace};

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let arguments = Arguments::parse(arguments)?;
    if let Some(series) = &arguments.kernel {
        return kernel::run(series, &arguments.cargo);
    }
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

/// The tests of the whole line, which take longest, wait for answers and silence nearly all the time: they use a seventh of
/// the processors with a thread for each core, and two fifths with three.
const THREADS_PER_CORE: usize = 3;

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
struct Arguments {
    fast: bool,
    /// In a virtual machine with a kernel of this series.
    kernel: Option<String>,
    /// For `cargo test`, or the names of tests where a kernel is asked for.
    cargo: Vec<String>,
    /// For the test programs.
    programs: Vec<String>,
}

impl Arguments {
    fn parse(arguments: &[String]) -> Result<Self> {
        let mut parts = arguments.splitn(3, |argument| argument == "--").map(<[String]>::to_vec);
        let own = parts.next().unwrap_or_default();
        let (cargo, programs) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let (mut fast, mut kernel) = (false, None);
        let mut own = own.into_iter();
        while let Some(argument) = own.next() {
            match argument.as_str() {
                "--fast" => fast = true,
                "--kernel" => kernel = Some(own.next().context("--kernel takes a series of kernels, like 6.1")?),
                other => bail!(
                    "test takes --fast or --kernel VERSION, and arguments for `cargo test` or names of tests after --; found: {other}"
                ),
            }
        }
        ensure!(
            kernel.is_none() || !fast && programs.is_empty() && !cargo.iter().any(|name| name.starts_with('-')),
            "test --kernel takes nothing but names of tests, or parts of them, after --"
        );
        Ok(Self { fast, kernel, cargo, programs })
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
        command.args(["--", "--show-output"]);
        if !self.programs.iter().any(|argument| argument.starts_with("--test-threads")) {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            command.arg(format!("--test-threads={}", cores * THREADS_PER_CORE));
        }
        command.args(&self.programs);
        command
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
    fn arguments_go_to_cargo_and_to_the_test_programs() {
        let words = |text: &str| text.split(' ').map(String::from).collect::<Vec<_>>();
        let parsed = Arguments::parse(&words("--fast -- -p xtask name -- --exact")).unwrap();
        assert_eq!(parsed, Arguments { fast: true, kernel: None, cargo: words("-p xtask name"), programs: words("--exact") });
        let text = step::text(&parsed.command());
        assert!(text.contains("test --no-fail-fast --lib --bins -p xtask name -- --show-output --test-threads="), "{text}");
        assert!(text.ends_with(" --exact"), "{text}");
        let alone = Arguments::parse(&words("-- -- --test-threads=1")).unwrap();
        assert!(step::text(&alone.command()).ends_with("-- --show-output --test-threads=1"));
        assert!(step::text(&Arguments::parse(&[]).unwrap().command()).contains("--workspace"));
        assert!(Arguments::parse(&words("name")).is_err());
        let kernel = Arguments::parse(&words("--kernel 6.1 -- silent_host")).unwrap();
        assert_eq!((kernel.kernel.as_deref(), kernel.cargo), (Some("6.1"), words("silent_host")));
        for wrong in ["--kernel", "--fast --kernel 6.1", "--kernel 6.1 -- -p xtask", "--kernel 6.1 -- name -- --exact"] {
            assert!(Arguments::parse(&words(wrong)).is_err(), "{wrong}");
        }
    }
}
