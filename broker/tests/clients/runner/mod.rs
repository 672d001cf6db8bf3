//! Starts brokers and client programs and turns what they print into named trials.

mod app;
mod broker;
mod cases;
mod console;
mod consumers;
mod context;
mod crash;
mod dataset;
mod dev;
mod dump_log;
mod go_suites;
mod group_tool;
mod install;
mod jobs;
mod kaf;
mod librdkafka;
mod librdkafka_build;
#[expect(
    clippy::unwrap_used,
    reason = "a failed step of a trial fails the trial"
)]
#[path = "../../support/machine.rs"]
mod machine;
mod matrix;
mod offsets_topic;
mod openapi;
mod process;
mod reference;
mod restless;
mod rust_suites;
mod shipper;
mod tools;
mod uis;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Completion, Failed, Trial};

use context::Context;

/// What went wrong, as a sentence.
type Fault = String;

/// Runs the trials that the command line asks for.
pub(crate) fn main() -> ExitCode {
    if let Some(place) = std::env::var_os("TIDEWHEEL_CLIENTS_DATA") {
        // For all that is temporary here. Only a second call would fail.
        drop(tempfile::env::override_temp_dir(place.as_ref()));
    }
    let mut args = Arguments::from_args();
    let context = Arc::new(Context::from_environment());
    let mut trials = matrix::trials(&context);
    trials.extend(consumers::trials(&context));
    trials.extend(dataset::trials(&context));
    trials.extend(crash::trials(&context));
    trials.extend(reference::trials(&context));
    trials.extend(restless::trials(&context));
    trials.extend(dump_log::trials(&context));
    trials.extend(tools::trials(&context));
    trials.extend(kaf::trials(&context));
    trials.extend(librdkafka::trials(&context));
    trials.extend(jobs::trials(&context));
    trials.extend(shipper::trials(&context));
    trials.extend(dev::trials(&context));
    trials.extend(app::trials(&context));
    trials.extend(rust_suites::trials(&context));
    trials.extend(go_suites::trials(&context));
    trials.extend(console::trials(&context));
    trials.extend(uis::trials(&context));
    trials.extend(openapi::trials(&context));
    // A trial mostly waits for the suite it belongs to: all start, and permits bound the suites.
    args.test_threads.get_or_insert(trials.len().max(1));
    process::kill_children_on_signals();
    let conclusion = libtest_mimic::run(&args, trials);
    context.stop();
    conclusion.exit_code()
}

/// A trial of suites that need `tools`: ignored with the reason where one is missing, failed under CI.
fn trial(
    context: &Arc<Context>,
    name: String,
    tools: &'static [install::Tool],
    body: impl FnOnce(&Arc<Context>) -> Result<(), Fault> + Send + 'static,
) -> Trial {
    let context = Arc::clone(context);
    Trial::ignorable_test(name, move || {
        if let Some(reason) = context.missing(tools) {
            return if context.is_ci && context.bootstrap.is_none() {
                Err(Failed::from(reason))
            } else {
                Ok(Completion::ignored_with(reason))
            };
        }
        body(&context)
            .map(|()| Completion::Completed)
            .map_err(Failed::from)
    })
}
