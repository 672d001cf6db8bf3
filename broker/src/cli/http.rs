//! Commands that ask a running broker over its HTTP API: `tidewheel delayed`, `health` and `top`.
//!
//! Exit codes: 0 all is well, 1 the broker cannot be reached or refuses, or the output cannot be written, 2 usage,
//! 3 there is nothing of that name, 4 no answer in time, 5 the broker is not healthy.

mod client;
mod delayed;
mod health;
mod text;
mod top;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

pub(super) use self::delayed::DelayedArguments;
pub(super) use self::health::HealthArguments;
pub(super) use self::top::TopArguments;
use super::outcome::{
    EXIT_CHECK_FAILED, EXIT_NOT_FOUND, EXIT_TIMED_OUT, Format, exit_code, runtime,
};
use super::{EXIT_ENVIRONMENT, EXIT_USAGE, say};

/// Where to ask, as whom, and how answers look.
#[derive(Args, Debug)]
struct Target {
    /// The broker's HTTP API
    #[arg(
        long,
        env = "TIDEWHEEL_ADMIN_URL",
        value_name = "URL",
        default_value = "http://127.0.0.1:9644"
    )]
    admin_url: String,
    /// Show the token that stands in this file; without it, the one in TIDEWHEEL_ADMIN_TOKEN if that is set
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Seconds to wait for each answer
    #[arg(long, value_name = "SECONDS", default_value_t = 30,
        value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
    /// Text for people, or one JSON object per entry and line, with the names that the HTTP API has
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Why a command did not do what was asked for.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// It was asked for in a way that makes no sense.
    #[error("{0}")]
    Usage(String),
    /// Nobody is there, or whoever is there does not speak HTTP.
    #[error("cannot reach {url}: {reason}")]
    Unreachable {
        /// Where somebody should be.
        url: String,
        /// What the system or the library says.
        reason: String,
    },
    /// It took too long, there or here.
    #[error("{0}")]
    TimedOut(String),
    /// There is nothing of that name.
    #[error("{0}")]
    NotFound(String),
    /// The broker will not do it, or cannot.
    #[error("{0}")]
    Refused(String),
    /// Clients are not served as they should be, which was said already.
    #[error("the broker is not healthy")]
    Unhealthy,
    /// Of several things some failed, which was said already: the exit code of the first.
    #[error("not all of it was done")]
    Several(u8),
    /// Nobody takes what is written.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

impl Failure {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => EXIT_USAGE,
            Self::Unreachable { .. } | Self::Refused(_) | Self::Output(_) => EXIT_ENVIRONMENT,
            Self::TimedOut(_) => EXIT_TIMED_OUT,
            Self::NotFound(_) => EXIT_NOT_FOUND,
            Self::Unhealthy => EXIT_CHECK_FAILED,
            Self::Several(code) => *code,
        }
    }

    /// Tells a person, unless that was done.
    fn tell(&self) {
        match self {
            Self::Unhealthy | Self::Several(_) => {}
            // Whoever reads our output has seen enough, as `head` does.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            other => say(&format!(
                "tidewheel: {}",
                text::printable(&other.to_string())
            )),
        }
    }
}

/// Runs `tidewheel delayed`.
pub(super) fn delayed(arguments: &DelayedArguments) -> ExitCode {
    done(delayed::run(arguments))
}

/// Runs `tidewheel health`.
pub(super) fn health(arguments: &HealthArguments) -> ExitCode {
    done(health::run(arguments))
}

/// Runs `tidewheel top`.
pub(super) fn top(arguments: &TopArguments) -> ExitCode {
    done(top::run(arguments))
}

fn done(work: impl Future<Output = Result<(), Failure>>) -> ExitCode {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(failure) => return exit_code(Err(failure)),
    };
    match runtime.block_on(work) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.tell();
            ExitCode::from(failure.exit_code())
        }
    }
}
