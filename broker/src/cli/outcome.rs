//! How a command ends, what it says before, and the form of its output.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::ValueEnum;
use serde::Serialize;

use super::{EXIT_ENVIRONMENT, EXIT_USAGE, say};

/// There is nothing of that name.
pub(crate) const EXIT_NOT_FOUND: u8 = 3;
/// No answer in time.
pub(crate) const EXIT_TIMED_OUT: u8 = 4;
/// What was to be checked is not as it should be.
pub(crate) const EXIT_CHECK_FAILED: u8 = 5;

/// How the output looks.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Why a command ended early; what there was to say has been said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failure(pub(crate) u8);

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        // Whoever reads our output has seen enough, as `head` does.
        if error.kind() != io::ErrorKind::BrokenPipe {
            say(&format!("cannot write the output: {error}"));
        }
        Failure(EXIT_ENVIRONMENT)
    }
}

/// Says what is wrong with the arguments.
pub(crate) fn usage(sentence: &str) -> Failure {
    failed(sentence, EXIT_USAGE)
}

/// Says why a command ends with this code.
pub(crate) fn failed(sentence: &str, code: u8) -> Failure {
    say(&format!("tidewheel: {sentence}"));
    Failure(code)
}

/// The code of a command that has ended.
pub(crate) fn exit_code(done: Result<(), Failure>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(code)) => ExitCode::from(code),
    }
}

/// What waits for sockets, on this thread.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.map_err(|error| failed(&format!("cannot start: {error}"), EXIT_ENVIRONMENT))
}

/// One object on a line of its own.
pub(crate) fn print_json(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    writeln!(out)
}
