//! `tidewheel bench`: the load generator, which is a crate of its own.

use std::process::ExitCode;

pub(crate) use tidewheel_bench::cli::BenchArguments;

pub(crate) fn run(arguments: &BenchArguments) -> ExitCode {
    tidewheel_bench::cli::run(arguments)
}
