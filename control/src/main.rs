//! The `rollcall` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    rollcall_control::cli::run()
}
