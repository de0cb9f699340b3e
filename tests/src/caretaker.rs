//! Who removes a lab when the process that made it ends before it could, by whatever signal: `rollcall-lab caretaker`, a
//! process of its own that waits for the end of its standard input, which the kernel brings about when ours is gone.

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use crate::programs;

/// A caretaker that waits for us. Dropping it says that the lab is looked after, and waits until it has left.
pub(crate) struct Caretaker(Child);

impl Caretaker {
    /// Hires one for the lab of this name, which need not be up yet.
    ///
    /// # Errors
    /// Where its program is not built.
    pub(crate) fn hire(lab: &str) -> Result<Self> {
        let mut command = Command::new(programs::path(programs::LAB)?);
        command.args(["--name", lab, "caretaker"]).stdin(Stdio::piped()).stdout(Stdio::null());
        // Ctrl-C at a terminal goes to our process group: it must not reach who cleans up after it.
        command.process_group(0);
        Ok(Self(command.spawn().with_context(|| format!("cannot start a caretaker for the lab {lab}"))?))
    }
}

impl Drop for Caretaker {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
