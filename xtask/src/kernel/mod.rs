//! `test --kernel VERSION`: the tests that meet the kernel, in a virtual machine that boots Debian's kernel of that series.
//!
//! The kernel's package is fetched and unpacked, not installed. The machine has no disk and no network: its file system is
//! one archive in memory, with busybox, iproute2, the kernel's modules that the lab needs, and the test programs as cargo
//! built them. It is emulated, so any machine can do this, if slowly.

mod console;
mod cpio;
mod image;
mod machine;
mod module;
mod package;

use anyhow::{Context, Result, ensure};

use crate::workspace::Profile;
use crate::{build_ebpf, debian, step, workspace};

/// Runs those tests whose names contain one of the `filters`; all that a virtual machine can judge where there are none.
pub(crate) fn run(series: &str, filters: &[String]) -> Result<()> {
    ensure!(std::env::consts::ARCH == "x86_64", "test --kernel emulates the machine that it runs on, and knows only x86_64");
    ensure!(package::is_series(series), "test --kernel takes a series of kernels, like 6.1; found: {series}");
    build_ebpf::run(&[])?;
    workspace::build_programs(Profile::Emulated)?;
    let programs = image::test_programs()?;
    ensure_tools()?;
    let kernel = package::ensure(series)?;
    let image = image::build(&kernel, &programs, filters)?;
    let outcome = machine::run(&kernel, &image)?;
    outcome.print();
    outcome.check(programs.len()).with_context(|| format!("on {}", kernel.name))
}

/// The programs that this needs, with the packages that have them.
fn ensure_tools() -> Result<()> {
    let wanted = [
        ("qemu-system-x86_64", "qemu-system-x86"),
        ("busybox", "busybox-static"),
        ("ip", "iproute2"),
        ("ping", "iputils-ping"),
        ("xz", "xz-utils"),
    ];
    let missing: Vec<&str> = wanted.iter().filter(|(program, _)| !step::in_path(program)).map(|(_, package)| *package).collect();
    if missing.is_empty() { Ok(()) } else { debian::ensure(&missing, "testing on another kernel") }
}
