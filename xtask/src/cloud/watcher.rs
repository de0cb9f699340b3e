//! What sees to it that nothing is left when `up` is ended before its time: a process in a group of its own, which no Ctrl-C reaches,
//! and which learns of our end by the end of its standard input, whatever ended us.

use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use super::up;

const DONE: &[u8] = b"done";

pub(super) struct Watcher(Child);

impl Watcher {
    /// Watches over what is started for these folders.
    pub(super) fn start(folders: &[&Path]) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe().context("cannot tell which program we are")?);
        command.args(["cloud", "watch"]).args(folders).stdin(Stdio::piped()).stdout(Stdio::null()).process_group(0);
        Ok(Self(command.spawn().context("cannot start what watches over us")?))
    }

    /// All is as it should be: nothing is to be ended.
    pub(super) fn done(mut self) -> Result<()> {
        if let Some(mut stdin) = self.0.stdin.take() {
            stdin.write_all(DONE).context("what watches over us has ended")?;
        }
        self.0.wait()?;
        Ok(())
    }
}

/// Being the watcher.
pub(super) fn watch(folders: &[String]) -> Result<()> {
    let mut said = Vec::new();
    std::io::stdin().read_to_end(&mut said)?;
    if said == DONE {
        return Ok(());
    }
    let folders: Vec<PathBuf> = folders.iter().map(PathBuf::from).collect();
    // Twice: what was being started at that moment may show its mark only now.
    for _ in 0..2 {
        folders.iter().try_for_each(|folder| up::remove(folder))?;
        std::thread::sleep(Duration::from_millis(300));
    }
    eprintln!("cloud: `up` was ended; nothing of {} is left", folders[0].display());
    Ok(())
}
