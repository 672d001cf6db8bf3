//! Random requests in random order, from a seed: what must hold whatever members do.

use std::collections::BTreeSet;

use crate::history::History;
use crate::transitions::Transition;

/// Histories of each kind.
const SEEDS: u64 = 150;

/// Runs one history to its end.
fn lived(mut history: History, steps: usize) -> History {
    for _ in 0..steps {
        history.step();
    }
    history.end();
    history
}

/// Runs one history and returns its trace.
fn run(seed: u64, steps: usize) -> Vec<String> {
    lived(History::new(seed), steps).trace
}

/// What groups go through.
pub(crate) fn transitions() -> BTreeSet<Transition> {
    let found = (0..SEEDS).flat_map(|seed| {
        let mut history = History::new(seed);
        history.runner.watch();
        lived(history, 300).runner.watch.unwrap_or_default().seen
    });
    found.collect()
}

#[test]
fn whatever_members_do_the_promises_hold() {
    for seed in 0..SEEDS {
        println!("seed {seed}");
        let trace = run(seed, 300);
        assert!(trace.len() > 300);
    }
}

/// Also where the clock is set and appends are refused.
#[test]
fn the_same_seed_gives_the_same_history() {
    for seed in (0..20).chain([1_000_003]) {
        assert_eq!(run(seed, 400), run(seed, 400), "seed {seed}");
    }
}

/// The random requests get somewhere: generations finish, members are replaced, appends are refused.
#[test]
fn histories_reach_what_they_are_to_check() {
    let trace: Vec<String> = (0..30).flat_map(|seed| run(seed, 300)).collect();
    let count = |what: &str| trace.iter().filter(|line| line.contains(what)).count();
    for what in [
        "MemberIdRequired",
        "FencedInstanceId",
        "RebalanceInProgress",
        "IllegalGeneration",
        "UnknownMemberId",
        "NotCoordinator",
        "NonEmptyGroup",
        "GroupMaxSizeReached",
        "Sync(Ok",
        "Heartbeat(Ok",
        "Leave(Ok",
        "DeleteGroup(Ok",
        "skip_assignment: true",
        "the clock is set by -7200000",
        "the clock is set by 7200000",
        "log refuses",
    ] {
        assert!(count(what) >= 5, "{what}: {}", count(what));
    }
}
