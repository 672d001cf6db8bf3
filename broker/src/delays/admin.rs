//! What can be asked of, and done to, delayed records from outside: by the program that holds an embedded
//! broker, and by whatever serves administrators.
//!
//! A pending record is named by its partition, due time and ticket. Whatever changes something is in the delay
//! log, and durable, when it is answered.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use tidewheel_config::limits;
use tidewheel_protocol::Uuid;
use tidewheel_storage::StorageError;
use tidewheel_storage::delay::{
    DelayCount, DelayGroup, DelayKey, DelayOperation, DelayQueue, PartitionId, PendingFate,
    PendingLook, PendingPage, PendingQuery, PendingRecord,
};

use super::start::partition_of;
use super::{DelayDir, position};
use crate::broker::Broker;
use crate::clock;
use crate::topics::Topic;

/// Delayed records of a broker; see [`crate::EmbeddedBroker::delayed`]. May outlive it.
#[derive(Clone, Debug)]
pub struct DelayedRecords {
    broker: Weak<Broker>,
}

/// A topic with delays, or with something pending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DelayedTopic {
    /// Its name.
    pub name: Arc<str>,
    /// Pending records; one that was cancelled counts until it would have been due.
    pub records: u64,
    /// What they take on disk, in bytes.
    pub bytes: u64,
    /// Whether nothing is delivered for now.
    pub paused: bool,
}

/// What names a pending record, or a batch of records that is delivered together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DelayedId {
    /// The topic's name.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// When it is due, ms since 1970.
    pub due_ms: i64,
    /// Given in the order of acceptance.
    pub ticket: u64,
}

/// A pending record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DelayedRecord {
    /// What names it.
    pub id: DelayedId,
    /// After when it is not delivered any more, ms since 1970.
    pub expires_ms: Option<i64>,
    /// Its `delay-id`, empty for none.
    pub delay_id: Vec<u8>,
    /// How many records it holds: a batch that is due as a whole stays one.
    pub records: u64,
    /// One record batch in Kafka's format, whose offsets and producer do not matter.
    pub batch: Bytes,
}

/// A part of what is pending in a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DelayedPage {
    /// By due time, then by ticket; at most 1,000 and 16 MiB.
    pub records: Vec<DelayedRecord>,
    /// There may be more: ask again from the last one on.
    pub more: bool,
}

/// What to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DelayedQuery {
    /// The topic's name.
    pub topic: String,
    /// Of this partition only.
    pub partition: Option<i32>,
    /// Behind this due time and ticket: those of the last record of the page before.
    pub after: Option<(i64, u64)>,
    /// Due then or before, ms since 1970.
    pub until_ms: Option<i64>,
    /// At most so many.
    pub count: usize,
}

/// Why something was not done.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DelayedError {
    /// There is no such topic.
    #[error("there is no topic {0}")]
    UnknownTopic(String),
    /// There is no such record, or not any more: it was cancelled, or it expired or was delivered a while ago.
    #[error("no such record is pending")]
    Unknown,
    /// It was delivered, or is being delivered.
    #[error("it was delivered already")]
    Delivered,
    /// The new time is too far away, or before 1970.
    #[error("the new time is not within delay.max.ms={max_ms} from now")]
    TooFar {
        /// `delay.max.ms` of the topic.
        max_ms: i64,
    },
    /// There is no room for another cancellation.
    #[error("too many cancellations wait for what they could mean")]
    TooManyCancellations,
    /// Files change too fast to be read; try again.
    #[error("the delay store is too busy")]
    Busy,
    /// The disk fails or is full, or delayed records were given up for that.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The broker goes down.
    #[error("the broker goes down")]
    Stopped,
}

impl DelayedRecords {
    pub(crate) fn new(broker: &Arc<Broker>) -> Self {
        Self {
            broker: Arc::downgrade(broker),
        }
    }

    /// The topics with delays, and those in which something is pending, by name.
    #[must_use]
    pub fn topics(&self) -> Vec<DelayedTopic> {
        let Some(broker) = self.broker.upgrade() else {
            return Vec::new();
        };
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
            let first = topic.partitions.first()?;
            let delays = first.log().config().delay.delays();
            (delays || count != DelayCount::default()).then(|| DelayedTopic {
                name: Arc::clone(&topic.name),
                records: count.records,
                bytes: count.bytes,
                paused: is_paused(&broker, topic.id),
            })
        });
        listed.collect()
    }

    /// What is pending in a topic. Reads the delay log, and as much of the later records as is asked for.
    ///
    /// # Errors
    /// `UnknownTopic`, `Busy`, `Storage`, `Stopped`.
    pub async fn list(&self, query: DelayedQuery) -> Result<DelayedPage, DelayedError> {
        self.blocking(move |broker| list(broker, &query)).await
    }

    /// A pending record.
    ///
    /// # Errors
    /// As [`DelayedRecords::cancel`].
    pub async fn get(&self, id: DelayedId) -> Result<DelayedRecord, DelayedError> {
        self.blocking(move |broker| Ok(record(&id.topic, Place::of(broker, &id)?.find()?)))
            .await
    }

    /// Cancels a pending record: it is never delivered.
    ///
    /// # Errors
    /// `UnknownTopic`; `Unknown`; `Delivered`: then it comes, and once; `TooManyCancellations`, `Busy`, `Storage`,
    /// `Stopped`.
    pub async fn cancel(&self, id: DelayedId) -> Result<(), DelayedError> {
        self.blocking(move |broker| {
            let place = Place::of(broker, &id)?;
            let found = place.find()?;
            place.put(&found, vec![found.cancelled()], None).map(drop)
        })
        .await
    }

    /// Delivers a pending record at another time, behind what is due then already; what names it from now on.
    ///
    /// # Errors
    /// As [`DelayedRecords::cancel`], and `TooFar`.
    pub async fn reschedule(&self, id: DelayedId, due_ms: i64) -> Result<DelayedId, DelayedError> {
        self.blocking(move |broker| {
            let place = Place::of(broker, &id)?;
            let max_ms = place.max_ms;
            if due_ms < 0 || due_ms.saturating_sub(clock::now_ms()) > max_ms {
                return Err(DelayedError::TooFar { max_ms });
            }
            place.move_to(&id, due_ms)
        })
        .await
    }

    /// Delivers a pending record now, behind what is due already.
    ///
    /// # Errors
    /// As [`DelayedRecords::cancel`].
    pub async fn deliver_now(&self, id: DelayedId) -> Result<DelayedId, DelayedError> {
        self.blocking(move |broker| Place::of(broker, &id)?.move_to(&id, clock::now_ms()))
            .await
    }

    /// Delivers nothing of a topic until [`DelayedRecords::resume`], also over restarts. What is due meanwhile
    /// takes memory.
    ///
    /// # Errors
    /// `UnknownTopic`, `Storage`, `Stopped`.
    pub async fn pause(&self, topic: String) -> Result<(), DelayedError> {
        self.blocking(move |broker| set_paused(broker, &topic, true))
            .await
    }

    /// Delivers the records of a topic again, first all that was due meanwhile.
    ///
    /// # Errors
    /// As [`DelayedRecords::pause`].
    pub async fn resume(&self, topic: String) -> Result<(), DelayedError> {
        self.blocking(move |broker| set_paused(broker, &topic, false))
            .await
    }

    /// Says that the wall clock is right although it has jumped ahead: what was held is delivered.
    pub fn accept_clock(&self) {
        let Some(broker) = self.broker.upgrade() else {
            return;
        };
        for dir in broker.delays().dirs() {
            dir.clock_accepted.store(true, Ordering::SeqCst);
            dir.deliver_signal.raise();
        }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Broker) -> Result<T, DelayedError> + Send + 'static,
    ) -> Result<T, DelayedError> {
        let broker = self.broker.upgrade().ok_or(DelayedError::Stopped)?;
        let working = Arc::clone(&broker);
        let done = broker.look_up(move || work(&working)).await;
        done.unwrap_or(Err(DelayedError::Stopped))
    }
}

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

fn list(broker: &Broker, query: &DelayedQuery) -> Result<DelayedPage, DelayedError> {
    let topic = topic_named(broker, &query.topic)?;
    let all = PendingQuery::all(topic.id);
    let after = query.after.map(|(due_ms, ticket)| key(due_ms, ticket));
    let wanted = PendingQuery {
        partition: query.partition,
        after: after.unwrap_or(all.after),
        until_ms: query.until_ms.map_or(all.until_ms, unsigned),
        count: query.count.min(all.count),
        ..all
    };
    let (mut found, mut more) = (Vec::new(), false);
    for dir in broker.delays().dirs() {
        let page = look(dir, |queue| Ok(queue.look(wanted)))?;
        more |= page.more;
        found.extend(page.records);
    }
    found.sort_by_key(|record| record.key);
    more |= found.len() > wanted.count;
    found.truncate(wanted.count);
    let records = found.into_iter().map(|found| record(&query.topic, found));
    Ok(DelayedPage {
        records: records.collect(),
        more,
    })
}

/// Looks until no file has gone meanwhile.
fn look(
    dir: &DelayDir,
    note: impl Fn(&mut DelayQueue) -> Result<PendingLook, StorageError>,
) -> Result<PendingPage, DelayedError> {
    for _ in 0..limits::DELAY_LOOKS_MAX {
        let Some(look) = dir.with(&note) else {
            return Ok(PendingPage::default());
        };
        if let Some(page) = look?.run()? {
            return Ok(page);
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
        let delivered = self
            .dir
            .with(|queue| queue.cursor(self.partition) >= self.key);
        match delivered {
            None => return Err(DelayedError::Unknown),
            Some(true) => return Err(DelayedError::Delivered),
            Some(false) => {}
        }
        let page = look(self.dir, |queue| queue.look_for(self.partition, self.key))?;
        let found = page.records.into_iter().find(|found| found.key == self.key);
        found.ok_or(DelayedError::Unknown)
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
                PendingFate::Delivered => return Err(DelayedError::Delivered),
            }
            let earliest_ms = queue.earliest_ms(self.partition);
            let accepted = queue.accept(&group, clock::now_ms());
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

    fn move_to(&self, id: &DelayedId, due_ms: i64) -> Result<DelayedId, DelayedError> {
        let found = self.find()?;
        let (first, earliest_ms) = self.put(&found, found.moved_to(due_ms).into(), Some(due_ms))?;
        Ok(DelayedId {
            due_ms: due_ms.max(earliest_ms),
            ticket: first + 1,
            ..id.clone()
        })
    }
}

fn set_paused(broker: &Broker, name: &str, paused: bool) -> Result<(), DelayedError> {
    let topic = topic_named(broker, name)?;
    let homes = topic.partitions.iter();
    let mut homes: Vec<usize> = homes
        .filter_map(|partition| broker.logs().dir_of(partition.log()))
        .collect();
    homes.sort_unstable();
    homes.dedup();
    for dir in homes
        .into_iter()
        .filter_map(|number| broker.delays().dir(number))
    {
        let now_ms = clock::now_ms();
        if paused {
            dir.make(broker.logs(), now_ms)?;
        }
        let changed = dir.with(|queue| match queue.is_paused(topic.id) == paused {
            true => Ok(None),
            false => queue.set_paused(topic.id, paused, now_ms).map(Some),
        });
        if let Some(accepted) = changed.transpose()?.flatten() {
            dir.changed.store(true, Ordering::SeqCst);
            dir.make_durable(accepted.end)?;
        }
        dir.deliver_signal.raise();
    }
    Ok(())
}

impl DelayDir {
    /// Makes the delay log durable up to `end`, on this thread.
    pub(super) fn make_durable(&self, end: u64) -> Result<(), StorageError> {
        self.sync();
        match self.durable.load(Ordering::SeqCst) >= position(end) {
            true => Ok(()),
            false => Err(self.failure.get().cloned().unwrap_or(StorageError::Closed)),
        }
    }
}
