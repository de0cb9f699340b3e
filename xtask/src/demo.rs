//! `demo`: the whole line on the simulated cloud. Builds what it needs and becomes `rollcall-demo`.

use std::process::Command;

use anyhow::Result;

use crate::workspace::Profile;
use crate::{build_ebpf, debian, step, workspace};

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    build_ebpf::run(&[])?;
    // Release builds: what the demo prints about CPU and memory should be what an operator would see.
    let programs = workspace::build_programs(Profile::Release)?;
    if debian::is_root() && !step::in_path("ip") {
        debian::ensure(&["iproute2"], "the demo")?;
    }
    step::become_program(Command::new(programs.join("rollcall-demo")).args(arguments))
}
