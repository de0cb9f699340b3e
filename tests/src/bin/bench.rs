//! `cargo xtask bench`: what rollcall does and costs, measured.

use std::process::ExitCode;

fn main() -> ExitCode {
    rollcall_tests::bench::main()
}
