//! How a command ends when it does not end well.

use std::io;
use std::process::ExitCode;

use crate::mistake::Mistakes;

/// What goes below every `--help`.
pub const EXIT_CODES: &str = "\
Exit status:
  0  done
  1  refused: a mistake in a list, policy or table, or the agent said no
  2  wrong usage
  3  the agent cannot be reached
  4  no such host (host, stop, check --host)";

/// Why a command failed; decides the exit status.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The input is at fault, or the agent refuses it.
    #[error("{0:#}")]
    Refused(anyhow::Error),
    /// Files have mistakes.
    #[error("{0}")]
    Mistakes(#[from] Mistakes),
    /// Options that do not go together.
    #[error("{0}")]
    Usage(String),
    /// No answer.
    #[error("{0:#}")]
    Unreachable(anyhow::Error),
    /// A host that the agent does not know.
    #[error("{0}")]
    NotFound(String),
    /// Whoever read the output went away: nothing to tell anybody.
    #[error("broken pipe")]
    Pipe,
}

impl Failure {
    /// The exit status.
    pub fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Failure::Refused(_) | Failure::Mistakes(_) => 1,
            Failure::Usage(_) => 2,
            Failure::Unreachable(_) => 3,
            Failure::NotFound(_) => 4,
            Failure::Pipe => 0,
        })
    }

    /// A failure of writing to standard output.
    pub fn output(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::Pipe,
            _ => Failure::Refused(anyhow::Error::new(error).context("cannot write to standard output")),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Failure::Refused(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::output(error)
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        match error.io_error_kind() {
            Some(io::ErrorKind::BrokenPipe) => Failure::Pipe,
            _ => Failure::Refused(anyhow::Error::new(error).context("cannot write JSON")),
        }
    }
}

impl From<csv::Error> for Failure {
    fn from(error: csv::Error) -> Self {
        match error.into_kind() {
            csv::ErrorKind::Io(error) => Failure::output(error),
            other => Failure::Refused(anyhow::anyhow!("cannot write CSV: {other:?}")),
        }
    }
}
