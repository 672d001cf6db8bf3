//! A broker as far as delayed delivery needs one. What it promises is noted in its ledger.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tidewheel_config::LogConfig;
use tidewheel_protocol::{Compression, RecordBatch, RecordBatchBuilder, Uuid};
use tidewheel_storage::delay::{
    ClockReading, DelayGroup, DelayOpenReport, DelayOperation, DelayOptions, DelayQueue,
    DelayedBatch, PartitionId, WallClock, read_tail,
};
use tidewheel_storage::fs::{FileSystem, SimFs};
use tidewheel_storage::{LivePartition, StorageError, ValidBatch, validate};

use crate::ledger::{Entry, Ledger, Promise};
use crate::scenario::{PARTITIONS, Plan, Step};
use crate::support::{self, Log, Manager, NOW};

pub(crate) const STORE: &str = "/delays";

/// A mistake that the world makes on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    None,
    /// Fires one ms ahead.
    EarlyTick,
    /// Delivers whatever a clock says that was set far ahead.
    BelievedJump,
    /// Says that a partition's log is durable when it is not.
    CursorAheadOfData,
    /// Answers before the delay log is synced.
    MissingSync,
    /// A checkpoint counts buckets that were not synced.
    MissingBucketSync,
    /// A file of far records disappears.
    LostBucket,
    /// Delivered batches do not carry the cursor.
    ForgottenCursor,
    /// Groups do not say whose they are.
    ForgottenProducer,
    /// A cancellation is answered and written nowhere.
    ForgottenCancel,
    /// What takes the place of a record is not written together with what cancels it.
    TornReplacement,
    /// Records are deleted that no checkpoint knows to be delivered.
    DeletedCursor,
}

pub(crate) struct World {
    pub(crate) fs: SimFs,
    pub(crate) ledger: Ledger,
    pub(crate) queue: Option<DelayQueue>,
    pub(crate) manager: Option<Manager>,
    pub(crate) logs: Vec<Arc<Log>>,
    pub(crate) clock: WallClock,
    pub(crate) refuse: Option<usize>,
    pub(crate) flaw: Flaw,
    pub(crate) trace: Vec<String>,
    /// Records that were accepted to come later.
    pub(crate) accepted: u64,
    /// Those of them that came or never will.
    pub(crate) settled: u64,
    /// What was cancelled is counted again where a delivery is tried again.
    pub(crate) inexact: bool,
    epoch: i32,
}

pub(crate) fn partition_id(at: usize) -> PartitionId {
    PartitionId {
        topic_id: Uuid([1 + u8::try_from(at / 2).unwrap(); 16]),
        partition: i32::try_from(at % 2).unwrap(),
    }
}

/// Where records of a partition go that have expired: those of the first topic to a partition of the other.
pub(crate) fn dead_letters_of(at: usize) -> Option<usize> {
    (at < 2).then_some(2)
}

pub(crate) fn place_of(id: PartitionId) -> usize {
    (0..PARTITIONS).find(|at| partition_id(*at) == id).unwrap()
}

fn live() -> Vec<LivePartition> {
    let partition = |at: usize| LivePartition {
        tp: support::tp(["t", "u"][at / 2], i32::try_from(at % 2).unwrap()),
        topic_id: partition_id(at).topic_id,
        config: LogConfig {
            segment_bytes: 3_000,
            retention_bytes: if at == 2 { 4_000 } else { -1 },
            ..support::config()
        },
    };
    (0..PARTITIONS).map(partition).collect()
}

fn options() -> DelayOptions {
    DelayOptions {
        near_records_max: 8,
        near_ms: 1_000,
        segment_bytes: 900,
        turn_records_max: 3,
        turn_bytes_max: 2_000,
        step_bytes: 700,
        step_records: 2,
        tombstones_max: 40,
    }
}

fn builder(number: u64, timestamp: i64, value_len: usize) -> RecordBatchBuilder {
    let mut value = number.to_be_bytes().to_vec();
    value.resize(8 + value_len, 7);
    RecordBatchBuilder::new().record(timestamp, Some(b"k"), Some(&value))
}

fn batch(number: u64, timestamp: i64, value_len: usize) -> RecordBatch {
    builder(number, timestamp, value_len).build().unwrap()
}

/// Bytes of the numbers in a batch.
pub(crate) fn numbers(batch: &RecordBatch) -> Vec<u64> {
    let records = batch.records(1 << 20).unwrap();
    let number = |record: tidewheel_protocol::Record| {
        u64::from_be_bytes(record.value.unwrap()[..8].try_into().unwrap())
    };
    records.map(|record| number(record.unwrap())).collect()
}

impl World {
    pub(crate) fn new(fs: SimFs, flaw: Flaw) -> Self {
        Self {
            flaw,
            ..Self::resume(fs, Ledger::new(NOW))
        }
    }

    pub(crate) fn resume(fs: SimFs, ledger: Ledger) -> Self {
        Self {
            clock: WallClock::new(reading(&ledger)),
            fs,
            ledger,
            queue: None,
            manager: None,
            logs: Vec::new(),
            refuse: None,
            flaw: Flaw::None,
            trace: Vec::new(),
            accepted: 0,
            settled: 0,
            inexact: false,
            epoch: 0,
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        let online = |queue: &DelayQueue| !queue.is_offline();
        let logs = self.logs.iter().all(|log| log.failure().is_none());
        logs && self.queue.as_ref().is_some_and(online)
    }

    pub(crate) fn end(self) -> (SimFs, Ledger) {
        (self.fs.clone(), self.ledger.clone())
    }

    pub(crate) fn start(&mut self) -> Result<DelayOpenReport, StorageError> {
        (self.queue, self.manager) = (None, None);
        self.logs.clear();
        self.epoch += 1;
        self.clock = WallClock::new(reading(&self.ledger));
        if let Some(jump) = &mut self.ledger.jump {
            jump.trusted = true;
        }
        let fs: Arc<dyn FileSystem> = Arc::new(self.fs.clone());
        let manager = Manager::open(Arc::clone(&fs), support::options(&["/data"]))?;
        let now = self.ledger.wall_ms;
        let mut logs = manager.load(live(), self.epoch, now)?.logs;
        // Logs that have no directory yet come last.
        logs.sort_by(|a, b| a.topic_partition().cmp(b.topic_partition()));
        (self.manager, self.logs) = (Some(manager), logs);
        let logs = &self.logs;
        let mut tails = |id, from| read_tail(&logs[place_of(id)], from).map(Some);
        let path = Path::new(STORE);
        let (queue, report) = DelayQueue::open(fs, path, options(), 99, now, &mut tails)?;
        for repair in &report.repairs {
            let at = place_of(repair.partition);
            if logs[at].offsets().log_end == repair.offset {
                let batch = RecordBatch::parse(repair.batch.clone()).unwrap();
                append(&logs[at], validate(batch, &logs[at].config(), now)?, now)?;
            }
        }
        for id in queue.partitions() {
            let batches: Vec<_> = queue.producer_batches(id).collect();
            if !batches.is_empty() {
                logs[place_of(id)].merge_delayed(&batches, now)?;
            }
        }
        // What was cancelled or expired and is behind no cursor yet is met again.
        self.accepted = self.settled + queue.totals().pending.records;
        self.queue = Some(queue);
        self.keep();
        Ok(report)
    }

    pub(crate) fn queue(&mut self) -> &mut DelayQueue {
        self.queue.as_mut().unwrap()
    }

    pub(crate) fn step(&mut self, step: &Step) -> Result<(), StorageError> {
        match step {
            Step::Produce(at, plans, immediate, producer) => {
                self.produce(*at, plans, *immediate, *producer)?;
            }
            Step::Plain(at, producer) => self.plain(*at, *producer)?,
            Step::Cancel(at, id) => self.cancel(*at, *id)?,
            Step::Move(at, which, delay_ms) => self.move_one(*at, *which, *delay_ms)?,
            Step::Sync => self.sync()?,
            Step::Tick(by) => {
                self.ledger.advance(*by);
                self.deliver(4)?;
            }
            Step::AlmostDue => {
                let wall_ms = self.ledger.wall_ms;
                let due = self.ledger.entries.values().map(|entry| entry.due_ms);
                let next = due.filter(|due_ms| *due_ms > wall_ms).min();
                self.ledger
                    .advance(next.unwrap_or(wall_ms + 1) - 1 - wall_ms);
                self.deliver(4)?;
            }
            Step::SetClock(by) => self.ledger.set_clock(*by),
            Step::Jump(ahead) => {
                self.ledger.jump(*ahead);
                self.deliver(4)?;
            }
            Step::Suspend(by) => self.ledger.advance(*by),
            Step::Maintain => self.maintain()?,
            Step::Flush => self.flush()?,
            Step::Checkpoint(logs) => self.checkpoint(*logs)?,
            Step::Pause(topic, paused) => {
                let now = self.ledger.wall_ms;
                self.queue().set_paused(Uuid([*topic; 16]), *paused, now)?;
            }
            Step::Delete(at) => self.delete(*at)?,
            Step::Retain(at) => self.retain(*at)?,
            Step::Refuse(at) => self.refuse = Some(*at),
            Step::Restart(times) => {
                for _ in 0..*times {
                    self.start()?;
                }
            }
        }
        let totals = self.queue().totals();
        self.trace
            .push(format!("{step:?} {totals:?} {}", self.fs.op_count()));
        Ok(())
    }

    /// What the queue counts is what it took less what it gave.
    pub(crate) fn check_counts(&self) {
        let totals = self.queue.as_ref().unwrap().totals();
        let pending = totals.pending.records;
        assert!(self.inexact || pending == self.accepted - self.settled);
        let near = totals.near_records as u64;
        assert!(near <= totals.pending.records, "{totals:?}");
    }

    fn produce(
        &mut self,
        at: usize,
        plans: &[Plan],
        immediate: bool,
        producer: Option<i64>,
    ) -> Result<(), StorageError> {
        let now = self.ledger.wall_ms;
        let log_end = self.logs[at].offsets().log_end;
        let (mut operations, mut added) = (Vec::new(), Vec::new());
        let mut at_once = None;
        if immediate {
            let number = self.ledger.number();
            let mut entry = Entry::new(at, now);
            (entry.immediate, entry.offset) = (Some(log_end), Some(log_end));
            let batch = batch(number, now, 5);
            operations.push(DelayOperation::Immediate {
                offset: log_end,
                batch: batch.bytes.clone(),
            });
            at_once = Some(batch);
            added.push((number, entry, false));
        }
        for plan in plans {
            let number = self.ledger.number();
            let entry = planned(at, now, plan);
            operations.push(DelayOperation::Add(added_batch(number, plan, &entry)));
            let replace = entry.replaces;
            added.push((number, entry, replace));
        }
        let stamp = producer.map(|id| self.ledger.stamp(at, id));
        let mut group = DelayGroup {
            partition: partition_id(at),
            log_end,
            producer: stamp.filter(|_| self.flaw != Flaw::ForgottenProducer),
            operations,
        };
        for (number, entry, replace) in &added {
            self.ledger.entries.insert(*number, entry.clone());
            if *replace {
                self.cancelled(at, entry.id, Some(*number), (Promise::Tried, u64::MAX));
            }
        }
        self.tear(&mut group)?;
        let accepted = match self.queue().accept(&group, now) {
            Ok(accepted) => accepted,
            Err(error) => {
                if let Some(id) = producer {
                    self.ledger.unsend(at, id);
                }
                return self.not_accepted(error, &added);
            }
        };
        self.accepted += plans.len() as u64;
        for (number, entry, replace) in &added {
            let kept = self.ledger.entries.get_mut(number).unwrap();
            (kept.promise, kept.end) = (Promise::Written, accepted.end);
            if *replace {
                let promise = (Promise::Written, accepted.end);
                self.cancelled(at, entry.id, Some(*number), promise);
            }
        }
        if let Some(id) = producer {
            self.ledger.written(at, id, Some(accepted.end), None);
        }
        if let Some(batch) = at_once {
            let valid = validate(batch, &self.logs[at].config(), now)?;
            append(&self.logs[at], valid, now)?;
        }
        if let Some(stamp) = group.producer {
            let accepted_ms = now;
            self.logs[at].note_delayed(&tidewheel_storage::delay::DelayedProducerBatch {
                stamp,
                accepted_ms,
            })?;
        }
        Ok(())
    }

    /// A queue without room promises nothing; what any other error leaves behind shows after the restart.
    fn not_accepted(
        &mut self,
        error: StorageError,
        added: &[(u64, Entry, bool)],
    ) -> Result<(), StorageError> {
        if !matches!(error, StorageError::QueueFull) {
            return Err(error);
        }
        for (number, ..) in added {
            self.ledger.entries.remove(number);
        }
        Ok(())
    }

    fn plain(&mut self, at: usize, producer: Option<i64>) -> Result<(), StorageError> {
        let now = self.ledger.wall_ms;
        let number = self.ledger.number();
        let mut entry = Entry::new(at, now);
        let offset = self.logs[at].offsets().log_end;
        (entry.immediate, entry.offset) = (Some(offset), Some(offset));
        self.ledger.entries.insert(number, entry);
        let mut builder = builder(number, now, 10);
        // Whoever is unknown to the delay log is not told apart from nobody.
        let producer = producer.filter(|_| self.flaw != Flaw::ForgottenProducer);
        if let Some(id) = producer {
            let stamp = self.ledger.stamp(at, id);
            builder = builder.producer(id, 0, stamp.first_sequence);
        }
        let valid = validate(builder.build().unwrap(), &self.logs[at].config(), now)?;
        let appended = append(&self.logs[at], valid, now);
        match (producer, &appended) {
            (Some(id), Ok(())) => self.ledger.written(at, id, None, Some(offset)),
            (Some(id), Err(error)) => {
                self.ledger.unsend(at, id);
                let broken = matches!(error, StorageError::OutOfOrderSequence { .. });
                if broken && self.ledger.forgotten.contains(&(at, id)) {
                    return Ok(());
                }
            }
            (None, _) => {}
        }
        appended
    }

    /// Takes a bucket away, where that is the mistake.
    pub(crate) fn lose_bucket(&self) {
        if self.flaw != Flaw::LostBucket {
            return;
        }
        let after = self.fs.kill();
        let entries = after.read_dir(Path::new(STORE)).unwrap_or_default();
        for entry in entries
            .iter()
            .filter(|entry| entry.name.ends_with("bucket"))
        {
            let path = Path::new(STORE).join(&entry.name);
            let zeros = vec![0; usize::try_from(entry.len).unwrap()];
            self.fs.rot(&path, 0, &zeros).unwrap();
        }
    }
}

pub(crate) fn reading(ledger: &Ledger) -> ClockReading {
    ClockReading {
        wall_ms: ledger.wall_ms,
        boot_ms: ledger.boot_ms,
    }
}

/// What is expected of a record that is produced now.
fn planned(at: usize, now: i64, plan: &Plan) -> Entry {
    let mut entry = Entry::new(at, now + plan.delay_ms);
    (entry.id, entry.expires_ms) = (plan.id, plan.expires_ms.map(|ms| now + ms));
    entry.buried_in = dead_letters_of(at);
    entry.replaces = plan.replace && plan.id.is_some();
    entry
}

fn added_batch(number: u64, plan: &Plan, entry: &Entry) -> DelayedBatch {
    DelayedBatch {
        due_ms: entry.due_ms,
        expires_ms: entry.expires_ms,
        id: plan.id.map_or(Bytes::new(), |id| Bytes::from(vec![id; 3])),
        replace: plan.replace && plan.id.is_some(),
        split_from: plan.split.then_some(Compression::Lz4),
        batch: batch(number, entry.due_ms, plan.value_len).bytes,
    }
}

pub(crate) fn append(log: &Log, batch: ValidBatch, now_ms: i64) -> Result<(), StorageError> {
    let (_, outcome) = log.append(batch, false, 0, now_ms).pop().unwrap();
    outcome.map(|_| ())
}
