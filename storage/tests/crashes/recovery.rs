//! What a start after a crash must remove, and what a checkpoint must not remove before it is sound.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::support::{
    self, Draft, Log, Manager, NOW, append, check_lookups, id_of, live, open, read_all, tp,
};
use tidewheel_config::LogConfig;
use tidewheel_storage::StorageError;
use tidewheel_storage::checkpoint::{read_offsets, write_offsets};
use tidewheel_storage::fs::{Fault, FileSystem, OpenMode, SimFs};
use tidewheel_storage::index::{OffsetIndex, TimeIndex};

/// The producer of idempotent batches.
const PRODUCER: i64 = 7;

fn start(disk: &SimFs, config: LogConfig, epoch: i32) -> (Manager, Arc<Log>) {
    let fs: Arc<dyn FileSystem> = Arc::new(disk.clone());
    let (manager, mut logs) = open(&fs, vec![live("t", 1, config)], epoch).unwrap();
    (manager, logs.pop().unwrap())
}

fn fill(log: &Log, ids: std::ops::Range<u64>) {
    for id in ids {
        append(log, &Draft::new(id), false, NOW).unwrap();
    }
}

fn produced(id: u64, sequence: i32) -> Draft {
    Draft {
        producer: Some((PRODUCER, 0, sequence)),
        ..Draft::new(id)
    }
}

fn path(name: &str) -> PathBuf {
    Path::new("/data/t-0").join(name)
}

fn content(disk: &SimFs, name: &str) -> Vec<u8> {
    let file = disk.open(&path(name), OpenMode::Read).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn names(disk: &SimFs, ending: &str) -> Vec<String> {
    let entries = disk.read_dir(Path::new("/data/t-0")).unwrap().into_iter();
    let names = entries.map(|entry| entry.name);
    names.filter(|name| name.ends_with(ending)).collect()
}

/// Puts the recovery point back to where it was before a checkpoint that did all but move it.
fn put_recovery_point(disk: &SimFs, offset: i64) {
    let path = Path::new("/data/recovery-point-offset-checkpoint");
    write_offsets(disk, path, &[(tp("t", 0), offset)]).unwrap();
    support::believe_texts(disk);
}

/// What the second half of the first segment held never reached the disk.
fn lose_half(disk: &SimFs) {
    let len = content(disk, "00000000000000000000.log").len();
    let half = u64::try_from(len / 2).unwrap();
    let path = path("00000000000000000000.log");
    disk.rot(&path, half, &vec![0; len]).unwrap();
}

/// What lies behind the first bad byte is copied before the log is shortened, name and all.
#[test]
fn a_torn_tail_is_not_lost_whenever_the_power_goes() {
    let roomy = || LogConfig {
        segment_bytes: 1 << 20,
        ..support::config()
    };
    let log_file = "00000000000000000000.log";
    let disk = SimFs::new();
    let (manager, log) = start(&disk, roomy(), 0);
    fill(&log, 0..8);
    assert!(manager.flush_round(0).error.is_none());
    drop((manager, log));
    let disk = disk.crash_lose_all_unsynced();
    let at = content(&disk, log_file).len() / 2;
    disk.rot(&path(log_file), at as u64, b"\xff").unwrap();
    let whole = content(&disk, log_file);
    let again = |fs: &SimFs| {
        let fs: Arc<dyn FileSystem> = Arc::new(fs.clone());
        open(&fs, vec![live("t", 1, roomy())], 1).map(drop)
    };
    let sound = disk.kill();
    again(&sound).unwrap();
    let mut cut = 0;
    for op in 0..=sound.op_count() {
        let fs = disk.kill();
        fs.fail_at(op, Fault::Crash);
        again(&fs).ok();
        for after in [fs.crash_lose_all_unsynced(), fs.crash(op), fs.crash(op + 1)] {
            let left = content(&after, log_file).len();
            if left < whole.len() {
                cut += 1;
                let kept = names(&after, &format!(".torn-{NOW}"));
                assert_eq!(kept.len(), 1, "operation {op}");
                assert_eq!(content(&after, &kept[0]), &whole[left..], "operation {op}");
            }
        }
    }
    assert!(cut > 0);
}

/// A checkpoint that was cut off leaves a snapshot beyond the recovery point. The offsets there are then
/// written by others: a start that believes it knows batches that are not in the log.
#[test]
fn a_snapshot_beyond_the_recovery_point_goes_before_its_offsets_are_used_again() {
    let disk = SimFs::new();
    let (manager, log) = start(&disk, support::config(), 0);
    fill(&log, 0..3);
    for sequence in 0..3 {
        append(&log, &produced(10, sequence), false, NOW).unwrap();
    }
    manager.checkpoint(NOW).unwrap();
    drop((manager, log));
    assert_eq!(names(&disk, ".snapshot"), ["00000000000000000006.snapshot"]);
    put_recovery_point(&disk, 2);
    lose_half(&disk);
    let (_manager, log) = start(&disk.kill(), support::config(), 1);
    let info = append(&log, &produced(30, 0), false, NOW).unwrap();
    assert_eq!((info.duplicate, info.base_offset), (false, 3));
    let (manager, log) = start(&disk, support::config(), 1);
    assert_eq!(log.offsets().log_end, 3);
    assert_eq!(names(&disk, ".snapshot"), [""; 0]);
    fill(&log, 20..30);
    manager.checkpoint(NOW).unwrap();
    drop((manager, log));
    // The newest snapshot cannot be read; whatever is older must not be believed blindly.
    disk.rot(&path("00000000000000000013.snapshot"), 10, &[0xff; 4])
        .unwrap();
    let (_manager, log) = start(&disk, support::config(), 2);
    let info = append(&log, &produced(30, 0), false, NOW).unwrap();
    assert_eq!((info.duplicate, info.base_offset), (false, 13));
}

/// The producer's only batches lie in a segment that retention takes out. Until the checkpoint is
/// whole its files are all that knows them; from then on a snapshot does.
#[test]
fn a_segment_is_there_until_a_start_could_do_without_it() {
    let config = LogConfig {
        retention_bytes: 500,
        ..support::config()
    };
    let prepared = || {
        let disk = SimFs::new();
        let (manager, log) = start(&disk, config.clone(), 0);
        for sequence in 0..5 {
            let id = u64::try_from(sequence).unwrap();
            append(&log, &produced(id, sequence), false, NOW).unwrap();
        }
        fill(&log, 5..60);
        log.flush(NOW).unwrap();
        assert!(log.apply_retention(NOW).unwrap().deleted_segments() > 1);
        assert!(log.offsets().log_start > 4);
        // Its checkpoint gets through where that of the first fails.
        let other = live("u", 2, config.clone());
        fill(&manager.create(other, 0).unwrap(), 0..1);
        (disk, manager, log)
    };
    for fault in [Fault::Crash, Fault::Enospc] {
        for op in 0.. {
            let (disk, manager, log) = prepared();
            let fails_at = disk.op_count() + op;
            disk.fail_at(fails_at, fault);
            manager.checkpoint(NOW).ok();
            let over = disk.op_count() <= fails_at;
            drop((manager, log));
            for image in [disk.kill(), disk.crash_lose_all_unsynced(), disk.crash(op)] {
                let (_manager, log) = start(&image, config.clone(), 1);
                assert!(log.refusal().is_none(), "{:?}", log.refusal());
                for sequence in 0..5 {
                    let info = append(&log, &produced(99, sequence), false, NOW).unwrap();
                    assert!(
                        info.duplicate,
                        "{fault:?} at {op}: batch {sequence} is forgotten"
                    );
                }
                check_lookups(&log, &read_all(&log, 1 << 20));
            }
            if over {
                assert!(op > 10);
                break;
            }
        }
    }
}

/// Entries in the index files of the first segment that lie at or beyond an offset.
fn entries_from(disk: &SimFs, offset: i64) -> (usize, usize) {
    let offsets = content(disk, "00000000000000000000.index");
    let times = content(disk, "00000000000000000000.timeindex");
    let offsets = OffsetIndex::open(0, &offsets, u64::MAX).unwrap();
    let times = TimeIndex::open(0, &times).unwrap();
    let all = (0..offsets.len()).filter_map(|number| offsets.entry(number));
    let all_times = (0..times.len()).filter_map(|number| times.entry(number));
    (
        all.filter(|entry| entry.offset >= offset).count(),
        all_times.filter(|entry| entry.offset >= offset).count(),
    )
}

/// One segment with many index entries, and the offset of its end.
fn roomy() -> LogConfig {
    LogConfig {
        segment_bytes: 1 << 20,
        ..support::config()
    }
}

#[test]
fn recovery_cuts_the_indexes_to_what_is_in_the_log() {
    let disk = SimFs::new();
    let (manager, log) = start(&disk, roomy(), 0);
    fill(&log, 0..40);
    manager.checkpoint(NOW).unwrap();
    drop((manager, log));
    let (offsets, times) = entries_from(&disk, 10);
    assert!(offsets > 5 && times > 5);
    put_recovery_point(&disk, 10);
    lose_half(&disk);
    let (manager, log) = start(&disk, roomy(), 1);
    assert_eq!(log.offsets().log_end, 20);
    assert_eq!(
        entries_from(&disk, 10),
        (0, 0),
        "before anything is written"
    );
    fill(&log, 50..53);
    manager.close(NOW).unwrap();
    drop((manager, log));
    assert_eq!(entries_from(&disk, 23), (0, 0));
    let (_manager, log) = start(&disk, roomy(), 2);
    let batches = read_all(&log, 1 << 20);
    let ids: Vec<u64> = batches.iter().map(id_of).collect();
    assert_eq!(ids, (0..20).chain(50..53).collect::<Vec<_>>());
    check_lookups(&log, &batches);
}

#[test]
fn the_last_time_entry_of_a_clean_stop_is_cut_when_the_segment_is_written_again() {
    let disk = SimFs::new();
    let (manager, log) = start(&disk, roomy(), 0);
    fill(&log, 0..40);
    manager.checkpoint(NOW).unwrap();
    let before = content(&disk, "00000000000000000000.timeindex");
    manager.close(NOW).unwrap();
    let late = append(&log, &Draft::new(40), false, NOW);
    assert!(matches!(late, Err(StorageError::Closed)), "{late:?}");
    drop((manager, log));
    let closed = content(&disk, "00000000000000000000.timeindex");
    assert_eq!(closed.len(), before.len() + 12, "the largest timestamp");
    let (_manager, log) = start(&disk, roomy(), 1);
    fill(&log, 40..41);
    assert_eq!(content(&disk, "00000000000000000000.timeindex"), before);
}

/// A process that died has written what no sync confirmed. A start shows it, so it must not go with
/// the power any more.
#[test]
fn what_a_start_serves_is_durable() {
    let disk = SimFs::new();
    let (manager, log) = start(&disk, support::config(), 0);
    fill(&log, 0..40);
    drop((manager, log));
    let killed = disk.kill();
    let (_manager, log) = start(&killed, support::config(), 1);
    assert_eq!(log.offsets().durable, 40);
    let (_manager, log) = start(&killed.crash_lose_all_unsynced(), support::config(), 2);
    assert_eq!(log.offsets().log_end, 40);
}

/// After a failed sync the page cache shows bytes that the disk lacks and that no later sync writes.
#[test]
fn what_only_the_cache_has_after_a_failed_sync_is_not_served() {
    let disk = SimFs::new();
    let (manager, log) = start(&disk, support::config(), 0);
    fill(&log, 0..3);
    log.flush(NOW).unwrap();
    fill(&log, 3..6);
    disk.fail_at(disk.op_count(), Fault::Eio);
    log.flush(NOW).unwrap_err();
    drop((manager, log));
    let killed = disk.kill();
    let (_manager, log) = start(&killed, support::config(), 1);
    let served = log.offsets().log_end;
    assert!(served >= 3);
    let (_manager, log) = start(&killed.crash_lose_all_unsynced(), support::config(), 2);
    assert_eq!(log.offsets().log_end, served);
}

/// A second clean stop that is cut off anywhere leaves either its own manifest or none that counts.
#[test]
fn a_clean_stop_that_is_cut_off_never_brings_an_older_manifest_back() {
    for op in 0.. {
        let disk = SimFs::new();
        let (manager, log) = start(&disk, support::config(), 0);
        fill(&log, 0..5);
        manager.close(NOW).unwrap();
        drop((manager, log));
        let (manager, log) = start(&disk, support::config(), 1);
        fill(&log, 5..40);
        log.flush(NOW).unwrap();
        let fails_at = disk.op_count() + op;
        disk.fail_at(fails_at, Fault::Crash);
        manager.close(NOW).ok();
        let over = disk.op_count() <= fails_at;
        drop((manager, log));
        for image in [disk.kill(), disk.crash_lose_all_unsynced(), disk.crash(op)] {
            let (_manager, log) = start(&image, support::config(), 2);
            assert_eq!(log.offsets().log_end, 40, "crash at {op}");
            assert_eq!(log.leader_epoch_at(4), Some(0));
            assert_eq!(log.leader_epoch_at(5), Some(1));
            check_lookups(&log, &read_all(&log, 1 << 20));
        }
        if over {
            assert!(op > 10);
            return;
        }
    }
}

#[test]
fn a_partition_whose_directory_is_gone_begins_anew_and_is_told_as_lost() {
    for clean in [true, false] {
        let disk = SimFs::new();
        let (manager, log) = start(&disk, support::config(), 0);
        fill(&log, 0..5);
        manager.checkpoint(NOW).unwrap();
        if clean {
            manager.close(NOW).unwrap();
        }
        drop((manager, log));
        disk.remove_dir_all(Path::new("/data/t-0")).unwrap();
        let manager = Manager::open(Arc::new(disk), support::options(&["/data"])).unwrap();
        let wanted = [("t", 1), ("new", 2)].map(|(name, id)| live(name, id, support::config()));
        let loaded = manager.load(wanted.to_vec(), 1, NOW).unwrap();
        let [lost] = loaded.lost.as_slice() else {
            panic!("{:?}", loaded.lost);
        };
        let lost = lost.to_string();
        assert!(
            lost.contains("/data/t-0") && lost.contains("0..5"),
            "{lost}"
        );
        assert!(loaded.logs.iter().all(|log| log.offsets().log_end == 0));
        append(
            &manager.get(&tp("t", 0)).unwrap(),
            &Draft::new(0),
            true,
            NOW,
        )
        .unwrap();
    }
}

/// How long a start takes after a crash depends on what was written since the last checkpoint, not on how
/// much there is: where a start would have to read what is durable, it would trip over damage there.
#[test]
fn fact_10_a_start_after_a_kill_does_not_read_what_lies_below_the_recovery_point() {
    let disk = SimFs::new();
    let (manager, log) = start(&disk, support::config(), 0);
    fill(&log, 0..200);
    let batches = read_all(&log, 1 << 20);
    manager.checkpoint(NOW).unwrap();
    fill(&log, 200..201);
    drop((manager, log));
    let logs = names(&disk, ".log");
    assert!(logs.len() > 10, "{logs:?}");
    for name in &logs[..logs.len() - 1] {
        let base_offset: usize = name.trim_end_matches(".log").parse().unwrap();
        let second = batches[base_offset].bytes.len() as u64;
        disk.rot(&path(name), second, &[0xff; 61]).unwrap();
    }
    let (_manager, log) = start(&disk.kill(), support::config(), 1);
    assert_eq!(log.offsets().log_end, 201);
    let info = append(&log, &Draft::new(201), false, NOW).unwrap();
    assert_eq!(info.base_offset, 201);
}

/// A checkpoint that was cut off before it moved the recovery point has written epochs beyond it.
#[test]
fn epochs_beyond_the_recovery_point_are_taken_from_the_log() {
    let disk = SimFs::new();
    let (manager, log) = start(&disk, support::config(), 0);
    fill(&log, 0..5);
    drop((manager, log));
    let (manager, log) = start(&disk, support::config(), 1);
    fill(&log, 5..8);
    manager.checkpoint(NOW).unwrap();
    drop((manager, log));
    put_recovery_point(&disk, 3);
    let (_manager, log) = start(&disk, support::config(), 2);
    assert_eq!(log.offsets().log_end, 8);
    assert_eq!(log.leader_epoch_at(4), Some(0));
    assert_eq!(log.leader_epoch_at(5), Some(1));
}

/// The epochs in the checkpoint and in the headers of batches are under no CRC: one that rotted must not
/// cut off what lies behind the recovery point.
#[test]
fn an_epoch_that_rotted_cuts_no_record_off() {
    const LOG: &str = "00000000000000000000.log";
    let sound = || {
        let disk = SimFs::new();
        let (manager, log) = start(&disk, roomy(), 3);
        fill(&log, 0..5);
        manager.checkpoint(NOW).unwrap();
        let position = content(&disk, LOG).len();
        fill(&log, 5..8);
        log.flush(NOW).unwrap();
        drop((manager, log));
        (disk, position / 5 * 4)
    };
    let (disk, last_below) = sound();
    let checkpoint = content(&disk, "leader-epoch-checkpoint");
    assert_eq!(checkpoint, b"0\n1\n3 0\n");
    let digits = (0..checkpoint.len()).flat_map(|at| (b' '..=b'9').map(move |digit| (at, digit)));
    let rots = digits.map(|(at, digit)| ("leader-epoch-checkpoint", at, digit));
    // The epoch's bytes in the header of the last batch below the recovery point.
    let bits = (12..16).flat_map(|at| (0..8).map(move |bit| (at, bit)));
    let header = &content(&disk, LOG)[last_below..];
    let rots: Vec<_> = rots
        .chain(bits.map(|(at, bit)| (LOG, last_below + at, header[at] ^ (1 << bit))))
        .collect();
    for (name, at, value) in rots {
        let (disk, _) = sound();
        disk.rot(&path(name), at as u64, &[value]).unwrap();
        let (_manager, log) = start(&disk.kill(), roomy(), 4);
        assert!(log.refusal().is_none(), "{name} {at} {value}");
        let found: Vec<_> = read_all(&log, 1 << 20).iter().map(id_of).collect();
        assert_eq!(found, (0..8).collect::<Vec<_>>(), "{name} {at} {value}");
    }
}

/// Partitions are written under the epoch of the metadata log: were it ever one that was used before, what
/// is written would look like the leftover of an earlier start.
#[test]
fn a_checkpoint_of_epochs_that_rotted_makes_no_start_write_under_an_old_one() {
    let checkpoint = Path::new("/data/__tidewheel_metadata-0/leader-epoch-checkpoint");
    for (rotten, next) in [(b"7", 8), (b"1", 8), (b"9", 10), (b"x", 8)] {
        let disk = SimFs::new();
        let open = |leader_epoch| {
            let options = support::options(&["/data"]);
            let manager = Manager::open(Arc::new(disk.clone()), options).unwrap();
            let metadata = manager.open_metadata_log(leader_epoch, NOW).unwrap();
            manager.load(Vec::new(), 7, NOW).unwrap();
            append(&metadata, &Draft::new(0), false, NOW).unwrap();
            metadata.flush(NOW).unwrap();
            manager.checkpoint(NOW).unwrap();
            metadata.leader_epoch_at(metadata.offsets().log_end - 1)
        };
        assert_eq!(open(Some(7)), Some(7));
        disk.rot(checkpoint, 4, rotten).unwrap();
        assert_eq!(open(None), Some(next), "{rotten:?}");
    }
}

#[test]
fn without_a_readable_snapshot_the_headers_below_the_recovery_point_name_the_producers() {
    let disk = SimFs::new();
    let (manager, log) = start(&disk, support::config(), 0);
    append(&log, &produced(0, 0), false, NOW).unwrap();
    fill(&log, 1..5);
    manager.checkpoint(NOW).unwrap();
    drop((manager, log));
    let snapshot = path("00000000000000000005.snapshot");
    disk.rot(&snapshot, 10, &[0xff; 4]).unwrap();
    let (_manager, log) = start(&disk, support::config(), 1);
    let info = append(&log, &produced(0, 0), false, NOW).unwrap();
    assert!(info.duplicate);
}

/// A start that is killed right after it took the marker away has not made that durable; the start
/// after it finds no marker and must see to it, or the marker comes back beside newer data.
#[test]
fn a_marker_that_was_taken_away_never_comes_back() {
    for op in 0..12 {
        let disk = SimFs::new();
        let (manager, log) = start(&disk, support::config(), 0);
        fill(&log, 0..5);
        manager.close(NOW).unwrap();
        drop((manager, log));
        disk.fail_at(disk.op_count() + op, Fault::Crash);
        let options = support::options(&["/data"]);
        drop(Manager::open(Arc::new(disk.clone()), options));
        let disk = disk.kill();
        let (_manager, log) = start(&disk, support::config(), 2);
        fill(&log, 5..40);
        log.flush(NOW).unwrap();
        for image in [disk.crash_lose_all_unsynced(), disk.crash(op)] {
            let (_manager, log) = start(&image, support::config(), 3);
            assert_eq!(log.offsets().log_end, 40, "killed at {op}");
        }
    }
}

#[test]
fn segments_behind_the_end_of_the_log_go_before_it_can_grow_into_them() {
    let disk = SimFs::new();
    let (manager, log) = start(&disk, support::config(), 0);
    fill(&log, 0..40);
    drop((manager, log));
    assert!(names(&disk, ".log").len() > 2);
    lose_half(&disk);
    let (_manager, log) = start(&disk, support::config(), 1);
    assert!((1..15).contains(&log.offsets().log_end));
    assert_eq!(names(&disk, ".log"), ["00000000000000000000.log"]);
    fill(&log, 50..90);
    let (_manager, log) = start(&disk.kill(), support::config(), 2);
    check_lookups(&log, &read_all(&log, 1 << 20));
}

#[test]
fn the_checkpoint_files_forget_partitions_that_are_no_more() {
    let disk = SimFs::new();
    let (manager, log) = start(&disk, support::config(), 0);
    fill(&log, 0..3);
    manager.checkpoint(NOW).unwrap();
    drop((manager, log));
    let manager = Manager::open(Arc::new(disk.clone()), support::options(&["/data"])).unwrap();
    let other = live("u", 2, support::config());
    let log = manager
        .load(vec![other], 1, NOW)
        .unwrap()
        .logs
        .pop()
        .unwrap();
    fill(&log, 0..2);
    manager.checkpoint(NOW).unwrap();
    let points = Path::new("/data/recovery-point-offset-checkpoint");
    let points = read_offsets(&disk, points).unwrap();
    assert_eq!(points.into_iter().collect::<Vec<_>>(), [(tp("u", 0), 2)]);
}
