//! Packages of the system: installed when we are root and apt is there, otherwise asked for by name.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{step, workspace};

/// Whether we are root: the owner of our own process says so, without a system call of our own.
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// Whether dpkg knows the package as installed.
pub(crate) fn installed(package: &str) -> bool {
    step::output(Command::new("dpkg-query").args(["-W", "-f=${db:Status-Status}", package])).is_some_and(|status| status == "installed")
}

/// Sees to it that the packages are there, `why` they are needed being said where they cannot be had.
pub(crate) fn ensure(packages: &[&str], why: &str) -> Result<()> {
    let missing: Vec<&str> = packages.iter().copied().filter(|package| !installed(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let by_hand = format!("apt-get update && apt-get install -y --no-install-recommends {}", missing.join(" "));
    if !step::in_path("apt-get") {
        bail!("{why} needs these packages, by Debian's names: {}; install what your system calls them", missing.join(" "));
    }
    if !is_root() {
        bail!("{why} needs packages that are not installed; as root, run: {by_hand}");
    }
    if missing.iter().any(|package| !available(package)) {
        step::run(apt().arg("update")).with_context(|| format!("{why} needs packages; try: {by_hand}"))?;
    }
    step::run(apt().args(["install", "-y", "--no-install-recommends"]).args(&missing))
        .with_context(|| format!("{why} needs packages; try: {by_hand}"))
}

/// Whether apt's lists have a version of the package to install.
pub(crate) fn available(package: &str) -> bool {
    has_candidate(Command::new("apt-cache").args(["policy", package]))
}

/// Whether `apt-cache policy` names a version of its package to install.
pub(crate) fn has_candidate(policy: &mut Command) -> bool {
    step::output(policy).is_some_and(|policy| policy.lines().any(|line| line.contains("Candidate:") && !line.contains("(none)")))
}

/// Unpacks a package into a folder without installing it: no service starts, nothing of the system changes.
pub(crate) fn unpack(package: &str, folder: &Path) -> Result<()> {
    if is_root() && !available(package) {
        step::run(apt().arg("update"))?;
    }
    let download = workspace::target().join("tools/download");
    std::fs::create_dir_all(&download).with_context(|| format!("cannot make {}", download.display()))?;
    let unpacked =
        self::download(&mut apt(), package, &download).and_then(|deb| step::run(Command::new("dpkg").arg("-x").arg(deb).arg(folder)));
    let _ = std::fs::remove_dir_all(&download);
    unpacked
}

/// Downloads a package by this apt into a folder that has none, and says which file it is.
pub(crate) fn download(apt: &mut Command, package: &str, folder: &Path) -> Result<PathBuf> {
    step::run(apt.args(["download", package]).current_dir(folder))?;
    std::fs::read_dir(folder)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .with_context(|| format!("apt-get left no package in {}", folder.display()))
}

/// apt-get, which waits for another apt for a while and asks nothing.
pub(crate) fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.args(["-q", "-o", "DPkg::Lock::Timeout=300"]).env("DEBIAN_FRONTEND", "noninteractive");
    command
}
