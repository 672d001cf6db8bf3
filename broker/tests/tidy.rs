//! Keeps the house in order: who may depend on whom, how long a file may be, where certain things live.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed step of a test fails the test"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

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

/// `gotcha` or `fact`, and a number of docs/wire-behaviour.md.
type Behaviour = (&'static str, u32);

/// How many there are of each.
const BEHAVIOURS: &[Behaviour] = &[("gotcha", 48), ("fact", 29)];

/// Those that no test shows yet, and what they need.
const NOT_COVERED: &[(Behaviour, &str)] = &[
    (("gotcha", 6), "needs SASL"),
    (("gotcha", 29), "needs message sets of magic 0 and 1"),
];

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

/// The scripts and style sheets of the web console, and the program that tests it; not what others have written.
fn console_files() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for folder in [
        "broker/console",
        "broker/console/pages",
        "broker/tests/clients/console",
    ] {
        for entry in fs::read_dir(Path::new(ROOT).join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let is_ours = path
                .extension()
                .is_some_and(|extension| extension != "json");
            if path.is_file() && is_ours {
                let name = format!("{folder}/{}", path.file_name().unwrap().to_str().unwrap());
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(found.len() > 30, "{}", found.len());
    found
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
                || ["docs", "packaging", "target", "tidewheel-data"].contains(&name.as_str());
            assert!(fine, "what is the folder {name} for?");
        }
    }
}

#[test]
fn no_source_file_has_grown_too_long() {
    for (name, text) in sources().into_iter().chain(console_files()) {
        let lines = text.lines().count();
        assert!(lines <= FILE_LINES_MAX, "{name} has {lines} lines");
    }
}

/// Records, names and lines of the log come from anybody: none of them may become markup or a program.
#[test]
fn the_console_makes_no_markup_of_text_and_loads_nothing_from_elsewhere() {
    for (name, text) in console_files() {
        if !name.starts_with("broker/console/") || name.ends_with("README.md") {
            continue;
        }
        for banned in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "DOMParser",
            "srcdoc",
            "https://",
            "@import",
            "style=",
            "onclick=",
            "TODO",
            "FIXME",
        ] {
            assert!(!text.contains(banned), "{banned} in {name}");
        }
    }
}

#[test]
fn certain_things_live_in_one_place() {
    let homes: &[(&str, &[&str])] = &[
        ("unsafe_code", &["storage/src/mmap.rs"]),
        (
            "SystemTime::now",
            &["broker/src/clock.rs", "bench/src/clock.rs"],
        ),
        (
            "Instant::now()",
            &["broker/src/clock.rs", "bench/src/clock.rs"],
        ),
        (
            "tidewheel_bench",
            &[
                "broker/src/cli/bench.rs",
                "broker/src/cli/kafka/client.rs",
                "broker/src/cli/kafka/mod.rs",
            ],
        ),
        (
            "thread::Builder",
            &[
                "broker/src/storage_threads.rs",
                "storage/src/over_threads.rs",
            ],
        ),
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

/// The Rust path of a source file, and whether it writes to the log.
fn module(name: &str, text: &str) -> Option<(String, bool)> {
    let path = name.strip_prefix("broker/src/")?.strip_suffix(".rs")?;
    let path = path.strip_suffix("/mod").unwrap_or(path);
    let shipped = text.split("#[cfg(test)]\nmod tests {").next()?;
    let macros = ["error!(", "warn!(", "info!(", "debug!(", "trace!("];
    let code = shipped.lines().map(str::trim_start);
    let mut code = code.filter(|line| !line.starts_with("//"));
    let writes = code.any(|line| macros.iter().any(|one| line.contains(one)));
    Some((
        format!("tidewheel_broker::{}", path.replace('/', "::")),
        writes,
    ))
}

/// Those whose level somebody may set are those that write something, and what they are parts of.
#[test]
fn every_logger_is_known_by_its_name() {
    let modules = shipped();
    let modules = modules.iter().filter_map(|(name, text)| module(name, text));
    let mut writing = BTreeSet::from(["tidewheel_broker".to_owned()]);
    for (path, _) in modules.filter(|(path, writes)| *writes && !path.ends_with("::tests")) {
        let parts: Vec<&str> = path.split("::").collect();
        writing.extend((1..=parts.len()).map(|count| parts[..count].join("::")));
    }
    let file = Path::new(ROOT).join("broker/src/logging/loggers.rs");
    let text = fs::read_to_string(file).unwrap();
    let list = text.split_once("LOGGERS: &[&str] = &[").unwrap().1;
    let list = list.split("];").next().unwrap().split('"');
    let known: BTreeSet<String> = list
        .filter(|name| name.starts_with("tidewheel"))
        .map(str::to_owned)
        .collect();
    assert_eq!(known, writing);
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

/// The numbers at the beginning of a test's name: `gotcha_30_31_fact_07_..` has three.
fn behaviours_in(name: &str) -> BTreeSet<Behaviour> {
    let mut kind = None;
    let mut found = BTreeSet::new();
    for part in name.split('_') {
        match (BEHAVIOURS.iter().find(|(kind, _)| *kind == part), kind) {
            (Some((named, _)), _) => kind = Some(*named),
            (None, Some(kind)) if part.len() == 2 && part.parse::<u32>().is_ok() => {
                found.insert((kind, part.parse().unwrap()));
            }
            _ => break,
        }
    }
    found
}

/// Every test whose name tells what it shows.
fn tests_by_behaviour() -> BTreeMap<Behaviour, BTreeSet<String>> {
    let mut shown: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
    for (file, text) in sources() {
        let mut above = "";
        for line in text.lines().map(str::trim) {
            let name = line.split_once("fn ").and_then(|(_, rest)| {
                let name = rest.split(|c: char| c != '_' && !c.is_alphanumeric());
                name.into_iter().next()
            });
            let behaviours = name.map(behaviours_in).unwrap_or_default();
            if let Some(name) = name.filter(|_| !behaviours.is_empty()) {
                // Where the harness is our own, the function is named once more, in its list of trials.
                let is_test = above.starts_with("#[test]") || above.starts_with("#[tokio::test");
                let is_trial = text.matches(name).count() > 1;
                assert!(is_test || is_trial, "{name} in {file} is never run");
                for behaviour in behaviours {
                    shown.entry(behaviour).or_default().insert(name.to_owned());
                }
            }
            above = line;
        }
    }
    shown
}

/// The rows `| number | behaviour | shown by |` of the page, by the heading above them.
fn documented_behaviours() -> BTreeMap<Behaviour, String> {
    let page = fs::read_to_string(Path::new(ROOT).join("docs/wire-behaviour.md")).unwrap();
    let mut kind = None;
    let mut rows = BTreeMap::new();
    for line in page.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            let heading = heading.to_lowercase();
            let named = |(kind, _): &&Behaviour| heading.strip_suffix('s') == Some(kind);
            kind = BEHAVIOURS.iter().find(named).map(|(kind, _)| *kind);
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if let ([_, number, text, shown, _], Some(kind)) = (cells.as_slice(), kind)
            && let Ok(number) = number.parse::<u32>()
        {
            assert!(!text.is_empty(), "{kind} {number} says nothing");
            let before = rows.insert((kind, number), (*shown).to_owned());
            assert_eq!(before, None, "{kind} {number} stands there twice");
        }
    }
    rows
}

#[test]
fn every_wire_behaviour_is_shown_by_tests_that_name_it() {
    let mut tests = tests_by_behaviour();
    let mut rows = documented_behaviours();
    for (kind, count) in BEHAVIOURS {
        for number in 1..=*count {
            let behaviour = (*kind, number);
            let row = rows.remove(&behaviour).unwrap_or_default();
            let shown = tests.remove(&behaviour).unwrap_or_default();
            let missing = NOT_COVERED.iter().find(|(one, _)| *one == behaviour);
            let expected = match missing {
                Some((_, reason)) => {
                    assert!(shown.is_empty(), "{kind} {number} is covered: {shown:?}");
                    format!("not covered: {reason}")
                }
                None => {
                    assert!(!shown.is_empty(), "no test shows {kind} {number}");
                    let names = shown.iter().map(|name| format!("`{name}`"));
                    names.collect::<Vec<_>>().join(", ")
                }
            };
            assert_eq!(row, expected, "docs/wire-behaviour.md, {kind} {number}");
        }
    }
    assert!(rows.is_empty(), "rows that nothing stands for: {rows:?}");
    assert!(tests.is_empty(), "tests of unknown numbers: {tests:?}");
}

/// `X9` and the like at the beginning of words, in lines such as `/// Cases R1 and R2: …`.
fn cases_in(line: &str) -> impl Iterator<Item = &str> {
    let named = line.strip_prefix("/// Case").unwrap_or_default();
    let words = named.split(|c: char| !c.is_ascii_alphanumeric());
    words.filter(|word| {
        let (letter, number) = word.split_at_checked(1).unwrap_or_default();
        letter.chars().all(|c| c.is_ascii_uppercase()) && number.parse::<u32>().is_ok()
    })
}

#[test]
fn every_adversarial_case_of_delayed_delivery_has_a_test_that_names_it() {
    let page = fs::read_to_string(Path::new(ROOT).join("docs/testing.md")).unwrap();
    let (_, list) = page
        .split_once("## Adversarial cases of delayed delivery")
        .unwrap();
    let rows = list.split("\n## ").next().unwrap().lines();
    let rows = rows.filter_map(|line| line.strip_prefix("| ")?.split_once(" |"));
    let listed = rows.filter(|(case, _)| case.len() == 2 && *case != "--");
    let listed: BTreeSet<&str> = listed.map(|(case, _)| case).collect();
    let sources = sources();
    let lines = sources.iter().flat_map(|(_, text)| text.lines());
    let named: BTreeSet<&str> = lines.flat_map(|line| cases_in(line.trim())).collect();
    assert!(listed.len() > 30, "{listed:?}");
    assert_eq!(named, listed);
}

#[test]
fn the_patch_that_takes_pieces_of_the_hot_path_out_still_fits() {
    let patch = Path::new(ROOT).join("bench/without.patch");
    let output = Command::new("git")
        .current_dir(ROOT)
        .args(["apply", "--check"])
        .arg(patch.canonicalize().unwrap())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "bench/without.patch: {said}");
}
