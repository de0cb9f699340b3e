//! `cargo xtask demo`: the whole line, on a simulated cloud.

use std::process::ExitCode;

fn main() -> ExitCode {
    rollcall_tests::demo::main()
}
