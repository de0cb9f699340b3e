//! `bench`: what rollcall does and costs, on the simulated cloud. Builds what it needs and becomes `rollcall-bench`.

use std::process::Command;

use anyhow::Result;

use crate::workspace::Profile;
use crate::{build_ebpf, debian, step, workspace};

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    build_ebpf::run(&[])?;
    // Only release builds are worth measuring.
    let programs = workspace::build_programs(Profile::Release)?;
    if debian::is_root() && !step::in_path("ip") {
        debian::ensure(&["iproute2"], "the benchmark")?;
    }
    step::become_program(Command::new(programs.join("rollcall-bench")).args(arguments))
}
