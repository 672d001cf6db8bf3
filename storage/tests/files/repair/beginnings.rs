//! Logs whose first segments are gone, and log starts beyond the end.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidewheel_storage::StorageError;
use tidewheel_storage::checkpoint::{
    CLEAN_SHUTDOWN_MARKER, LOG_START_OFFSET_CHECKPOINT, read_offsets, remove_durably, write_offsets,
};
use tidewheel_storage::fs::{Fault, FileSystem, SimFs};
use tidewheel_storage::inspect::{RepairLine, RepairSummary, repair};

use super::world::{DATA, World, start};
use super::{check, damage_three, options, run};
use crate::support::{self, Draft, NOW, append, live, open, tp};

/// A cleanly stopped directory: `t-0` has damage, and the first segment of `u-0` is gone, which nothing but the
/// manifest tells.
struct Beheaded {
    fs: SimFs,
    /// Where the second segment of `u-0` begins.
    second: i64,
}

fn beheaded() -> Beheaded {
    let fs = SimFs::new();
    let shared: Arc<dyn FileSystem> = Arc::new(fs.clone());
    let lives = [("t", 1), ("u", 2)].map(|(topic, id)| live(topic, id, support::config()));
    let (manager, logs) = open(&shared, lives.to_vec(), 0).unwrap();
    for log in &logs {
        for id in 0..80 {
            append(log, &Draft::new(id), false, NOW).unwrap();
        }
    }
    manager.close(NOW).unwrap();
    drop((manager, logs));
    damage_three(&fs);
    let dir = Path::new(DATA).join("u-0");
    let names = fs.read_dir(&dir).unwrap().into_iter();
    let logs = names.filter_map(|entry| entry.name.strip_suffix(".log")?.parse::<i64>().ok());
    let mut logs: Vec<i64> = logs.collect();
    logs.sort_unstable();
    assert!(logs[0] == 0 && logs.len() > 2, "{logs:?}");
    remove_durably(&fs, &dir.join(format!("{:020}.log", 0))).unwrap();
    Beheaded {
        fs,
        second: logs[1],
    }
}

fn is_of_u(line: &RepairLine, lost: i64) -> bool {
    match line {
        RepairLine::Cut {
            file,
            from_offset: 0,
            to_offset,
            ..
        } => *to_offset == lost && file.starts_with("/data/u-0"),
        _ => false,
    }
}

fn repair_at(
    fs: &SimFs,
    path: &Path,
    lines: &mut Vec<RepairLine>,
) -> Result<RepairSummary, StorageError> {
    repair(fs, path, options(false, 1), &mut |line| lines.push(line))
}

/// The manifest goes with the first partition that is repaired.
#[test]
fn a_lost_beginning_is_told_whatever_is_repaired_and_wherever_that_is_cut_off() {
    let Beheaded {
        fs: stopped,
        second,
    } = beheaded();
    for path in [DATA, "/data/t-0", "/data/u-0"].map(PathBuf::from) {
        for op in 0.. {
            let fs = stopped.kill();
            let fails_at = fs.op_count() + op;
            fs.fail_at(fails_at, Fault::Crash);
            let mut lines = Vec::new();
            let outcome = repair_at(&fs, &path, &mut lines);
            let is_through = fs.op_count() <= fails_at;
            assert_eq!(outcome.is_ok(), is_through, "{op}: {outcome:?}");
            for image in [fs.kill(), fs.crash_lose_all_unsynced()] {
                let mut lines = lines.clone();
                let (summary, again) = run(&image, false, 2).unwrap();
                assert_eq!((summary.left, summary.refused), (0, 0), "{again:#?}");
                lines.extend(again);
                let told = lines.iter().any(|line| is_of_u(line, second));
                assert!(told, "{op}: {lines:#?}");
            }
            if is_through {
                break;
            }
        }
    }
}

#[test]
fn a_log_whose_first_segment_is_gone_begins_with_the_next_one() {
    let Beheaded { fs, second } = beheaded();
    let marker = Path::new(DATA).join(CLEAN_SHUTDOWN_MARKER);
    let ops = fs.op_count();
    let (dry, _) = run(&fs, true, 1).unwrap();
    assert!(dry.lost_offsets >= second.unsigned_abs() && fs.op_count() == ops);
    let mut lines = Vec::new();
    let healthy = repair_at(&fs, Path::new("/data/u-0"), &mut lines).unwrap();
    assert_eq!(healthy.lost_offsets, second.unsigned_abs());
    assert_eq!((healthy.repaired, lines.len()), (0, 1), "{lines:#?}");
    assert!(!fs.exists(&marker).unwrap(), "the manifest is not believed");
    let (summary, _) = run(&fs, false, 2).unwrap();
    assert_eq!((summary.repaired, summary.left), (1, 0));
    let shared: Arc<dyn FileSystem> = Arc::new(fs.kill());
    let lives = [("t", 1), ("u", 2)].map(|(topic, id)| live(topic, id, support::config()));
    let (_manager, logs) = open(&shared, lives.to_vec(), 1).unwrap();
    for log in logs {
        assert!(log.refusal().is_none(), "{:?}", log.refusal());
        let is_u = *log.topic_partition() == tp("u", 0);
        let offsets = log.offsets();
        let begins = if is_u { second } else { 0 };
        assert_eq!((offsets.log_start, offsets.log_end), (begins, 80));
    }
}

/// A power cut took records that nobody was promised, and somebody had deleted up to them.
#[test]
fn a_log_start_beyond_the_end_of_a_log_that_lost_nothing_comes_back_to_the_end() {
    let world = World::of(3, false);
    let fs = world.fs.kill();
    let path = Path::new(DATA).join(LOG_START_OFFSET_CHECKPOINT);
    write_offsets(&fs, &path, &[(tp("t", 0), world.log_end + 5)]).unwrap();
    support::believe_texts(&fs);
    let (summary, lines) = run(&fs, false, 1).unwrap();
    assert_eq!((summary.lost_offsets, summary.left), (0, 0), "{lines:#?}");
    let noted = read_offsets(&fs, &path).unwrap();
    assert_eq!(noted.get(&tp("t", 0)), Some(&world.log_end));
    let (_, lines) = run(&fs, false, 2).unwrap();
    assert!(lines.is_empty(), "a second run: {lines:#?}");
    let (_manager, log) = start(&fs.kill(), &world.config, world.epoch + 1);
    assert!(log.refusal().is_none(), "{:?}", log.refusal());
    assert_eq!(log.offsets().log_end, world.log_end);
}

/// Its digits rotted.
#[test]
fn a_log_start_far_beyond_the_end_is_none() {
    let world = World::of(3, false);
    damage_three(&world.fs);
    let fs = world.fs.kill();
    let path = Path::new(DATA).join(LOG_START_OFFSET_CHECKPOINT);
    write_offsets(&fs, &path, &[(tp("t", 0), 1 << 50)]).unwrap();
    support::believe_texts(&fs);
    let left = world.left(&fs);
    let (summary, lines) = run(&fs, false, 1).unwrap();
    assert_eq!((summary.repaired, summary.left), (1, 0), "{lines:#?}");
    assert!(read_offsets(&fs, &path).unwrap().is_empty());
    check(&world, &fs, &left, &lines);
}
