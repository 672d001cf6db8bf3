//! Tells the program what it is built from and with: metrics name it.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    // Packages are built from sources without their history.
    let told = env::var("TIDEWHEEL_COMMIT").ok();
    let told = told.filter(|commit| !commit.is_empty());
    let revision = told.or_else(|| said("git", &["rev-parse", "--short=12", "HEAD"]));
    println!(
        "cargo::rustc-env=BUILT_FROM_REVISION={}",
        or_unknown(revision)
    );
    let rustc = env::var("RUSTC")
        .ok()
        .and_then(|rustc| said(&rustc, &["--version"]));
    // `rustc 1.95.0 (...)`
    let rustc = rustc.and_then(|line| Some(line.split_whitespace().nth(1)?.to_owned()));
    println!("cargo::rustc-env=BUILT_WITH_RUSTC={}", or_unknown(rustc));
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=TIDEWHEEL_COMMIT");
    // Every commit and checkout writes here.
    if let Some(log) = said("git", &["rev-parse", "--git-path", "logs/HEAD"])
        && Path::new(&log).exists()
    {
        println!("cargo::rerun-if-changed={log}");
    }
}

fn or_unknown(said: Option<String>) -> String {
    said.unwrap_or_else(|| "unknown".to_owned())
}

/// The one line that a program says.
fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
