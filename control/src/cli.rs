//! The command line.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::failure::{EXIT_CODES, Failure};
use crate::verb;

/// Says who is watched, how often, and by which agent; asks agents what they see.
#[derive(Debug, Parser)]
#[command(name = "rollcall", version, arg_required_else_help = true, after_help = EXIT_CODES, term_width = 0)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Import(verb::import::Import),
    Check(verb::check::Check),
    Compile(verb::compile::Compile),
    Inspect(verb::inspect::Inspect),
    Push(verb::push::Push),
    Stop(verb::stop::Stop),
    Status(verb::status::Status),
    Hosts(verb::hosts::Hosts),
    Host(verb::host::Host),
    Watch(verb::watch::Watch),
    Sync(verb::sync::Sync),
    Completions(verb::completions::Completions),
}

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    let result = match Cli::parse().verb {
        Verb::Import(verb) => online(verb.run()),
        Verb::Check(verb) => verb.run(),
        Verb::Compile(verb) => verb.run(),
        Verb::Inspect(verb) => verb.run(),
        Verb::Push(verb) => online(verb.run()),
        Verb::Stop(verb) => online(verb.run()),
        Verb::Status(verb) => online(verb.run()),
        Verb::Hosts(verb) => online(verb.run()),
        Verb::Host(verb) => online(verb.run()),
        Verb::Watch(verb) => online(verb.run()),
        Verb::Sync(verb) => online(verb.run()),
        Verb::Completions(verb) => verb.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !matches!(failure, Failure::Pipe) {
                eprintln!("rollcall: {}", message(&failure));
            }
            failure.code()
        }
    }
}

/// Mistakes begin on a line of their own: each is a line that an editor can jump to.
fn message(failure: &Failure) -> String {
    match failure {
        Failure::Mistakes(mistakes) => format!("nothing done, the input has mistakes:\n{mistakes}"),
        other => other.to_string(),
    }
}

fn online(future: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Refused(anyhow::Error::new(error).context("cannot start the runtime")))?
        .block_on(future)
}
