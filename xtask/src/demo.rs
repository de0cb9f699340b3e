//! `demo`: the whole line on the simulated cloud. Builds what it needs and becomes `rollcall-demo`.

use std::process::Command;

use anyhow::Result;

use crate::workspace::Profile;
use crate::{build_ebpf, debian, step, workspace};

/// Takes the programs that the tests use: quicker where they are there anyway, and slower in what they do.
const DEBUG: &str = "--debug";

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let (debug, arguments): (Vec<&String>, Vec<&String>) = arguments.iter().partition(|argument| *argument == DEBUG);
    build_ebpf::run(&[])?;
    // Release builds, unless told otherwise: what the demo prints about CPU and memory should be what an operator would see.
    let programs = workspace::build_programs(if debug.is_empty() { Profile::Release } else { Profile::Debug })?;
    if debian::is_root() && !step::in_path("ip") {
        debian::ensure(&["iproute2"], "the demo")?;
    }
    step::become_program(Command::new(programs.join("rollcall-demo")).args(arguments))
}
