//! Handing out what is due.

use super::buckets::BUCKET_IDS;
use super::damage::DelayDamage;
use super::delay_log::{parse_record, read_record};
use super::group::{about, plain_record};
use super::key::{DUE_MS_MAX, DelayKey, PartitionId, unsigned_ms};
use super::partitions::{RETRY_MS, count_of, key_of};
use super::pending::PendingRecord;
use super::queue::{DelayQueue, own_group};
use super::read_ahead::ReadAhead;
use super::record::{Kind, Record};
use super::tombstones::Hit;
use super::turn::{DueBatch, Turn};
use super::wheel::WheelEntry;
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

/// The bucket in which a record lies, and its position there.
fn bucket_place(place: u64) -> (u64, u64) {
    let id = (place & !IN_BUCKET) >> POSITION_BITS;
    (id, (place & ((1 << POSITION_BITS) - 1)) * 8)
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
    /// Records that were due and have expired, of partitions that keep such records. Their partitions wait until the
    /// delay log says of each what becomes of it ([`PendingRecord::expired`]), and get what comes behind then.
    pub kept: Vec<PendingRecord>,
    /// Records that were due and cannot be read.
    pub damaged: Vec<DamagedRecord>,
    /// Something is due that is not durable yet, or something that says that it is not: sync, and call again.
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

/// What becomes of a record that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Delivered,
    /// It cannot be read.
    Damaged,
    Cancelled,
    Expired,
    /// It has expired, and the delay log says so.
    Buried,
    /// The delay log says that it is not to be delivered, and a power cut could undo that: what comes in its place
    /// would be lost as well.
    Waits,
}

/// By which time what is due, and of which partitions expired records are kept.
struct Asked<'a> {
    now_ms: i64,
    keeps_expired: &'a dyn Fn(PartitionId) -> bool,
    bound: Option<DelayKey>,
}

impl Asked<'_> {
    fn now(&self) -> u64 {
        unsigned_ms(self.now_ms)
    }

    /// Whether a record with this key can come by now.
    fn is_due(&self, key: DelayKey) -> bool {
        key.due_ms <= self.now() && self.bound.is_none_or(|bound| key < bound)
    }
}

impl DelayQueue {
    /// As [`DelayQueue::fire_keeping`], with nothing kept.
    ///
    /// # Errors
    /// Those of it.
    pub fn fire(&mut self, now_ms: i64) -> Result<Fired, StorageError> {
        self.fire_keeping(now_ms, &|_| false)
    }

    /// Hands out what is due at `now_ms`, ms since 1970: for each partition in the order of keys, at most a
    /// turn of records and bytes. Each delivery has to be answered by [`DelayQueue::delivered`] or
    /// [`DelayQueue::delivery_failed`]. What has expired is passed over, unless its partition keeps it
    /// ([`Fired::kept`]).
    ///
    /// # Errors
    /// `LogDirOffline`. For what concerns one partition only see [`Fired::error`].
    pub fn fire_keeping(
        &mut self,
        now_ms: i64,
        keeps_expired: &dyn Fn(PartitionId) -> bool,
    ) -> Result<Fired, StorageError> {
        self.check_online()?;
        let now = unsigned_ms(now_ms).min(DUE_MS_MAX);
        self.fired_ms = now;
        self.turn_wheel(now);
        let asked = Asked {
            now_ms,
            keeps_expired,
            bound: self.bound(),
        };
        let mut fired = Fired {
            wants_maintenance: asked.bound.is_some_and(|bound| bound.due_ms <= now),
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
            match self.fire_partition(number, &asked, &mut fired) {
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
        asked: &Asked<'_>,
        fired: &mut Fired,
    ) -> Result<usize, StorageError> {
        let now = asked.now();
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
        let (mut turn, mut ahead) = (Turn::default(), ReadAhead::default());
        let (mut records, mut bytes) = (0, 0);
        while let Some(entry) = self.partitions.get(number).ready.front().copied() {
            if !asked.is_due(key_of(&entry)) {
                break;
            }
            if !self.is_durable(&entry) {
                fired.wants_sync = true;
                break;
            }
            if records >= self.options.turn_records_max || bytes >= self.options.turn_bytes_max {
                fired.more = true;
                break;
            }
            let record = self.read_first(&entry, &mut ahead)?;
            let fate = self.fate_at(number, record.as_ref(), now);
            if fate == Fate::Waits {
                fired.wants_sync = true;
                break;
            }
            if fate == Fate::Expired && (asked.keeps_expired)(id) {
                bytes += self.keep_expired(number, asked, fired)?;
                break;
            }
            self.partitions.get_mut(number).hand_out();
            (records, bytes) = (records + 1, bytes + entry.len as usize);
            self.take_turn(&entry, record, fate, &mut turn, fired);
        }
        turn.finish();
        if records > 0 {
            self.finish_turn(number, turn, asked.now_ms, fired)?;
        }
        Ok(bytes)
    }

    /// Whether a power cut leaves a record.
    fn is_durable(&self, entry: &WheelEntry) -> bool {
        entry.place & IN_BUCKET != 0 || entry.place < self.log.durable
    }

    /// What becomes of a record that is due.
    fn fate_at(&self, number: u32, record: Option<&Record>, now: u64) -> Fate {
        let Some(record) = record else {
            return Fate::Damaged;
        };
        let buried = self.partitions.get(number).buried.get(&record.key);
        let has_expired = record.expires_ms != 0 && record.expires_ms <= now;
        match (buried, self.tombstones.hit(number, record)) {
            (Some(by), _) if self.tombstones.is_synced(*by) => Fate::Buried,
            (Some(_), _) | (None, Hit::Unsynced) => Fate::Waits,
            (None, Hit::Synced) => Fate::Cancelled,
            (None, Hit::No) if has_expired => Fate::Expired,
            (None, Hit::No) => Fate::Delivered,
        }
    }

    /// Hands out, for whoever keeps it, what of a partition is due and has expired: as much of it as is looked at in a
    /// turn, so that the partition waits for one sync and not for each of them. How many bytes it is.
    fn keep_expired(
        &mut self,
        number: u32,
        asked: &Asked<'_>,
        fired: &mut Fired,
    ) -> Result<usize, StorageError> {
        let ready = self.partitions.get(number).ready.iter();
        let first = ready.take(self.options.turn_records_max);
        let due: Vec<WheelEntry> = first
            .take_while(|entry| asked.is_due(key_of(entry)) && self.is_durable(entry))
            .copied()
            .collect();
        let mut bytes = 0;
        for entry in due {
            if bytes >= self.options.turn_bytes_max {
                break;
            }
            bytes += entry.len as usize;
            if let Some(record) = self.read_place(&entry)?
                && self.fate_at(number, Some(&record), asked.now()) == Fate::Expired
            {
                fired.kept.push(PendingRecord::of(&record));
            }
        }
        Ok(bytes)
    }

    /// Takes a record into the turn in which it is handed out.
    fn take_turn(
        &mut self,
        entry: &WheelEntry,
        record: Option<Record>,
        fate: Fate,
        turn: &mut Turn,
        fired: &mut Fired,
    ) {
        let (partition, key) = (self.partitions.get(entry.partition).id, key_of(entry));
        match (fate, record) {
            (Fate::Cancelled, _) => fired.cancelled += 1,
            (Fate::Buried, _) => fired.expired += 1,
            (Fate::Expired, _) => turn.expired.push(key),
            (Fate::Delivered, Some(record)) if turn.put(&record).is_ok() => {}
            // It was a batch when it was accepted.
            _ => {
                if self.note_damage(entry) {
                    self.lost.join(count_of(entry));
                }
                fired.damaged.push(DamagedRecord { partition, key });
            }
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
            .map(|(ticket, key)| about(*key, Kind::Drop, plain_record(partition, ticket)))
            .collect();
        self.append(&own_group(now_ms), &records)
    }

    /// The record of an entry; `None` where its bytes are damaged.
    pub(super) fn read_entry(
        &mut self,
        entry: &WheelEntry,
    ) -> Result<Option<Record>, StorageError> {
        let record = self.read_place(entry)?;
        if record.is_none() {
            self.note_damage(entry);
        }
        Ok(record)
    }

    /// As [`DelayQueue::read_entry`], for one that will be read once more: damage is not counted.
    fn read_place(&mut self, entry: &WheelEntry) -> Result<Option<Record>, StorageError> {
        let read = if entry.place & IN_BUCKET == 0 {
            self.log.read(entry.place, entry.len)?
        } else {
            let (id, position) = bucket_place(entry.place);
            let (path, file) = self.buckets.open_file(id)?;
            read_record(
                &path,
                file.as_ref(),
                self.log.salt,
                (0, position),
                entry.len,
            )?
        };
        Ok(read.filter(|record| record.key.ticket == key_of(entry).ticket))
    }

    /// As [`DelayQueue::read_place`], for the first of a partition that is ready: with what lies behind it and comes
    /// next, as far as that is read in one piece.
    fn read_first(
        &mut self,
        entry: &WheelEntry,
        ahead: &mut ReadAhead,
    ) -> Result<Option<Record>, StorageError> {
        if ahead.bytes_of(entry).is_none() {
            let ready = &self.partitions.get(entry.partition).ready;
            *ahead = self.log.read_ahead(ready).unwrap_or_default();
        }
        match ahead.bytes_of(entry) {
            Some(bytes) => {
                let read = parse_record(self.log.salt, entry.place, bytes);
                Ok(read.filter(|record| record.key.ticket == key_of(entry).ticket))
            }
            // It is alone, or the piece cannot be read.
            None => self.read_place(entry),
        }
    }

    /// Notes that the bytes of an entry are damaged, which is passed over and not counted as pending then; whether
    /// that is new: what comes due together with it may be refused, and is handed out again with it.
    fn note_damage(&mut self, entry: &WheelEntry) -> bool {
        let (path, from) = if entry.place & IN_BUCKET == 0 {
            let Some(segment) = self.log.segment_at_mut(entry.place) else {
                return true;
            };
            segment.damaged = true;
            (segment.path.clone(), entry.place - segment.base)
        } else {
            let (id, position) = bucket_place(entry.place);
            let Some(bucket) = self.buckets.all.get_mut(&id) else {
                return true;
            };
            bucket.damaged = true;
            (bucket.path(&self.buckets.dir), position)
        };
        let to = from + u64::from(entry.len);
        self.damages.note(DelayDamage::new(&path, from, to))
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
