//! `bench`: what rollcall does and costs, on the simulated cloud. Builds what it needs and becomes `rollcall-bench`.

use std::process::Command;

use anyhow::{Context, Result, anyhow};

use crate::workspace::Profile;
use crate::{build_ebpf, debian, step, workspace};

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    build_ebpf::run(&[])?;
    // Only release builds are worth measuring.
    let programs = workspace::build_programs(Profile::Release)?;
    if debian::is_root() && !step::in_path("ip") {
        debian::ensure(&["iproute2"], "the benchmark")?;
    }
    if arguments.first().is_some_and(|part| part == "peers" || part == "all") {
        for outcome in peers() {
            // The benchmark names what it could not measure, and why.
            if let Err(error) = outcome {
                eprintln!("xtask: {error:#}");
            }
        }
    }
    step::become_program(Command::new(programs.join("rollcall-bench")).args(arguments))
}

/// The programs that rollcall is measured beside. The monitors are unpacked and not installed: no service starts.
fn peers() -> Vec<Result<()>> {
    let sweepers: Vec<&str> = ["fping", "masscan", "zmap"].into_iter().filter(|program| !step::in_path(program)).collect();
    let folder = workspace::target().join("tools/monitors");
    let monitors = ["prometheus-smokeping-prober", "prometheus-blackbox-exporter"];
    let there = |program: &&str| step::in_path(program) || folder.join("usr/bin").join(program).is_file();
    let mut outcomes = Vec::new();
    if !sweepers.is_empty() {
        outcomes.push(debian::ensure(&sweepers, "sweeping beside other programs"));
    }
    for monitor in monitors.iter().filter(|monitor| !there(monitor)) {
        let unpacked = if step::in_path("apt-get") && step::in_path("dpkg") {
            debian::unpack(monitor, &folder)
        } else {
            Err(anyhow!("no apt-get and dpkg here; install what your system calls so"))
        };
        outcomes.push(unpacked.with_context(|| format!("watching beside {monitor} needs it")));
    }
    outcomes
}
