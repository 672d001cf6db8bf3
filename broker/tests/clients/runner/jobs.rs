//! Kafka Streams and Kafka Connect run a small job each, to its end.

use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;

use super::context::Context;
use super::install::Tool;
use super::matrix::jvm;
use super::process::{remove_on_signals, run};
use super::{Fault, trial};

/// A job on a busy machine; it takes some 15 s on an idle one.
const LIMIT: Duration = Duration::from_secs(300);

fn job(context: &Context, name: &str) -> Result<(), Fault> {
    let installed = context.installs.java("jobs")?;
    let own = match context.bootstrap {
        Some(_) => None,
        None => Some(context.new_broker()?),
    };
    let address = own.as_ref().map(|broker| broker.address().to_owned());
    let address = address
        .or_else(|| context.bootstrap.clone())
        .unwrap_or_default();
    let folder = tempfile::Builder::new().prefix("tidewheel-job-").tempdir();
    let folder = folder.map_err(|e| format!("no temporary directory: {e}"))?;
    remove_on_signals(folder.path());
    let mut command = jvm(&installed);
    command.args(["tidewheel.clients.Jobs", &address]);
    command.arg(format!("job-{:x}", std::process::id()));
    command.arg(folder.path()).arg(name);
    let _permit = context.permit();
    let report = run(name, &mut command, LIMIT);
    report.result(name).map(|_| ())
}

/// `jobs::NAME`.
pub(crate) fn trials(context: &Arc<Context>) -> Vec<Trial> {
    let one = |name: &'static str| {
        let body = move |context: &Arc<Context>| job(context, name);
        trial(context, format!("jobs::{name}"), &[Tool::Java], body)
    };
    ["streams", "connect"].map(one).into()
}
