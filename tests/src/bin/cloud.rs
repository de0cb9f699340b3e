//! The platform's side against real services: `cargo xtask cloud check`.

use std::process::ExitCode;

fn main() -> ExitCode {
    rollcall_tests::cloud::main()
}
