//! `lab`: the simulated cloud. Builds what it needs and becomes `rollcall-lab`.

use std::process::Command;

use anyhow::Result;

use crate::workspace::Profile;
use crate::{build_ebpf, debian, step, workspace};

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    build_ebpf::run(&[])?;
    let programs = workspace::build_programs(Profile::Debug)?;
    if debian::is_root() && !step::in_path("ip") {
        debian::ensure(&["iproute2"], "the lab")?;
    }
    step::become_program(Command::new(programs.join("rollcall-lab")).args(arguments))
}
