//! The `tidewheel` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    tidewheel_broker::cli::run()
}
