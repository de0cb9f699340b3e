//! `rollcall completions`: what a shell needs to complete this command.

use std::io::Write;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::cli::Cli;
use crate::failure::Failure;
use crate::screen::Screen;

/// Write completions for a shell
#[derive(Args, Debug)]
pub struct Completions {
    /// The shell; as in: rollcall completions bash > /etc/bash_completion.d/rollcall
    shell: Shell,
}

impl Completions {
    /// Runs it.
    pub fn run(&self) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "rollcall", &mut script);
        let mut screen = Screen::new();
        screen.write_all(&script)?;
        Ok(screen.flush()?)
    }
}
