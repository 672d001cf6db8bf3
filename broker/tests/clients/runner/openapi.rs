//! The HTTP API, asked by its document: Schemathesis sends what the document allows and what it does not, and compares
//! the answers with what it says.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;

use super::context::Context;
use super::install::Tool;
use super::matrix::script;
use super::process::{remove_on_signals, run};
use super::{Fault, trial};

/// A case takes about half a minute where nothing else runs.
const SHORT_LIMIT: Duration = Duration::from_secs(600);
/// With all the examples of a full run.
const LONG_LIMIT: Duration = Duration::from_secs(3_600);

/// Each has a broker of its own.
const TOOLS: &[Tool] = &[Tool::Python, Tool::OwnBroker];

fn fuzz(context: &Context, case: &str) -> Result<(), Fault> {
    let folder = tempfile::Builder::new()
        .prefix("tidewheel-openapi-")
        .tempdir();
    let folder = folder.map_err(|e| format!("no temporary directory: {e}"))?;
    remove_on_signals(folder.path());
    let python = Command::new(context.installs.openapi()?);
    let mut command = script(python, "openapi/fuzz.py");
    command.arg(context.binary()).arg(folder.path()).arg(case);
    let limit = match context.is_full {
        true => LONG_LIMIT,
        false => SHORT_LIMIT,
    };
    let _permit = context.permit();
    let report = run(&format!("openapi {case}"), &mut command, limit);
    report.result(case).map(|_| ())
}

/// `openapi::open`, where nobody is asked who he is, and `openapi::tokens`.
pub(crate) fn trials(context: &Arc<Context>) -> Vec<Trial> {
    let one = |case: &'static str| {
        let body = move |context: &Arc<Context>| fuzz(context, case);
        trial(context, format!("openapi::{case}"), TOOLS, body)
    };
    ["open", "tokens"].map(one).into()
}
