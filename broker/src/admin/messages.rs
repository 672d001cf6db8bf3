//! Records, for people to look at. Nothing is committed.

pub(super) mod tail;

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use tidewheel_config::limits;
use tidewheel_protocol::{BatchHeader, Batches, Record, RecordBatch, RecordHeader};
use tidewheel_storage::StorageError;
use utoipa::ToSchema;

use super::error::coded;
use super::partitions::numbered;
use super::problem::Problem;
use super::queries::MessagesQuery;
use super::state::Admin;
use super::topics::named;
use crate::api::error::storage_code;
use crate::broker::Broker;
use crate::clock;
use crate::partition::Partition;

/// How long one request reads.
#[expect(clippy::cast_possible_truncation, reason = "some seconds")]
pub(super) const READ_WAIT_MS: i64 = limits::ADMIN_READ_WAIT.as_millis() as i64;

/// Records of a partition.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Messages {
    /// The partition.
    partition: i32,
    /// The records, the oldest first.
    items: Vec<Message>,
    /// Records that were looked at.
    scanned: usize,
    /// Where to go on.
    next_offset: i64,
    /// Offset after the last record that consumers see.
    high_watermark: i64,
    /// Batches that are damaged, or that open to more than is shown. Where one is damaged some behind it may be
    /// left out, too, uncounted.
    skipped_batches: usize,
    /// Bytes of records that were looked at, and of what is shown.
    #[serde(skip)]
    spent: [usize; 2],
    #[serde(skip)]
    until_ms: i64,
}

impl Messages {
    /// Passes over what is damaged: the batch where its header says where it ends, else `leap` offsets, maybe
    /// into another batch, of which what lies behind the damage is shown.
    fn skip(&mut self, end: Option<i64>, leap: i64) {
        let behind = self.next_offset.saturating_add(leap);
        let end = end.filter(|end| (self.next_offset + 1..=self.high_watermark).contains(end));
        self.next_offset = end.unwrap_or(behind).min(self.high_watermark);
    }

    /// Whether one request has read enough.
    fn is_enough(&self) -> bool {
        let [looked_at, shown] = self.spent;
        looked_at > limits::ADMIN_LOOKED_AT_BYTES
            || shown > limits::ADMIN_SHOWN_BYTES
            || clock::steady_ms() > self.until_ms
    }
}

/// A record.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Message {
    /// The partition.
    partition: i32,
    /// Its offset.
    offset: i64,
    /// Its timestamp.
    timestamp_ms: i64,
    /// Its key.
    key: Shown,
    /// Its value.
    value: Shown,
    /// Its headers, in their order.
    headers: Vec<MessageHeader>,
    /// How the batch is compressed that it came in.
    compression: &'static str,
}

/// A header of a record.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MessageHeader {
    /// Its name.
    key: String,
    /// Its value.
    value: Shown,
}

/// How bytes are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ValueFormat {
    /// As JSON, text or base64, whichever fits.
    #[default]
    Auto,
    /// As JSON where it is, bare numbers and words included, else as text or base64.
    Json,
    /// As text where it is, else as base64.
    Text,
    /// Two digits a byte.
    Hex,
    /// In base64.
    Base64,
}

/// Bytes, in a form that people can read.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Shown {
    /// `json`, `text`, `hex` or `base64`; `null` where there are no bytes.
    format: &'static str,
    /// The bytes in that form, maybe cut; JSON as it was written.
    data: Option<String>,
    /// How many bytes there are.
    size_bytes: usize,
    /// Whether only the first of them are shown.
    cut: bool,
}

impl Shown {
    pub(super) fn new(bytes: Option<&Bytes>, most: usize) -> Self {
        Self::with(bytes, most, ValueFormat::Auto)
    }

    fn with(bytes: Option<&Bytes>, most: usize, wanted: ValueFormat) -> Self {
        let Some(bytes) = bytes else {
            return Self {
                format: "null",
                data: None,
                size_bytes: 0,
                cut: false,
            };
        };
        let (size_bytes, cut) = (bytes.len(), bytes.len() > most);
        let head = bytes.get(..most).unwrap_or(bytes);
        let (format, data) = match wanted {
            ValueFormat::Hex => ("hex", hex(head)),
            ValueFormat::Base64 => ("base64", STANDARD.encode(head)),
            ValueFormat::Auto | ValueFormat::Json | ValueFormat::Text => {
                match std::str::from_utf8(head) {
                    Ok(text) if !cut && is_json(text, wanted) => ("json", text.to_owned()),
                    Ok(text) => ("text", text.to_owned()),
                    // The cut may go through a character.
                    Err(error) if cut && error.valid_up_to() + 4 > head.len() => {
                        let text = String::from_utf8_lossy(&head[..error.valid_up_to()]);
                        ("text", text.into_owned())
                    }
                    Err(_) => ("base64", STANDARD.encode(head)),
                }
            }
        };
        Self {
            format,
            data: Some(data),
            size_bytes,
            cut,
        }
    }

    /// Bytes of it in an answer.
    pub(super) fn len(&self) -> usize {
        self.data.as_deref().map_or(0, written_len)
    }
}

impl MessageHeader {
    /// Bytes of it in an answer.
    pub(super) fn len(&self) -> usize {
        written_len(&self.key) + self.value.len()
    }
}

/// The headers of a record, with so many bytes of a value at most.
pub(super) fn headers(record: &Record, most: usize) -> Vec<MessageHeader> {
    headers_with(record, most, ValueFormat::Auto)
}

fn headers_with(record: &Record, most: usize, wanted: ValueFormat) -> Vec<MessageHeader> {
    let most = most.min(limits::ADMIN_HEADER_SHOWN_BYTES);
    let headers = record.headers.iter().take(limits::ADMIN_HEADERS_SHOWN);
    let headers = headers.map(|header| MessageHeader {
        key: Shown::new(Some(&header.key), limits::ADMIN_HEADER_SHOWN_BYTES)
            .data
            .unwrap_or_default(),
        value: Shown::with(header.value.as_ref(), most, wanted),
    });
    headers.collect()
}

/// Bytes of a text in JSON, at most: what has to be escaped takes up to six.
fn written_len(text: &str) -> usize {
    let len = |byte: u8| match byte {
        0..0x20 | b'"' | b'\\' => 6,
        _ => 1,
    };
    text.bytes().map(len).sum()
}

/// An object or an array; a bare number is more likely a text, unless JSON is asked for.
fn is_json(text: &str, wanted: ValueFormat) -> bool {
    let may_be = match wanted {
        ValueFormat::Json => true,
        ValueFormat::Auto => text.trim_start().starts_with(['{', '[']),
        ValueFormat::Text | ValueFormat::Hex | ValueFormat::Base64 => false,
    };
    may_be && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value & 15)]);
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, *byte]);
    digits.map(digit).collect()
}

/// Whether a header has this name, or this name and value with `=` between them.
fn is_called(header: &RecordHeader, wanted: &str) -> bool {
    let (key, wanted) = (&*header.key, wanted.as_bytes());
    let rest = wanted.strip_prefix(key);
    rest.is_some_and(|rest| match rest.split_first() {
        None => true,
        Some((between, value)) => *between == b'=' && header.value.as_deref() == Some(value),
    })
}

/// What is wanted of a partition.
#[derive(Clone, Debug)]
struct Wanted {
    number: i32,
    partition: Arc<Partition>,
    limit: usize,
    text: Option<String>,
    key: Option<String>,
    header: Option<String>,
    format: ValueFormat,
    max_value_bytes: usize,
}

impl Wanted {
    fn new(broker: &Broker, topic: &str, query: &MessagesQuery) -> Result<Self, Problem> {
        let topic = named(broker, topic)?;
        let number = match (query.partition, topic.partition_count()) {
            (Some(number), _) => number,
            (None, 1) => 0,
            (None, count) => {
                let detail = format!("say which of the {count} partitions");
                return Err(Problem::invalid("?partition", detail));
            }
        };
        let limit = query.limit.unwrap_or(50);
        if !(1..=limits::ADMIN_PAGE_MAX).contains(&limit) {
            return Err(Problem::invalid("?limit", "it must be from 1 to 1000"));
        }
        Ok(Self {
            number,
            partition: numbered(&topic, number)?,
            limit,
            text: query.q.clone(),
            key: query.key.clone(),
            header: query.header.clone(),
            format: query.value_format.unwrap_or_default(),
            max_value_bytes: query
                .max_value_bytes
                .unwrap_or(50_000)
                .min(limits::ADMIN_VALUE_MAX),
        })
    }

    /// Where to begin.
    async fn begin(&self, admin: &Admin, offset: Option<&str>) -> Result<i64, Problem> {
        let offsets = self.partition.log().offsets();
        let (start, end) = (offsets.log_start, offsets.high_watermark);
        let wrong = || {
            let detail = "it must be earliest, latest, an offset, -N or @MS";
            Problem::invalid("?offset", detail)
        };
        let limit = i64::try_from(self.limit).unwrap_or(i64::MAX);
        let begin = match offset {
            None => end.saturating_sub(limit),
            Some("earliest") => start,
            Some("latest") => end,
            Some(text) => match (text.strip_prefix('@'), text.parse::<i64>()) {
                (Some(time), _) => {
                    let time = time.parse().map_err(|_| wrong())?;
                    let partition = Arc::clone(&self.partition);
                    let look = move || partition.log().find_by_timestamp(time);
                    let found = admin.look_up(look).await?.map_err(refused)?;
                    found.map_or(end, |found| found.offset)
                }
                (None, Ok(number)) if number < 0 => end.saturating_add(number),
                (None, Ok(number)) => number,
                (None, Err(_)) => return Err(wrong()),
            },
        };
        Ok(begin.clamp(start, end.max(start)))
    }

    fn fits(&self, record: &Record) -> bool {
        let contains = |bytes: &Option<Bytes>, text: &str| {
            let bytes = bytes.as_deref().unwrap_or_default();
            memchr::memmem::find(bytes, text.as_bytes()).is_some()
        };
        let key = self.key.as_deref();
        let header = self.header.as_deref();
        let has = |wanted: &str| {
            record
                .headers
                .iter()
                .any(|header| is_called(header, wanted))
        };
        header.is_none_or(has)
            && key.is_none_or(|key| record.key.as_deref() == Some(key.as_bytes()))
            && self.text.as_deref().is_none_or(|text| {
                text.is_empty() || contains(&record.key, text) || contains(&record.value, text)
            })
    }

    /// Reads on from an offset, within bounds; an error where nothing was found before it. Waits for the disk.
    fn read(&self, from: i64) -> Result<Messages, StorageError> {
        let mut told = Messages {
            partition: self.number,
            items: Vec::new(),
            scanned: 0,
            next_offset: from,
            high_watermark: self.partition.log().offsets().high_watermark,
            skipped_batches: 0,
            spent: [0; 2],
            until_ms: clock::steady_ms().saturating_add(READ_WAIT_MS),
        };
        let (mut bytes, mut leap) = (0, 1);
        while told.items.len() < self.limit
            && bytes < limits::ADMIN_SCAN_BYTES
            && !told.is_enough()
            && told.next_offset < told.high_watermark
        {
            let before = told.next_offset;
            match self.read_some(&mut told) {
                Ok(len) if told.next_offset > before => {
                    bytes += len;
                    leap = 1;
                }
                Ok(_) => break,
                Err(Unread::Damaged { end }) => {
                    // Else it is the same one still.
                    told.skipped_batches += usize::from(leap == 1);
                    told.skip(end, leap);
                    leap = leap.saturating_mul(2);
                }
                // The next request hears of it.
                Err(Unread::Failed(_)) if before > from => break,
                Err(Unread::Failed(error)) => return Err(error),
            }
        }
        Ok(told)
    }

    /// Reads the next batches; returns their bytes.
    fn read_some(&self, told: &mut Messages) -> Result<usize, Unread> {
        let log = self.partition.log();
        let read = log.read(told.next_offset, limits::ADMIN_READ_BYTES, true);
        let Some(slice) = read.map_err(|error| Unread::new(error, None))?.slice else {
            return Ok(0);
        };
        // Where its first batch ends, damaged or not.
        let end = |bytes: Bytes| Some(BatchHeader::parse(&bytes).ok()?.next_offset());
        let end = slice.bytes().ok().and_then(end);
        let slice = slice.load().map_err(|error| Unread::new(error, end))?;
        let bytes = slice.bytes().map_err(|error| Unread::new(error, None))?;
        for batch in Batches::new(bytes) {
            // It was whole a moment ago: the next look tells.
            let Ok(batch) = batch else { break };
            if !self.take(&batch, told) {
                break;
            }
        }
        Ok(slice.len())
    }

    /// Takes what fits of a batch; false where that is enough.
    fn take(&self, batch: &RecordBatch, told: &mut Messages) -> bool {
        let codec = batch.header.compression();
        let compression = codec.map_or("unknown", |codec| codec.name());
        let mut opened = Ok(());
        if !batch.header.is_control() {
            match batch.records(limits::COMPACTED_BATCH_BYTES_MAX) {
                Ok(records) => {
                    for record in records {
                        let Ok(record) = record.map_err(|_| opened = Err(())) else {
                            break;
                        };
                        if record.offset < told.next_offset {
                            continue;
                        }
                        if told.items.len() == self.limit || told.is_enough() {
                            return false;
                        }
                        self.look(&record, compression, told);
                    }
                }
                Err(_) => opened = Err(()),
            }
        }
        told.skipped_batches += usize::from(opened.is_err());
        told.next_offset = told.next_offset.max(batch.header.next_offset());
        true
    }

    fn look(&self, record: &Record, compression: &'static str, told: &mut Messages) {
        told.next_offset = record.offset + 1;
        told.scanned += 1;
        let len = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        told.spent[0] += len(&record.key) + len(&record.value);
        if self.header.is_some() {
            let headers = record.headers.iter();
            let lens = headers.map(|header| header.key.len() + len(&header.value));
            told.spent[0] += lens.sum::<usize>();
        }
        if self.fits(record) {
            let message = self.shown(record, compression);
            let headers = message.headers.iter().map(MessageHeader::len);
            told.spent[1] += message.key.len() + message.value.len() + headers.sum::<usize>();
            told.items.push(message);
        }
    }

    fn shown(&self, record: &Record, compression: &'static str) -> Message {
        let shown = |bytes: Option<&Bytes>| Shown::with(bytes, self.max_value_bytes, self.format);
        Message {
            partition: self.number,
            offset: record.offset,
            timestamp_ms: record.timestamp,
            key: shown(record.key.as_ref()),
            value: shown(record.value.as_ref()),
            headers: headers_with(record, self.max_value_bytes, self.format),
            compression,
        }
    }
}

/// Why records cannot be read.
enum Unread {
    /// They are not what was written.
    Damaged {
        /// Offset after the batch, where its header says so.
        end: Option<i64>,
    },
    /// No record of this log can be read now.
    Failed(StorageError),
}

impl Unread {
    fn new(error: StorageError, end: Option<i64>) -> Self {
        match error {
            StorageError::Corrupt { .. } => Self::Damaged { end },
            error => Self::Failed(error),
        }
    }
}

/// Says why a log cannot be read.
fn refused(error: StorageError) -> Problem {
    coded(storage_code(&error), error.to_string())
}

/// Records of a partition.
#[utoipa::path(get, path = "/v1/topics/{topic}/messages", tag = "messages",
    params(("topic" = String, Path, description = "the topic's name"), MessagesQuery),
    responses((status = 200, body = Messages)))]
pub(crate) async fn read(
    State(admin): State<Arc<Admin>>,
    Path(topic): Path<String>,
    Query(query): Query<MessagesQuery>,
) -> Result<Json<Messages>, Problem> {
    let broker = admin.broker()?;
    let wanted = Wanted::new(broker, &topic, &query)?;
    let from = wanted.begin(&admin, query.offset.as_deref()).await?;
    let read = admin.read_records(move || wanted.read(from)).await?;
    Ok(Json(read.map_err(refused)?))
}
