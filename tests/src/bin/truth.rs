//! What is predicted beside what the engine does: `cargo xtask truth`.

use std::process::ExitCode;

fn main() -> ExitCode {
    rollcall_tests::truth::main()
}
