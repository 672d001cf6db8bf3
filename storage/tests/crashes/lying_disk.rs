//! The harness of the crash tests on disks that lie. A storage that leaves a sync out, moves a
//! checkpoint ahead of its data, or writes a wrong index, the producers or the manifest of an earlier time makes of an
//! honest disk what these make of an honest storage; each must be caught, or the crash tests would say nothing about
//! such a storage.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use crate::check::{Crash, check};
use crate::world::{Step, World, scenario};
use tidewheel_storage::fs::{Fault, Lie, SimFs};

/// Steps of a scenario, as many as the crash tests have.
const STEPS: u64 = 60;
/// Steps between two clean stops, where there are more of these.
const STOP_EVERY: usize = 10;
const SEEDS: [u64; 3] = [1, 2, 4];

fn ends(path: &Path, ending: &str) -> bool {
    path.to_str().unwrap().ends_with(ending)
}

fn of_metadata(path: &Path) -> bool {
    path.to_str().unwrap().contains("__tidewheel_metadata")
}

/// What ran until the fault, without looking at what the disk says later.
fn run(steps: &[Step], lie: (Lie, fn(&Path) -> bool), op: u64, fault: Fault) -> World {
    let fs = SimFs::new();
    fs.lie(lie.0, lie.1);
    fs.fail_at(op, fault);
    let mut world = World::new(fs);
    let mut outcome = world.start();
    for step in steps {
        if outcome.is_err() {
            break;
        }
        outcome = world.step(step);
    }
    world
}

/// The steps of a seed, with many clean stops: what is wrong in the files of one shows behind it.
fn stopping(seed: u64) -> Vec<Step> {
    let mut steps = Vec::new();
    for part in scenario(seed, STEPS).chunks(STOP_EVERY) {
        steps.extend_from_slice(part);
        steps.push(Step::Restart { clean: true });
    }
    steps
}

/// Where the harness catches the lie, looking at one of so many operations: seed and operation.
fn caught(every: usize, fault: Fault, lie: Lie, about: fn(&Path) -> bool) -> Option<(u64, u64)> {
    caught_in(|seed| scenario(seed, STEPS), (every, fault), (lie, about))
}

fn caught_in(
    steps: impl Fn(u64) -> Vec<Step>,
    (every, fault): (usize, Fault),
    (lie, about): (Lie, fn(&Path) -> bool),
) -> Option<(u64, u64)> {
    for seed in SEEDS {
        let steps = steps(seed);
        let guarded = |op, looks: &dyn Fn(World)| {
            let run = || looks(run(&steps, (lie, about), op, fault));
            catch_unwind(AssertUnwindSafe(run))
        };
        let ops = Cell::new(0);
        if guarded(u64::MAX, &|world| ops.set(world.fs.op_count())).is_err() {
            println!("caught with seed {seed} while it ran");
            return Some((seed, 0));
        }
        let ops = ops.get();
        for op in (0..ops).rev().step_by(every) {
            let looks = |world: World| {
                let World {
                    fs,
                    ledger,
                    manager,
                } = world;
                drop(manager);
                check(fs.crash_lose_all_unsynced(), &ledger, Crash::Power);
                check(fs.crash(seed + op), &ledger, Crash::Power);
                // After a fault that is no crash, the process alone may go too.
                check(fs.kill(), &ledger, Crash::Power);
            };
            if guarded(op, &looks).is_err() {
                println!("caught with seed {seed} at operation {op} of {ops}");
                return Some((seed, op));
            }
        }
    }
    None
}

fn is_caught(lie: Lie, about: fn(&Path) -> bool) {
    assert_ne!(caught(3, Fault::Crash, lie, about), None);
}

/// The same with many clean stops.
fn is_caught_behind_a_stop(lie: Lie, about: fn(&Path) -> bool) {
    let place = caught_in(stopping, (3, Fault::Crash), (lie, about));
    assert_ne!(place, None);
}

#[test]
fn an_honest_disk_is_not_accused() {
    let honest: (Lie, fn(&Path) -> bool) = (Lie::SyncDoesNothing, |_| false);
    for fault in [Fault::Crash, Fault::Eio] {
        assert_eq!(caught(41, fault, honest.0, honest.1), None);
        assert_eq!(caught_in(stopping, (41, fault), honest), None);
    }
}

#[test]
fn a_wrong_offset_index_is_noticed() {
    is_caught_behind_a_stop(Lie::WriteSlips, |path| ends(path, ".index"));
}

#[test]
fn a_wrong_time_index_is_noticed() {
    is_caught_behind_a_stop(Lie::WriteSlips, |path| ends(path, ".timeindex"));
}

#[test]
fn an_offset_index_that_is_not_synced_is_missed() {
    is_caught_behind_a_stop(Lie::SyncDoesNothing, |path| {
        ends(path, ".index") && !of_metadata(path)
    });
}

#[test]
fn the_producers_of_an_earlier_time_are_noticed() {
    is_caught(Lie::RenameBringsOlder, |path| {
        ends(path, ".snapshot") && !of_metadata(path)
    });
}

#[test]
fn the_manifest_of_an_earlier_stop_is_noticed() {
    is_caught_behind_a_stop(Lie::RenameBringsOlder, |path| {
        ends(path, "tidewheel.manifest")
    });
}

#[test]
fn data_that_is_not_synced_is_missed() {
    is_caught(Lie::SyncDoesNothing, |path| {
        ends(path, ".log") && !of_metadata(path)
    });
}

#[test]
fn a_checkpoint_or_an_answer_ahead_of_its_data_is_noticed() {
    is_caught(Lie::SyncComesLate, |path| {
        ends(path, ".log") && !of_metadata(path)
    });
}

#[test]
fn a_metadata_log_that_is_not_synced_is_missed() {
    is_caught(Lie::SyncDoesNothing, |path| {
        ends(path, ".log") && of_metadata(path)
    });
}

#[test]
fn the_names_of_new_segments_that_are_not_synced_are_missed() {
    is_caught(Lie::SyncDoesNothing, |path| {
        ends(path, "-0") && !of_metadata(path)
    });
}

#[test]
fn the_names_of_new_partitions_that_are_not_synced_are_missed() {
    is_caught(Lie::SyncDoesNothing, |path| ends(path, "/data"));
}

#[test]
fn the_id_of_a_topic_that_is_not_synced_before_its_data_is_missed() {
    is_caught(Lie::SyncDoesNothing, |path| {
        ends(path, "partition.metadata.tmp")
    });
}

#[test]
fn the_identity_of_a_directory_that_is_not_synced_is_missed() {
    is_caught(Lie::SyncDoesNothing, |path| {
        ends(path, "meta.properties.tmp")
    });
}

#[test]
fn a_start_that_believes_the_cache_after_a_failed_sync_is_noticed() {
    let place = caught(3, Fault::Eio, Lie::CacheStays, |path| ends(path, ".log"));
    assert_ne!(place, None);
}
