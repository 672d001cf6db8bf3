//! A repair that is cut off half-way: a start after it loses nothing, and the next repair finishes it.

use std::path::Path;

use tidewheel_storage::checkpoint::{
    CLEAN_SHUTDOWN_MARKER, RECOVERY_POINT_CHECKPOINT, remove_durably, write_offsets,
};
use tidewheel_storage::fs::{Fault, FileSystem, OpenMode, SimFs};

use super::world::{DATA, World, Written, content, files, start};
use super::{check, damage_three, run, seeds};
use crate::support::{believe_texts, tp};

/// Ends a repair of what is damaged in a world at every operation, has a broker open what is left, and repairs that.
pub(super) fn cut_off_everywhere(world: &World, faults: &[Fault]) {
    let left = world.left(&world.fs);
    for fault in faults {
        for op in 0.. {
            let fs = world.fs.kill();
            let fails_at = fs.op_count() + op;
            fs.fail_at(fails_at, *fault);
            let outcome = run(&fs, false, 1);
            if fs.op_count() <= fails_at {
                assert!(op > 20, "{op} operations");
                break;
            }
            assert!(outcome.is_err(), "{fault:?} at {op}");
            println!("{fault:?} at {op}");
            let images = match fault {
                Fault::Crash => vec![fs.kill(), fs.crash_lose_all_unsynced(), fs.crash(op)],
                _ => vec![fs.kill()],
            };
            for image in images {
                // A start in between serves what it can, and cuts nothing.
                let logs = files(&image, &[".log"]);
                let before: Vec<_> = logs.iter().map(|log| content(&image, log)).collect();
                let (manager, log) = start(&image, &world.config, world.epoch + 1);
                drop((manager, log));
                let image = image.kill();
                let after: Vec<_> = logs.iter().map(|log| content(&image, log)).collect();
                assert!(
                    before == after,
                    "{fault:?} at {op}: a start changed the log"
                );
                let (summary, lines) = run(&image, false, 2).unwrap();
                assert_eq!((summary.left, summary.refused), (0, 0), "{lines:?}");
                check(world, &image, &left, &lines);
            }
        }
    }
}

#[test]
fn a_repair_that_is_cut_off_anywhere_loses_nothing_and_the_next_one_finishes_it() {
    for seed in seeds(1..3) {
        let world = World::new(seed, true);
        damage_three(&world.fs);
        cut_off_everywhere(&world, &[Fault::Crash, Fault::Enospc, Fault::Eio]);
    }
}

/// Flips a byte in the middle of a batch.
fn flip(fs: &SimFs, written: &Written) {
    let at = written.batch.bytes.len() / 2;
    let byte = !written.batch.bytes[at];
    let position = (written.position + at) as u64;
    fs.rot(&written.path, position, &[byte]).unwrap();
}

/// A stopped log of many segments whose recovery point lies behind a third of its batches, all of it flushed: as
/// after a power cut, with what was acknowledged since the last checkpoint.
fn with_low_recovery_point(seed: u64, compact: bool) -> Option<World> {
    let world = World::of(seed, compact);
    if files(&world.fs, &[".log"]).len() < 4 {
        return None;
    }
    let fs = &world.fs;
    remove_durably(fs, &Path::new(DATA).join(CLEAN_SHUTDOWN_MARKER)).unwrap();
    let path = Path::new(DATA).join(RECOVERY_POINT_CHECKPOINT);
    let durable = world.written[world.written.len() / 3]
        .batch
        .header
        .base_offset;
    write_offsets(fs, &path, &[(tp("t", 0), durable)]).unwrap();
    believe_texts(fs);
    world.flush();
    Some(world)
}

/// The damage below the recovery point keeps the partition read-only. While the one above it is not mended, a start
/// would take that for the end of the log.
#[test]
fn a_repair_that_is_cut_off_does_not_let_a_start_cut_off_what_lies_behind_other_damage() {
    let mut looked_at = 0;
    for (seed, compact) in (0..40).flat_map(|seed| [(seed, false), (seed, true)]) {
        let Some(world) = with_low_recovery_point(seed, compact) else {
            continue;
        };
        let batches = world.written.len();
        let logs = files(&world.fs, &[".log"]);
        if world.written[batches / 3].path == logs[0] {
            continue;
        }
        let first = world.fs.open(&logs[0], OpenMode::ReadWrite).unwrap();
        first.set_len(first.len().unwrap() / 2).unwrap();
        drop(first);
        flip(&world.fs, &world.written[batches / 2]);
        flip(&world.fs, &world.written[batches * 3 / 4]);
        world.flush();
        cut_off_everywhere(&world, &[Fault::Crash]);
        looked_at += 1;
        if looked_at == 2 {
            return;
        }
    }
    panic!("only {looked_at} logs had segments enough");
}

/// A segment is missing, and another one behind it is damaged.
#[test]
fn a_missing_segment_is_made_only_when_nothing_behind_it_is_damaged_any_more() {
    let worlds = (0..40).filter_map(|seed| with_low_recovery_point(seed, false));
    let durable = |world: &World| world.written[world.written.len() / 3 - 1].path.clone();
    let is_first = |world: &World| durable(world) == world.written[0].path;
    let world = worlds.into_iter().find(|world| !is_first(world)).unwrap();
    world.fs.remove_file(&durable(&world)).unwrap();
    flip(&world.fs, &world.written[world.written.len() - 2]);
    world.flush();
    cut_off_everywhere(&world, &[Fault::Crash]);
}
