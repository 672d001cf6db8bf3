//! What the fuzz targets run, and `tests/fuzz_corpus.rs` on the stable toolchain: each function takes
//! any bytes as the content of files, must not panic, and checks that what was read can be written and
//! read again. Where a checksum would keep nearly every input out, the input is tried a second time
//! with the right one.
#![allow(dead_code, reason = "each fuzz target uses one of these functions")]

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidewheel_config::LogConfig;
use tidewheel_protocol::{RecordBatchBuilder, TopicPartition, Uuid, crc32c};
use tidewheel_storage::checkpoint::{self, RECOVERY_POINT_CHECKPOINT};
use tidewheel_storage::delay::{DelayOpenReport, DelayOptions, DelayQueue, PartitionTail};
use tidewheel_storage::fs::{FileSystem, OpenMode, SimFs};
use tidewheel_storage::index::{ActiveIndex, IndexedBatch, OffsetIndex, OffsetPosition, TimeIndex};
use tidewheel_storage::leader_epochs::LeaderEpochs;
use tidewheel_storage::{
    LivePartition, LoadedLogs, LogManager, LogManagerOptions, SharedLog, StorageError, inspect,
    manifest, meta_properties, partition_metadata, producer_snapshot, validate,
};

/// ms since 1970, for whatever asks.
const NOW: i64 = 1_700_000_000_000;
const EXPIRATION_MS: i64 = 86_400_000;
const TOPIC_ID: Uuid = Uuid([2; 16]);
/// The files of a partition that the target `partition` fills, and what an input calls them.
const PARTITION_FILES: [&str; 8] = [
    "00000000000000000000.log",
    "00000000000000000000.index",
    "00000000000000000000.timeindex",
    "00000000000000000005.log",
    "00000000000000000005.index",
    "00000000000000000005.timeindex",
    "00000000000000000005.snapshot",
    "leader-epoch-checkpoint",
];

/// A disk with one file in `/data`.
fn disk_with(name: &str, data: &[u8]) -> SimFs {
    let disk = SimFs::new();
    disk.create_dir_all(Path::new("/data")).expect("a new disk");
    put(&disk, &Path::new("/data").join(name), data);
    disk
}

fn put(disk: &SimFs, path: &Path, data: &[u8]) {
    let file = disk
        .open(path, OpenMode::Create)
        .expect("the folder is there");
    file.set_len(0).expect("nobody maps it");
    file.write_all_at(&[IoSlice::new(data)], 0)
        .expect("there is space");
}

/// A producer snapshot.
pub(crate) fn producer_snapshot(data: &[u8]) {
    let path = Path::new("a.snapshot");
    for data in [data.to_vec(), snapshot_with_crc(data)] {
        if let Ok(producers) = producer_snapshot::decode(path, &data, EXPIRATION_MS) {
            let again = producer_snapshot::encode(&producers);
            let producers = producer_snapshot::decode(path, &again, EXPIRATION_MS);
            let producers = producers.expect("what was written is read");
            assert_eq!(producer_snapshot::encode(&producers), again);
        }
    }
}

/// The snapshot with the checksum that it should have.
fn snapshot_with_crc(data: &[u8]) -> Vec<u8> {
    let mut data = data.to_vec();
    if let Some((head, rest)) = data.split_at_mut_checked(6) {
        head[2..].copy_from_slice(&crc32c(rest).to_be_bytes());
    }
    data
}

/// A leader-epoch checkpoint.
pub(crate) fn leader_epochs(data: &[u8]) {
    let path = Path::new("leader-epoch-checkpoint");
    if let Ok(epochs) = LeaderEpochs::decode(path, data) {
        let again = LeaderEpochs::decode(path, epochs.encode().as_bytes());
        let again = again.expect("what was written is read");
        assert_eq!(again.entries(), epochs.entries());
        for entry in epochs.entries() {
            assert_eq!(epochs.epoch_for(entry.start_offset), Some(entry.epoch));
            let (epoch, _) = epochs.end_offset_for(entry.epoch, i64::MAX);
            assert_eq!(epoch, entry.epoch);
        }
    }
}

/// An offset checkpoint, and the marker of a clean stop.
pub(crate) fn checkpoint(data: &[u8]) {
    let path = Path::new("/data").join(RECOVERY_POINT_CHECKPOINT);
    let disk = disk_with(RECOVERY_POINT_CHECKPOINT, data);
    if let Ok(offsets) = checkpoint::read_offsets(&disk, &path) {
        let entries: Vec<_> = offsets.clone().into_iter().collect();
        checkpoint::write_offsets(&disk, &path, &entries).expect("there is space");
        let again = checkpoint::read_offsets(&disk, &path).expect("what was written is read");
        assert_eq!(again, offsets);
    }
    start(&disk).ok();
}

/// The manifest of a clean stop, and a start that goes by it: a checksum does not make it true.
pub(crate) fn manifest(data: &[u8]) {
    let crc = crc32fast::hash(data);
    let signed = [data, format!("crc32:{crc:08x}\n").as_bytes()].concat();
    for data in [data, &signed] {
        let disk = prepared_disk();
        put(&disk, &Path::new("/data").join(manifest::MANIFEST), data);
        if let Ok(Some(found)) = manifest::read(&disk, Path::new("/data")) {
            manifest::write(&disk, Path::new("/data"), &found).expect("there is space");
            let again = manifest::read(&disk, Path::new("/data"));
            assert_eq!(again.expect("what was written is read"), Some(found));
        }
        checkpoint::write_clean_shutdown(&disk, Path::new("/data")).expect("there is space");
        if let Ok((manager, log)) = start(&disk) {
            exercise(&manager, &log);
        }
    }
}

/// `meta.properties` and `partition.metadata`.
pub(crate) fn properties(data: &[u8]) {
    let dir = Path::new("/data");
    let disk = disk_with("meta.properties", data);
    if let Ok(Some(meta)) = meta_properties::read(&disk, dir) {
        meta_properties::write(&disk, dir, &meta).expect("there is space");
        let again = meta_properties::read(&disk, dir).expect("what was written is read");
        assert_eq!(again, Some(meta));
    }
    start(&disk).ok();
    let disk = disk_with("partition.metadata", data);
    if let Ok(Some(id)) = partition_metadata::read(&disk, dir) {
        partition_metadata::write(&disk, dir, id).expect("there is space");
        let again = partition_metadata::read(&disk, dir).expect("what was written is read");
        assert_eq!(again, Some(id));
    }
}

/// Both index files of a segment. The first bytes say where it begins and ends, and how long the first
/// file is.
pub(crate) fn index(data: &[u8]) {
    let Some((head, data)) = data.split_first_chunk::<8>() else {
        return;
    };
    let [scale, base, end_offset, end_position, len, wanted, ..] = *head;
    let far = if scale % 4 == 0 { i64::MAX - 300 } else { 0 };
    let base_offset = far + i64::from(base);
    let (offsets, times) = data.split_at(usize::from(len).min(data.len()));
    let wanted = base_offset.saturating_add(i64::from(wanted));
    if let Ok(index) = OffsetIndex::open(base_offset, offsets, u64::from(end_position) << 8) {
        let found = index.lookup(wanted);
        assert!(index.check().is_err() || found.offset <= wanted.max(base_offset));
    }
    if let Ok(index) = TimeIndex::open(base_offset, times) {
        let found = index.lookup(wanted);
        assert!(index.check().is_err() || found.timestamp <= wanted.max(-1));
    }
    let end = OffsetPosition {
        offset: base_offset.saturating_add(i64::from(end_offset)),
        position: u32::from(end_position) << 8,
    };
    let mut index = ActiveIndex::restore(base_offset, offsets, times, end);
    index
        .offset_index()
        .check()
        .expect("only what rises is taken over");
    index
        .time_index()
        .check()
        .expect("only what rises is taken over");
    assert!(index.resume_position() <= end.position);
    let batch = IndexedBatch {
        last_offset: end.offset,
        position: end.position,
        size: 100,
        max_timestamp: NOW,
    };
    index.batch_appended(&batch, 0);
    index.seal();
}

/// A partition after a crash. The first byte is the recovery point, the second says which checksums are
/// put right; then come files: which one, its length, its bytes.
pub(crate) fn partition(data: &[u8]) {
    let [recovery_point, mend, rest @ ..] = data else {
        return;
    };
    let disk = prepared_disk();
    let mut rest = rest;
    while let [number, high, low, tail @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(tail.len());
        let (content, tail) = tail.split_at(len);
        let name = PARTITION_FILES[usize::from(*number) % PARTITION_FILES.len()];
        let content = match mend % 4 {
            0 => content.to_vec(),
            _ if name.ends_with(".log") => batches_with_crc(content),
            _ if name.ends_with(".snapshot") => snapshot_with_crc(content),
            _ => content.to_vec(),
        };
        put(&disk, &Path::new("/data/t-0").join(name), &content);
        rest = tail;
    }
    let point = (tp(), i64::from(*recovery_point % 16));
    let path = Path::new("/data").join(RECOVERY_POINT_CHECKPOINT);
    checkpoint::write_offsets(&disk, &path, &[point]).expect("there is space");
    inspect::verify(&disk, Path::new("/data"), &mut |_| ()).ok();
    let (manager, log) = start(&disk).expect("a partition never keeps the others from starting");
    exercise(&manager, &log);
    let (end, intact) = (log.offsets().log_end, log.refusal().is_none());
    let closed = manager.close(NOW);
    drop((manager, log));
    let (_manager, log) = start(&disk).expect("the second start");
    if intact && closed.is_ok() {
        assert_eq!(log.offsets().log_end, end);
    }
}

/// Puts the checksums of what might be record batches right.
fn batches_with_crc(data: &[u8]) -> Vec<u8> {
    let mut data = data.to_vec();
    let mut rest = data.as_mut_slice();
    while let Some(len) = rest.get(8..12) {
        let len = len
            .iter()
            .fold(0, |len, byte| len << 8 | usize::from(*byte));
        let Some((batch, behind)) = rest.split_at_mut_checked(12 + len) else {
            break;
        };
        if let Some((head, body)) = batch.split_at_mut_checked(21) {
            head[17..].copy_from_slice(&crc32c(body).to_be_bytes());
        }
        rest = behind;
    }
    data
}

fn tp() -> TopicPartition {
    TopicPartition {
        topic: Arc::from("t"),
        partition: 0,
    }
}

/// A log directory with the partition `t-0`, which is empty.
fn prepared_disk() -> SimFs {
    let disk = SimFs::new();
    let (manager, log) = start(&disk).expect("a new disk");
    drop((manager, log));
    // As the first append makes it.
    let dir = Path::new("/data/t-0");
    disk.create_dir_all(dir).expect("there is space");
    partition_metadata::write(&disk, dir, TOPIC_ID).expect("there is space");
    disk
}

type Log = Arc<SharedLog<()>>;

fn start(disk: &SimFs) -> Result<(LogManager<()>, Log), StorageError> {
    let options = LogManagerOptions {
        checkpoint_bytes: 0,
        ..LogManagerOptions::new(
            vec![PathBuf::from("/data")],
            1,
            "cluster".to_owned(),
            vec![Uuid([1; 16])],
        )
    };
    let manager = LogManager::open(Arc::new(disk.clone()), options)?;
    let live = LivePartition {
        tp: tp(),
        topic_id: TOPIC_ID,
        config: LogConfig::everlasting(),
    };
    let LoadedLogs { mut logs, .. } = manager.load(vec![live], 3, NOW)?;
    let log = logs.pop().expect("one log for one partition");
    Ok((manager, log))
}

/// Everything that a log can be asked; errors are answers.
fn exercise(manager: &LogManager<()>, log: &Log) {
    let offsets = log.offsets();
    assert!(0 <= offsets.log_start && offsets.log_start <= offsets.high_watermark);
    assert!(offsets.high_watermark <= offsets.log_end);
    let mut offset = offsets.log_start;
    // A partition of these few bytes holds fewer batches than that.
    for _ in 0..1_000 {
        let Ok(read) = log.read(offset, 1, true) else {
            break;
        };
        let Some(slice) = read.slice else { break };
        slice.load().ok();
        let bytes = slice.bytes().expect("a simulated file can be mapped");
        assert_eq!(bytes.len(), slice.len());
        let last_delta = bytes[23..27]
            .iter()
            .fold(0, |delta, byte| delta << 8 | i64::from(*byte));
        let base = bytes[..8]
            .iter()
            .fold(0, |base, byte| base << 8 | i64::from(*byte));
        let next = base + last_delta + 1;
        assert!(next > offset, "a read goes on");
        offset = next;
    }
    for timestamp in [i64::MIN, 0, NOW, i64::MAX] {
        log.find_by_timestamp(timestamp).ok();
    }
    log.max_timestamp().ok();
    assert!(log.end_offset_for_epoch(1).1 <= offsets.log_end);
    log.advance_log_start(offsets.high_watermark.min(1)).ok();
    let batch = RecordBatchBuilder::new().record(NOW, None, Some(b"value"));
    let batch = validate(batch.build().expect("a batch"), &log.config(), NOW).expect("valid");
    for (_, outcome) in log.append(batch, true, (), NOW) {
        if let Ok(info) = outcome {
            assert_eq!(info.base_offset, offsets.log_end);
        }
    }
    assert!(manager.flush_round(0).error.is_none());
    log.apply_retention(NOW).ok();
    manager.checkpoint(NOW).ok();
    manager.unlink_deleted(NOW).ok();
}

/// The files of a delay store that the target `delay_store` fills, and what an input calls them.
const DELAY_FILES: [&str; 5] = [
    "00000000000000000000.delaylog",
    "00000000000000000512.delaylog",
    "delay-checkpoint",
    "delay-checkpoint.copy",
    "0000000001-1-001699999200000.delaybucket",
];
/// The salt of its stores.
pub(crate) const DELAY_SALT: u64 = 7;

/// A delay store after a crash. The first byte says whether checksums are put right; then come files: which
/// one, its length, its bytes.
pub(crate) fn delay_store(data: &[u8]) {
    let [mend, rest @ ..] = data else {
        return;
    };
    let disk = SimFs::new();
    let dir = Path::new("/delays");
    disk.create_dir_all(dir).expect("a new disk");
    let mut rest = rest;
    while let [number, high, low, tail @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(tail.len());
        let (content, tail) = tail.split_at(len);
        let name = DELAY_FILES[usize::from(*number) % DELAY_FILES.len()];
        let mut content = content.to_vec();
        if mend % 4 != 0 {
            mend_delay_file(name, &mut content);
        }
        put(&disk, &dir.join(name), &content);
        rest = tail;
    }
    for round in 0..2 {
        // Everything damaged at its beginning is refused, and nothing else is.
        let Ok((mut queue, _)) = open_delays(&disk, dir) else {
            assert_eq!(round, 0, "what was opened once is opened again");
            return;
        };
        for ahead in [0, 1, 3_600_000, i64::MAX - NOW] {
            for _ in 0..50 {
                queue.maintain(NOW + ahead).expect("there is space");
                let fired = queue.fire(NOW + ahead).expect("there is space");
                for delivery in fired.deliveries {
                    queue.delivered(delivery.partition, delivery.up_to, 9);
                }
            }
        }
        let checkpoint = queue.begin_checkpoint(NOW).expect("it is online");
        let outcome = checkpoint.run(&disk);
        queue.finish_checkpoint(&checkpoint, &outcome);
        outcome.expect("there is space");
    }
}

fn open_delays(disk: &SimFs, dir: &Path) -> Result<(DelayQueue, DelayOpenReport), StorageError> {
    let options = DelayOptions {
        near_records_max: 4,
        segment_bytes: 400,
        step_bytes: 300,
        step_records: 1,
        ..DelayOptions::default()
    };
    let mut tails = |_, from| {
        Ok(Some(PartitionTail {
            log_end: from,
            last_key: None,
        }))
    };
    let fs = Arc::new(disk.clone());
    DelayQueue::open(fs, dir, options, DELAY_SALT, NOW, &mut tails)
}

/// Puts right what might be checksums of a file of a delay store.
fn mend_delay_file(name: &str, content: &mut [u8]) {
    if name.starts_with("delay-checkpoint") {
        if let Some((body, crc)) = content.split_last_chunk_mut::<4>() {
            *crc = crc32fast::hash(body).to_be_bytes();
        }
        return;
    }
    if let Some(head) = content.get_mut(..32) {
        let crc = crc32fast::hash(&head[..28]);
        head[28..].copy_from_slice(&crc.to_be_bytes());
    }
    let base = u64::from(name.contains("0512.")) * 512;
    // Inner blocks lie behind the beginning of outer ones, and are part of what those sum up.
    for at in (32..content.len()).step_by(8).rev() {
        let rest = &mut content[at..];
        if rest.len() < 16 || !matches!(rest[..4], [b'T', b'W', b'D', b'G' | b'R']) {
            continue;
        }
        let len = u32::from_be_bytes([rest[4], rest[5], rest[6], rest[7]]) as usize;
        if let Some(body) = rest.get(16..16 + len) {
            let crc = crc32fast::hash(body).to_be_bytes();
            rest[8..12].copy_from_slice(&crc);
        }
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&DELAY_SALT.to_be_bytes());
        hasher.update(&(base + at as u64).to_be_bytes());
        hasher.update(&rest[..12]);
        rest[12..16].copy_from_slice(&hasher.finalize().to_be_bytes());
    }
}
