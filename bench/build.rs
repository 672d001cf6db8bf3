//! Tells the program which commit it is built from: figures name it.

use std::path::Path;
use std::process::Command;

fn main() {
    // Whoever builds to publish figures says it: cargo does not run this again when sources change.
    let told = std::env::var("TIDEWHEEL_COMMIT").ok();
    let commit = told.filter(|commit| !commit.is_empty()).or_else(|| {
        git(&[
            "describe",
            "--always",
            "--dirty",
            "--abbrev=12",
            "--exclude=*",
        ])
    });
    let commit = commit.unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=TIDEWHEEL_COMMIT={commit}");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=TIDEWHEEL_COMMIT");
    // Every commit and checkout writes here.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"])
        && Path::new(&log).exists()
    {
        println!("cargo::rerun-if-changed={log}");
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
