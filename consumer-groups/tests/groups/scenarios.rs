//! Scenarios: commands and what comes of them, in `tests/scenarios/*.txt`. `TIDEWHEEL_REGENERATE=1` writes
//! down what comes of them now; read the difference before you keep it.
//!
//! A line that begins with `>` is a command, the lines after it are what came of it. Requests are numbered;
//! `parked` means that the answer comes later. `log:` lines are records. A member id is shown as the
//! client's name (or the instance id) and a number: `a.2` is the second id that a JoinGroup of `a` was to make.
//!
//! | command | does |
//! |---|---|
//! | `join GROUP CLIENT …` | JoinGroup; `member=`, `instance=`, `type=`, `protocols=NAME:METADATA+…` (`@a,b` stands for a subscription, `@a,b/a-0,a-1` for one of somebody who still has partitions), `session=`, `rebalance=`, `v3` (no member id needed), `v9` (knows skip_assignment) |
//! | `sync GROUP MEMBER GENERATION …` | SyncGroup; `instance=`, `type=`, `protocol=`, `MEMBER=ASSIGNMENT…` from the leader (`@a-0,b-1` as consumers write it) |
//! | `heartbeat GROUP MEMBER GENERATION [instance=]` | Heartbeat |
//! | `leave GROUP MEMBER[@INSTANCE]…` | LeaveGroup |
//! | `consume GROUP MEMBER EPOCH …` | ConsumerGroupHeartbeat; `topics=a,b`, `regex=`, `owned=t-0,t-1` (or `owned=`), `instance=`, `rack=`, `assignor=`, `rebalance=`, `v0` (the member id may be empty: shown as `#1`); with EPOCH 0 what a new member has to say is said |
//! | `topics NAME=PARTITIONS…` | the topics from now on; one that was gone comes back with another id, shown as `t'` |
//! | `describe-consumer GROUP` | ConsumerGroupDescribe |
//! | `commit GROUP TOPIC-PARTITION=OFFSET[/NOTE]… …` | OffsetCommit; `member=`, `generation=`, `instance=`, `retention=`, `at=`, `id=`, `v9` |
//! | `fetch GROUP [TOPIC-PARTITION…] [id=] [as=MEMBER:EPOCH]`, `describe GROUP`, `list [states=] [types=]` | answers |
//! | `delete GROUP`, `delete-offsets GROUP TOPIC-PARTITION…`, `topics-deleted TOPIC… [id=]` | deletions |
//! | `advance MS` | time passes; deadlines are printed with `+MS` |
//! | `set-clock MS` | the clock is set that much ahead, or back |
//! | `fail-append`, `restart [TOPIC=ID\|gone…]`, `set NAME=VALUE…` | the log refuses what comes next; a new start, before which topics were made again or deleted; settings |

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::script::Script;
use crate::transitions::Transition;

/// Runs the commands of a file and returns the file as it should be, and what groups went through.
fn run(text: &str) -> (String, BTreeSet<Transition>) {
    let mut script = Script::new();
    let mut written = String::new();
    let mut in_output = false;
    for line in text.lines() {
        if let Some(command) = line.strip_prefix("> ") {
            written.push_str(line);
            written.push('\n');
            written.push_str(&script.run(command));
            in_output = true;
            continue;
        }
        // An empty line or a comment ends what came of a command.
        in_output &= !(line.is_empty() || line.starts_with('#'));
        if !in_output {
            written.push_str(line);
            written.push('\n');
        }
    }
    (written, script.transitions())
}

/// The files with scenarios, by name.
fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let paths = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    let is_one = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "txt");
    let mut paths: Vec<_> = paths.filter(is_one).collect();
    paths.sort();
    assert!(paths.len() >= 10, "scenarios are missing");
    paths
}

/// What groups go through in the scenarios, with the files that show it.
pub(crate) fn transitions() -> BTreeMap<Transition, BTreeSet<String>> {
    let mut shown: BTreeMap<Transition, BTreeSet<String>> = BTreeMap::new();
    for path in files() {
        let name = path.file_name().unwrap().to_str().unwrap();
        for transition in run(&fs::read_to_string(&path).unwrap()).1 {
            shown.entry(transition).or_default().insert(name.to_owned());
        }
    }
    shown
}

#[test]
fn every_scenario_goes_as_it_is_written() {
    for path in files() {
        let text = fs::read_to_string(&path).unwrap();
        let (now, _) = run(&text);
        if std::env::var_os("TIDEWHEEL_REGENERATE").is_some() {
            fs::write(&path, now).unwrap();
        } else if now != text {
            let differs = now
                .lines()
                .zip(text.lines())
                .position(|(now, then)| now != then);
            panic!(
                "{} differs at line {differs:?} (counted from 0):\n{now}",
                path.display()
            );
        }
    }
}
