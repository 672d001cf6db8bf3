//! A delay queue whose partitions' logs are lists in memory: for cases that want a certain moment.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tidewheel_config::DeliverTimestamp;
use tidewheel_protocol::{RecordBatch, RecordBatchBuilder, Uuid};
use tidewheel_storage::StorageError;
use tidewheel_storage::delay::{
    DelayGroup, DelayKey, DelayOpenReport, DelayOperation, DelayOptions, DelayQueue, DelayedBatch,
    Delivery, PartitionId, PartitionTail,
};
use tidewheel_storage::fs::{FileSystem, SimFs};

/// 2023-11-14.
pub(crate) const NOW: i64 = 1_700_000_000_000;
pub(crate) const DAY_MS: i64 = 86_400_000;

pub(crate) fn dir() -> &'static Path {
    Path::new("/delays")
}

pub(crate) fn partition(number: i32) -> PartitionId {
    PartitionId {
        topic_id: Uuid([1; 16]),
        partition: number,
    }
}

/// A batch that a partition was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) key: DelayKey,
    pub(crate) numbers: Vec<u64>,
}

pub(crate) struct Store {
    pub(crate) fs: Arc<dyn FileSystem>,
    pub(crate) options: DelayOptions,
    pub(crate) queue: DelayQueue,
    /// One batch at each offset.
    pub(crate) logs: BTreeMap<PartitionId, Vec<Given>>,
    pub(crate) report: DelayOpenReport,
    pub(crate) now: i64,
}

/// A record that is due at `due_ms`, under an id of its own choice.
pub(crate) fn add(number: u64, due_ms: i64, id: &'static str, replace: bool) -> DelayOperation {
    let builder = RecordBatchBuilder::new();
    let batch = builder.record(due_ms, None, Some(&number.to_be_bytes()));
    DelayOperation::Add(DelayedBatch {
        due_ms,
        expires_ms: None,
        id: Bytes::from_static(id.as_bytes()),
        replace,
        split_from: None,
        batch: batch.build().unwrap().bytes,
    })
}

fn open(
    fs: &Arc<dyn FileSystem>,
    options: &DelayOptions,
    now: i64,
    logs: &BTreeMap<PartitionId, Vec<Given>>,
) -> (DelayQueue, DelayOpenReport) {
    let mut tails = |id: PartitionId, from: i64| {
        let log = logs.get(&id).map_or(&[][..], Vec::as_slice);
        let from = usize::try_from(from).unwrap().min(log.len());
        Ok(Some(PartitionTail {
            log_end: i64::try_from(log.len()).unwrap(),
            last_key: log[from..].iter().map(|given| given.key).max(),
        }))
    };
    let fs = Arc::clone(fs);
    DelayQueue::open(fs, dir(), options.clone(), 9, now, &mut tails).unwrap()
}

impl Store {
    pub(crate) fn new(fs: Arc<dyn FileSystem>, options: DelayOptions) -> Self {
        Self::at(fs, options, NOW)
    }

    pub(crate) fn at(fs: Arc<dyn FileSystem>, options: DelayOptions, now: i64) -> Self {
        let logs = BTreeMap::new();
        let (queue, report) = open(&fs, &options, now, &logs);
        Self {
            fs,
            options,
            queue,
            logs,
            report,
            now,
        }
    }

    /// On a disk of its own, with the bounds of a broker.
    pub(crate) fn fresh() -> Self {
        Self::new(Arc::new(SimFs::new()), DelayOptions::default())
    }

    pub(crate) fn restart(&mut self) {
        let (queue, report) = open(&self.fs, &self.options, self.now, &self.logs);
        (self.queue, self.report) = (queue, report);
    }

    /// Goes on on another disk: what a crash left.
    pub(crate) fn restart_on(&mut self, disk: SimFs) {
        self.fs = Arc::new(disk);
        self.restart();
    }

    pub(crate) fn accept(&mut self, at: i32, operations: Vec<DelayOperation>) {
        let id = partition(at);
        let log_end = self.logs.get(&id).map_or(0, Vec::len);
        let group = DelayGroup {
            partition: id,
            log_end: i64::try_from(log_end).unwrap(),
            producer: None,
            operations,
        };
        self.queue.accept(&group, self.now).unwrap();
    }

    /// Accepts records of partition 0, by number and when they are due, and syncs.
    pub(crate) fn add(&mut self, records: impl IntoIterator<Item = (u64, i64)>) {
        let operations = records.into_iter();
        let operations = operations.map(|(number, due_ms)| add(number, due_ms, "", false));
        self.accept(0, operations.collect());
        self.sync();
    }

    pub(crate) fn cancel(&mut self, id: &'static str) {
        let id = Bytes::from_static(id.as_bytes());
        self.accept(0, vec![DelayOperation::Cancel { id }]);
        self.sync();
    }

    pub(crate) fn sync(&mut self) {
        if let Some(work) = self.queue.sync_work() {
            let outcome = work.run(&*self.fs);
            self.queue.synced(&work, &outcome);
            outcome.unwrap();
        }
    }

    pub(crate) fn maintain(&mut self) -> Result<(), StorageError> {
        while self.queue.maintain(self.now)? {}
        Ok(())
    }

    /// Hands out once; nothing of it is appended yet.
    pub(crate) fn fire(&mut self) -> Vec<Delivery> {
        let fired = self.queue.fire(self.now).unwrap();
        assert!(fired.error.is_none(), "{:?}", fired.error);
        assert_eq!(fired.damaged, []);
        fired.deliveries
    }

    pub(crate) fn append(&mut self, delivery: &Delivery) {
        for due in &delivery.batches {
            let valid = due.to_append(DeliverTimestamp::Create, self.now).unwrap();
            let batch = RecordBatch::parse(valid.bytes).unwrap();
            assert!(
                due.key.due_ms.cast_signed() <= self.now,
                "early: {:?}",
                due.key
            );
            let numbers = batch.records(1 << 20).unwrap().map(|record| {
                let record = record.unwrap();
                assert!(record.timestamp <= self.now, "early: {record:?}");
                u64::from_be_bytes(record.value.unwrap().as_ref().try_into().unwrap())
            });
            let given = Given {
                key: due.key,
                numbers: numbers.collect(),
            };
            let log = self.logs.entry(delivery.partition).or_default();
            assert!(
                log.last().is_none_or(|last| last.key < given.key),
                "keys increase"
            );
            log.push(given);
        }
        let end = self.logs[&delivery.partition].len();
        let end = i64::try_from(end).unwrap();
        self.queue
            .delivered(delivery.partition, delivery.up_to, end);
    }

    /// Delivers a part of what is due now; whether there may be more.
    pub(crate) fn deliver_some(&mut self) -> bool {
        self.sync();
        self.maintain().unwrap();
        let fired = self.queue.fire(self.now).unwrap();
        assert!(fired.error.is_none(), "{:?}", fired.error);
        let settled = fired.cancelled + fired.expired + fired.damaged.len() as u64;
        let moved = !fired.deliveries.is_empty() || settled > 0;
        for delivery in &fired.deliveries {
            self.append(delivery);
        }
        moved || fired.wants_sync || fired.wants_maintenance || fired.more
    }

    /// Delivers all that is due now.
    pub(crate) fn deliver(&mut self) {
        let mut steps = 0;
        while self.deliver_some() {
            steps += 1;
            assert!(steps < 100_000, "there is no end to it");
        }
    }

    /// The same at a later time, or an earlier one.
    pub(crate) fn deliver_at(&mut self, now: i64) {
        self.now = now;
        self.deliver();
    }

    /// The numbers of partition 0, in the order of its log.
    pub(crate) fn given(&self) -> Vec<u64> {
        let log = self.logs.get(&partition(0)).into_iter().flatten();
        log.flat_map(|given| given.numbers.clone()).collect()
    }

    pub(crate) fn pending(&self) -> u64 {
        self.queue.totals().pending.records
    }

    /// The partitions' logs are on disk, and a checkpoint says so.
    pub(crate) fn checkpoint(&mut self) -> Result<(), StorageError> {
        for (id, log) in &self.logs {
            let end = i64::try_from(log.len()).unwrap();
            self.queue.partition_durable(*id, end);
        }
        let checkpoint = self.queue.begin_checkpoint(self.now)?;
        let outcome = checkpoint.run(&*self.fs);
        self.queue.finish_checkpoint(&checkpoint, &outcome);
        outcome
    }

    /// Names of the store's files that contain this.
    pub(crate) fn files(&self, part: &str) -> Vec<String> {
        let entries = self.fs.read_dir(dir()).unwrap().into_iter();
        let names = entries.map(|entry| entry.name);
        names.filter(|name| name.contains(part)).collect()
    }
}
