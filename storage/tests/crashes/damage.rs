//! Files that rotted, were lost or belong to somebody else: nothing panics, nothing is taken for what it is
//! not, and what is whole is served.

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::support::watch::WatchedFs;
use crate::support::{
    self, Draft, Log, Manager, NOW, append, check_lookups, id_of, live, open, read_all,
};
use tidewheel_config::{CleanupPolicy, LogConfig};
use tidewheel_protocol::{Compression, RecordBatch};
use tidewheel_storage::fs::{FileSystem, OpenMode, SimFs};
use tidewheel_storage::{StorageError, validate};

/// Where the last offset delta lies in a batch.
const LAST_OFFSET_DELTA: u64 = 23;

fn roomy() -> LogConfig {
    LogConfig {
        segment_bytes: 1 << 20,
        ..support::config()
    }
}

fn start(disk: &SimFs, epoch: i32) -> (Manager, Arc<Log>) {
    let fs: Arc<dyn FileSystem> = Arc::new(disk.clone());
    let (manager, mut logs) = open(&fs, vec![live("t", 1, roomy())], epoch).unwrap();
    (manager, logs.pop().unwrap())
}

fn fill(log: &Log, ids: std::ops::Range<u64>) {
    for id in ids {
        let mut draft = Draft::new(id);
        draft.producer = Some((7, 0, i32::try_from(id).unwrap()));
        append(log, &draft, false, NOW).unwrap();
    }
}

fn ids(log: &Log) -> Vec<u64> {
    read_all(log, 1 << 20).iter().map(id_of).collect()
}

fn file(name: &str) -> PathBuf {
    Path::new("/data/t-0").join(name)
}

fn len(disk: &SimFs, name: &str) -> u64 {
    let file = disk.open(&file(name), OpenMode::Read).unwrap();
    file.len().unwrap()
}

fn content(disk: &SimFs, name: &str) -> Vec<u8> {
    let file = disk.open(&file(name), OpenMode::Read).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

const LOG: &str = "00000000000000000000.log";
const INDEX: &str = "00000000000000000000.index";

#[test]
fn what_a_failed_write_left_is_cut_by_a_clean_stop() {
    let disk = SimFs::new();
    let (manager, log) = start(&disk, 0);
    fill(&log, 0..3);
    manager.checkpoint(NOW).unwrap();
    disk.set_free_bytes(40);
    let full = append(&log, &Draft::new(3), false, NOW);
    assert!(full.is_err_and(|error| error.is_disk_full()));
    disk.set_free_bytes(1 << 20);
    manager.close(NOW).unwrap();
    assert_eq!(len(&disk, LOG), log.size_bytes());
    drop((manager, log));
    let (manager, log) = start(&disk, 1);
    fill(&log, 3..5);
    assert!(manager.offline_cause(0).is_none());
    assert_eq!(ids(&log), [0, 1, 2, 3, 4]);
}

/// A clean stop, then a byte that nobody of us wrote: the log goes on behind its own last batch.
#[test]
fn what_lies_behind_a_log_that_was_stopped_cleanly_is_kept_aside_by_the_first_append() {
    for (filled, is_read_first) in [(3, false), (3, true), (0, false)] {
        let disk = SimFs::new();
        let (manager, log) = start(&disk, 0);
        fill(&log, 0..3);
        if filled == 0 {
            // The next segment is begun, and nothing is in it.
            log.roll(NOW).unwrap();
        }
        manager.close(NOW).unwrap();
        drop((manager, log));
        let name = format!("{:020}.log", if filled == 0 { 3 } else { 0 });
        let end = len(&disk, &name);
        let active = disk.open(&file(&name), OpenMode::ReadWrite).unwrap();
        active.write_all_at(&[IoSlice::new(b"x")], end).unwrap();
        let (manager, log) = start(&disk, 1);
        if is_read_first {
            assert_eq!(ids(&log), [0, 1, 2]);
        }
        fill(&log, 3..5);
        assert!(manager.offline_cause(0).is_none(), "{is_read_first}");
        assert_eq!(ids(&log), [0, 1, 2, 3, 4]);
        manager.close(NOW).unwrap();
        assert_eq!(len(&disk, &name), log.segments().last().unwrap().bytes);
        let entries = disk.read_dir(Path::new("/data/t-0")).unwrap();
        let kept = entries.iter().find(|entry| entry.name.contains(".torn-"));
        assert_eq!(content(&disk, &kept.unwrap().name), b"x");
    }
}

/// The last checkpoint does not look at a file that was closed before it.
#[test]
fn what_a_failed_write_left_is_gone_durably_when_the_file_is_closed() {
    let disk = SimFs::new();
    let (manager, log) = start(&disk, 0);
    fill(&log, 0..3);
    disk.set_free_bytes(40);
    let full = append(&log, &Draft::new(3), false, NOW);
    assert!(full.is_err_and(|error| error.is_disk_full()));
    disk.set_free_bytes(1 << 20);
    manager.flush_round(0);
    let written = len(&disk, LOG);
    assert!(written > log.size_bytes());
    for minute in 1..3 {
        manager.release_idle(NOW + minute * 60_000, 30_000);
    }
    assert_eq!(len(&disk, LOG), log.size_bytes());
    manager.close(NOW).unwrap();
    let disk = disk.crash_lose_all_unsynced();
    assert_eq!(len(&disk, LOG), log.size_bytes(), "as the manifest says");
}

#[test]
fn an_index_that_leads_beyond_the_log_is_not_followed() {
    let disk = SimFs::new();
    let (manager, log) = start(&disk, 0);
    fill(&log, 0..4);
    manager.checkpoint(NOW).unwrap();
    let older = content(&disk, "00000000000000000004.snapshot");
    fill(&log, 4..8);
    manager.checkpoint(NOW).unwrap();
    drop((manager, log));
    // A crash came before the older snapshot was removed, and the newer one rotted: the producers are
    // taken from the batches between them.
    let snapshot = disk.open(&file("00000000000000000004.snapshot"), OpenMode::Create);
    let snapshot = snapshot.unwrap();
    snapshot.write_all_at(&[IoSlice::new(&older)], 0).unwrap();
    disk.rot(&file("00000000000000000008.snapshot"), 20, &[0xff])
        .unwrap();
    disk.rot(&file(INDEX), 4, &[0x7f, 0xff, 0xff, 0xff])
        .unwrap();
    let (_manager, log) = start(&disk, 1);
    assert!(log.refusal().is_none(), "{:?}", log.refusal());
    assert_eq!(ids(&log), (0..8).collect::<Vec<_>>());
    let mut again = Draft::new(7);
    again.producer = Some((7, 0, 7));
    assert!(append(&log, &again, false, NOW).unwrap().duplicate);
}

#[test]
fn an_offset_that_no_segment_can_hold_is_damage_and_no_panic() {
    for clean in [false, true] {
        for damaged in 0..8 {
            let disk = SimFs::new();
            let (manager, log) = start(&disk, 0);
            fill(&log, 0..8);
            let size = log.size_bytes() / 8;
            if clean {
                manager.close(NOW).unwrap();
            } else {
                manager.checkpoint(NOW).unwrap();
            }
            drop((manager, log));
            disk.remove_file(&file(INDEX)).unwrap();
            let position = damaged * size + LAST_OFFSET_DELTA;
            disk.rot(&file(LOG), position, &[0x7f, 0xff, 0xff, 0xff])
                .unwrap();
            let before = len(&disk, LOG);
            let (_manager, log) = start(&disk, 1);
            if clean && damaged > 0 {
                let read = log.read(i64::try_from(damaged).unwrap(), 1, true);
                assert!(
                    matches!(read, Err(StorageError::Corrupt { .. })),
                    "{damaged}: {read:?}"
                );
            } else if !clean {
                assert!(log.refusal().is_some());
                assert_eq!(ids(&log), (0..damaged).collect::<Vec<_>>());
            }
            let appended = append(&log, &Draft::new(9), false, NOW);
            assert!(
                matches!(appended, Err(StorageError::Corrupt { .. })),
                "{damaged}: {appended:?}"
            );
            assert_eq!(len(&disk, LOG), before, "durable batches are never cut off");
        }
    }
}

#[test]
fn damage_at_the_end_of_a_sealed_segment_removes_no_later_one() {
    let disk = SimFs::new();
    let fs: Arc<dyn FileSystem> = Arc::new(disk.clone());
    let partition = || vec![live("t", 1, support::config())];
    let (manager, logs) = open(&fs, partition(), 0).unwrap();
    fill(&logs[0], 0..40);
    manager.checkpoint(NOW).unwrap();
    drop((manager, logs));
    let files = || disk.read_dir(Path::new("/data/t-0")).unwrap();
    let before = files();
    let size = u64::try_from(Draft::new(0).batch().bytes.len()).unwrap();
    let last = len(&disk, LOG) / size - 1;
    disk.rot(&file(LOG), last * size + LAST_OFFSET_DELTA, &[0x7f])
        .unwrap();
    let (_manager, logs) = open(&fs, partition(), 1).unwrap();
    assert!(matches!(
        logs[0].refusal(),
        Some(StorageError::Corrupt { .. })
    ));
    assert_eq!(ids(&logs[0]), (0..last).collect::<Vec<_>>());
    assert_eq!(files(), before, "nothing is changed on the disk");
}

#[test]
fn a_snapshot_that_rotted_after_a_clean_stop_is_made_anew() {
    for lost in [false, true] {
        let disk = SimFs::new();
        let (manager, log) = start(&disk, 0);
        fill(&log, 0..8);
        manager.close(NOW).unwrap();
        drop((manager, log));
        let path = file("00000000000000000008.snapshot");
        if lost {
            disk.remove_file(&path).unwrap();
        } else {
            disk.rot(&path, 20, &[0xff]).unwrap();
        }
        let (_manager, log) = start(&disk, 1);
        let mut again = Draft::new(4);
        again.producer = Some((7, 0, 4));
        assert!(append(&log, &again, false, NOW).unwrap().duplicate);
        fill(&log, 8..10);
        assert_eq!(ids(&log), (0..10).collect::<Vec<_>>());
    }
}

#[test]
fn an_index_entry_that_rotted_hides_no_record() {
    let disk = SimFs::new();
    let (manager, log) = start(&disk, 0);
    fill(&log, 0..40);
    manager.close(NOW).unwrap();
    drop((manager, log));
    let entries = len(&disk, INDEX) / 8;
    assert!(entries > 8);
    for entry in (1..entries - 1).step_by(3) {
        for byte in 0..8 {
            for bit in [0, 2, 7] {
                let disk = disk.kill();
                let path = file(INDEX);
                let index = disk.open(&path, OpenMode::Read).unwrap();
                let mut value = [0];
                index.read_exact_at(&mut value, entry * 8 + byte).unwrap();
                disk.rot(&path, entry * 8 + byte, &[value[0] ^ (1 << bit)])
                    .unwrap();
                let (_manager, log) = start(&disk, 1);
                let batches = read_all(&log, 1 << 20);
                assert_eq!(batches.len(), 40);
                check_lookups(&log, &batches);
            }
        }
    }
}

#[test]
fn metadata_that_was_lost_stops_the_start_and_deletes_nothing() {
    let metadata_dir = Path::new("/data/__tidewheel_metadata-0");
    let losses: [fn(&SimFs, &Path) -> std::io::Result<()>; 3] = [
        |disk, dir| disk.remove_dir_all(dir),
        |disk, dir| disk.remove_file(&dir.join("partition.metadata")),
        |disk, dir| disk.remove_file(&dir.join(LOG)),
    ];
    for (number, lose) in losses.iter().enumerate() {
        let disk = SimFs::new();
        let fs: Arc<dyn FileSystem> = Arc::new(disk.clone());
        let manager = Manager::open(Arc::clone(&fs), support::options(&["/data"])).unwrap();
        let metadata = manager.open_metadata_log(None, NOW).unwrap();
        append(&metadata, &Draft::new(0), true, NOW).unwrap();
        metadata.flush(NOW).unwrap();
        let loaded = manager.load(vec![live("t", 1, roomy())], 1, NOW).unwrap();
        let logs = loaded.logs;
        fill(&logs[0], 0..3);
        drop((manager, metadata, logs));
        lose(&disk, metadata_dir).unwrap();
        for _ in 0..2 {
            let manager = Manager::open(Arc::clone(&fs), support::options(&["/data"])).unwrap();
            let refused = manager.open_metadata_log(None, NOW).unwrap_err();
            assert!(
                matches!(refused, StorageError::Corrupt { .. }),
                "{number}: {refused}"
            );
        }
        assert!(disk.exists(&file(LOG)).unwrap());
    }
}

#[test]
fn a_directory_without_identity_is_never_deleted() {
    let disk = SimFs::new();
    let (manager, log) = start(&disk, 0);
    fill(&log, 0..3);
    let strange = Path::new("/data/backup-2024");
    disk.create_dir_all(strange).unwrap();
    let photo = strange.join("photo.jpg");
    disk.open(&photo, OpenMode::Create).unwrap();
    drop((manager, log));
    let (manager, log) = start(&disk, 1);
    let mut taken = live("backup", 2, roomy());
    taken.tp.partition = 2024;
    let refused = manager.create(taken, 1).unwrap_err();
    assert!(matches!(refused, StorageError::Corrupt { .. }), "{refused}");
    manager.unlink_deleted(NOW).unwrap();
    assert!(disk.exists(&photo).unwrap());
    drop((manager, log));
    disk.remove_file(&file("partition.metadata")).unwrap();
    let fs: Arc<dyn FileSystem> = Arc::new(disk.clone());
    let (manager, logs) = open(&fs, vec![live("t", 1, roomy())], 2).unwrap();
    let refused = logs[0].unavailable().unwrap();
    assert!(matches!(refused, StorageError::Corrupt { .. }), "{refused}");
    assert!(append(&logs[0], &Draft::new(3), false, NOW).is_err());
    assert!(logs[0].read(0, 1 << 20, true).is_err());
    manager.unlink_deleted(NOW).unwrap();
    assert!(disk.exists(&file(LOG)).unwrap());
}

#[test]
fn the_largest_visible_timestamp_is_found_without_opening_every_batch() {
    let disk = SimFs::new();
    let (manager, log) = start(&disk, 0);
    // Each larger than those before it, and none that could be opened.
    for id in 0..30 {
        let batch = Draft::new(id).batch();
        let mut header = batch.header;
        header.attributes = Compression::Zstd.id();
        let batch = RecordBatch::assemble(header, &batch.records_bytes()).unwrap();
        let batch = validate(batch, &log.config(), NOW).unwrap();
        log.append(batch, false, id, NOW).pop().unwrap().1.unwrap();
    }
    let mut late = Draft::new(30);
    late.timestamp = NOW + 100;
    append(&log, &late, false, NOW).unwrap();
    fill(&log, 31..35);
    late.timestamp = NOW + 200;
    append(&log, &late, true, NOW).unwrap();
    let largest = || {
        let found = log.max_timestamp().unwrap().unwrap();
        (found.offset, found.timestamp)
    };
    assert_eq!(
        largest(),
        (30, NOW + 100),
        "the last one is not visible yet"
    );
    log.advance_log_start(31).unwrap();
    assert_eq!(largest(), (34, NOW + 34));
    assert!(manager.flush_round(0).error.is_none());
    assert_eq!(largest(), (35, NOW + 200));
}

#[test]
fn too_many_open_files_put_a_checkpoint_off_and_break_nothing() {
    let disk = SimFs::new();
    let watched = WatchedFs::new(disk.clone());
    let fs: Arc<dyn FileSystem> = Arc::new(watched.clone());
    let (manager, logs) = open(&fs, vec![live("t", 1, roomy())], 0).unwrap();
    fill(&logs[0], 0..4);
    watched.exhaust(true);
    manager.checkpoint(NOW).unwrap_err();
    manager.create(live("u", 2, roomy()), 0).unwrap_err();
    assert!(manager.offline_cause(0).is_none());
    fill(&logs[0], 4..6);
    watched.exhaust(false);
    manager.checkpoint(NOW).unwrap();
    manager.create(live("u", 2, roomy()), 0).unwrap();
    drop((manager, logs));
    let (_manager, log) = start(&disk.crash_lose_all_unsynced(), 1);
    assert_eq!(ids(&log), (0..6).collect::<Vec<_>>());
}

#[test]
fn retention_frees_a_disk_that_is_full_to_the_last_byte() {
    let disk = SimFs::new();
    let config = LogConfig {
        retention_bytes: 2_000,
        ..support::config()
    };
    let fs: Arc<dyn FileSystem> = Arc::new(disk.clone());
    let (manager, logs) = open(&fs, vec![live("t", 1, config)], 0).unwrap();
    fill(&logs[0], 0..60);
    manager.checkpoint(NOW).unwrap();
    fill(&logs[0], 60..90);
    disk.set_free_bytes(0);
    let full = append(&logs[0], &Draft::new(90), false, NOW);
    assert!(full.is_err_and(|error| error.is_disk_full()));
    assert!(logs[0].apply_retention(NOW).unwrap().deleted_segments() > 3);
    let log_start = logs[0].offsets().log_start;
    let full = manager.checkpoint(NOW).unwrap_err();
    assert!(full.is_disk_full(), "{full}");
    manager.unlink_deleted(NOW).unwrap();
    let crashed: Vec<_> = (0..20).map(|seed| disk.crash(seed)).collect();
    manager.checkpoint(NOW).unwrap();
    fill(&logs[0], 90..92);
    assert_eq!(logs[0].offsets().log_start, log_start);
    for disk in crashed {
        let (_manager, log) = start(&disk, 1);
        assert!(log.refusal().is_none(), "{:?}", log.refusal());
        assert!(log.offsets().log_start <= log_start);
        assert!(log.offsets().log_end >= 60);
    }
}

#[test]
fn a_quarantined_partition_keeps_its_log_start() {
    let disk = SimFs::new();
    let (manager, log) = start(&disk, 0);
    fill(&log, 0..8);
    assert!(manager.flush_round(0).error.is_none());
    log.advance_log_start(5).unwrap();
    manager.checkpoint(NOW).unwrap();
    drop((manager, log));
    let good = content(&disk, LOG);
    disk.rot(&file(LOG), good.len() as u64 / 4, &[0xff; 150])
        .unwrap();
    disk.remove_file(&file(INDEX)).unwrap();
    let (manager, log) = start(&disk, 1);
    assert!(log.refusal().is_some());
    assert_eq!(log.offsets().log_start, 5, "deleted records stay deleted");
    let other = manager.create(live("u", 2, roomy()), 1).unwrap();
    fill(&other, 0..1);
    manager.checkpoint(NOW).unwrap();
    drop((manager, log, other));
    disk.rot(&file(LOG), 0, &good).unwrap();
    let (_manager, log) = start(&disk, 2);
    assert!(log.refusal().is_none());
    assert_eq!(log.offsets().log_start, 5);
}

/// The base offset of a batch is under no checksum. In a compacted topic holes are no wonder, also above the recovery
/// point; but what follows says where the batch does not belong.
#[test]
fn a_batch_that_rotted_away_from_its_place_is_not_served_at_another() {
    let compacted = || LogConfig {
        cleanup_policy: CleanupPolicy {
            delete: false,
            compact: true,
        },
        ..support::config()
    };
    let disk = SimFs::new();
    let start = |disk: &SimFs, epoch| {
        let fs: Arc<dyn FileSystem> = Arc::new(disk.clone());
        let (manager, mut logs) = open(&fs, vec![live("t", 1, compacted())], epoch).unwrap();
        (manager, logs.pop().unwrap())
    };
    let (manager, log) = start(&disk, 0);
    fill(&log, 0..40);
    assert!(manager.flush_round(0).error.is_none());
    drop((manager, log));
    let entries = disk.read_dir(Path::new("/data/t-0")).unwrap();
    let bases = entries.iter().filter_map(|entry| {
        let base = entry.name.strip_suffix(".log")?;
        base.parse::<u64>().ok()
    });
    let end = bases.filter(|base| *base > 0).min().unwrap();
    let first = "00000000000000000000.log";
    let batch_len = len(&disk, first) / end;
    for (at, bit) in (1..end).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
        let rotten = disk.kill();
        let wrong = u8::try_from(at).unwrap() ^ (1 << bit);
        rotten
            .rot(&file(first), at * batch_len + 7, &[wrong])
            .unwrap();
        let (_manager, log) = start(&rotten, 1);
        assert!(log.refusal().is_none());
        let batches = read_all(&log, 1 << 20);
        let found: Vec<_> = batches
            .iter()
            .map(|batch| (id_of(batch), batch.header.base_offset.cast_unsigned()))
            .collect();
        let sound: Vec<_> = (0..at).map(|id| (id, id)).collect();
        assert_eq!(found, sound, "offset {at} became {wrong}");
    }
}

/// Nobody knows how such a file could come to lie there; it must not end up behind what is written to it.
#[test]
fn a_file_in_the_place_of_the_next_segment_is_kept_aside() {
    let disk = SimFs::new();
    let (manager, log) = start(&disk, 0);
    fill(&log, 0..3);
    assert!(manager.flush_round(0).error.is_none());
    let next = "00000000000000000003.log";
    let junk = disk.open(&file(next), OpenMode::Create).unwrap();
    junk.write_all_at(&[IoSlice::new(&[7; 5_000])], 0).unwrap();
    let small = LogConfig {
        segment_bytes: 1,
        ..roomy()
    };
    log.set_config(small);
    fill(&log, 3..4);
    let batch_len = len(&disk, "00000000000000000000.log") / 3;
    assert_eq!(len(&disk, next), batch_len);
    let entries = disk.read_dir(Path::new("/data/t-0")).unwrap();
    let torn = entries.iter().find(|entry| entry.name.contains(".torn-"));
    assert_eq!(torn.unwrap().len, 5_000);
    assert_eq!(ids(&log), [0, 1, 2, 3]);
}
