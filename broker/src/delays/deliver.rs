//! The delivering thread of a log directory: what is due is appended to its partition, and what is due later is moved
//! between files. It sleeps until the next record is due, and a second at most while there are any: nobody tells when
//! the wall clock is set. It syncs nothing: what is due does not wait for the disk.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tidewheel_config::{AckAll, DelayMode, DeliverTimestamp, LogConfig, TimestampType, limits};
use tidewheel_protocol::Uuid;
use tidewheel_storage::StorageError;
use tidewheel_storage::delay::{ClockVerdict, Delivery, DueBatch, Fired, PartitionId};
use tracing::{debug, error, info};

use super::damage::Recount;
use super::start::partition_of;
use super::{DelayDir, NEVER, Store, dead_letters};
use crate::broker::Broker;
use crate::partition::Partition;
use crate::trouble::Trouble;

/// Where nothing was ever delayed there is nothing to do but to hear of a stop.
const IDLE: Duration = Duration::from_hours(1);
/// Between two looks at the clock.
const LOOK_MS: i64 = 1_000;
/// Before the next try to load what is due, where the last one found no room.
const LOAD_MS: i64 = 5;

pub(super) struct Deliverer<'a> {
    pub(super) broker: &'a Broker,
    pub(super) dir: &'a DelayDir,
    /// The clock is not believed.
    held: Trouble,
    /// The files of the delay store cannot be read or written.
    failing: Trouble,
    /// Partitions that do not take what is due.
    refusing: HashSet<PartitionId>,
    /// Topics whose expired records have no dead-letter topic.
    pub(super) homeless: HashSet<Uuid>,
    /// Something was due at the last look that lies in a file yet.
    wants_maintenance: bool,
    recount: Recount,
}

/// Delivers until told to stop.
pub(crate) fn run(broker: &Broker, dir: usize) {
    let Some(dir) = broker.delays().dir(dir) else {
        return;
    };
    let mut deliverer = Deliverer::new(broker, dir);
    let mut pause = Duration::ZERO;
    while !dir.deliver_signal.wait(pause) {
        pause = deliverer.round();
    }
}

impl<'a> Deliverer<'a> {
    pub(super) fn new(broker: &'a Broker, dir: &'a DelayDir) -> Self {
        Self {
            broker,
            dir,
            held: Trouble::default(),
            failing: Trouble::default(),
            refusing: HashSet::new(),
            homeless: HashSet::new(),
            wants_maintenance: false,
            recount: Recount::default(),
        }
    }
}

impl Deliverer<'_> {
    /// One turn of everything; how long to sleep.
    pub(super) fn round(&mut self) -> Duration {
        let believed = self.believed_ms();
        let pause = self.serve_queue(believed);
        match believed {
            Ok(now_ms) => pause.min(self.reveal(now_ms)),
            Err(_) => pause.min(Duration::from_millis(LOOK_MS.unsigned_abs())),
        }
    }

    /// Shows what has waited long enough on topics with a fixed delay; how long to sleep.
    fn reveal(&self, now_ms: i64) -> Duration {
        self.dir.reveal(&self.broker.topics(), now_ms);
        let next_ms = self.dir.looks.next_ms();
        let wait_ms = next_ms.map(|next_ms| next_ms.saturating_sub(self.dir.time.now_ms()));
        // Nobody tells when the clock is set.
        wait_ms.map_or(IDLE, |wait_ms| {
            Duration::from_millis(wait_ms.clamp(0, LOOK_MS).unsigned_abs())
        })
    }

    /// One turn of the queue.
    fn serve_queue(&mut self, believed: Result<i64, i64>) -> Duration {
        if self.dir.failure.get().is_some() {
            self.dir.settle();
            return IDLE;
        }
        if !matches!(&*self.dir.lock(), Store::Open(_)) {
            return IDLE;
        }
        let worked = match believed {
            Ok(now_ms) => self.work(now_ms),
            // What waits is moved between files all the same.
            Err(now_ms) => self.maintain(now_ms),
        };
        self.dir.with(|queue| self.dir.tell_damage(queue));
        let counts = self.recount.step(self.dir);
        let worked = worked.map(|more| more || counts);
        match worked {
            Ok(more) => {
                if self.failing.ends() {
                    info!("the files of delayed records are read and written again");
                }
                match (more, believed) {
                    (true, _) => Duration::ZERO,
                    (false, Ok(_)) => self.until_next(),
                    (false, Err(_)) => Duration::from_millis(LOOK_MS.unsigned_abs()),
                }
            }
            Err(error) => {
                if self.failing.begins() {
                    error!(%error, "the files of delayed records cannot be read or written");
                }
                limits::DELAY_RETRY_PAUSE
            }
        }
    }

    /// The time by which to deliver, ms since 1970. A wall clock that jumped far ahead would deliver what is due
    /// next year: then the time is given as the error that it would be without the jump, and nothing is delivered.
    fn believed_ms(&mut self) -> Result<i64, i64> {
        match self.dir.look_at_clock() {
            (now_ms, ClockVerdict::Believed) => {
                if self.held.ends() {
                    info!("the clock is believed: delayed records are delivered again");
                }
                Ok(now_ms)
            }
            (now_ms, ClockVerdict::Held { jumped_ms, .. }) => {
                if self.held.begins() {
                    error!(
                        jumped_ms,
                        "the wall clock jumped ahead: delayed records are held until it is put back or has stayed there"
                    );
                }
                Err(now_ms.saturating_sub(jumped_ms))
            }
        }
    }

    fn maintain(&self, now_ms: i64) -> Result<bool, StorageError> {
        let more = self.dir.with(|queue| queue.maintain(now_ms));
        more.unwrap_or(Ok(false))
    }

    /// Delivers and maintains one step; whether there is more to do at once.
    fn work(&mut self, now_ms: i64) -> Result<bool, StorageError> {
        let topics = self.broker.topics();
        let keeps = |id| dead_letters::keeps(&topics, id);
        let Some(fired) = self.dir.with(|queue| queue.fire_keeping(now_ms, &keeps)) else {
            return Ok(false);
        };
        let fired = fired?;
        self.wants_maintenance = fired.wants_maintenance;
        tell(&fired);
        let counts = &self.dir.counts;
        counts
            .cancelled
            .fetch_add(fired.cancelled, Ordering::Relaxed);
        counts.expired.fetch_add(fired.expired, Ordering::Relaxed);
        let settled = fired.cancelled + fired.expired + fired.damaged.len() as u64;
        let mut moved = settled > 0;
        for delivery in &fired.deliveries {
            let id = delivery.partition;
            let delivered = match partition_of(&topics, id) {
                Some(partition) => self.deliver(partition, delivery, now_ms),
                None => Err(StorageError::PartitionDeleted),
            };
            match delivered {
                Ok(()) => moved = true,
                Err(StorageError::PartitionDeleted) => {
                    self.dir.with(|queue| queue.forget_topic(id.topic_id));
                    moved = true;
                }
                Err(error) => self.refused(id, &error),
            }
        }
        moved |= self.bury_all(&fired.kept, now_ms);
        if moved {
            self.dir.changed.store(true, Ordering::SeqCst);
        }
        if fired.wants_sync {
            self.sync_soon();
        }
        if let (Some(id), Some(error)) = (fired.failed, &fired.error) {
            self.refused(id, error);
        }
        Ok(self.maintain(now_ms)? || moved)
    }

    pub(super) fn sync_soon(&self) {
        self.dir.urgent.store(true, Ordering::SeqCst);
        self.dir.sync_signal.raise();
    }

    /// What is due stays in the queue, which leaves the partition alone for a moment.
    pub(super) fn refused(&mut self, id: PartitionId, error: &StorageError) {
        self.dir.with(|queue| queue.delivery_failed(id));
        if self.refusing.insert(id) {
            let PartitionId {
                topic_id,
                partition,
            } = id;
            error!(%error, %topic_id, partition, "delayed records that are due are not delivered yet");
        }
    }

    fn deliver(
        &mut self,
        partition: &Arc<Partition>,
        delivery: &Delivery,
        now_ms: i64,
    ) -> Result<(), StorageError> {
        let log = partition.log();
        let config = log.config();
        if config.cleanup_policy.compact {
            let reason =
                "the topic is compacted by now: an old value would take the place of a newer one";
            return Err(StorageError::invalid_record(reason));
        }
        let durable = config.ack_all == AckAll::Disk;
        let id = delivery.partition;
        // A batch that is partly due counts on its place in the log.
        let order = partition.order();
        // The cursor is in what is appended, and nowhere else until the next checkpoint.
        log.keep_from(log.offsets().log_end);
        let mut outcome = Ok(());
        for due in &delivery.batches {
            match append(partition, due, &config, now_ms) {
                Ok((log_end, records)) => {
                    let counts = &self.dir.counts;
                    counts.delivered.fetch_add(records, Ordering::Relaxed);
                    let metrics = self.broker.metrics().delayed();
                    metrics.delivered(due.key.due_ms, self.dir.time.now_ms());
                    self.dir.with(|queue| queue.delivered(id, due.key, log_end))
                }
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            };
        }
        let log_end = log.offsets().log_end;
        drop(order);
        if durable {
            self.flush_soon();
        }
        if config.delay.holds_back().is_some() {
            // It has waited already.
            self.dir.looks.add(id, now_ms);
        }
        outcome?;
        self.dir
            .with(|queue| queue.delivered(id, delivery.up_to, log_end));
        self.took(id);
        Ok(())
    }

    /// A partition got what was due.
    pub(super) fn took(&mut self, id: PartitionId) {
        if self.refusing.remove(&id) {
            let PartitionId {
                topic_id,
                partition,
            } = id;
            info!(%topic_id, partition, "delayed records are delivered again");
        }
    }

    fn flush_soon(&self) {
        if let Some(signal) = self.broker.flush_signals().get(self.dir.number) {
            signal.raise();
        }
    }

    fn until_next(&self) -> Duration {
        let next = self.dir.with(|queue| {
            let next = queue.next_wake_ms().unwrap_or(NEVER);
            let next = next.min(self.dir.time.now_ms().saturating_add(LOOK_MS));
            // Under the lock, so that no producer looks at it before and accepts after.
            self.dir.looks_at.store(next, Ordering::SeqCst);
            next
        });
        let wait_ms = match next {
            // It was due then and was not delivered.
            Some(_) if self.wants_maintenance => LOAD_MS,
            Some(next) => next.saturating_sub(self.dir.time.now_ms()),
            None => LOOK_MS,
        };
        let wait_ms = u64::try_from(wait_ms.min(LOOK_MS)).unwrap_or(0);
        Duration::from_millis(wait_ms)
    }
}

/// Appends what is due; the end of the log then, and how many records it was.
fn append(
    partition: &Partition,
    due: &DueBatch,
    config: &LogConfig,
    now_ms: i64,
) -> Result<(i64, u64), StorageError> {
    let valid = due
        .to_append(timestamp(due, config, now_ms), now_ms)
        .map_err(|error| StorageError::invalid_record(error.to_string()))?;
    // It is a client's: the reserve is not for it.
    partition.log().take_room(valid.bytes.len() as u64)?;
    let durable = config.ack_all == AckAll::Disk;
    let (records, bytes) = (valid.header.record_count, valid.bytes.len());
    let info = partition.append_valid(valid, durable, now_ms)?;
    partition.traffic().appended(records, bytes);
    Ok((info.last_offset + 1, u64::try_from(records).unwrap_or(0)))
}

/// Which timestamp a batch gets that is delivered at `now_ms`. Retention and look-ups by time go by it: what would have
/// used up half of its time before anybody could read it is dated by when it was due. What is from the future stays so
/// as far as any record of the topic may be, as where a client's clock runs ahead; but where the timestamp alone asks
/// for delays, such a record was moved to an earlier time, and that is the one it asks for now.
fn timestamp(due: &DueBatch, config: &LogConfig, now_ms: i64) -> DeliverTimestamp {
    let asked = match config.timestamp_type {
        TimestampType::LogAppendTime => return DeliverTimestamp::Append,
        TimestampType::CreateTime => config.delay.deliver_timestamp,
    };
    let (due_ms, own_ms) = (due.key.due_ms.cast_signed(), due.max_timestamp());
    let expires = config.cleanup_policy.delete && config.retention_ms >= 0;
    let is_old = expires && due_ms.saturating_sub(own_ms) > config.retention_ms / 2;
    let latest_ms = match config.delay.mode {
        DelayMode::Timestamp => due_ms,
        _ => now_ms.saturating_add(config.timestamp_after_max_ms),
    };
    match asked {
        DeliverTimestamp::Create if is_old || own_ms > latest_ms => DeliverTimestamp::Due,
        asked => asked,
    }
}

fn tell(fired: &Fired) {
    for damaged in &fired.damaged {
        let PartitionId {
            topic_id,
            partition,
        } = damaged.partition;
        let due_ms = damaged.key.due_ms;
        error!(%topic_id, partition, due_ms, "a delayed record is damaged and was passed over; its file is kept");
    }
    if fired.cancelled + fired.expired > 0 {
        debug!(
            cancelled = fired.cancelled,
            expired = fired.expired,
            "not delivered"
        );
    }
}
