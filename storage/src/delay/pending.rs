//! Looking at what is pending. Memory knows little of a record that is due later, so the files are read: the
//! delay log, and those buckets that may hold what is asked for. That takes no lock: what to read is noted
//! under the queue's lock ([`DelayQueue::look`], [`DelayQueue::look_for`]), and a file that has gone meanwhile makes
//! the look begin anew.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use tidewheel_config::limits::{DELAY_LIST_BYTES_MAX, DELAY_LIST_MAX};
use tidewheel_protocol::{Compression, Uuid};

use super::group::{CODEC_SHIFT, DelayOperation, DelayedBatch, records_in};
use super::key::{DUE_MS_MAX, DelayKey, PartitionId};
use super::partitions::{DelayCount, key_of};
use super::queue::DelayQueue;
use super::record::{FLAG_SPLIT, Kind, Record, parse_group};
use super::scan::{BlockScan, FILE_HEAD_LEN, Found};
use super::tombstones::Tombstones;
use super::wheel::{Search, WheelEntry};
use crate::error::StorageError;
use crate::fs::FileSystem;

/// Records of a slot of the wheel that are looked at in one go; each may be a cache miss.
const FIND_IN_SLOT: usize = 4_096;
/// Places of the wheel's memory that are: 512 KiB in a row.
const FIND_AT_ONCE: usize = 16_384;

/// How far a search for one record is, see [`DelayQueue::look_for`].
#[derive(Debug, Default)]
pub struct PendingSearch {
    /// The place of the wheel's memory where it goes on; `None` before the first step.
    place: Option<usize>,
}

/// Which pending records to look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingQuery {
    /// Of this topic.
    pub topic_id: Uuid,
    /// Of this partition only.
    pub partition: Option<i32>,
    /// With a greater key.
    pub after: DelayKey,
    /// Due then or before, ms since 1970.
    pub until_ms: u64,
    /// At most so many, and at most [`DELAY_LIST_MAX`]: those with the least keys.
    pub count: usize,
}

impl PendingQuery {
    /// The one record with this key.
    #[must_use]
    pub fn one(partition: PartitionId, key: DelayKey) -> Self {
        Self {
            topic_id: partition.topic_id,
            partition: Some(partition.partition),
            after: DelayKey {
                ticket: key.ticket.saturating_sub(1),
                ..key
            },
            until_ms: key.due_ms,
            count: 1,
        }
    }

    /// All records of a topic, the first of them.
    #[must_use]
    pub fn all(topic_id: Uuid) -> Self {
        Self {
            topic_id,
            partition: None,
            after: DelayKey::default(),
            until_ms: DUE_MS_MAX,
            count: DELAY_LIST_MAX,
        }
    }
}

/// A pending record of the delay store; it may hold a whole batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingRecord {
    /// Where it goes.
    pub partition: PartitionId,
    /// When it is due, and its ticket: both together name it.
    pub key: DelayKey,
    /// What will become of it.
    pub add: DelayedBatch,
}

impl PendingRecord {
    pub(super) fn of(record: &Record) -> Self {
        let codec = Compression::from_attributes(i16::from(record.flags >> CODEC_SHIFT));
        let expires_ms = (record.expires_ms != 0).then(|| record.expires_ms.cast_signed());
        Self {
            partition: record.partition,
            key: record.key,
            add: DelayedBatch {
                due_ms: record.key.due_ms.cast_signed(),
                expires_ms,
                // Slices of what was read, which is more.
                id: Bytes::copy_from_slice(&record.id),
                replace: false,
                split_from: codec.ok().filter(|_| record.flags & FLAG_SPLIT != 0),
                batch: Bytes::copy_from_slice(&record.payload),
            },
        }
    }

    /// What takes its place, due at another time.
    #[must_use]
    pub fn moved_to(&self, due_ms: i64) -> [DelayOperation; 2] {
        let add = DelayedBatch {
            due_ms,
            ..self.add.clone()
        };
        [self.cancelled(), DelayOperation::Add(add)]
    }

    /// What says that it has expired.
    #[must_use]
    pub fn expired(&self) -> DelayOperation {
        DelayOperation::Expire { key: self.key }
    }

    /// What cancels it.
    #[must_use]
    pub fn cancelled(&self) -> DelayOperation {
        DelayOperation::CancelOne {
            key: self.key,
            records: records_in(&self.add.batch),
        }
    }
}

/// What became of a pending record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PendingFate {
    /// Nothing yet.
    Pending,
    /// It was cancelled or replaced, it expired, or its topic is gone.
    Cancelled,
    /// It was handed out.
    Delivered,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PendingPage {
    /// In the order of their keys.
    pub records: Vec<PendingRecord>,
    /// There may be more behind the last one. Without any, the look was late before one was certain.
    pub more: bool,
}

/// A look at what is pending, to be run without the queue's lock.
#[derive(Debug)]
pub struct PendingLook {
    query: PendingQuery,
    fs: Arc<dyn FileSystem>,
    salt: u64,
    /// Partitions of the topic: their numbers and cursors.
    partitions: HashMap<PartitionId, (u32, DelayKey)>,
    tombstones: Tombstones,
    /// Keys of records that expired and are not passed over yet.
    buried: HashSet<DelayKey>,
    log: Vec<BlockScan>,
    /// Far records of the log before it are in buckets.
    spilled: u64,
    /// First ms, path and length, by the first ms.
    buckets: Vec<(u64, PathBuf, u64)>,
    found: BTreeMap<DelayKey, PendingRecord>,
    found_bytes: usize,
    more: bool,
}

impl DelayQueue {
    /// Notes what has to be read to answer a query.
    #[must_use]
    pub fn look(&self, query: PendingQuery) -> PendingLook {
        self.look_from(query, 0)
    }

    /// Notes what has to be read to find the one record with a key. Where memory knows its place it is read at
    /// once; otherwise it lies in the bucket of its time, or in what is still to be copied to one. `None` where
    /// memory holds more than is looked at in one go: call again with the same search, after others had the queue.
    ///
    /// # Errors
    /// `Io`.
    pub fn look_for(
        &mut self,
        partition: PartitionId,
        key: DelayKey,
        search: &mut PendingSearch,
    ) -> Result<Option<PendingLook>, StorageError> {
        let near = self.near_entry(partition, key, search);
        if near == Search::Unfinished {
            return Ok(None);
        }
        let mut look = self.look_from(PendingQuery::one(partition, key), self.spilled);
        if let Search::Found(entry) = near {
            look.log.clear();
            look.buckets.clear();
            if let Some(record) = self.read_entry(&entry)? {
                look.take(&record);
            }
        }
        Ok(Some(look))
    }

    /// The entry of a record that hangs in memory. In the wheel only its slot is known, in which all the others
    /// may hang as well: then it is looked for by places.
    fn near_entry(
        &self,
        partition: PartitionId,
        key: DelayKey,
        search: &mut PendingSearch,
    ) -> Search {
        let Some(number) = self.partitions.find(partition) else {
            return Search::Missing;
        };
        // At every step: it may have become due since the last one.
        let ready = &self.partitions.get(number).ready;
        if let Ok(at) = ready.binary_search_by_key(&key, key_of) {
            return ready
                .get(at)
                .copied()
                .map_or(Search::Missing, Search::Found);
        }
        let wanted = |entry: &WheelEntry| entry.partition == number && key_of(entry) == key;
        match search.place {
            None => {
                search.place = Some(0);
                self.wheel.find(key.due_ms, FIND_IN_SLOT, wanted)
            }
            Some(from) => {
                let to = from + FIND_AT_ONCE;
                search.place = Some(to);
                self.wheel.find_in(from..to, wanted)
            }
        }
    }

    /// As [`DelayQueue::look`], but the delay log from a position on only.
    fn look_from(&self, query: PendingQuery, position: u64) -> PendingLook {
        let states = (0..).zip(&self.partitions.states);
        let wanted = states.filter(|(_, state)| {
            let in_partition = query.partition.is_none_or(|at| state.id.partition == at);
            !state.gone && state.id.topic_id == query.topic_id && in_partition
        });
        let partitions: HashMap<_, _> = wanted
            .map(|(number, state)| (state.id, (number, state.cursor)))
            .collect();
        let states = partitions.values();
        let buried = states.flat_map(|(number, _)| self.partitions.get(*number).buried.keys());
        let buried = buried.copied().collect();
        let numbers: HashSet<u32> = partitions.values().map(|(number, _)| *number).collect();
        let spans = self.buckets.all.values().filter(|bucket| {
            let last_ms = bucket.span.start_ms.saturating_add(bucket.span.width.ms());
            bucket.count > 0
                && bucket.span.start_ms <= query.until_ms
                && last_ms > query.after.due_ms
        });
        let dir = &self.buckets.dir;
        let mut buckets: Vec<_> = spans
            .map(|bucket| (bucket.span.start_ms, bucket.path(dir), bucket.len))
            .collect();
        buckets.sort_unstable();
        let segments = self.log.segments.iter().enumerate();
        let read = segments.filter(|(_, segment)| segment.end() > position);
        PendingLook {
            query: PendingQuery {
                count: query.count.min(DELAY_LIST_MAX),
                ..query
            },
            fs: Arc::clone(&self.fs),
            salt: self.log.salt,
            partitions,
            tombstones: self.tombstones.of(&numbers),
            buried,
            log: read
                .map(|(at, segment)| self.log.scan(at, segment.base.max(position)))
                .collect(),
            spilled: self.spilled,
            buckets,
            found: BTreeMap::new(),
            found_bytes: 0,
            more: false,
        }
    }

    /// What became of a record since a look found it.
    #[must_use]
    pub fn fate_of(&self, found: &PendingRecord) -> PendingFate {
        let Some(number) = self.partitions.find(found.partition) else {
            return PendingFate::Cancelled;
        };
        let state = self.partitions.get(number);
        let (ticket, id) = (found.key.ticket, &found.add.id);
        if found.key <= state.handed {
            PendingFate::Delivered
        } else if state.gone
            || state.buried.contains_key(&found.key)
            || self.tombstones.hits(number, ticket, id)
        {
            PendingFate::Cancelled
        } else {
            PendingFate::Pending
        }
    }

    /// Whether the delivery of a topic's records is stopped.
    #[must_use]
    pub fn is_paused(&self, topic_id: Uuid) -> bool {
        self.paused.contains(&topic_id)
    }

    /// What is pending, by topic.
    pub fn pending_topics(&self) -> impl Iterator<Item = (Uuid, DelayCount)> {
        self.partitions.pending_topics()
    }
}

impl PendingLook {
    /// Reads; `None` where a file has gone: then look anew. Once it is late, which is asked at every block, it ends
    /// with the records that are certain to be the first: those due before the file it was at. While it reads the
    /// delay log there are none.
    ///
    /// # Errors
    /// `Io`. What is damaged is left out.
    pub fn run(mut self, is_late: impl Fn() -> bool) -> Result<Option<PendingPage>, StorageError> {
        if self.partitions.is_empty() || self.query.count == 0 {
            return Ok(Some(PendingPage::default()));
        }
        if !self.read_log(&is_late)? {
            return Ok(Some(self.due_before(0)));
        }
        for (start_ms, path, len) in std::mem::take(&mut self.buckets) {
            let is_full = self.found.len() >= self.query.count || self.more;
            let last = self.found.last_key_value().map(|(key, _)| key.due_ms);
            if is_full && last.is_some_and(|last_ms| start_ms > last_ms) {
                self.more = true;
                break;
            }
            let range = (FILE_HEAD_LEN, len);
            let scan = BlockScan::of_records(self.fs.as_ref(), &path, self.salt, range)?;
            let Some(mut scan) = scan else {
                return Ok(None);
            };
            while let Some(found) = scan.next()? {
                if is_late() {
                    return Ok(Some(self.due_before(start_ms)));
                }
                if let Found::Block(_, _, body) = found
                    && let Some(record) = Record::parse(&body)
                {
                    self.take(&record);
                }
            }
        }
        Ok(Some(self.page()))
    }

    /// Whether it was read to its end.
    fn read_log(&mut self, is_late: &impl Fn() -> bool) -> Result<bool, StorageError> {
        for mut scan in std::mem::take(&mut self.log) {
            while let Some(found) = scan.next()? {
                if is_late() {
                    return Ok(false);
                }
                let Found::Block(position, _, body) = found else {
                    continue;
                };
                let group = parse_group(&body, self.salt, position);
                for (place, _, record) in group.iter().flat_map(|group| &group.records) {
                    // The bucket has it as well.
                    if !(record.is_far() && *place < self.spilled) {
                        self.take(record);
                    }
                }
            }
        }
        Ok(true)
    }

    /// What nothing that was not read can come before.
    fn due_before(mut self, due_ms: u64) -> PendingPage {
        self.found.retain(|key, _| key.due_ms < due_ms);
        self.more = true;
        self.page()
    }

    fn page(self) -> PendingPage {
        PendingPage {
            records: self.found.into_values().collect(),
            more: self.more,
        }
    }

    fn take(&mut self, record: &Record) {
        let Some((number, cursor)) = self.partitions.get(&record.partition) else {
            return;
        };
        let (key, query) = (record.key, &self.query);
        let in_range = key > *cursor && key > query.after && key.due_ms <= query.until_ms;
        let is_gone = record.kind != Kind::Add || self.buried.contains(&key);
        if is_gone || !in_range || self.tombstones.hits(*number, key.ticket, &record.id) {
            return;
        }
        let found = PendingRecord::of(record);
        self.found_bytes += found.add.batch.len();
        if let Some(twice) = self.found.insert(key, found) {
            self.found_bytes -= twice.add.batch.len();
        }
        while self.found.len() > query.count
            || (self.found_bytes > DELAY_LIST_BYTES_MAX && self.found.len() > 1)
        {
            let last = self.found.pop_last();
            self.found_bytes -= last.map_or(0, |(_, last)| last.add.batch.len());
            self.more = true;
        }
    }
}

#[cfg(test)]
#[path = "pending_tests.rs"]
mod tests;
