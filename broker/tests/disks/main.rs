//! Disks that fail, fill up and lose their power under a broker at work, and what else needs more of the machine than
//! a user has.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failed step of a test fails the test, and says which one it was"
)]

mod errors;
mod full;
#[path = "../support/ledger.rs"]
mod ledger;
#[path = "../support/machine.rs"]
mod machine;
mod namespace;
mod power_cut;
#[path = "../support/mod.rs"]
mod support;

fn main() -> std::process::ExitCode {
    let arguments = libtest_mimic::Arguments::from_args();
    let mut trials = errors::trials();
    trials.extend(full::trials());
    trials.extend(namespace::trials());
    trials.extend(power_cut::trials());
    libtest_mimic::run(&arguments, trials).exit_code()
}
