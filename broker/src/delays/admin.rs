//! What can be asked of, and done to, delayed records from outside: by the program that holds an embedded
//! broker, and by whatever serves administrators.
//!
//! A pending record is named by its partition, due time and ticket. Whatever changes something is in the delay
//! log, and durable, when it is answered.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use tidewheel_config::DelayMode;
use tidewheel_storage::StorageError;

use super::pending::{
    accept_clock, cancel, deliver_now, get, list, reschedule, set_paused, topics,
};
use crate::broker::Broker;

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
    /// `delay.mode`.
    pub mode: DelayMode,
    /// Pending records; one that was cancelled counts until it would have been due.
    pub records: u64,
    /// What they take on disk, in bytes.
    pub bytes: u64,
    /// Whether nothing is delivered for now.
    pub paused: bool,
}

/// What names a pending record, or a batch of records that is delivered together: `TOPIC-PARTITION-DUE-TICKET` as
/// a text.
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

/// A text that names no pending record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not TOPIC-PARTITION-DUE-TICKET")]
pub struct NoDelayedId;

impl fmt::Display for DelayedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            topic,
            partition,
            due_ms,
            ticket,
        } = self;
        write!(f, "{topic}-{partition}-{due_ms}-{ticket}")
    }
}

impl FromStr for DelayedId {
    type Err = NoDelayedId;

    /// The numbers stand at the end, and none of them is negative: a topic may have hyphens in its name.
    fn from_str(text: &str) -> Result<Self, NoDelayedId> {
        let mut parts = text.rsplitn(4, '-');
        let mut part = || parts.next().ok_or(NoDelayedId);
        let (ticket, due, partition, topic) = (part()?, part()?, part()?, part()?);
        let id = Self {
            topic: topic.to_owned(),
            partition: partition.parse().map_err(|_| NoDelayedId)?,
            due_ms: due.parse().map_err(|_| NoDelayedId)?,
            ticket: ticket.parse().map_err(|_| NoDelayedId)?,
        };
        // One record has one name.
        match id.to_string() == text {
            true => Ok(id),
            false => Err(NoDelayedId),
        }
    }
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
    /// Behind this record: the last one of the page before.
    pub after: Option<DelayedId>,
    /// Due then or later, ms since 1970.
    pub from_ms: Option<i64>,
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
    /// There is no such record, or not any more: it was cancelled or moved.
    #[error("no such record is pending")]
    Unknown,
    /// It is not pending any more: its partition was given what is due after it. What became of it is not known
    /// then: it was delivered or is being delivered, it was cancelled or moved, it expired, or it never was.
    #[error("it is not pending any more: delivered, cancelled, moved or expired")]
    NotPendingAnyMore,
    /// The new time is too far away, or before 1970.
    #[error("the new time is not within delay.max.ms={max_ms} from now")]
    TooFar {
        /// `delay.max.ms` of the topic.
        max_ms: i64,
    },
    /// It would have expired by then, and would be dropped instead of delivered.
    #[error("it expires at {expires_ms}, before it would be delivered")]
    Expires {
        /// From then on it is not delivered any more, ms since 1970.
        expires_ms: i64,
    },
    /// The wall clock jumped ahead and is not believed: what "now" is has to be said first.
    #[error(
        "the clock jumped ahead: nothing is delivered until clock:accept, or until it is put back"
    )]
    ClockHeld,
    /// There is no room for another cancellation.
    #[error("too many cancellations wait for what they could mean")]
    TooManyCancellations,
    /// Reading what is pending took too long. Asking for a narrower time reads fewer files.
    #[error("reading what is pending takes too long; ask for a narrower time, or later")]
    TooLong,
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
        let broker = self.broker.upgrade();
        broker.map_or(Vec::new(), |broker| topics(&broker))
    }

    /// What is pending in a topic. Reads the delay log, and as much of the later records as is asked for, for a
    /// few seconds: then the page ends.
    ///
    /// # Errors
    /// `UnknownTopic`; `TooLong` where no record was certain to be the first by then; `Busy`, `Storage`, `Stopped`.
    pub async fn list(&self, query: DelayedQuery) -> Result<DelayedPage, DelayedError> {
        self.blocking(move |broker| list(broker, &query)).await
    }

    /// A pending record.
    ///
    /// # Errors
    /// As [`DelayedRecords::cancel`].
    pub async fn get(&self, id: DelayedId) -> Result<DelayedRecord, DelayedError> {
        self.blocking(move |broker| get(broker, &id)).await
    }

    /// Cancels a pending record: it is never delivered.
    ///
    /// # Errors
    /// `UnknownTopic`; `Unknown`; `NotPendingAnyMore`: if it was not cancelled, moved or expired before, then it
    /// comes, and once; `TooManyCancellations`, `TooLong`, `Busy`, `Storage`,
    /// `Stopped`.
    pub async fn cancel(&self, id: DelayedId) -> Result<(), DelayedError> {
        self.blocking(move |broker| cancel(broker, &id)).await
    }

    /// Delivers a pending record at another time, behind what is due then already; what names it from now on.
    ///
    /// # Errors
    /// As [`DelayedRecords::cancel`], and `TooFar`, `Expires`.
    pub async fn reschedule(&self, id: DelayedId, due_ms: i64) -> Result<DelayedId, DelayedError> {
        self.blocking(move |broker| {
            let moved = reschedule(broker, &id, due_ms, false)?;
            moved.ok_or(DelayedError::Unknown)
        })
        .await
    }

    /// Delivers a pending record now, behind what is due already.
    ///
    /// # Errors
    /// As [`DelayedRecords::cancel`], and `Expires`; `ClockHeld` until [`DelayedRecords::accept_clock`].
    pub async fn deliver_now(&self, id: DelayedId) -> Result<DelayedId, DelayedError> {
        self.blocking(move |broker| {
            let moved = deliver_now(broker, &id, false)?;
            moved.ok_or(DelayedError::Unknown)
        })
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
        if let Some(broker) = self.broker.upgrade() {
            accept_clock(&broker);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_one_name_whatever_its_topic_is_called() {
        for (text, topic, partition) in [
            ("orders-0-1763647200000-93", "orders", 0),
            ("a-b-12-7-1", "a-b", 12),
            ("a--1-7-2", "a-", 1),
            ("1-2-3-4-5", "1-2", 3),
        ] {
            let id: DelayedId = text.parse().unwrap();
            assert_eq!((&*id.topic, id.partition), (topic, partition), "{text}");
            assert_eq!(id.to_string(), text);
        }
        for text in [
            "",
            "orders",
            "orders-0-93",
            "orders-0-5-",
            "orders-0-5-+3",
            "orders-0-05-3",
            "orders-0-5--3",
            "orders-x-5-3",
            "orders-0-99999999999999999999-3",
        ] {
            assert_eq!(text.parse::<DelayedId>(), Err(NoDelayedId), "{text}");
        }
    }
}
