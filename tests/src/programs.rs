//! Where the real programs are: beside the one that runs, whichever profile built it.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

/// The agent.
pub const AGENT: &str = "rollcall-agent";
/// The command line.
pub const CONTROL: &str = "rollcall";
/// The lab by hand, and its caretaker.
pub const LAB: &str = "rollcall-lab";

/// The path of one of the workspace's programs, built with the same profile as the running one.
pub fn path(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find out where this program is")?;
    let folder = own.parent().context("this program is in no folder")?;
    // Test programs are in `deps`, one below.
    let folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    let path = folder.join(name);
    ensure!(
        path.is_file(),
        "{} is not built; `cargo xtask test`, `demo` and `bench` build it, or: cargo build --workspace",
        path.display()
    );
    Ok(path)
}
