//! The project's own verbs: `cargo xtask VERB`. One verb, one file; each does its own set-up.

mod bench;
mod build_ebpf;
mod cloud;
mod debian;
mod demo;
mod kernel;
mod lab;
mod step;
mod tally;
mod test;
mod truth;
mod workspace;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask VERB [ARGUMENTS]

  build-ebpf             build the XDP programs, and the tools to build them with where they are missing
  lab ARGUMENTS          a simulated cloud in network namespaces: `cargo xtask lab --help`
  demo [ARGUMENTS]       the whole line, from a host list to the alarms: `cargo xtask demo --help`; --debug: by the tests' programs
  bench PART [ARGUMENTS] what rollcall does and costs, measured: `cargo xtask bench --help`
  test [--fast] [-- ARGUMENTS]
                         every test that this machine can run, and which ones it cannot run, with the reason;
                         --fast leaves out the whole-line tests; ARGUMENTS go to `cargo test`
  test --kernel VERSION [-- NAMES]
                         the tests that meet the kernel, in an emulated machine with Debian's kernel VERSION (like 6.1)
  truth [ARGUMENTS]      false downs, detection times and scenarios beside what is predicted: `cargo xtask truth --help`
  cloud up|down          the real Keystone, Neutron, Nova API and RabbitMQ on loopback, with 5,000 servers: `cargo xtask cloud --help`";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let verb = arguments.next();
    let rest: Vec<String> = arguments.collect();
    let outcome = match verb.as_deref() {
        Some("build-ebpf") => build_ebpf::run(&rest),
        Some("lab") => lab::run(&rest),
        Some("demo") => demo::run(&rest),
        Some("bench") => bench::run(&rest),
        Some("test") => test::run(&rest),
        Some("truth") => truth::run(&rest),
        Some("cloud") => cloud::run(&rest),
        Some("help" | "--help" | "-h") => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Some(other) => {
            eprintln!("error: there is no verb {other:?}\n\n{USAGE}");
            return ExitCode::from(2);
        }
        None => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
