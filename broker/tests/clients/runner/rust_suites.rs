//! The test suites that the crates rskafka and rdkafka ship. What needs librdkafka, which takes minutes
//! to build, is part of the long run only.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

use libtest_mimic::Trial;
use serde::Deserialize;

use super::context::Context;
use super::install::{Tool, install, sources};
use super::process::{must_succeed, note_duration, now};
use super::{Fault, trial};

/// `SUITE CASE` of what passes.
const LISTS: [&str; 2] = [
    include_str!("../rust/rskafka.list"),
    include_str!("../rust/rdkafka.list"),
];
/// The suites that are Rust alone: every run has them.
const WITHOUT_LIBRDKAFKA: [&str; 3] = ["rskafka-client", "rskafka-consumer", "rskafka-producer"];
/// What a build depends on; the lists do not count.
const INPUTS: [&str; 5] = [
    "rust/Cargo.toml",
    "rust/Cargo.lock",
    "rust/empty.rs",
    "rust/java_helper.rs",
    "runner/rust_suites.rs",
];
/// What the suites take for granted and need not: (file, text, text instead).
const CHANGES: [(&str, &str, &str); 3] = [
    (
        "rdkafka/test_high_producers.rs",
        r#".set("bootstrap.servers", "localhost")"#,
        r#".set("bootstrap.servers", get_bootstrap_server().as_str())"#,
    ),
    (
        "rdkafka/test_metadata.rs",
        "port(), 9092)",
        "port().to_string(), get_bootstrap_server().rsplit(':').next().unwrap())",
    ),
    // rskafka's helper is of rdkafka 0.35.
    (
        "rskafka/rdkafka_helper.rs",
        "let (_partition, offset) = client.send(f_record, Timeout::Never).await.unwrap();",
        "let offset = client.send(f_record, Timeout::Never).await.unwrap().offset;",
    ),
];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
}

/// Cargo on the package in a folder, with a target directory of its own.
fn cargo(folder: &Path, subcommand: &str) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args([subcommand, "--locked"]).current_dir(folder);
    cargo.env("CARGO_TARGET_DIR", folder.join("target"));
    // A third of the time to build, for what nobody looks at.
    cargo.env("CARGO_PROFILE_DEV_DEBUG", "0");
    cargo
}

fn copy(from: &Path, to: &Path) -> Result<(), Fault> {
    let io = |e: std::io::Error| format!("{} to {}: {e}", from.display(), to.display());
    std::fs::copy(from, to).map(|_| ()).map_err(io)
}

/// Puts the package that names the crates into a folder; gives what Cargo knows of them.
fn metadata(folder: &Path) -> Result<Metadata, Fault> {
    for name in ["Cargo.toml", "Cargo.lock", "empty.rs"] {
        copy(&sources().join("rust").join(name), &folder.join(name))?;
    }
    let mut metadata = cargo(folder, "metadata");
    metadata.args(["--all-features", "--format-version", "1"]);
    let text = must_succeed("cargo metadata", &mut metadata)?;
    serde_json::from_str(&text).map_err(|e| format!("cargo metadata: {e}"))
}

/// The sources of a crate in the registry's cache; `folder` is for Cargo to work in.
pub(super) fn crate_folder(folder: &Path, name: &str) -> Result<PathBuf, Fault> {
    let manifest = manifest(&metadata(folder)?, name)?;
    Ok(manifest.with_file_name(""))
}

fn manifest(metadata: &Metadata, name: &str) -> Result<PathBuf, Fault> {
    let package = metadata.packages.iter().find(|p| p.name == name);
    let package = package.ok_or_else(|| format!("no crate {name}"))?;
    Ok(package.manifest_path.clone())
}

/// The tests of a crate, copied from the registry's source.
fn copy_tests(metadata: &Metadata, name: &str, folder: &Path) -> Result<(), Fault> {
    let tests = manifest(metadata, name)?.with_file_name("tests");
    let to = folder.join(name);
    let io = |e: std::io::Error| format!("{}: {e}", tests.display());
    std::fs::create_dir_all(&to).map_err(io)?;
    for entry in std::fs::read_dir(&tests).map_err(io)? {
        let entry = entry.map_err(io)?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

fn change(folder: &Path) -> Result<(), Fault> {
    for (file, from, to) in CHANGES {
        let path = folder.join(file);
        let io = |e: std::io::Error| format!("{}: {e}", path.display());
        let text = std::fs::read_to_string(&path).map_err(io)?;
        if !text.contains(from) {
            return Err(format!("{file} does not say {from}"));
        }
        std::fs::write(&path, text.replace(from, to)).map_err(io)?;
    }
    Ok(())
}

/// What Cargo builds besides, in the long run.
fn features(is_full: bool) -> &'static [&'static str] {
    if is_full {
        &["--features", "librdkafka"]
    } else {
        &[]
    }
}

/// Puts the package together and builds it.
fn make(folder: &Path, is_full: bool) -> Result<(), Fault> {
    let metadata = metadata(folder)?;
    copy_tests(&metadata, "rskafka", folder)?;
    copy_tests(&metadata, "rdkafka", folder)?;
    let helper = "java_helper.rs";
    copy(
        &sources().join("rust").join(helper),
        &folder.join("rskafka").join(helper),
    )?;
    change(folder)?;
    let mut test = cargo(folder, "test");
    must_succeed("cargo test", test.arg("--no-run").args(features(is_full))).map(|_| ())
}

/// The cases of a suite that the lists name.
fn cases(suite: &str) -> Vec<&'static str> {
    let lines = LISTS.iter().flat_map(|list| list.lines());
    lines
        .filter_map(|line| line.split_once(' '))
        .filter(|(of, _)| *of == suite)
        .map(|(_, case)| case)
        .collect()
}

fn suites(is_full: bool) -> Vec<&'static str> {
    let lines = LISTS.iter().flat_map(|list| list.lines());
    let named = lines.filter(|line| !line.starts_with('#'));
    let mut out: Vec<&str> = named.filter_map(|l| Some(l.split_once(' ')?.0)).collect();
    out.dedup();
    out.retain(|suite| is_full || WITHOUT_LIBRDKAFKA.contains(suite));
    out
}

fn run(
    context: &Context,
    built: &OnceLock<Result<PathBuf, Fault>>,
    suite: &str,
) -> Result<(), Fault> {
    let name = if context.is_full {
        "rust-suites"
    } else {
        "rskafka-suites"
    };
    let folder = built
        .get_or_init(|| install(name, &INPUTS, |folder| make(folder, context.is_full)))
        .clone()?;
    let own = match context.bootstrap {
        Some(_) => None,
        // rdkafka's tests know the broker as 0.
        None => Some(context.new_broker_with(&["node.id=0"])?),
    };
    let address = own.as_ref().map(|broker| broker.address().to_owned());
    let address = address
        .or_else(|| context.bootstrap.clone())
        .unwrap_or_default();
    let _permit = context.permit();
    let started = now();
    let mut test = cargo(&folder, "test");
    test.args(["--offline", "--test", suite]);
    test.args(features(context.is_full));
    test.args(["--", "--exact"]);
    let cases = cases(suite);
    test.args(&cases);
    test.env("KAFKA_HOST", &address)
        .env("KAFKA_VERSION", "3.9.0");
    test.env("KAFKA_CONNECT", &address)
        .env("TEST_INTEGRATION", "1");
    test.env("TEST_BROKER_IMPL", "kafka");
    let said = must_succeed(suite, &mut test)?;
    note_duration(suite, started);
    let due = format!("test result: ok. {} passed; 0 failed", cases.len());
    if said.contains(&due) {
        return Ok(());
    }
    Err(format!("not \"{due}\": {said}"))
}

/// `rust::SUITE`.
pub(crate) fn trials(context: &Arc<Context>) -> Vec<Trial> {
    let built = Arc::new(OnceLock::new());
    let tools: &[Tool] = if context.is_full {
        &[Tool::CppAndMake]
    } else {
        &[Tool::C]
    };
    let one = |suite: &'static str| {
        let built = Arc::clone(&built);
        let name = format!("rust::{suite}");
        trial(context, name, tools, move |c| run(c, &built, suite))
    };
    suites(context.is_full).into_iter().map(one).collect()
}
