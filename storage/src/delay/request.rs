//! Which records of a produced batch are delayed, and until when: the settings of the topic, the headers and
//! timestamps of the records, and the time at which the broker received them.
//!
//! | asked by | in mode |
//! |---|---|
//! | header `delay-until`: ms since 1970, or `delay-ms`: ms from now | `header`, `both` |
//! | a timestamp in the future | `timestamp`, `both` |
//!
//! A header counts before the timestamp. `delay-id` names a record for `delay-op: cancel` and
//! `delay-op: replace`; `expire-at` and `expire-ms` say after when it is not delivered any more. All numbers
//! are decimal digits. What cannot be understood refuses the batch: it is never delivered at once, and a delay
//! that is too long is never cut.

use std::cell::LazyCell;

use bytes::Bytes;
use tidewheel_config::limits::{
    DELAY_BATCH_BYTES_MAX, DELAY_BATCH_HEADERS_MAX, DELAY_BATCH_RECORDS_MAX, RECORD_ERRORS_MAX,
};
use tidewheel_config::{DelayConfig, DelayMode};
use tidewheel_protocol::{
    BatchError, BatchHeader, Compression, Record, RecordBatch, RecordBatchBuilder, RecordHeader,
};

use super::group::{DelayOperation, DelayedBatch};
use super::record::DELAY_ID_LEN_MAX;

/// Digits of the longest number a header may have.
const DIGITS_MAX: usize = 19;

/// Why a batch is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DelayError {
    /// INVALID_RECORD: headers that say nothing, or two things.
    #[error("{} records ask for a delay that cannot be understood; record {}: {}", .errors.len(),
        .errors.first().map_or(0, |(index, _)| *index), .errors.first().map_or("", |(_, why)| why.as_str()))]
    Invalid {
        /// The places of the records in the batch, from 0, and what is wrong with each; the first of them,
        /// at most [`RECORD_ERRORS_MAX`].
        errors: Vec<(i32, String)>,
    },
    /// INVALID_TIMESTAMP: a time before 1970, or too far in the future.
    #[error("{reason}")]
    Timestamp {
        /// With the limit, and what the number may have meant.
        reason: String,
    },
    /// MESSAGE_TOO_LARGE: too many to be looked at together.
    #[error(
        "a batch of {count} records is more than the {DELAY_BATCH_RECORDS_MAX} that one batch of a \
             topic with delays may have"
    )]
    TooManyRecords {
        /// How many it says it has.
        count: i32,
    },
    /// INVALID_RECORD, CORRUPT_MESSAGE or MESSAGE_TOO_LARGE: the records cannot be read.
    #[error(transparent)]
    Batch(#[from] BatchError),
}

/// What becomes of a produced batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DelayPlan {
    /// Nothing in it is delayed: append it as it is.
    Immediate,
    /// Some of it is delayed.
    Delayed {
        /// What is appended at once, if anything: before the next batch is taken.
        immediate: Option<RecordBatch>,
        /// What the queue is given, in the order of the records.
        operations: Vec<DelayOperation>,
    },
}

/// What one record asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    /// `None` for at once.
    due_ms: Option<i64>,
    expires_ms: Option<i64>,
    id: Bytes,
    op: Operation,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Add,
    Replace,
    Cancel,
}

/// Decides about a batch that was received at `now_ms`, ms since 1970. Its CRC and size were checked. `queues`
/// says whether other records of the partition are due and not delivered yet: then one whose header asks for a
/// time that is past waits behind them. It is asked at most once, and only where there is such a record.
///
/// # Errors
/// The whole batch is refused where one of its records is.
pub fn plan(
    batch: &RecordBatch,
    config: &DelayConfig,
    now_ms: i64,
    queues: impl FnOnce() -> bool,
) -> Result<DelayPlan, DelayError> {
    let queues = LazyCell::new(queues);
    if !config.delays() || is_trusted(&batch.header, config, now_ms) {
        return Ok(DelayPlan::Immediate);
    }
    let count = batch.header.record_count;
    if count > DELAY_BATCH_RECORDS_MAX {
        return Err(DelayError::TooManyRecords { count });
    }
    let (mut asked, mut errors) = (Vec::new(), Vec::new());
    let mut records = Vec::new();
    let unpacked = batch.records(DELAY_BATCH_BYTES_MAX)?;
    for (index, record) in (0..).zip(unpacked.limit_headers(DELAY_BATCH_HEADERS_MAX)) {
        let record = record?;
        match ask(&record, config, now_ms, &queues) {
            Ok(one) => {
                asked.push(one);
                records.push(record);
            }
            Err(Refused::Time(reason)) => {
                let reason = format!("record {index}: {reason}");
                return Err(DelayError::Timestamp { reason });
            }
            Err(Refused::Header(why)) if errors.len() < RECORD_ERRORS_MAX => {
                errors.push((index, why));
            }
            Err(Refused::Header(_)) => {}
        }
    }
    if !errors.is_empty() {
        return Err(DelayError::Invalid { errors });
    }
    let plain = |one: &Asked| one.due_ms.is_none() && one.op == Operation::Add;
    if asked.iter().all(plain) {
        return Ok(DelayPlan::Immediate);
    }
    match whole(batch, &asked, config.coalesce_ms) {
        Some(add) => Ok(DelayPlan::Delayed {
            immediate: None,
            operations: vec![DelayOperation::Add(add)],
        }),
        None => split(batch, &asked, &records),
    }
}

/// Whether the header alone shows that nothing is delayed.
fn is_trusted(header: &BatchHeader, config: &DelayConfig, now_ms: i64) -> bool {
    let sound = 0 <= header.base_timestamp && header.base_timestamp <= header.max_timestamp;
    let past = header.max_timestamp <= now_ms.saturating_add(config.threshold_ms);
    config.trust_header && config.mode == DelayMode::Timestamp && sound && past
}

enum Refused {
    Header(String),
    Time(String),
}

/// The only header of a name; its value as a number.
struct Headers<'a> {
    until: Option<&'a RecordHeader>,
    delay: Option<&'a RecordHeader>,
    id: Option<&'a RecordHeader>,
    op: Option<&'a RecordHeader>,
    expire_at: Option<&'a RecordHeader>,
    expire: Option<&'a RecordHeader>,
}

impl<'a> Headers<'a> {
    fn of(record: &'a Record) -> Result<Self, Refused> {
        let mut found = Self {
            until: None,
            delay: None,
            id: None,
            op: None,
            expire_at: None,
            expire: None,
        };
        for header in &record.headers {
            let slot = match header.key.as_ref() {
                b"delay-until" => &mut found.until,
                b"delay-ms" => &mut found.delay,
                b"delay-id" => &mut found.id,
                b"delay-op" => &mut found.op,
                b"expire-at" => &mut found.expire_at,
                b"expire-ms" => &mut found.expire,
                _ => continue,
            };
            if slot.replace(header).is_some() {
                let name = String::from_utf8_lossy(&header.key);
                return Err(Refused::Header(format!("header {name} is there twice")));
            }
        }
        Ok(found)
    }
}

/// A number of at most 19 digits and nothing else.
fn number(header: &RecordHeader) -> Result<i64, Refused> {
    let name = String::from_utf8_lossy(&header.key);
    let wrong = |why: &str| Refused::Header(format!("header {name} {why}"));
    let value = header.value.as_ref().ok_or_else(|| wrong("has no value"))?;
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    if !digits || value.len() > DIGITS_MAX {
        return Err(wrong("is not a number of 1 to 19 decimal digits"));
    }
    let text = std::str::from_utf8(value).unwrap_or_default();
    text.parse().map_err(|_| wrong("is larger than any time"))
}

/// The time that one of two headers says: one absolute, one from now.
fn time(
    at: Option<&RecordHeader>,
    after: Option<&RecordHeader>,
    now_ms: i64,
) -> Result<Option<i64>, Refused> {
    match (at, after) {
        (Some(at), Some(after)) => Err(Refused::Header(format!(
            "headers {} and {} exclude each other",
            String::from_utf8_lossy(&at.key),
            String::from_utf8_lossy(&after.key)
        ))),
        (Some(at), None) => number(at).map(Some),
        (None, Some(after)) => Ok(Some(now_ms.saturating_add(number(after)?))),
        (None, None) => Ok(None),
    }
}

fn ask(
    record: &Record,
    config: &DelayConfig,
    now_ms: i64,
    queues: &LazyCell<bool, impl FnOnce() -> bool>,
) -> Result<Asked, Refused> {
    if record.timestamp < -1 {
        let reason = format!("timestamp {} is before 1970", record.timestamp);
        return Err(Refused::Time(reason));
    }
    let headers = Headers::of(record)?;
    let until = match config.by_header() {
        true => time(headers.until, headers.delay, now_ms)?,
        false => None,
    };
    let in_future = record.timestamp > now_ms.saturating_add(config.threshold_ms);
    let by_time = (config.by_timestamp() && in_future).then_some(record.timestamp);
    let due_ms = until
        .or(by_time)
        .filter(|due_ms| *due_ms > now_ms || **queues);
    if let Some(due_ms) = due_ms {
        check_limit(due_ms, config.max_ms, now_ms)?;
    }
    let id = delay_id(headers.id)?;
    let op = match headers.op.and_then(|op| op.value.as_deref()) {
        None if headers.op.is_none() => Operation::Add,
        Some(b"cancel") => Operation::Cancel,
        Some(b"replace") => Operation::Replace,
        _ => {
            let why = "header delay-op is neither cancel nor replace";
            return Err(Refused::Header(why.to_owned()));
        }
    };
    if op != Operation::Add && id.is_empty() {
        let why = "header delay-op needs a delay-id";
        return Err(Refused::Header(why.to_owned()));
    }
    let expires_ms = match due_ms {
        Some(_) => time(headers.expire_at, headers.expire, now_ms)?,
        None => None,
    };
    Ok(Asked {
        due_ms,
        expires_ms,
        id,
        op,
    })
}

fn delay_id(header: Option<&RecordHeader>) -> Result<Bytes, Refused> {
    let Some(header) = header else {
        return Ok(Bytes::new());
    };
    let id = header.value.clone().unwrap_or_default();
    if id.is_empty() || id.len() > DELAY_ID_LEN_MAX {
        let why = format!("header delay-id has not 1 to {DELAY_ID_LEN_MAX} bytes");
        return Err(Refused::Header(why));
    }
    Ok(id)
}

fn check_limit(due_ms: i64, max_ms: i64, now_ms: i64) -> Result<(), Refused> {
    let delay_ms = due_ms.saturating_sub(now_ms);
    if delay_ms <= max_ms {
        return Ok(());
    }
    // A time in finer units is a thousand or a million times what it should be.
    let plausible = |ms: i64| ms.saturating_sub(now_ms).abs() <= max_ms;
    let guess = match due_ms {
        us if plausible(us / 1_000) => "; it looks like microseconds",
        ns if plausible(ns / 1_000_000) => "; it looks like nanoseconds",
        _ => "",
    };
    Err(Refused::Time(format!(
        "due at {due_ms} ms since 1970, {delay_ms} ms from now, which is more than delay.max.ms \
         {max_ms}{guess}"
    )))
}

/// The batch as it came, where all of it is due at about the same time.
fn whole(batch: &RecordBatch, asked: &[Asked], coalesce_ms: i64) -> Option<DelayedBatch> {
    let first = asked.first()?;
    let one_fate = |one: &Asked| {
        one.op == Operation::Add
            && one.id == first.id
            && one.expires_ms == first.expires_ms
            && one.due_ms.is_some()
    };
    // Only a batch of one record may have an id: cancelling means single records.
    if !asked.iter().all(one_fate) || (asked.len() > 1 && !first.id.is_empty()) {
        return None;
    }
    let due = || asked.iter().filter_map(|one| one.due_ms);
    let (least, most) = (due().min()?, due().max()?);
    (most - least <= coalesce_ms).then(|| DelayedBatch {
        due_ms: most,
        expires_ms: first.expires_ms,
        id: first.id.clone(),
        replace: false,
        split_from: None,
        batch: batch.bytes.clone(),
    })
}

/// Record by record; neighbours that are due together stay together.
fn split(
    batch: &RecordBatch,
    asked: &[Asked],
    records: &[Record],
) -> Result<DelayPlan, DelayError> {
    let codec = batch.header.compression()?;
    let (mut operations, mut at_once) = (Vec::new(), Vec::new());
    let mut at = 0;
    while let (Some(one), Some(record)) = (asked.get(at), records.get(at)) {
        let mut end = at + 1;
        if one.op == Operation::Cancel {
            operations.push(DelayOperation::Cancel { id: one.id.clone() });
        } else if let Some(due_ms) = one.due_ms {
            while one.id.is_empty() && asked.get(end) == Some(one) {
                end += 1;
            }
            let part = records.get(at..end).unwrap_or_default();
            operations.push(DelayOperation::Add(DelayedBatch {
                due_ms,
                expires_ms: one.expires_ms,
                id: one.id.clone(),
                replace: one.op == Operation::Replace,
                split_from: Some(codec),
                batch: build(part, Compression::None)?.bytes,
            }));
        } else {
            if one.op == Operation::Replace {
                operations.push(DelayOperation::Cancel { id: one.id.clone() });
            }
            at_once.push(record.clone());
        }
        at = end;
    }
    let immediate = match at_once.as_slice() {
        [] => None,
        records => Some(build(records, codec)?),
    };
    Ok(DelayPlan::Delayed {
        immediate,
        operations,
    })
}

fn build(records: &[Record], codec: Compression) -> Result<RecordBatch, BatchError> {
    let mut builder = RecordBatchBuilder::new().compression(codec);
    for record in records {
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        builder = builder.record_with_headers(record.timestamp, key, value, record.headers.clone());
    }
    builder.build()
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
