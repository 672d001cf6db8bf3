//! What administrators ask of delayed records, and do to them. Each of these waits for the disk: on the blocking
//! pool only.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tidewheel_config::limits;
use tidewheel_protocol::Uuid;
use tidewheel_storage::StorageError;
use tidewheel_storage::delay::{
    ClockVerdict, DelayCount, DelayGroup, DelayKey, DelayOperation, DelayedBatch, PartitionId,
    PendingFate, PendingLook, PendingPage, PendingQuery, PendingRecord, PendingSearch,
};

use super::admin::{
    DelayedError, DelayedId, DelayedPage, DelayedQuery, DelayedRecord, DelayedTopic,
};
use super::start::partition_of;
use super::{DelayDir, position};
use crate::broker::Broker;
use crate::clock;
use crate::partition::Partition;
use crate::topics::Topic;

fn is_paused(broker: &Broker, topic_id: Uuid) -> bool {
    let dirs = broker.delays().dirs().iter();
    let mut paused = dirs.map(|dir| dir.with(|queue| queue.is_paused(topic_id)));
    paused.any(|paused| paused == Some(true))
}

fn topic_named(broker: &Broker, name: &str) -> Result<Arc<Topic>, DelayedError> {
    let topics = broker.topics();
    let topic = topics.named(name).cloned();
    topic.ok_or_else(|| DelayedError::UnknownTopic(name.to_owned()))
}

/// See [`super::DelayedRecords::topics`].
pub(crate) fn topics(broker: &Broker) -> Vec<DelayedTopic> {
    let mut pending: BTreeMap<[u8; 16], DelayCount> = BTreeMap::new();
    for dir in broker.delays().dirs() {
        dir.with(|queue| {
            for (topic_id, count) in queue.pending_topics() {
                pending.entry(topic_id.0).or_default().join(count);
            }
        });
    }
    let topics = broker.topics();
    let listed = topics.iter().filter_map(|topic| {
        let count = pending.get(&topic.id.0).copied().unwrap_or_default();
        let delay = topic.partitions.first()?.log().config().delay;
        (delay.delays() || count != DelayCount::default()).then(|| DelayedTopic {
            name: Arc::clone(&topic.name),
            mode: delay.mode,
            records: count.records,
            bytes: count.bytes,
            paused: is_paused(broker, topic.id),
        })
    });
    listed.collect()
}

/// See [`super::DelayedRecords::list`].
pub(crate) fn list(broker: &Broker, query: &DelayedQuery) -> Result<DelayedPage, DelayedError> {
    list_until(broker, query, &deadline())
}

/// The same until it is late.
pub(super) fn list_until(
    broker: &Broker,
    query: &DelayedQuery,
    is_late: &impl Fn() -> bool,
) -> Result<DelayedPage, DelayedError> {
    let topic = topic_named(broker, &query.topic)?;
    let all = PendingQuery::all(topic.id);
    let from = DelayKey::first_of(unsigned(query.from_ms.unwrap_or_default()));
    let wanted = PendingQuery {
        partition: query.partition,
        until_ms: query.until_ms.map_or(all.until_ms, unsigned),
        count: query.count.min(all.count),
        ..all
    };
    let home = |after: &DelayedId| {
        let log = topic.partition(after.partition)?.log();
        broker.logs().dir_of(log)
    };
    let after = query.after.as_ref().map(|after| (after, home(after)));
    let (mut found, mut more, mut end) = (Vec::new(), false, None);
    for dir in broker.delays().dirs() {
        let after = after.map_or(from, |(after, home)| {
            let passed = home.is_none_or(|home| dir.number <= home);
            // Each directory counts its own tickets: those behind the page's last may have the same.
            let ticket = after.ticket.saturating_sub(u64::from(!passed));
            key(after.due_ms, ticket).max(from)
        });
        let query = PendingQuery { after, ..wanted };
        let page = look(|| dir.with(|queue| Ok(queue.look(query))), is_late)?;
        if let (true, Some(last)) = (page.more, page.records.last()) {
            // What others have behind it waits for what this one left out.
            let last = (last.key, dir.number);
            end = Some(end.map_or(last, |end: (DelayKey, usize)| end.min(last)));
        }
        more |= page.more;
        let records = page.records.into_iter();
        found.extend(records.map(|record| (record.key, dir.number, record)));
    }
    found.sort_by_key(|(key, dir, _)| (*key, *dir));
    found.retain(|(key, dir, _)| end.is_none_or(|end| (*key, *dir) <= end));
    more |= found.len() > wanted.count;
    found.truncate(wanted.count);
    let records = found.into_iter();
    let records = records.map(|(_, _, found)| record(&query.topic, found));
    Ok(DelayedPage {
        records: records.collect(),
        more,
    })
}

/// See [`super::DelayedRecords::get`].
pub(crate) fn get(broker: &Broker, id: &DelayedId) -> Result<DelayedRecord, DelayedError> {
    Ok(record(&id.topic, Place::of(broker, id)?.find()?))
}

/// See [`super::DelayedRecords::cancel`].
pub(crate) fn cancel(broker: &Broker, id: &DelayedId) -> Result<(), DelayedError> {
    let place = Place::of(broker, id)?;
    let found = place.find()?;
    place.put(&found, vec![found.cancelled()], None).map(drop)
}

/// Cancels those of some records of a topic that are pending still; how many these were, and why it was given up before
/// all of them were looked at, if it was. On disk when it returns.
pub(crate) fn cancel_all(
    broker: &Broker,
    records: &[DelayedRecord],
) -> (usize, Result<(), DelayedError>) {
    let mut by_partition: BTreeMap<i32, Vec<&DelayedRecord>> = BTreeMap::new();
    for record in records {
        let partition = by_partition.entry(record.id.partition).or_default();
        partition.push(record);
    }
    // A sync of each directory in the end, not one for each record.
    let mut ends = BTreeMap::new();
    let (mut cancelled, mut outcome) = (0, Ok(()));
    for records in by_partition.values() {
        let Some(place) = records.first().map(|first| Place::of(broker, &first.id)) else {
            continue;
        };
        let done = place.and_then(|place| Ok((place.cancel_pending(records)?, place.dir)));
        match done {
            Ok(((0, _), _)) => {}
            Ok(((count, end), dir)) => {
                cancelled += count;
                ends.insert(dir.number, (dir, end));
            }
            Err(error) => {
                outcome = Err(error);
                break;
            }
        }
    }
    for (dir, end) in ends.into_values() {
        match dir.make_durable(end) {
            Ok(()) => {}
            // None of them is told to be cancelled: a start may bring them back.
            Err(error) => return (0, Err(error.into())),
        }
    }
    (cancelled, outcome)
}

/// See [`super::DelayedRecords::reschedule`]. `None` in a dry run, which says whether it could be done.
pub(crate) fn reschedule(
    broker: &Broker,
    id: &DelayedId,
    due_ms: i64,
    dry_run: bool,
) -> Result<Option<DelayedId>, DelayedError> {
    let place = Place::of(broker, id)?;
    let max_ms = place.max_ms;
    if due_ms < 0 || due_ms.saturating_sub(place.dir.time.now_ms()) > max_ms {
        return Err(DelayedError::TooFar { max_ms });
    }
    place.move_to(id, due_ms, dry_run)
}

/// See [`super::DelayedRecords::deliver_now`]. `None` in a dry run, as with [`reschedule`].
pub(crate) fn deliver_now(
    broker: &Broker,
    id: &DelayedId,
    dry_run: bool,
) -> Result<Option<DelayedId>, DelayedError> {
    let place = Place::of(broker, id)?;
    let (now_ms, verdict) = place.dir.look_at_clock();
    // It would be due by a clock that nobody believes, and come when that time has really come.
    if verdict != ClockVerdict::Believed {
        return Err(DelayedError::ClockHeld);
    }
    place.move_to(id, now_ms, dry_run)
}

/// See [`super::DelayedRecords::accept_clock`].
pub(crate) fn accept_clock(broker: &Broker) {
    for dir in broker.delays().dirs() {
        dir.accept_clock();
    }
}

/// Whether whoever looks from now on has read for long enough.
fn deadline() -> impl Fn() -> bool {
    let until = clock::deadline(limits::DELAY_LOOK_WAIT);
    move || clock::has_come(until)
}

/// Looks until no file has gone meanwhile. `note` says what to read, if there is a queue.
fn look(
    note: impl Fn() -> Option<Result<PendingLook, StorageError>>,
    is_late: &impl Fn() -> bool,
) -> Result<PendingPage, DelayedError> {
    for _ in 0..limits::DELAY_LOOKS_MAX {
        let Some(look) = note() else {
            return Ok(PendingPage::default());
        };
        match look?.run(is_late)? {
            Some(page) if page.more && page.records.is_empty() => {
                return Err(DelayedError::TooLong);
            }
            Some(page) => return Ok(page),
            None => {}
        }
    }
    Err(DelayedError::Busy)
}

fn key(due_ms: i64, ticket: u64) -> DelayKey {
    DelayKey {
        due_ms: unsigned(due_ms),
        ticket,
    }
}

fn unsigned(time_ms: i64) -> u64 {
    u64::try_from(time_ms).unwrap_or_default()
}

fn record(topic: &str, found: PendingRecord) -> DelayedRecord {
    let PendingRecord {
        partition,
        key,
        add,
    } = found;
    let records = add.count().records;
    DelayedRecord {
        id: DelayedId {
            topic: topic.to_owned(),
            partition: partition.partition,
            due_ms: key.due_ms.cast_signed(),
            ticket: key.ticket,
        },
        expires_ms: add.expires_ms,
        delay_id: add.id.to_vec(),
        records,
        batch: add.batch,
    }
}

/// Where a pending record is.
struct Place<'a> {
    broker: &'a Broker,
    dir: &'a DelayDir,
    partition: PartitionId,
    key: DelayKey,
    max_ms: i64,
}

impl<'a> Place<'a> {
    fn of(broker: &'a Broker, id: &DelayedId) -> Result<Self, DelayedError> {
        let topic = topic_named(broker, &id.topic)?;
        let partition = topic.partition(id.partition).ok_or(DelayedError::Unknown)?;
        let dir = broker.logs().dir_of(partition.log());
        let dir = dir.and_then(|number| broker.delays().dir(number));
        Ok(Self {
            broker,
            dir: dir.ok_or(DelayedError::Unknown)?,
            partition: PartitionId {
                topic_id: topic.id,
                partition: id.partition,
            },
            key: key(id.due_ms, id.ticket),
            max_ms: partition.log().config().delay.max_ms,
        })
    }

    /// Reads the record.
    fn find(&self) -> Result<PendingRecord, DelayedError> {
        let passed = self
            .dir
            .with(|queue| queue.cursor(self.partition) >= self.key);
        match passed {
            None => return Err(DelayedError::Unknown),
            Some(true) => return Err(DelayedError::NotPendingAnyMore),
            Some(false) => {}
        }
        let page = look(|| self.search(), &deadline())?;
        let found = page.records.into_iter().find(|found| found.key == self.key);
        found.ok_or(DelayedError::Unknown)
    }

    /// Notes what to read, in steps between which others have the queue.
    fn search(&self) -> Option<Result<PendingLook, StorageError>> {
        let mut search = PendingSearch::default();
        loop {
            let step = self
                .dir
                .with(|queue| queue.look_for(self.partition, self.key, &mut search))?;
            if let Some(done) = step.transpose() {
                return Some(done);
            }
            std::thread::yield_now();
        }
    }

    /// Accepts what cancels the record, or moves it, unless it is delivered already. The first ticket, and before
    /// when nothing is due that comes after what was delivered.
    fn put(
        &self,
        found: &PendingRecord,
        operations: Vec<DelayOperation>,
        due_ms: Option<i64>,
    ) -> Result<(u64, i64), DelayedError> {
        let topics = self.broker.topics();
        let partition = partition_of(&topics, self.partition).ok_or(DelayedError::Unknown)?;
        let bytes = operations.iter().map(super::produce::bytes_of).sum();
        partition.log().take_room(bytes)?;
        let group = DelayGroup {
            partition: self.partition,
            log_end: partition.log().offsets().log_end,
            producer: None,
            operations,
        };
        let accepted = self.dir.with(|queue| {
            match queue.fate_of(found) {
                PendingFate::Pending => {}
                PendingFate::Cancelled => return Err(DelayedError::Unknown),
                PendingFate::Delivered => return Err(DelayedError::NotPendingAnyMore),
            }
            let earliest_ms = queue.earliest_ms(self.partition);
            if let Some(due_ms) = due_ms {
                self.outlives(found, due_ms.max(earliest_ms))?;
            }
            let accepted = queue.accept(&group, self.dir.time.now_ms());
            let accepted = accepted.map_err(|error| match error {
                StorageError::QueueFull => DelayedError::TooManyCancellations,
                error => error.into(),
            })?;
            Ok((accepted, earliest_ms))
        });
        let (accepted, earliest_ms) = accepted.ok_or(StorageError::Closed)??;
        self.dir.wake(due_ms);
        self.dir.make_durable(accepted.end)?;
        Ok((accepted.first_ticket, earliest_ms))
    }

    /// Cancels those of some records of its partition that are pending still; how many, and the position of the delay
    /// log that has to be durable for that.
    fn cancel_pending(&self, records: &[&DelayedRecord]) -> Result<(usize, u64), DelayedError> {
        let topics = self.broker.topics();
        let partition = partition_of(&topics, self.partition).ok_or(DelayedError::Unknown)?;
        partition.log().take_room(0)?;
        let log_end = partition.log().offsets().log_end;
        let cancelled = self.dir.with(|queue| {
            let found = records.iter().map(|record| PendingRecord {
                partition: self.partition,
                key: key(record.id.due_ms, record.id.ticket),
                // Its batch is not needed to name it.
                add: DelayedBatch {
                    due_ms: record.id.due_ms,
                    expires_ms: record.expires_ms,
                    id: Bytes::copy_from_slice(&record.delay_id),
                    replace: false,
                    split_from: None,
                    batch: Bytes::new(),
                },
            });
            let pending = found.filter(|found| queue.fate_of(found) == PendingFate::Pending);
            let operations: Vec<_> = pending.map(|found| found.cancelled()).collect();
            let count = operations.len();
            if count == 0 {
                return Ok((0, 0));
            }
            let group = DelayGroup {
                partition: self.partition,
                log_end,
                producer: None,
                operations,
            };
            let accepted = queue.accept(&group, self.dir.time.now_ms());
            let accepted = accepted.map_err(|error| match error {
                StorageError::QueueFull => DelayedError::TooManyCancellations,
                error => error.into(),
            })?;
            Ok((count, accepted.end))
        });
        self.dir.wake(None);
        cancelled.ok_or(StorageError::Closed)?
    }

    /// What names it then; `None` in a dry run.
    fn move_to(
        &self,
        id: &DelayedId,
        due_ms: i64,
        dry_run: bool,
    ) -> Result<Option<DelayedId>, DelayedError> {
        let found = self.find()?;
        if dry_run {
            let earliest_ms = self.dir.with(|queue| queue.earliest_ms(self.partition));
            self.outlives(&found, due_ms.max(earliest_ms.unwrap_or_default()))?;
            return Ok(None);
        }
        let (first, earliest_ms) = self.put(&found, found.moved_to(due_ms).into(), Some(due_ms))?;
        Ok(Some(DelayedId {
            due_ms: due_ms.max(earliest_ms),
            ticket: first + 1,
            ..id.clone()
        }))
    }

    /// A record that expires by the time at which it would be delivered is dropped then: it is not moved there.
    fn outlives(&self, found: &PendingRecord, due_ms: i64) -> Result<(), DelayedError> {
        let deliver_ms = due_ms.max(self.dir.time.now_ms());
        match found.add.expires_ms {
            Some(expires_ms) if expires_ms <= deliver_ms => {
                Err(DelayedError::Expires { expires_ms })
            }
            _ => Ok(()),
        }
    }
}

/// See [`super::DelayedRecords::pause`] and [`super::DelayedRecords::resume`]. Each log directory remembers it by itself:
/// all of them are told, so that one that fails keeps no other from hearing of it, and that partitions which the topic
/// is given later are held, too.
pub(crate) fn set_paused(broker: &Broker, name: &str, paused: bool) -> Result<(), DelayedError> {
    let topic = topic_named(broker, name)?;
    let mut outcome = Ok(());
    for dir in broker.delays().dirs() {
        let set = dir.set_paused(broker, topic.id, paused);
        let is_home =
            |partition: &Arc<Partition>| broker.logs().dir_of(partition.log()) == Some(dir.number);
        match set {
            // Nothing of the topic is there to be held.
            Err(_) if paused && !topic.partitions.iter().any(is_home) => {}
            set => outcome = outcome.and(set),
        }
        dir.deliver_signal.raise();
    }
    outcome.map_err(DelayedError::from)
}

impl DelayDir {
    /// Holds what is due of a topic here, or delivers it again. On disk when it returns.
    fn set_paused(
        &self,
        broker: &Broker,
        topic_id: Uuid,
        paused: bool,
    ) -> Result<(), StorageError> {
        let now_ms = self.time.now_ms();
        if paused {
            self.make(broker.logs(), now_ms)?;
        }
        let changed = self.with(|queue| match queue.is_paused(topic_id) == paused {
            true => Ok(None),
            false => queue.set_paused(topic_id, paused, now_ms).map(Some),
        });
        if let Some(accepted) = changed.transpose()?.flatten() {
            self.changed.store(true, Ordering::SeqCst);
            self.make_durable(accepted.end)?;
        }
        Ok(())
    }
}

impl DelayDir {
    /// Makes the delay log durable up to `end`, on this thread.
    pub(super) fn make_durable(&self, end: u64) -> Result<(), StorageError> {
        self.sync();
        // What is due may have waited for it: the syncing thread finds nothing to do, and tells nobody.
        self.deliver_signal.raise();
        match self.durable.load(Ordering::SeqCst) >= position(end) {
            true => Ok(()),
            false => Err(self.failure.get().cloned().unwrap_or(StorageError::Closed)),
        }
    }
}
