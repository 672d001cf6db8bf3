//! Handing out what is due.

use tidewheel_config::DeliverTimestamp;
use tidewheel_config::limits::DECOMPRESSED_BATCH_BYTES_MAX;
use tidewheel_protocol::{BatchError, Compression, RecordBatch, RecordBatchBuilder};

use super::buckets::BUCKET_IDS;
use super::delay_log::read_record;
use super::group::{CODEC_SHIFT, plain_record};
use super::key::{DUE_MS_MAX, DelayKey, PartitionId, unsigned_ms};
use super::partitions::{RETRY_MS, key_of};
use super::queue::{DelayQueue, own_group};
use super::record::{FLAG_SPLIT, Kind, Record};
use super::tombstones::Hit;
use super::wheel::WheelEntry;
use crate::batch_validator::ValidBatch;
use crate::error::StorageError;

/// Set in the place of a record that lies in a bucket.
const IN_BUCKET: u64 = 1 << 63;
/// Bits of the place that say where in the bucket, in units of 8 bytes.
const POSITION_BITS: u32 = 36;

/// The place of a record of a bucket.
pub(super) fn place_in_bucket(bucket: u64, position: u64) -> u64 {
    assert!(
        bucket < BUCKET_IDS && position >> (POSITION_BITS + 3) == 0,
        "bucket {bucket} at {position} is beyond what a place can say"
    );
    IN_BUCKET | (bucket << POSITION_BITS) | (position / 8)
}

/// A batch to be appended now.
#[derive(Clone, Debug)]
pub struct DueBatch {
    /// The key of its last record, which the append carries.
    pub key: DelayKey,
    batch: RecordBatch,
}

impl DueBatch {
    /// The largest timestamp of its records as they were produced, ms since 1970.
    #[must_use]
    pub fn max_timestamp(&self) -> i64 {
        self.batch.header.max_timestamp
    }

    /// The batch as it is appended at `now_ms`, ms since 1970: with its cursor, and without the producer
    /// it came from.
    ///
    /// # Errors
    /// As [`DelayKey::stamp`].
    pub fn to_append(
        &self,
        timestamp: DeliverTimestamp,
        now_ms: i64,
    ) -> Result<ValidBatch, BatchError> {
        let batch = match timestamp {
            DeliverTimestamp::Create => self.key.stamp(&self.batch)?,
            DeliverTimestamp::Due => {
                let due_ms = self.key.due_ms.cast_signed();
                self.key.stamp(&self.batch.with_log_append_time(due_ms))?
            }
            DeliverTimestamp::Append => self.key.stamp(&self.batch.with_log_append_time(now_ms))?,
        };
        let RecordBatch { header, bytes } = batch;
        Ok(ValidBatch { header, bytes })
    }
}

/// What one partition is to be given now, in this order.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The partition.
    pub partition: PartitionId,
    /// What to append.
    pub batches: Vec<DueBatch>,
    /// What to tell [`DelayQueue::delivered`] when all is appended.
    pub up_to: DelayKey,
}

/// A record that cannot be read. It was passed over; its file is kept aside when it would be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedRecord {
    /// Where it would have gone.
    pub partition: PartitionId,
    /// Its key.
    pub key: DelayKey,
}

/// What [`DelayQueue::fire`] gives.
#[derive(Clone, Debug, Default)]
pub struct Fired {
    /// To be appended. A partition gets nothing more until it is answered for.
    pub deliveries: Vec<Delivery>,
    /// Records that were due and had been cancelled.
    pub cancelled: u64,
    /// Records that were due and had expired.
    pub expired: u64,
    /// Records that were due and cannot be read.
    pub damaged: Vec<DamagedRecord>,
    /// Something is due that is not durable yet: sync, and call again.
    pub wants_sync: bool,
    /// Something is due that lies in a bucket yet: call [`DelayQueue::maintain`], and again.
    pub wants_maintenance: bool,
    /// A partition has more that is due: call again when this is appended.
    pub more: bool,
    /// What kept a partition from being served; it is tried again by a later call, and the others
    /// were served.
    pub error: Option<StorageError>,
    /// Which partition that was.
    pub failed: Option<PartitionId>,
}

/// How a partition's turn ended.
struct Turn {
    batches: Vec<DueBatch>,
    /// Records of a split batch that wait for their neighbours.
    joined: Joined,
    expired: Vec<DelayKey>,
}

impl DelayQueue {
    /// Hands out what is due at `now_ms`, ms since 1970: for each partition in the order of keys, at most a
    /// turn of records and bytes. Each delivery has to be answered by [`DelayQueue::delivered`] or
    /// [`DelayQueue::delivery_failed`].
    ///
    /// # Errors
    /// `LogDirOffline`. For what concerns one partition only see [`Fired::error`].
    pub fn fire(&mut self, now_ms: i64) -> Result<Fired, StorageError> {
        self.check_online()?;
        let now = unsigned_ms(now_ms).min(DUE_MS_MAX);
        self.fired_ms = now;
        self.turn_wheel(now);
        let bound = self.bound();
        let mut fired = Fired {
            wants_maintenance: bound.is_some_and(|bound| bound.due_ms <= now),
            ..Fired::default()
        };
        let behind = self.active.range(self.served + 1..);
        let order: Vec<u32> = behind
            .chain(self.active.range(..=self.served))
            .copied()
            .collect();
        let mut bytes = 0;
        for number in order {
            if bytes >= self.options.turn_bytes_max {
                fired.more = true;
                break;
            }
            match self.fire_partition(number, now_ms, bound, &mut fired) {
                Ok(handed_out) => bytes += handed_out,
                Err(error) => {
                    let id = self.partitions.get(number).id;
                    self.delivery_failed(id);
                    (fired.error, fired.failed) = (Some(error), Some(id));
                }
            }
            self.served = number;
        }
        Ok(fired)
    }

    /// Takes out of the wheel what is due, and puts it where it belongs among its partition's.
    fn turn_wheel(&mut self, now: u64) {
        let mut due = Vec::new();
        self.wheel.advance(now, &mut due);
        due.sort_unstable_by_key(key_of);
        for entry in due {
            self.make_ready(entry);
        }
    }

    /// Nothing with this key or a greater one may be handed out yet.
    pub(super) fn bound(&self) -> Option<DelayKey> {
        let unspilled = self.unspilled.least();
        let unspilled = (unspilled != u64::MAX).then(|| DelayKey::first_of(unspilled));
        let bucket = self.buckets.bound();
        unspilled.into_iter().chain(bucket).min()
    }

    /// One partition's turn; how many bytes were handed out.
    fn fire_partition(
        &mut self,
        number: u32,
        now_ms: i64,
        bound: Option<DelayKey>,
        fired: &mut Fired,
    ) -> Result<usize, StorageError> {
        let now = unsigned_ms(now_ms);
        let state = self.partitions.get(number);
        let id = state.id;
        if state.gone || state.ready.is_empty() {
            self.active.remove(&number);
            return Ok(0);
        }
        let waits = !state.in_flight.is_empty() || state.rests(now);
        if waits || self.paused.contains(&id.topic_id) {
            return Ok(0);
        }
        let mut turn = Turn {
            batches: Vec::new(),
            joined: Joined::default(),
            expired: Vec::new(),
        };
        let (mut records, mut bytes) = (0, 0);
        while let Some(entry) = self.partitions.get(number).ready.front().copied() {
            let key = key_of(&entry);
            if key.due_ms > now || bound.is_some_and(|bound| bound <= key) {
                break;
            }
            if entry.place & IN_BUCKET == 0 && entry.place >= self.log.durable {
                fired.wants_sync = true;
                break;
            }
            if records >= self.options.turn_records_max || bytes >= self.options.turn_bytes_max {
                fired.more = true;
                break;
            }
            let record = self.read_entry(&entry)?;
            let hit = |record| self.tombstones.hit(number, record);
            let hit = record.as_ref().map_or(Hit::No, hit);
            if hit == Hit::Unsynced {
                // After a power cut nothing may be left of the cancellation, nor of what comes in its place.
                fired.wants_sync = true;
                break;
            }
            self.partitions.get_mut(number).hand_out();
            (records, bytes) = (records + 1, bytes + entry.len as usize);
            if hit == Hit::Synced {
                fired.cancelled += 1;
            } else {
                self.take_turn(number, key, record, now, &mut turn, fired);
            }
        }
        turn.joined.finish(&mut turn.batches);
        if records > 0 {
            self.finish_turn(number, turn, now_ms, fired)?;
        }
        Ok(bytes)
    }

    /// Decides what becomes of a record that is due and was not cancelled.
    fn take_turn(
        &mut self,
        number: u32,
        key: DelayKey,
        record: Option<Record>,
        now: u64,
        turn: &mut Turn,
        fired: &mut Fired,
    ) {
        let partition = self.partitions.get(number).id;
        let Some(record) = record else {
            fired.damaged.push(DamagedRecord { partition, key });
            return;
        };
        if record.expires_ms != 0 && record.expires_ms <= now {
            turn.expired.push(key);
        } else if turn.put(&record).is_err() {
            // It was a batch when it was accepted.
            fired.damaged.push(DamagedRecord { partition, key });
        }
    }

    /// Makes a delivery of a turn, or passes over all of it where there is nothing to append.
    fn finish_turn(
        &mut self,
        number: u32,
        turn: Turn,
        now_ms: i64,
        fired: &mut Fired,
    ) -> Result<(), StorageError> {
        let partition = self.partitions.get(number).id;
        fired.expired += turn.expired.len() as u64;
        self.log_expired(number, &turn.expired, now_ms)?;
        let state = self.partitions.get_mut(number);
        let up_to = state.handed;
        if turn.batches.is_empty() {
            let settled = state.settle(up_to, None);
            self.note_settled(number, settled);
            return Ok(());
        }
        fired.deliveries.push(Delivery {
            partition,
            batches: turn.batches,
            up_to,
        });
        Ok(())
    }

    /// What has expired stays expired, also when the clock is set back.
    fn log_expired(
        &mut self,
        number: u32,
        expired: &[DelayKey],
        now_ms: i64,
    ) -> Result<(), StorageError> {
        if expired.is_empty() {
            return Ok(());
        }
        let partition = self.partitions.get(number).id;
        let records: Vec<_> = (self.next_ticket..)
            .zip(expired)
            .map(|(ticket, key)| {
                let record = plain_record(partition, ticket);
                Record {
                    key: DelayKey {
                        due_ms: key.due_ms,
                        ticket,
                    },
                    target: key.ticket,
                    kind: Kind::Drop,
                    ..record
                }
            })
            .collect();
        self.append(&own_group(now_ms), &records)
    }

    /// The record of an entry; `None` where its bytes are damaged.
    pub(super) fn read_entry(
        &mut self,
        entry: &WheelEntry,
    ) -> Result<Option<Record>, StorageError> {
        let read = if entry.place & IN_BUCKET == 0 {
            self.log.read(entry.place, entry.len)?
        } else {
            let id = (entry.place & !IN_BUCKET) >> POSITION_BITS;
            let position = (entry.place & ((1 << POSITION_BITS) - 1)) * 8;
            let (path, file) = self.buckets.open_file(id)?;
            read_record(
                &path,
                file.as_ref(),
                self.log.salt,
                (0, position),
                entry.len,
            )?
        };
        let record = read.filter(|record| record.key.ticket == key_of(entry).ticket);
        if record.is_none() {
            self.note_damage(entry);
        }
        Ok(record)
    }

    fn note_damage(&mut self, entry: &WheelEntry) {
        self.damaged += 1;
        self.damaged_bytes += u64::from(entry.len);
        let id = (entry.place & !IN_BUCKET) >> POSITION_BITS;
        if entry.place & IN_BUCKET == 0 {
            let segments = self.log.segments.iter_mut();
            segments
                .filter(|segment| segment.base <= entry.place && entry.place < segment.end())
                .for_each(|segment| segment.damaged = true);
        } else if let Some(bucket) = self.buckets.all.get_mut(&id) {
            bucket.damaged = true;
        }
    }

    /// Everything of the partition's delivery up to `up_to` was appended; its log ends at `log_end` now.
    /// `up_to` is [`Delivery::up_to`], or the key of one of its batches: then the rest is still expected,
    /// or given back by [`DelayQueue::delivery_failed`].
    pub fn delivered(&mut self, partition: PartitionId, up_to: DelayKey, log_end: i64) {
        if let Some(number) = self.partitions.find(partition) {
            let settled = self.partitions.get_mut(number).settle(up_to, Some(log_end));
            self.note_settled(number, settled);
        }
    }

    /// What was handed out for the partition and not answered for was not appended. It is handed out again
    /// by a [`DelayQueue::fire`] half a second later; the other partitions do not wait for it.
    pub fn delivery_failed(&mut self, partition: PartitionId) {
        let retry_ms = self.fired_ms.saturating_add(RETRY_MS);
        if let Some(number) = self.partitions.find(partition) {
            let state = self.partitions.get_mut(number);
            state.take_back();
            state.retry_ms = retry_ms;
            if !state.ready.is_empty() {
                self.active.insert(number);
            }
        }
    }

    /// Everything in the partition's log before an offset is durable.
    pub fn partition_durable(&mut self, partition: PartitionId, offset: i64) {
        if let Some(number) = self.partitions.find(partition) {
            self.partitions.get_mut(number).log_is_durable(offset);
        }
    }
}

/// Neighbouring parts of split batches, to be delivered as one batch.
#[derive(Default)]
struct Joined {
    codec: Compression,
    batches: Vec<RecordBatch>,
    bytes: usize,
    key: DelayKey,
}

/// A batch of more bytes is not joined with others.
const JOINED_BYTES_MAX: usize = 1 << 20;

impl Turn {
    /// Adds a record that is to be delivered.
    fn put(&mut self, record: &Record) -> Result<(), BatchError> {
        let batch = RecordBatch::parse(record.payload.clone())?;
        if record.flags & FLAG_SPLIT == 0 {
            self.joined.finish(&mut self.batches);
            self.batches.push(DueBatch {
                key: record.key,
                batch,
            });
            return Ok(());
        }
        let codec = Compression::from_attributes(i16::from(record.flags >> CODEC_SHIFT))?;
        // Looked at here, so that joining cannot fail.
        for record in batch.records(DECOMPRESSED_BATCH_BYTES_MAX)? {
            record?;
        }
        let joined = &mut self.joined;
        if joined.codec != codec || joined.bytes + batch.bytes.len() > JOINED_BYTES_MAX {
            joined.finish(&mut self.batches);
        }
        joined.codec = codec;
        joined.bytes += batch.bytes.len();
        joined.key = record.key;
        joined.batches.push(batch);
        Ok(())
    }
}

impl Joined {
    /// Makes one batch of what was collected.
    fn finish(&mut self, batches: &mut Vec<DueBatch>) {
        let Self {
            codec,
            batches: parts,
            key,
            ..
        } = std::mem::take(self);
        if parts.is_empty() {
            return;
        }
        let mut builder = RecordBatchBuilder::new().compression(codec);
        for part in &parts {
            // They were read when they were collected.
            let records = part
                .records(DECOMPRESSED_BATCH_BYTES_MAX)
                .into_iter()
                .flatten();
            for record in records.flatten() {
                let (key, value) = (record.key.as_deref(), record.value.as_deref());
                builder = builder.record_with_headers(record.timestamp, key, value, record.headers);
            }
        }
        // One batch alone had a length; several have at most a mebibyte between them.
        let batch = builder.build().expect("a mebibyte fits a batch");
        batches.push(DueBatch { key, batch });
    }
}
