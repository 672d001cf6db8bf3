//! `packaging/notices`: what licences of others want to be said goes along with the program.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::commands::skipped;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// What it says of the workspace in this folder; `None` where there is no Python, and that is said.
fn notices(folder: &Path) -> Option<Output> {
    let script = Path::new(ROOT).join("packaging/notices");
    let ran = Command::new("python3").arg(script).arg(folder).output();
    ran.inspect_err(|error| skipped("python3", error)).ok()
}

fn cargo(folder: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("cargo");
    let output = command.current_dir(folder).args(arguments).output();
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_crate_in_the_program_has_a_notice() {
    let Some(output) = notices(Path::new(ROOT)) else {
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let text = String::from_utf8(output.stdout).unwrap();
    let named: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| Some(line.split_once(" (")?.0))
        .collect();
    let tree = cargo(
        Path::new(ROOT),
        &[
            "tree",
            "--package=tidewheel-broker",
            "--edges=normal",
            "--prefix=none",
            "--locked",
            "--offline",
            "--format={p}",
        ],
    );
    let crates = tree.lines().filter(|line| !line.starts_with("tidewheel-"));
    let crates = crates.filter_map(|line| line.split_once(" v"));
    let crates: BTreeSet<String> = crates
        .map(|(name, rest)| format!("{name} {}", rest.split(' ').next().unwrap()))
        .collect();
    assert!(crates.len() > 50, "{crates:?}");
    for name in crates
        .iter()
        .map(String::as_str)
        .chain(["uPlot", "Rust's standard library"])
    {
        assert!(named.contains(name), "no notice of {name}");
    }
}

/// A workspace whose program has one crate of somebody else, and whose console brings one script along.
#[test]
fn what_comes_without_a_licence_is_named_and_nothing_is_printed() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let folder = dir.path().join("ours");
    let package = |name: &str| format!("[package]\nname = \"{name}\"\nversion = \"1.2.3\"\n");
    write("ours/Cargo.toml", "[workspace]\nmembers = [\"broker\"]\n");
    let depends = "[dependencies]\nbare = { path = \"../../bare\" }\n";
    write(
        "ours/broker/Cargo.toml",
        &(package("tidewheel-broker") + depends),
    );
    write("ours/broker/src/lib.rs", "");
    write("ours/broker/console/vendor/chart.min.js", "");
    write(
        "bare/Cargo.toml",
        &(package("bare") + "license = \"MIT\"\n"),
    );
    write("bare/src/lib.rs", "");
    cargo(&folder, &["generate-lockfile", "--offline"]);
    let Some(output) = notices(&folder) else {
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    for name in ["bare 1.2.3 (MIT)", "broker/console/vendor/chart"] {
        let told = format!("{name} comes without a licence");
        assert!(said.contains(&told), "{said}");
    }
    write("bare/LICENSE", "Copyright somebody\n");
    write(
        "ours/broker/console/vendor/chart.LICENSE.txt",
        "Copyright another\n",
    );
    let output = notices(&folder).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    for part in [
        "bare 1.2.3 (MIT)",
        "Copyright somebody",
        "Copyright another",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}
