//! Delayed records, for people to look at.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidewheel_config::{DelayMode, limits};
use tidewheel_protocol::{Record, RecordBatch};
use tidewheel_storage::delay::DelayOutlook;
use utoipa::ToSchema;

use super::messages::{MessageHeader, READ_WAIT_MS, Shown, headers};
use super::partitions::numbered;
use super::problem::Problem;
use super::queries::DelayedQuery;
use super::state::Admin;
use super::topics::named;
use crate::broker::Broker;
use crate::clock;
use crate::delays::{self, DelayOverview, DelayedError, DelayedId, DelayedRecord, DelayedTopic};

/// Bounds of the histogram, in seconds from now.
const WITHIN_S: [i64; 9] = [0, 10, 60, 600, 3_600, 21_600, 86_400, 604_800, 2_592_000];
/// Bytes of a key or of a value that are shown.
const KEY_SHOWN_BYTES: usize = 1_024;
const VALUE_SHOWN_BYTES: usize = 50_000;

/// What is delayed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Delayed {
    /// Pending records. One that was cancelled counts until it would have been due.
    pending: u64,
    /// What they take on disk.
    pending_bytes: u64,
    /// How many of these were cancelled or moved to another time one by one: they are not delivered, and are in none of
    /// the figures by due time.
    withdrawn: u64,
    /// Nothing is due before, apart from what is overdue; rounded down where that is far ahead.
    next_due_ms: Option<i64>,
    /// What is due and not delivered yet, in pieces: a record, or a batch that is due as a whole.
    overdue: u64,
    /// When the first of it was due.
    oldest_overdue_ms: Option<i64>,
    /// Records that were delivered since the start.
    delivered_total: u64,
    /// What had been cancelled when it was due, in pieces, since the start.
    cancelled_total: u64,
    /// What had expired when it was due, in pieces, since the start.
    expired_total: u64,
    /// Whether nothing is delivered because the clock jumped ahead.
    clock_held: bool,
    /// Why log directories take and deliver nothing any more, where they do not.
    failures: Vec<String>,
    /// How much is due within so many seconds.
    due_histogram: Vec<DueWithin>,
    /// The topics with delays, and those with something pending, by name.
    per_topic: Vec<DelayedTopicSummary>,
    /// Topics that are left out, because there are too many.
    per_topic_left_out: usize,
}

/// How much is due until then.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DueWithin {
    /// Seconds from now; 0 for what is overdue, null for everything.
    le_seconds: Option<i64>,
    /// Pieces that are due by then. What is due later than some minutes from now counts with the end of the minute,
    /// hour or day that is known of it.
    count: u64,
}

/// What is delayed in a topic.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DelayedTopicSummary {
    /// Its name.
    topic: String,
    /// Its `delay.mode`.
    mode: &'static str,
    /// Pending records.
    pending: u64,
    /// What they take on disk.
    pending_bytes: u64,
    /// Whether nothing is delivered for now.
    paused: bool,
}

/// A part of what is pending in a topic, by due time.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DelayedMessages {
    /// The records.
    items: Vec<DelayedMessage>,
    /// How many were looked at.
    scanned: usize,
    /// Where the next part begins; null after the last one. A part may have fewer items than were asked for, or none.
    next_cursor: Option<String>,
}

/// A pending record, or a batch of records that is due as a whole.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DelayedMessage {
    /// What names it until it is delivered or moved.
    id: String,
    /// Its topic.
    topic: String,
    /// Its partition.
    partition: i32,
    /// When it is due.
    deliver_at_ms: i64,
    /// Whether that is past.
    state: DelayedState,
    /// How long ago it was due.
    overdue_ms: i64,
    /// After when it is not delivered any more.
    expires_ms: Option<i64>,
    /// Its `delay-id`, if it has one.
    delay_id: Option<Shown>,
    /// How many records it holds.
    records: u64,
    /// Bytes of its batch.
    size_bytes: usize,
    /// The timestamp of its first record; null where that cannot be read.
    timestamp_ms: Option<i64>,
    /// The key of its first record; null where that cannot be read.
    key: Option<Shown>,
}

/// Where a pending record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DelayedState {
    /// It is due later.
    Pending,
    /// It is due, and not delivered: its topic is paused, the clock is held, or its partition takes nothing.
    Overdue,
}

/// A pending record with what it holds.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DelayedDetail {
    #[serde(flatten)]
    message: DelayedMessage,
    /// Its records, the first of them where they are many or large.
    contents: Vec<DelayedContent>,
}

/// What a pending record holds.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DelayedContent {
    /// Its timestamp.
    timestamp_ms: i64,
    /// Its key.
    key: Shown,
    /// Its value.
    value: Shown,
    /// Its headers, in their order.
    headers: Vec<MessageHeader>,
}

impl Delayed {
    fn new(broker: &Broker, now_ms: i64) -> Self {
        let DelayOverview {
            figures,
            outlook,
            topics,
            clock_held,
            failures,
        } = delays::overview(broker);
        let pending = figures.pending.unwrap_or_default();
        let left_out = topics.len().saturating_sub(limits::ADMIN_PAGE_MAX);
        let topics = topics.iter().take(limits::ADMIN_PAGE_MAX);
        let dirs = &broker.config().log_dirs;
        let failures = failures.into_iter().map(|(dir, reason)| {
            let dir = dirs.get(dir).map(|dir| dir.display().to_string());
            format!("{}: {reason}", dir.unwrap_or_default())
        });
        Self {
            pending: pending.records,
            pending_bytes: pending.bytes,
            withdrawn: outlook.withdrawn,
            next_due_ms: outlook.next_due_ms,
            overdue: outlook.overdue,
            oldest_overdue_ms: outlook.oldest_overdue_ms,
            delivered_total: figures.delivered,
            cancelled_total: figures.cancelled,
            expired_total: figures.expired,
            clock_held,
            failures: failures.collect(),
            due_histogram: histogram(&outlook, now_ms),
            per_topic: topics.map(DelayedTopicSummary::new).collect(),
            per_topic_left_out: left_out,
        }
    }
}

/// How much is due within each bound, what is due before it included.
fn histogram(outlook: &DelayOutlook, now_ms: i64) -> Vec<DueWithin> {
    let (mut ahead, mut count) = (outlook.until.iter().peekable(), outlook.overdue);
    let mut within = |seconds: Option<i64>| {
        let until_ms = seconds.map_or(i64::MAX, |seconds| now_ms + seconds * 1_000);
        // What is due by now and was not asked for yet is not overdue.
        while let Some((_, more)) = ahead.next_if(|(ms, _)| **ms <= until_ms && seconds != Some(0))
        {
            count += more;
        }
        DueWithin {
            le_seconds: seconds,
            count,
        }
    };
    let bounded = WITHIN_S.iter().map(|seconds| Some(*seconds));
    bounded.chain([None]).map(&mut within).collect()
}

impl DelayedTopicSummary {
    fn new(topic: &DelayedTopic) -> Self {
        Self {
            topic: topic.name.to_string(),
            mode: match topic.mode {
                DelayMode::None => "none",
                DelayMode::Timestamp => "timestamp",
                DelayMode::Header => "header",
                DelayMode::Both => "both",
                DelayMode::Fixed => "fixed",
            },
            pending: topic.records,
            pending_bytes: topic.bytes,
            paused: topic.paused,
        }
    }
}

impl DelayedMessage {
    fn new(record: &DelayedRecord, first: Option<&Record>, now_ms: i64) -> Self {
        let due_ms = record.id.due_ms;
        let shown = |bytes: Option<&Bytes>| Shown::new(bytes, KEY_SHOWN_BYTES);
        let delay_id = Bytes::copy_from_slice(&record.delay_id);
        Self {
            id: record.id.to_string(),
            topic: record.id.topic.clone(),
            partition: record.id.partition,
            deliver_at_ms: due_ms,
            state: match due_ms > now_ms {
                true => DelayedState::Pending,
                false => DelayedState::Overdue,
            },
            overdue_ms: now_ms.saturating_sub(due_ms).max(0),
            expires_ms: record.expires_ms,
            delay_id: (!delay_id.is_empty()).then(|| shown(Some(&delay_id))),
            records: record.records,
            size_bytes: record.batch.len(),
            timestamp_ms: first.map(|first| first.timestamp),
            key: first.map(|first| shown(first.key.as_ref())),
        }
    }
}

impl DelayedContent {
    fn new(record: &Record) -> Self {
        let shown = |bytes: Option<&Bytes>| Shown::new(bytes, VALUE_SHOWN_BYTES);
        Self {
            timestamp_ms: record.timestamp,
            key: shown(record.key.as_ref()),
            value: shown(record.value.as_ref()),
            headers: headers(record, VALUE_SHOWN_BYTES),
        }
    }
}

/// The records of a pending batch as far as they can be read, and none where they open to too much.
fn records(batch: &Bytes) -> impl Iterator<Item = Record> {
    let batch = RecordBatch::parse(batch.clone()).ok();
    let records = batch.and_then(|batch| batch.records(limits::COMPACTED_BATCH_BYTES_MAX).ok());
    records.into_iter().flatten().map_while(Result::ok)
}

/// What one request has taken so far.
struct Spent {
    opened_bytes: usize,
    shown_bytes: usize,
    until_ms: i64,
}

impl Spent {
    fn begin() -> Self {
        Self {
            opened_bytes: 0,
            shown_bytes: 0,
            until_ms: clock::steady_ms().saturating_add(READ_WAIT_MS),
        }
    }

    fn is_enough(&self) -> bool {
        self.opened_bytes > limits::ADMIN_LOOKED_AT_BYTES
            || self.shown_bytes > limits::ADMIN_SHOWN_BYTES
            || clock::steady_ms() > self.until_ms
    }

    /// The first record of a batch, and whether any in it has this key. Opens all of it.
    fn open(&mut self, batch: &Bytes, key: Option<&str>) -> (Option<Record>, bool) {
        let (mut first, mut has_key) = (None, key.is_none());
        for record in records(batch) {
            let len = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
            self.opened_bytes += len(&record.key) + len(&record.value);
            has_key |= key.is_some() && record.key.as_deref() == key.map(str::as_bytes);
            first.get_or_insert(record);
        }
        (first, has_key)
    }
}

/// What is wanted of a topic.
pub(crate) struct Wanted {
    query: delays::DelayedQuery,
    limit: usize,
    key: Option<String>,
}

impl Wanted {
    pub(crate) fn new(broker: &Broker, query: DelayedQuery, now_ms: i64) -> Result<Self, Problem> {
        let topic = named(broker, &query.topic)?;
        if let Some(partition) = query.partition {
            numbered(&topic, partition)?;
        }
        let (limit, most) = (query.limit.unwrap_or(100), limits::ADMIN_PAGE_MAX);
        if !(1..=most).contains(&limit) {
            let detail = format!("it must be from 1 to {most}");
            return Err(Problem::invalid("?limit", detail));
        }
        let stale = || Problem::invalid("?cursor", "it does not belong to this list");
        let after = query.cursor.map(|cursor| {
            let id: Option<DelayedId> = cursor.parse().ok();
            id.filter(|id| id.topic == query.topic).ok_or_else(stale)
        });
        let mut from_ms = query.due_after.unwrap_or(0);
        // The store has both ends.
        let mut until_ms = query.due_before.map_or(i64::MAX, |ms| ms.saturating_sub(1));
        match query.state {
            Some(DelayedState::Pending) => from_ms = from_ms.max(now_ms.saturating_add(1)),
            Some(DelayedState::Overdue) => until_ms = until_ms.min(now_ms),
            None => {}
        }
        Ok(Self {
            query: delays::DelayedQuery {
                topic: query.topic,
                partition: query.partition,
                after: after.transpose()?,
                from_ms: Some(from_ms),
                until_ms: Some(until_ms),
                // With a key many may have to be looked at.
                count: query.key.as_ref().map_or(limit, |_| most),
            },
            limit,
            key: query.key,
        })
    }

    /// Reads the store: what is to be shown, and the records of it without what they hold. Waits for the disk.
    pub(crate) fn page(
        &self,
        broker: &Broker,
        now_ms: i64,
    ) -> Result<(DelayedMessages, Vec<DelayedRecord>), DelayedError> {
        let page = delays::list(broker, &self.query)?;
        let (mut more, mut last, mut scanned) = (page.more, None, 0);
        let (mut items, mut records, mut spent) = (Vec::new(), Vec::new(), Spent::begin());
        for record in page.records {
            if items.len() == self.limit || spent.is_enough() {
                more = true;
                break;
            }
            let (first, has_key) = spent.open(&record.batch, self.key.as_deref());
            scanned += 1;
            last = Some(record.id.clone());
            if has_key {
                let item = DelayedMessage::new(&record, first.as_ref(), now_ms);
                spent.shown_bytes += item.key.as_ref().map_or(0, Shown::len);
                items.push(item);
                records.push(DelayedRecord {
                    batch: Bytes::new(),
                    ..record
                });
            }
        }
        let page = DelayedMessages {
            items,
            scanned,
            next_cursor: last.filter(|_| more).map(|last| last.to_string()),
        };
        Ok((page, records))
    }
}

impl DelayedMessages {
    /// Where the next part begins.
    pub(crate) fn next_cursor(self) -> Option<String> {
        self.next_cursor
    }
}

/// What one pending record is, and what it holds.
fn detail(record: &DelayedRecord, now_ms: i64) -> DelayedDetail {
    let (mut contents, mut shown, mut first) = (Vec::new(), 0, None);
    for record in records(&record.batch).take(limits::ADMIN_PAGE_MAX) {
        if shown > limits::ADMIN_SHOWN_BYTES {
            break;
        }
        let content = DelayedContent::new(&record);
        let headers = content.headers.iter().map(MessageHeader::len);
        shown += content.key.len() + content.value.len() + headers.sum::<usize>();
        contents.push(content);
        first.get_or_insert(record);
    }
    DelayedDetail {
        message: DelayedMessage::new(record, first.as_ref(), now_ms),
        contents,
    }
}

/// The record that a path names.
pub(crate) fn identified(id: &str) -> Result<DelayedId, Problem> {
    let parsed: Result<DelayedId, _> = id.parse();
    parsed.map_err(|error| Problem::invalid("id", error.to_string()))
}

/// What is delayed: how much, when it is due, what became of what was.
#[utoipa::path(get, path = "/v1/delayed", tag = "delayed",
    responses((status = 200, body = Delayed)))]
pub(crate) async fn summary(State(admin): State<Arc<Admin>>) -> Result<Json<Delayed>, Problem> {
    let summary = admin.ask_logs(|broker| Delayed::new(broker, broker.clock().now_ms()));
    Ok(Json(summary.await?))
}

/// What is pending in a topic, by due time. Reads the files of the delay store as far as it has to, for some seconds at
/// most: then a part ends sooner, or 503 is answered where nothing is certain yet.
#[utoipa::path(get, path = "/v1/delayed/messages", tag = "delayed", params(DelayedQuery),
    responses((status = 200, body = DelayedMessages)))]
pub(crate) async fn list(
    State(admin): State<Arc<Admin>>,
    Query(query): Query<DelayedQuery>,
) -> Result<Json<DelayedMessages>, Problem> {
    let now_ms = admin.broker()?.clock().now_ms();
    let wanted = Wanted::new(admin.broker()?, query, now_ms)?;
    let page = admin.list_delayed(move |broker| wanted.page(broker, now_ms));
    let (page, _) = page.await??;
    Ok(Json(page))
}

/// A pending record, with what it holds.
#[utoipa::path(get, path = "/v1/delayed/messages/{id}", tag = "delayed",
    params(("id" = String, Path, description = "what names it, as a list tells it")),
    responses((status = 200, body = DelayedDetail)))]
pub(crate) async fn one(
    State(admin): State<Arc<Admin>>,
    Path(id): Path<String>,
) -> Result<Json<DelayedDetail>, Problem> {
    let id = identified(&id)?;
    let look = move |broker: &Arc<Broker>| {
        let record = delays::get(broker, &id)?;
        Ok::<_, DelayedError>(detail(&record, broker.clock().now_ms()))
    };
    Ok(Json(admin.one_delayed(look).await??))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn each_bound_of_the_histogram_counts_all_that_is_due_before_it() {
        let now_ms = 1_000_000;
        let ahead = [(-5, 1), (59_999, 2), (60_001, 4), (9_000_000_000, 8)];
        let outlook = DelayOutlook {
            overdue: 16,
            until: BTreeMap::from(ahead.map(|(ms, count)| (now_ms + ms, count))),
            ..DelayOutlook::default()
        };
        let told = histogram(&outlook, now_ms);
        let told = told.iter().map(|within| (within.le_seconds, within.count));
        let expected = [
            (Some(0), 16),
            (Some(10), 17),
            (Some(60), 19),
            (Some(600), 23),
            (Some(3_600), 23),
            (Some(21_600), 23),
            (Some(86_400), 23),
            (Some(604_800), 23),
            (Some(2_592_000), 23),
            (None, 31),
        ];
        assert!(told.eq(expected));
    }
}
