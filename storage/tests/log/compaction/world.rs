//! A compacted partition beside a list of all that was ever appended to it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tidewheel_config::{CleanupPolicy, LogConfig};
use tidewheel_protocol::{Compression, RecordBatchBuilder};
use tidewheel_storage::fs::{FileSystem, SimFs};
use tidewheel_storage::{
    AppendInfo, CleanerOptions, CleaningReport, LogCleaner, StorageError, validate,
};

use crate::support::files::damages;
use crate::support::{self, Log, Manager, NOW, live, open, read_all};

/// A record as it was appended: offset, key, value.
pub(crate) type Sent = (i64, Vec<u8>, Option<Vec<u8>>);
/// A record to append: key, value.
pub(crate) type Keyed<'a> = (&'a [u8], Option<&'a [u8]>);

pub(crate) const RETENTION_MS: i64 = 1_000;

/// Small segments, compacted whenever anything is dirty.
pub(crate) fn config() -> LogConfig {
    LogConfig {
        cleanup_policy: CleanupPolicy {
            delete: false,
            compact: true,
        },
        min_cleanable_dirty_ratio: 0.0,
        delete_retention_ms: RETENTION_MS,
        segment_bytes: 1_500,
        index_interval_bytes: 200,
        ..support::config()
    }
}

pub(crate) fn cleaner(dedupe_buffer_bytes: u64) -> LogCleaner {
    LogCleaner::new(CleanerOptions {
        dedupe_buffer_bytes,
        load_factor: 0.9,
        secret: (1, 2),
    })
}

/// A batch of these records, appended; what the log says.
pub(crate) fn append(
    log: &Log,
    records: &[Keyed<'_>],
    compression: Compression,
    producer: Option<(i64, i32)>,
    now_ms: i64,
) -> Result<AppendInfo, StorageError> {
    let mut builder = RecordBatchBuilder::new().compression(compression);
    if let Some((id, sequence)) = producer {
        builder = builder.producer(id, 0, sequence);
    }
    for (number, (key, value)) in (0..).zip(records) {
        builder = builder.record(now_ms + number, Some(key), *value);
    }
    let batch = validate(builder.build().unwrap(), &log.config(), now_ms)?;
    log.append(batch, false, 0, now_ms).pop().unwrap().1
}

/// A partition of one disk, what was sent to it, and a cleaner.
pub(crate) struct World {
    pub(crate) fs: SimFs,
    pub(crate) manager: Option<Manager>,
    pub(crate) log: Arc<Log>,
    pub(crate) config: LogConfig,
    pub(crate) sent: Vec<Sent>,
    pub(crate) cleaner: LogCleaner,
    epoch: i32,
}

impl World {
    pub(crate) fn new(config: LogConfig) -> Self {
        Self::start(SimFs::new(), config, Vec::new(), 0).unwrap()
    }

    pub(crate) fn start(
        fs: SimFs,
        config: LogConfig,
        sent: Vec<Sent>,
        epoch: i32,
    ) -> Result<Self, StorageError> {
        let shared: Arc<dyn FileSystem> = Arc::new(fs.clone());
        let (manager, mut logs) = open(&shared, vec![live("t", 1, config.clone())], epoch)?;
        let log = logs.pop().unwrap();
        Ok(Self {
            fs,
            manager: Some(manager),
            log,
            config,
            sent,
            cleaner: cleaner(1 << 20),
            epoch,
        })
    }

    /// The same partition on another disk, started again; what the disk no longer has was not sent.
    pub(crate) fn restart_on(&self, fs: SimFs) -> Self {
        let mut world = self.on(fs).expect("a start");
        let end = world.log.offsets().log_end;
        world.sent.retain(|(offset, ..)| *offset < end);
        world
    }

    pub(crate) fn on(&self, fs: SimFs) -> Result<Self, StorageError> {
        Self::start(fs, self.config.clone(), self.sent.clone(), self.epoch + 1)
    }

    pub(crate) fn restart(&mut self, clean: bool) {
        let manager = self.manager.take().unwrap();
        if clean {
            manager.close(NOW).unwrap();
        }
        drop(manager);
        *self = self.restart_on(self.fs.kill());
    }

    pub(crate) fn manager(&self) -> &Manager {
        self.manager.as_ref().unwrap()
    }

    pub(crate) fn append(&mut self, records: &[Keyed<'_>], compression: Compression, now_ms: i64) {
        let info = append(&self.log, records, compression, None, now_ms).unwrap();
        self.note(records, info.base_offset);
    }

    pub(crate) fn note(&mut self, records: &[Keyed<'_>], base_offset: i64) {
        for (offset, (key, value)) in (base_offset..).zip(records) {
            let value = value.map(<[u8]>::to_vec);
            self.sent.push((offset, key.to_vec(), value));
        }
    }

    /// Everything written becomes durable, and the recovery point moves to the end.
    pub(crate) fn settle(&self) {
        self.manager().checkpoint(NOW).unwrap();
    }

    /// Passes that are told to end when their pace has been asked for so many times.
    pub(crate) fn clean_for(&mut self, calls: i32) {
        let mut left = calls;
        let mut pace = |_| {
            left -= 1;
            left >= 0
        };
        let manager = self.manager.as_ref().unwrap();
        self.cleaner
            .clean_due(manager, &|| NOW, &mut pace, &mut |_| {});
    }

    /// Compacts whatever is due at `now_ms`.
    pub(crate) fn clean(&mut self, now_ms: i64) -> Vec<CleaningReport> {
        let mut reports = Vec::new();
        let manager = self.manager.as_ref().unwrap();
        let mut pace = |_| true;
        self.cleaner
            .clean_due(manager, &|| now_ms, &mut pace, &mut |report| {
                reports.push(report);
            });
        reports
    }

    /// The records that a consumer reads.
    pub(crate) fn read(&self) -> Vec<Sent> {
        let batches = read_all(&self.log, 700);
        let start = self.log.offsets().log_start;
        let mut found = Vec::new();
        for batch in batches {
            for record in batch.records(1 << 26).unwrap() {
                let record = record.unwrap();
                // The first batch comes as a whole; consumers skip what lies before the log start.
                if record.offset < start {
                    continue;
                }
                let key = record.key.expect("it has a key").to_vec();
                found.push((record.offset, key, record.value.map(|value| value.to_vec())));
            }
        }
        found
    }

    /// Compares the log with a map: the newest value of every key is there, nothing else than what was
    /// sent, and no older value behind a newer one that is gone.
    pub(crate) fn check(&self) {
        assert!(self.log.refusal().is_none(), "{:?}", self.log.refusal());
        let start = self.log.offsets().log_start;
        let sent: BTreeMap<i64, &Sent> = self.sent.iter().map(|sent| (sent.0, sent)).collect();
        let mut newest: BTreeMap<&[u8], &Sent> = BTreeMap::new();
        for record in &self.sent {
            newest.insert(&record.1, record);
        }
        let found = self.read();
        assert!(found.is_sorted_by(|a, b| a.0 < b.0), "offsets rise");
        let mut read: BTreeMap<&[u8], &Sent> = BTreeMap::new();
        for record in &found {
            assert_eq!(Some(&record), sent.get(&record.0), "as it was sent");
            read.insert(&record.1, record);
        }
        for (key, record) in newest {
            match read.get(key) {
                Some(read) => assert_eq!(*read, record, "the newest of its key"),
                None => assert!(record.2.is_none() || record.0 < start, "{record:?} is lost"),
            }
        }
        assert_eq!(
            self.log.offsets().log_end,
            self.sent.last().map_or(0, |last| last.0 + 1)
        );
    }

    /// No tombstone is there whose time had come at `now_ms`, when everything that was due was compacted.
    pub(crate) fn check_tombstones(&self, now_ms: i64) {
        for batch in read_all(&self.log, 700) {
            let header = batch.header;
            if !header.has_delete_horizon() || now_ms < header.base_timestamp {
                continue;
            }
            let overdue = batch
                .records(1 << 26)
                .unwrap()
                .map(Result::unwrap)
                .find(|record| record.value.is_none());
            assert_eq!(overdue.map(|record| record.offset), None, "at {now_ms}");
        }
    }

    /// What `log verify` finds damaged, after a clean stop.
    pub(crate) fn verify(&mut self) -> Vec<String> {
        self.manager.take().unwrap().close(NOW).unwrap();
        damages(&self.fs)
    }

    /// The names in the partition's directory that end so.
    pub(crate) fn files(&self, ending: &str) -> Vec<String> {
        let entries = self.fs.read_dir(Path::new("/data/t-0")).unwrap();
        let names = entries.into_iter().map(|entry| entry.name);
        names.filter(|name| name.ends_with(ending)).collect()
    }
}
