//! The delay queue of one log directory: what was accepted, until it is delivered.
//!
//! Everything goes to the delay log first. What is due soon also hangs in the timing wheel; the rest is
//! copied to buckets and loaded into the wheel when its time comes near. When a record is due it is handed
//! out, appended to its partition by the owner of the queue, and the append carries its key
//! ([`DelayKey::stamp`]). The queue keeps one cursor a partition: a record is delivered if its key is
//! greater, and only then.
//!
//! # Why nothing is lost and nothing comes twice
//! - A new record gets a key above everything that was handed out in its partition, whatever the clock
//!   says: its due time is raised to that of the last one handed out, and its ticket is greater.
//! - Records are handed out in the order of their keys, and none whose group is not durable: a cursor in a
//!   partition's log never passes a record that a power cut could bring back as new.
//! - None is passed over because of a cancellation that is not durable: what takes its place would be lost
//!   with the cancellation, and the cursor would have passed both.
//! - Where expired records are kept, one stays until the delay log says what becomes of it, in one group.
//! - Nothing is handed out at or above the key of a record that lies in a bucket or still has to get there.
//! - A checkpoint names a cursor only once the partition's log is durable behind it, and bucket files
//!   only once they are; files are removed only after a checkpoint that does not need them.
//! - A start reads the cursor from the partition's log itself, from where the checkpoint had looked to.
//!   A log that lost its end loses the cursor with it, and what is still stored is delivered again.
//!
//! The queue knows no clock, starts no thread and takes no lock. The owner calls
//! [`DelayQueue::accept`], syncs what [`DelayQueue::sync_work`] names before it answers, calls
//! [`DelayQueue::fire`] at [`DelayQueue::next_wake_ms`] and appends what that gives, and keeps calling
//! [`DelayQueue::maintain`] and [`DelayQueue::begin_checkpoint`].

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidewheel_config::limits;
use tidewheel_protocol::Uuid;

use super::buckets::Buckets;
use super::damage::Damages;
use super::delay_log::{DelayLog, DelaySync};
use super::group::{Accepted, DelayGroup, DelayOperation, plain_record, record_of};
use super::key::{DUE_MS_MAX, DelayKey, PartitionId, TICKET_MAX, unsigned_ms};
use super::partitions::{DelayCount, Partitions, Settled, entry_of};
use super::producers::DelayProducers;
use super::record::{
    DELAY_ID_LEN_MAX, FLAG_FAR, FLAG_REPLACE, GroupFields, Kind, Record, encode_group,
};
use super::tombstones::{Cancelled, Tombstones};
use super::unspilled::Unspilled;
use super::wheel::{TimingWheel, WheelEntry};
use crate::error::StorageError;
use crate::fs::FileSystem;

/// How long before its first record is due a bucket is loaded, in ms.
pub(super) const LOAD_AHEAD_MS: u64 = 600_000;

/// The bounds of a queue.
#[derive(Clone, Debug)]
pub struct DelayOptions {
    /// Records that hang in the wheel or are due, at [`TimingWheel::BYTES_PER_ENTRY`] each.
    pub near_records_max: usize,
    /// A record that is due later is not put into the wheel when it is accepted, in ms.
    pub near_ms: u64,
    /// Bytes after which the delay log begins another file.
    pub segment_bytes: u64,
    /// Records and bytes that a partition is handed at once.
    pub turn_records_max: usize,
    /// See `turn_records_max`.
    pub turn_bytes_max: usize,
    /// Bytes that one step of maintenance reads.
    pub step_bytes: u64,
    /// Records that one step loads where there would be no room.
    pub step_records: usize,
    /// Cancellations in force.
    pub tombstones_max: usize,
}

impl Default for DelayOptions {
    fn default() -> Self {
        Self {
            near_records_max: limits::DELAY_NEAR_RECORDS_MAX,
            near_ms: LOAD_AHEAD_MS + 120_000,
            segment_bytes: limits::DELAY_SEGMENT_BYTES,
            turn_records_max: limits::DELAY_TURN_RECORDS_MAX,
            turn_bytes_max: limits::DELAY_TURN_BYTES_MAX,
            step_bytes: limits::DELAY_STEP_BYTES,
            step_records: limits::DELAY_STEP_RECORDS,
            tombstones_max: limits::DELAY_TOMBSTONES_MAX,
        }
    }
}

/// What a queue holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DelayTotals {
    /// All that is pending.
    pub pending: DelayCount,
    /// Entries in memory; one may stand for a whole batch.
    pub near_records: usize,
    /// Cancellations in force.
    pub tombstones: usize,
    /// Buckets.
    pub buckets: usize,
    /// Bytes of the delay log that have to be copied to buckets yet.
    pub spill_lag_bytes: u64,
    /// Records that were copied to buckets since the start.
    pub spilled_records: u64,
    /// Records that were loaded from buckets into memory since the start.
    pub promoted_records: u64,
    /// Places that were found damaged at the start and since, and the bytes of them.
    pub damaged: u64,
    /// See `damaged`.
    pub damaged_bytes: u64,
    /// What they took, as far as that is known: see [`DelayQueue::wants_recount`].
    pub lost: DelayCount,
}

/// See the module's head.
#[derive(Debug)]
pub struct DelayQueue {
    pub(super) fs: Arc<dyn FileSystem>,
    pub(super) dir: PathBuf,
    pub(super) options: DelayOptions,
    pub(super) log: DelayLog,
    pub(super) buckets: Buckets,
    pub(super) partitions: Partitions,
    pub(super) wheel: TimingWheel,
    /// Partitions with something ready.
    pub(super) active: BTreeSet<u32>,
    /// The partition that was served last.
    pub(super) served: u32,
    /// Records that are ready or handed out.
    pub(super) out_of_wheel: usize,
    pub(super) tombstones: Tombstones,
    pub(super) producers: DelayProducers,
    pub(super) paused: HashSet<Uuid>,
    pub(super) next_ticket: u64,
    /// Tickets below it were counted by the checkpoint the store was opened with.
    pub(super) counted_ticket: u64,
    /// Records before this position of the delay log are in buckets, if they are far.
    pub(super) spilled: u64,
    pub(super) unspilled: Unspilled,
    /// When far records were copied last, ms since 1970.
    pub(super) spilled_ms: u64,
    /// See [`DelayTotals`].
    pub(super) spilled_records: u64,
    /// See [`DelayTotals`].
    pub(super) promoted_records: u64,
    /// When the queue was asked last for what is due, ms since 1970.
    pub(super) fired_ms: u64,
    pub(super) checkpoint_sequence: u64,
    /// What was found to be damaged.
    pub(super) damages: Damages,
    /// Damage took records that count as pending still.
    pub(super) uncounted: bool,
    /// What damage took since the start, as far as it counted as pending.
    pub(super) lost: DelayCount,
    pub(super) offline: bool,
}

impl DelayQueue {
    /// Writes a group to the delay log. It survives the death of the process from here on, and a power
    /// cut once [`DelayQueue::durable`] has reached its end. An error means that nothing was accepted.
    ///
    /// # Errors
    /// `InvalidRecord` for an id that is too long or a time that is too far; `QueueFull` where there are
    /// too many cancellations; `DiskFull`, which passes; `Io`, after which the queue is offline.
    pub fn accept(&mut self, group: &DelayGroup, now_ms: i64) -> Result<Accepted, StorageError> {
        self.check_online()?;
        self.check_group(group)?;
        let now = unsigned_ms(now_ms);
        let (number, is_new) = self.partitions.number(group.partition);
        if is_new {
            self.partitions.get_mut(number).scan_from = group.log_end;
        }
        let first_ticket = self.next_ticket;
        let room = self
            .options
            .near_records_max
            .saturating_sub(self.near_records());
        let (mut partition, mut floor) =
            (group.partition, self.partitions.get(number).handed.due_ms);
        let mut near = 0;
        let mut records = Vec::with_capacity(group.operations.len());
        for (ticket, operation) in (first_ticket..).zip(&group.operations) {
            if let DelayOperation::Toward {
                partition: next,
                log_end,
            } = operation
            {
                let (number, is_new) = self.partitions.number(*next);
                if is_new {
                    self.partitions.get_mut(number).scan_from = *log_end;
                }
                (partition, floor) = (*next, self.partitions.get(number).handed.due_ms);
            }
            let mut record = record_of(partition, ticket, operation);
            record.key.due_ms = record.key.due_ms.max(floor);
            if record.kind == Kind::Add {
                let is_near = record.key.due_ms < now.saturating_add(self.options.near_ms);
                match is_near && near < room {
                    true => near += 1,
                    false => record.flags |= FLAG_FAR,
                }
            }
            records.push(record);
        }
        let fields = GroupFields {
            producer: group.producer,
            log_end: group.log_end,
            accepted_ms: now_ms,
        };
        self.append(&fields, &records)?;
        if let Some(producer) = group.producer {
            self.producers.note(number, producer, now_ms);
        }
        Ok(Accepted {
            first_ticket,
            end: self.log.end(),
        })
    }

    fn check_group(&self, group: &DelayGroup) -> Result<(), StorageError> {
        let mut tombstones = self.tombstones.len();
        for operation in &group.operations {
            let (id, due_ms) = match operation {
                DelayOperation::Add(add) => {
                    tombstones += usize::from(add.replace);
                    (&add.id, unsigned_ms(add.due_ms))
                }
                DelayOperation::Cancel { id } => {
                    tombstones += 1;
                    (id, 0)
                }
                DelayOperation::CancelOne { .. } => {
                    tombstones += 1;
                    continue;
                }
                // Forgotten as soon as the record is passed over.
                DelayOperation::Expire { .. }
                | DelayOperation::Toward { .. }
                | DelayOperation::Immediate { .. } => continue,
            };
            if id.len() > DELAY_ID_LEN_MAX {
                let reason = format!("delay-id has more than {DELAY_ID_LEN_MAX} bytes");
                return Err(StorageError::invalid_record(reason));
            }
            if due_ms > DUE_MS_MAX {
                return Err(StorageError::invalid_record(format!("due at {due_ms}")));
            }
        }
        if tombstones > self.options.tombstones_max && tombstones > self.tombstones.len() {
            return Err(StorageError::QueueFull);
        }
        // Tickets last for two years at a million a second.
        match group.operations.len() as u64 <= TICKET_MAX.saturating_sub(self.next_ticket) {
            true => Ok(()),
            false => Err(StorageError::QueueFull),
        }
    }

    /// Writes records to the delay log and takes them in.
    pub(super) fn append(
        &mut self,
        fields: &GroupFields,
        records: &[Record],
    ) -> Result<(), StorageError> {
        let position = self.latched(|queue| queue.log.next_position(queue.next_ticket))?;
        let (bytes, places) = encode_group(fields, records, self.log.salt, position);
        self.latched(|queue| queue.log.append(&bytes).map(|_| ()))?;
        self.next_ticket += records.len() as u64;
        for (record, (at, len)) in records.iter().zip(places) {
            let (number, _) = self.partitions.number(record.partition);
            self.take_in(number, record, position + at, len);
        }
        Ok(())
    }

    /// Puts a record of the delay log, which lies at `place`, into memory.
    fn take_in(&mut self, number: u32, record: &Record, place: u64, len: u32) {
        match record.kind {
            Kind::Add => {
                self.partitions.count_in(number, record.count(len.into()));
                self.apply_replace(number, record);
                self.note_latest(number, record);
                if record.is_far() {
                    self.unspilled.add(record.key.due_ms);
                } else {
                    self.hold_in_log(number, record.key, place);
                    self.insert_near(entry_of(number, record.key, (place, len), record.target));
                }
            }
            Kind::CancelId => self.cancel_id(number, record),
            Kind::CancelTicket => {
                self.tombstones.cancel(number, cancelled_by(record));
            }
            Kind::Pause => drop(self.paused.insert(record.partition.topic_id)),
            Kind::Resume => drop(self.paused.remove(&record.partition.topic_id)),
            Kind::Immediate => self.hold_immediate(number, record, place),
            Kind::Drop => self.bury(number, record, place),
            Kind::Toward => {}
        }
    }

    /// A record has expired: for good once that is on the disk, unless it was passed over at once.
    fn bury(&mut self, number: u32, drop: &Record, place: u64) {
        let key = cancelled_key(drop);
        let state = self.partitions.get_mut(number);
        if key > state.handed {
            state.buried.insert(key, drop.key.ticket);
            // Whoever meets the record again has to meet this as well.
            self.hold_in_log(number, key, place);
        }
    }

    /// What an added record takes the place of.
    pub(super) fn apply_replace(&mut self, number: u32, record: &Record) {
        if record.flags & FLAG_REPLACE != 0 {
            self.cancel_id(number, record);
        }
    }

    /// Cancels what has the id of a record and came before it.
    pub(super) fn cancel_id(&mut self, number: u32, record: &Record) {
        let latest_ms = self.partitions.get(number).latest_ms;
        let (id, ticket) = (&record.id, record.key.ticket);
        self.tombstones.cancel_id(number, id, ticket, latest_ms);
    }

    /// A record is pending.
    pub(super) fn note_latest(&mut self, number: u32, record: &Record) {
        let state = self.partitions.get_mut(number);
        state.latest_ms = state.latest_ms.max(record.key.due_ms);
    }

    /// The file that holds the position has to stay until the record is delivered.
    pub(super) fn hold_in_log(&mut self, number: u32, key: DelayKey, place: u64) {
        if let Some(segment) = self.log.segment_at_mut(place) {
            segment.holding.add(number, key);
        }
    }

    /// The file that holds the position has to stay until what was appended at once is durable.
    pub(super) fn hold_immediate(&mut self, number: u32, record: &Record, place: u64) {
        let end = record.target.cast_signed().saturating_add(1);
        if let Some(segment) = self.log.segment_at_mut(place) {
            let needed = segment.immediate.entry(number).or_insert(end);
            *needed = end.max(*needed);
        }
    }

    /// Puts a record into the wheel, or among those that are due.
    pub(super) fn insert_near(&mut self, entry: WheelEntry) {
        if let Err(entry) = self.wheel.insert(entry) {
            self.make_ready(entry);
        }
    }

    /// The time of a record has come, by the clock as it once was.
    pub(super) fn make_ready(&mut self, entry: WheelEntry) {
        if self.partitions.get_mut(entry.partition).push_ready(entry) {
            self.out_of_wheel += 1;
            self.active.insert(entry.partition);
        }
    }

    /// Records have left the queue, appended or passed over.
    pub(super) fn note_settled(&mut self, number: u32, settled: Settled) {
        self.out_of_wheel -= settled.entries;
        self.partitions.count_out(number, settled.count);
    }

    /// Records in memory.
    pub(super) fn near_records(&self) -> usize {
        self.wheel.len() + self.out_of_wheel
    }

    /// What has to be synced before those who wait are answered; `None` where nothing has to.
    #[must_use]
    pub fn sync_work(&self) -> Option<DelaySync> {
        self.log.sync_work(self.next_ticket)
    }

    /// [`DelaySync::run`] has returned; an error takes the queue offline.
    pub fn synced(&mut self, sync: &DelaySync, outcome: &Result<(), StorageError>) {
        match outcome {
            Ok(()) => self.note_synced(sync),
            Err(_) => self.offline = true,
        }
    }

    /// A round of syncing is over.
    pub(super) fn note_synced(&mut self, sync: &DelaySync) {
        self.log.synced(sync.end);
        self.tombstones.synced(sync.next_ticket);
    }

    /// The position of the delay log up to which groups are durable.
    #[must_use]
    pub fn durable(&self) -> u64 {
        self.log.durable
    }

    /// The position behind everything that was accepted.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.log.end()
    }

    /// Where its files lie.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether a write or sync failed. Nothing is accepted or handed out any more.
    #[must_use]
    pub fn is_offline(&self) -> bool {
        self.offline
    }

    pub(super) fn check_online(&self) -> Result<(), StorageError> {
        match self.offline {
            true => Err(StorageError::LogDirOffline {
                dir: self.dir.clone(),
            }),
            false => Ok(()),
        }
    }

    /// Runs a step that writes; an error that does not pass takes the queue offline.
    pub(super) fn latched<T>(
        &mut self,
        step: impl FnOnce(&mut Self) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let outcome = step(self);
        self.offline |= outcome.as_ref().is_err_and(|error| !error.passes());
        outcome
    }

    /// Whether a record that is due at once would overtake one of the partition that is due already: then
    /// it is to be accepted here, with a due time in the past, and queues up.
    #[must_use]
    pub fn has_overdue(&self, partition: PartitionId) -> bool {
        let number = self.partitions.find(partition);
        number.is_some_and(|number| {
            let state = self.partitions.get(number);
            !state.ready.is_empty() || !state.in_flight.is_empty()
        })
    }

    /// Stops or starts the delivery of a topic's records; accepted like a group.
    ///
    /// # Errors
    /// As [`DelayQueue::accept`].
    pub fn set_paused(
        &mut self,
        topic_id: Uuid,
        paused: bool,
        now_ms: i64,
    ) -> Result<Accepted, StorageError> {
        self.check_online()?;
        let partition = PartitionId {
            topic_id,
            partition: -1,
        };
        let mut record = plain_record(partition, self.next_ticket);
        record.kind = if paused { Kind::Pause } else { Kind::Resume };
        self.append(&own_group(now_ms), &[record])?;
        Ok(Accepted {
            first_ticket: self.next_ticket - 1,
            end: self.log.end(),
        })
    }

    /// Forgets what is pending for a topic that was deleted.
    pub fn forget_topic(&mut self, topic_id: Uuid) {
        self.out_of_wheel -= self.partitions.forget_topic(topic_id);
        self.tombstones.forget_gone(&self.partitions);
        self.paused.remove(&topic_id);
    }

    /// What the queue holds.
    #[must_use]
    pub fn totals(&self) -> DelayTotals {
        let mut pending = DelayCount::default();
        for state in &self.partitions.states {
            pending.join(state.pending);
        }
        DelayTotals {
            pending,
            near_records: self.near_records(),
            tombstones: self.tombstones.len(),
            buckets: self.buckets.all.len(),
            spill_lag_bytes: self.log.end().saturating_sub(self.spilled),
            spilled_records: self.spilled_records,
            promoted_records: self.promoted_records,
            damaged: self.damages.places,
            damaged_bytes: self.damages.bytes,
            lost: self.lost,
        }
    }

    /// What is accepted now for a partition is due then at the earliest, ms since 1970.
    #[must_use]
    pub fn earliest_ms(&self, partition: PartitionId) -> i64 {
        let number = self.partitions.find(partition);
        number.map_or(0, |number| {
            self.partitions.get(number).handed.due_ms.cast_signed()
        })
    }

    /// Whether nothing waits to be delivered.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let unspilled = self.unspilled.least() != u64::MAX;
        self.near_records() == 0 && self.buckets.all.is_empty() && !unspilled
    }

    /// The partitions that it ever had something for, as far as they exist.
    pub fn partitions(&self) -> impl Iterator<Item = PartitionId> {
        let states = self.partitions.states.iter();
        states
            .filter(|state| !state.gone && state.id.partition >= 0)
            .map(|state| state.id)
    }

    /// The offset in the partition's log before which no batch has a key above the cursor of the last
    /// checkpoint: a start looks from there on for what was delivered.
    #[must_use]
    pub fn scans_from(&self, partition: PartitionId) -> i64 {
        let number = self.partitions.find(partition);
        number.map_or(0, |number| self.partitions.get(number).scan_from)
    }

    /// What is pending for a partition.
    #[must_use]
    pub fn pending(&self, partition: PartitionId) -> DelayCount {
        let number = self.partitions.find(partition);
        number.map_or(DelayCount::default(), |number| {
            self.partitions.get(number).pending
        })
    }

    /// What is pending for all partitions of a topic.
    #[must_use]
    pub fn pending_of_topic(&self, topic_id: Uuid) -> DelayCount {
        self.partitions.pending_of(topic_id)
    }

    /// When to call [`DelayQueue::fire`] or [`DelayQueue::maintain`] next, ms since 1970; `None` where
    /// nothing is pending. What was due at the last call and waits for an answer, a sync or maintenance is
    /// left out.
    #[must_use]
    pub fn next_wake_ms(&self) -> Option<i64> {
        let ready = self.active.iter().filter_map(|number| {
            let state = self.partitions.get(*number);
            let free = state.in_flight.is_empty() && !self.paused.contains(&state.id.topic_id);
            let first = state.ready.front().filter(|_| free);
            first.map(|entry| entry.due_ms.max(state.retry_ms))
        });
        let load = |start_ms: u64| start_ms.saturating_sub(LOAD_AHEAD_MS);
        let unspilled = self.unspilled.least();
        let times = ready
            .chain(self.wheel.next_ms())
            .chain(
                self.buckets
                    .first_waiting()
                    .map(|(_, start_ms)| load(start_ms)),
            )
            .chain((unspilled != u64::MAX).then(|| load(unspilled)));
        let ahead = times.filter(|time_ms| *time_ms > self.fired_ms);
        ahead.min().map(u64::cast_signed)
    }
}

/// The key that a cancellation of one record names.
fn cancelled_key(record: &Record) -> DelayKey {
    DelayKey {
        due_ms: record.key.due_ms,
        ticket: record.target,
    }
}

/// What a record that cancels one other says.
pub(super) fn cancelled_by(record: &Record) -> Cancelled {
    Cancelled {
        key: cancelled_key(record),
        records: record.expires_ms.max(1),
        by: record.key.ticket,
    }
}

/// What is said of a group that the queue makes itself.
pub(super) fn own_group(now_ms: i64) -> GroupFields {
    GroupFields {
        producer: None,
        log_end: 0,
        accepted_ms: now_ms,
    }
}
