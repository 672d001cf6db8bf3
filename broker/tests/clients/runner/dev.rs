//! The examples of docs/embedding.md: programs that start a broker for themselves and leave nothing behind.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use libtest_mimic::Trial;

use super::context::Context;
use super::install::Tool;
use super::process::{must_succeed, note_duration, now};
use super::{Fault, trial};

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples")
}

/// Runs an example, which fails by its exit status and ends by itself.
fn run(context: &Context, name: &str, mut example: Command) -> Result<(), Fault> {
    let _permit = context.permit();
    let started = now();
    let said = must_succeed(name, example.arg(context.binary()))?;
    note_duration(name, started);
    match said.contains("10 records") {
        true => Ok(()),
        false => Err(format!("{name} says {said}")),
    }
}

fn python(context: &Context) -> Result<(), Fault> {
    let mut example = Command::new(context.installs.python()?);
    example.arg(examples().join("dev.py"));
    run(context, "dev.py", example)
}

fn go(context: &Context) -> Result<(), Fault> {
    run(context, "go", Command::new(context.installs.dev_example()?))
}

/// `dev::python` and `dev::go`.
pub(crate) fn trials(context: &Arc<Context>) -> Vec<Trial> {
    const PYTHON: &[Tool] = &[Tool::Python, Tool::OwnBroker];
    const GO: &[Tool] = &[Tool::Go, Tool::OwnBroker];
    vec![
        trial(context, "dev::python".to_owned(), PYTHON, |c| python(c)),
        trial(context, "dev::go".to_owned(), GO, |c| go(c)),
    ]
}
