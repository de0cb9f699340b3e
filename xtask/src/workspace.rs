//! Where things are, and building the workspace's own programs.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::step;

/// The workspace's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is a folder of the workspace")
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => root().join(folder),
        None => root().join("target"),
    }
}

/// The cargo that runs us, in the workspace's root.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    // What `cargo run` tells its program about xtask itself is nothing for another build: it would only make it stale.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&*name);
        }
    }
    command
}

/// What makes cargo optimise all crates of a debug build a little: an emulated machine is too slow for the quick build, and its
/// agents say `overload`, and rightly.
pub(crate) const OPTIMISED: (&str, &str) = ("CARGO_PROFILE_DEV_OPT_LEVEL", "1");

/// Builds the agent, the CLI and the lab, and says in which folder they are.
pub(crate) fn build_programs(profile: Profile) -> Result<PathBuf> {
    let folder = target().join(match profile {
        Profile::Debug | Profile::Emulated => "debug",
        Profile::Release => "release",
    });
    let mut command = cargo();
    command.args(["build", "--bins", "-p", "rollcall-agent", "-p", "rollcall-control", "-p", "rollcall-tests"]);
    match profile {
        // A lab is used by many small commands: they say nothing of builds, once there was one.
        Profile::Debug if folder.join("rollcall-lab").exists() => {
            command.arg("--quiet");
        }
        Profile::Debug => {}
        Profile::Emulated => {
            command.env(OPTIMISED.0, OPTIMISED.1);
        }
        Profile::Release => {
            command.arg("--release");
        }
    }
    step::run_silently(&mut command)?;
    Ok(folder)
}

/// Which cargo profile.
#[derive(Clone, Copy)]
pub(crate) enum Profile {
    /// Quick to build.
    Debug,
    /// The same, with all crates optimised a little ([`OPTIMISED`]).
    Emulated,
    /// What operators run.
    Release,
}
