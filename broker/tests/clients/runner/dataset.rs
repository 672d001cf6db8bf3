//! A real data set: the sources of this project's dependencies, line by line, hashed per key.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;
use serde::Deserialize;

use super::broker::Broker;
use super::context::Context;
use super::install::Tool;
use super::matrix::Client;
use super::process::{must_succeed, run};
use super::{Fault, trial};

const LIMIT: Duration = Duration::from_secs(300);
/// At least so many MiB are sent.
const MEGABYTES: usize = 100;
const MEGABYTES_FULL: usize = 1000;

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    source: Option<String>,
    manifest_path: std::path::PathBuf,
}

/// The source folders of all dependencies from the registry, one a line.
fn folders() -> Result<String, Fault> {
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    cargo.args([
        "metadata",
        "--offline",
        "--format-version",
        "1",
        "--filter-platform",
        &platform,
    ]);
    let text = must_succeed("cargo metadata", &mut cargo)?;
    let metadata: Metadata =
        serde_json::from_str(&text).map_err(|e| format!("cargo metadata: {e}"))?;
    let from_registry = metadata.packages.into_iter().filter(|p| p.source.is_some());
    let folders: BTreeSet<String> = from_registry
        .filter_map(|p| Some(p.manifest_path.parent()?.display().to_string()))
        .collect();
    Ok(folders.into_iter().collect::<Vec<_>>().join("\n"))
}

fn check(context: &Context) -> Result<(), Fault> {
    let _permit = context.permit();
    let broker: Broker = context.new_broker()?;
    let list = broker.beside("folders");
    std::fs::write(&list, folders()?).map_err(|e| format!("{}: {e}", list.display()))?;
    let mut command = Client::FranzGo.command(context, broker.address(), "real")?;
    let megabytes = if context.is_full {
        MEGABYTES_FULL
    } else {
        MEGABYTES
    };
    command.arg("dataset").arg(list).arg(megabytes.to_string());
    let report = run("franz-go dataset", &mut command, LIMIT);
    report.result("dataset").map(|_| ())
}

/// `dataset::franz-go`.
pub(crate) fn trials(context: &Arc<Context>) -> Vec<Trial> {
    let body = |context: &Arc<Context>| check(context);
    vec![trial(
        context,
        "dataset::franz-go".to_owned(),
        &[Tool::Go, Tool::OwnBroker],
        body,
    )]
}
