//! What the storage tests share: settings with small numbers, batches that can be told apart, and
//! reading a log back as a consumer would.
#![allow(dead_code, reason = "each test binary uses its part")]

pub(crate) mod files;
pub(crate) mod watch;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidewheel_config::LogConfig;
use tidewheel_protocol::{
    Batches, Compression, RecordBatch, RecordBatchBuilder, TopicPartition, Uuid,
};
use tidewheel_storage::checkpoint::remove_durably;
use tidewheel_storage::fs::FileSystem;
use tidewheel_storage::sealed_checkpoints::SEALED_CHECKPOINTS;
use tidewheel_storage::{
    AppendInfo, LivePartition, LogManager, LogManagerOptions, SharedLog, StorageError, ValidBatch,
    validate,
};

/// Any moment: 2023-11-14.
pub(crate) const NOW: i64 = 1_700_000_000_000;

pub(crate) type Manager = LogManager<u64>;
pub(crate) type Log = SharedLog<u64>;

/// Settings under which a few small batches fill a segment and an index interval.
pub(crate) fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 2_000,
        index_interval_bytes: 200,
        max_message_bytes: 1 << 20,
        ..LogConfig::everlasting()
    }
}

pub(crate) fn options(dirs: &[&str]) -> LogManagerOptions {
    LogManagerOptions {
        checkpoint_bytes: 0,
        ..LogManagerOptions::new(
            dirs.iter().map(PathBuf::from).collect(),
            1,
            "cluster".to_owned(),
            (1..=9).map(|number| Uuid([number; 16])).collect(),
        )
    }
}

pub(crate) fn tp(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition {
        topic: Arc::from(topic),
        partition,
    }
}

pub(crate) fn live(topic: &str, id: u8, config: LogConfig) -> LivePartition {
    LivePartition {
        tp: tp(topic, 0),
        topic_id: Uuid([id; 16]),
        config,
    }
}

/// Opens `/data` on `fs` with these partitions.
pub(crate) fn open(
    fs: &Arc<dyn FileSystem>,
    partitions: Vec<LivePartition>,
    leader_epoch: i32,
) -> Result<(Manager, Vec<Arc<Log>>), StorageError> {
    let manager = Manager::open(Arc::clone(fs), options(&["/data"]))?;
    let loaded = manager.load(partitions, leader_epoch, NOW)?;
    Ok((manager, loaded.logs))
}

/// Has Kafka's checkpoints of `/data` believed, whatever stood under the checksum before.
pub(crate) fn believe_texts(fs: &dyn FileSystem) {
    let path = Path::new("/data").join(SEALED_CHECKPOINTS);
    remove_durably(fs, &path).unwrap();
}

/// A batch to be appended.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    /// Written into every record, so that the batch is known when it is read back.
    pub(crate) id: u64,
    /// Records.
    pub(crate) count: usize,
    /// Bytes of each value.
    pub(crate) value_len: usize,
    /// Of the first record; each later one is 1 ms later.
    pub(crate) timestamp: i64,
    pub(crate) compression: Compression,
    /// Producer id, epoch, first sequence.
    pub(crate) producer: Option<(i64, i16, i32)>,
}

impl Draft {
    pub(crate) fn new(id: u64) -> Self {
        Self {
            id,
            count: 1,
            value_len: 50,
            timestamp: NOW + i64::try_from(id).unwrap(),
            compression: Compression::None,
            producer: None,
        }
    }

    pub(crate) fn batch(&self) -> RecordBatch {
        let mut builder = RecordBatchBuilder::new().compression(self.compression);
        if let Some((id, epoch, sequence)) = self.producer {
            builder = builder.producer(id, epoch, sequence);
        }
        let value: Vec<u8> = (0..self.value_len)
            .map(|at| (at as u64 * 31 + self.id).to_le_bytes()[0])
            .collect();
        for number in 0..self.count {
            let timestamp = self.timestamp + i64::try_from(number).unwrap();
            builder = builder.record(timestamp, Some(&self.id.to_be_bytes()), Some(&value));
        }
        builder.build().unwrap()
    }

    pub(crate) fn valid(&self, config: &LogConfig) -> ValidBatch {
        validate(self.batch(), config, NOW).unwrap()
    }
}

/// Appends and hands the only outcome out.
pub(crate) fn append(
    log: &Log,
    draft: &Draft,
    durable: bool,
    now_ms: i64,
) -> Result<AppendInfo, StorageError> {
    let mut outcomes = log.append(draft.valid(&log.config()), durable, draft.id, now_ms);
    assert_eq!(outcomes.len(), 1);
    let (waiter, outcome) = outcomes.pop().unwrap();
    assert_eq!(waiter, draft.id, "an outcome reaches its own waiter");
    outcome
}

/// The draft's id that a batch carries, after every record was checked to carry it.
pub(crate) fn id_of(batch: &RecordBatch) -> u64 {
    let mut id = None;
    for record in batch.records(1 << 24).unwrap() {
        let key = record.unwrap().key.unwrap();
        let found = u64::from_be_bytes(key.as_ref().try_into().unwrap());
        assert!(id.is_none_or(|id| id == found), "two batches mixed");
        id = Some(found);
    }
    id.expect("a batch has records")
}

/// Every visible batch from the log start on, read as a consumer does, `max_bytes` at a time.
pub(crate) fn read_all(log: &Log, max_bytes: usize) -> Vec<RecordBatch> {
    let offsets = log.offsets();
    let mut batches: Vec<RecordBatch> = Vec::new();
    let mut offset = offsets.log_start;
    while offset < log.offsets().high_watermark {
        let read = log.read(offset, max_bytes, true).unwrap();
        let slice = read
            .slice
            .expect("below the high watermark there is something");
        slice.load().unwrap();
        let bytes = slice.bytes().unwrap();
        assert_eq!(bytes.len(), slice.len());
        let before = batches.len();
        for batch in Batches::new(bytes) {
            batches.push(batch.unwrap());
        }
        assert!(batches.len() > before, "the first batch is whole");
        offset = batches.last().unwrap().header.next_offset();
    }
    batches
}

/// A small generator of repeatable numbers (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn index(&mut self, bound: u64) -> usize {
        usize::try_from(self.below(bound)).unwrap()
    }

    pub(crate) fn signed(&mut self, bound: u64) -> i64 {
        i64::try_from(self.below(bound)).unwrap()
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// Checks that every way of looking something up agrees with the batches themselves.
pub(crate) fn check_lookups(log: &Log, batches: &[RecordBatch]) {
    let offsets = log.offsets();
    let mut records: Vec<(i64, i64)> = Vec::new();
    for batch in batches {
        for record in batch.records(1 << 24).unwrap() {
            let record = record.unwrap();
            if record.offset >= offsets.log_start {
                records.push((record.offset, record.timestamp));
            }
        }
        for offset in batch.header.base_offset.max(offsets.log_start)..=batch.header.last_offset() {
            let slice = log.read(offset, 1, true).unwrap().slice.unwrap();
            let found = RecordBatch::parse(slice.bytes().unwrap()).unwrap();
            assert_eq!(found.header, batch.header, "offset {offset}");
        }
        let epoch = log.leader_epoch_at(batch.header.base_offset.max(offsets.log_start));
        assert_eq!(epoch, Some(batch.header.partition_leader_epoch));
    }
    let end = records.last().map_or(0, |(offset, _)| *offset);
    for offset in (offsets.log_start - 1..=end + 1).step_by(records.len() / 50 + 1) {
        let expected = records.iter().find(|(known, _)| *known >= offset);
        let expected = expected.map(|(_, timestamp)| *timestamp);
        assert_eq!(log.timestamp_at(offset).unwrap(), expected, "at {offset}");
    }
    let mut times: Vec<i64> = records.iter().map(|(_, timestamp)| *timestamp).collect();
    times.sort_unstable();
    times.dedup();
    let step = times.len() / 12 + 1;
    let edges: Vec<i64> = times
        .iter()
        .step_by(step)
        .flat_map(|time| [time - 1, *time, time + 1])
        .collect();
    for time in edges {
        let expected = records.iter().find(|(_, timestamp)| *timestamp >= time);
        let found = log
            .find_by_timestamp(time)
            .unwrap()
            .map(|found| (found.offset, found.timestamp));
        assert_eq!(found.as_ref(), expected, "first at or after {time}");
    }
    let largest = times.last();
    let expected = records
        .iter()
        .find(|(_, timestamp)| Some(timestamp) == largest);
    let found = log
        .max_timestamp()
        .unwrap()
        .map(|found| (found.offset, found.timestamp));
    assert_eq!(found.as_ref(), expected, "largest");
}
