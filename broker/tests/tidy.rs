//! Keeps the house in order: who may depend on whom, how long a file may be, where certain things live.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed step of a test fails the test"
)]

use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The crates and whom each may name.
const EDGES: &[(&str, &[&str])] = &[
    ("config", &[]),
    ("protocol", &[]),
    ("storage", &["config", "protocol"]),
    ("consumer-groups", &["config", "protocol"]),
    ("bench", &["config", "protocol"]),
    (
        "broker",
        &["config", "protocol", "storage", "consumer-groups", "bench"],
    ),
];

/// Lines after which a source file has a second thing in it.
const FILE_LINES_MAX: usize = 600;

fn members() -> Vec<&'static str> {
    let present = |name: &&str| Path::new(ROOT).join(name).join("Cargo.toml").exists();
    EDGES
        .iter()
        .map(|(name, _)| *name)
        .filter(present)
        .collect()
}

fn rust_files(below: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() && name != "target" && name != "node_modules" {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn sources() -> Vec<(String, String)> {
    let mut files = Vec::new();
    members()
        .iter()
        .for_each(|member| rust_files(&Path::new(ROOT).join(member), &mut files));
    let root = Path::new(ROOT);
    let text = |path: PathBuf| {
        let name = path
            .strip_prefix(root)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        (name, fs::read_to_string(&path).unwrap())
    };
    files.into_iter().map(text).collect()
}

/// Code that is shipped: not tests, not fuzz targets.
fn shipped() -> Vec<(String, String)> {
    let is_shipped = |name: &str| name.contains("/src/") && !name.contains("/fuzz/");
    sources()
        .into_iter()
        .filter(|(name, _)| is_shipped(name))
        .collect()
}

#[test]
fn crates_depend_only_on_the_crates_below_them() {
    for (member, allowed) in EDGES {
        let manifest = Path::new(ROOT).join(member).join("Cargo.toml");
        let Ok(text) = fs::read_to_string(manifest) else {
            continue;
        };
        let dependencies = text.split("[dependencies]").nth(1).unwrap();
        let dependencies = dependencies.split("\n[").next().unwrap();
        for line in dependencies.lines() {
            let Some(name) = line.strip_prefix("tidewheel-") else {
                continue;
            };
            let name = name.split(['.', ' ', '=']).next().unwrap();
            assert!(allowed.contains(&name), "{member} may not depend on {name}");
        }
    }
}

#[test]
fn the_workspace_holds_the_known_folders_and_no_others() {
    let known: Vec<&str> = EDGES.iter().map(|(name, _)| *name).collect();
    for entry in fs::read_dir(ROOT).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() && !name.starts_with('.') {
            let fine = known.contains(&name.as_str())
                || ["docs", "target", "tidewheel-data"].contains(&name.as_str());
            assert!(fine, "what is the folder {name} for?");
        }
    }
}

#[test]
fn no_source_file_has_grown_too_long() {
    for (name, text) in sources() {
        let lines = text.lines().count();
        assert!(lines <= FILE_LINES_MAX, "{name} has {lines} lines");
    }
}

#[test]
fn certain_things_live_in_one_place() {
    let homes: &[(&str, &[&str])] = &[
        ("unsafe_code", &["storage/src/mmap.rs"]),
        ("SystemTime::now", &["broker/src/clock.rs"]),
        ("Instant::now()", &["broker/src/clock.rs"]),
        ("thread::Builder", &["broker/src/storage_threads.rs"]),
        ("thread::spawn", &[]),
        ("memmap2::", &["storage/src/mmap.rs"]),
    ];
    for (name, text) in shipped() {
        for (what, allowed) in homes {
            let used = text.lines().any(|line| {
                line.contains(what)
                    && !line.trim_start().starts_with("//")
                    && !line.contains("forbid(")
            });
            assert!(
                !used || allowed.contains(&name.as_str()),
                "{what} in {name}: its home is {allowed:?}"
            );
        }
    }
}

#[test]
fn nothing_is_left_unfinished_or_switched_off() {
    for (name, text) in sources() {
        if name.ends_with("tests/tidy.rs") {
            continue;
        }
        for banned in [
            "#[ignore",
            "should_panic",
            "unimplemented!",
            "TODO",
            "FIXME",
        ] {
            assert!(!text.contains(banned), "{banned} in {name}");
        }
    }
}
