//! What `tidewheel generate app` writes: every program is built as it says, sends and reads records, and commits.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use libtest_mimic::Trial;

use super::context::Context;
use super::install::Tool;
use super::process::{must_succeed, note_duration, now};
use super::{Fault, trial};

/// Writes a program into a folder, in which nothing else is.
fn generated(context: &Context, language: &str) -> Result<(tempfile::TempDir, PathBuf), Fault> {
    let folder = tempfile::tempdir().map_err(|e| format!("no temporary directory: {e}"))?;
    let app = folder.path().join("app");
    let mut generate = context.program("generate");
    must_succeed(
        "generate",
        generate.args(["app", language, "--dir"]).arg(&app),
    )?;
    Ok((folder, app))
}

/// Runs a program with the broker of the matrix, and a topic that is made when it is first used.
fn run(context: &Context, language: &str, app: &Path, mut program: Command) -> Result<(), Fault> {
    let _permit = context.permit();
    let started = now();
    let topic = format!("app-{language}-{:x}", std::process::id());
    let address = context.shared_address()?;
    program.args([&address, &topic]);
    let said = must_succeed(language, program.current_dir(app))?;
    note_duration(&format!("app {language}"), started);
    if !said.contains("10 records went through") {
        return Err(format!("{language} says {said}"));
    }
    // Started again, it goes on where it was.
    let mut lag = context.program("group");
    lag.args(["lag", &format!("app-{language}"), "--format", "json"]);
    let lag = must_succeed("group lag", lag.args(["-b", &address]))?;
    let lag = lag.replace(char::is_whitespace, "");
    match lag.contains("\"total_lag\":0,") && !lag.contains("\"offsets\":0,") {
        true => Ok(()),
        false => Err(format!("{language} has committed {lag}")),
    }
}

fn python(context: &Context) -> Result<(), Fault> {
    let (_folder, app) = generated(context, "python")?;
    let mut program = Command::new(context.installs.python()?);
    program.arg("app.py");
    run(context, "python", &app, program)
}

fn go(context: &Context) -> Result<(), Fault> {
    let (_folder, app) = generated(context, "go")?;
    let mut program = Command::new("go");
    program.args(["run", "-mod=readonly", "."]);
    program.env("GOTOOLCHAIN", "local");
    run(context, "go", &app, program)
}

fn java(context: &Context) -> Result<(), Fault> {
    let (_folder, app) = generated(context, "java")?;
    let mut build = Command::new("mvn");
    build.args(["-q", "-B", "compile", "dependency:copy-dependencies"]);
    must_succeed("mvn", build.current_dir(&app))?;
    let mut program = Command::new("java");
    program.args(["-cp", "target/classes:target/dependency/*", "App"]);
    run(context, "java", &app, program)
}

/// With the packages of the kafkajs suite, which has the same version.
fn node(context: &Context) -> Result<(), Fault> {
    let (_folder, app) = generated(context, "node")?;
    let mut program = Command::new("node");
    program.env("NODE_PATH", context.installs.node()?.join("node_modules"));
    program.arg("app.js");
    run(context, "node", &app, program)
}

/// `app::LANGUAGE`.
pub(crate) fn trials(context: &Arc<Context>) -> Vec<Trial> {
    vec![
        trial(context, "app::go".to_owned(), &[Tool::Go], |c| go(c)),
        trial(context, "app::java".to_owned(), &[Tool::Java], |c| java(c)),
        trial(context, "app::node".to_owned(), &[Tool::Node], |c| node(c)),
        trial(context, "app::python".to_owned(), &[Tool::Python], |c| {
            python(c)
        }),
    ]
}
