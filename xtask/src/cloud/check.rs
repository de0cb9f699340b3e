//! `cloud check`: brings a cloud up, becomes `rollcall-cloud-check` beside it, and takes it down.

use std::process::Command;

use anyhow::{Context, Result, bail};

use super::options::{self, Options};
use super::up;
use crate::workspace::Profile;
use crate::{build_ebpf, step, workspace};

pub(super) fn run(arguments: &[String]) -> Result<()> {
    let (ports, rest) = taken(arguments, "--ports")?;
    build_ebpf::run(&[])?;
    let programs = workspace::build_programs(Profile::Release)?;
    let dir = workspace::target().join("cloud-check");
    let folder = dir.display().to_string();
    let mut words = vec!["--dir".to_owned(), folder];
    words.extend(ports.into_iter().flat_map(|ports| ["--ports".to_owned(), ports]));
    up::up(&Options::parse(&words)?)?;
    let checked = check(&programs.join("rollcall-cloud-check"), &dir.join("cloud.json"), &rest);
    let down = up::down(&options::only_dir(&words[..2])?);
    checked.and(down)
}

fn check(program: &std::path::Path, described: &std::path::Path, rest: &[String]) -> Result<()> {
    let mut command = Command::new(program);
    command.arg("--cloud").arg(described).arg(format!("--samples={}", samples()?)).args(rest).current_dir(workspace::root());
    let status = command.status().with_context(|| format!("cannot run `{}`", step::text(&command)))?;
    if !status.success() {
        bail!("the cloud was not followed as it should be");
    }
    Ok(())
}

/// Answers of others that are read word for word as they should be: as many as there are, for one that is not, or that nobody reads, fails
/// the tests. Those have "sample" in their names.
fn samples() -> Result<usize> {
    let mut command = workspace::cargo();
    command.args(["test", "--quiet", "--release", "-p", "rollcall-control", "--lib", "--test", "import", "sample"]);
    step::output(&mut command).context("a list of others is not imported as it should be")?;
    let folder = workspace::root().join("control/tests/samples");
    Ok(std::fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?.count())
}

/// The value behind a name, and the arguments without both.
fn taken(arguments: &[String], name: &str) -> Result<(Option<String>, Vec<String>)> {
    let mut rest = arguments.to_vec();
    let Some(at) = rest.iter().position(|argument| argument == name) else { return Ok((None, rest)) };
    if at + 1 == rest.len() {
        bail!("{name} takes a number");
    }
    let value = rest.drain(at..=at + 1).nth(1);
    Ok((value, rest))
}
