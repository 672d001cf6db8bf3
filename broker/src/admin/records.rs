//! Records are produced, one a request: for tests and for people. They go the way of every other record, with the same
//! checks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidewheel_config::DelayMode;
use tidewheel_protocol::{ErrorCode, RecordBatchBuilder, RecordHeader, partition_of_key};
use tidewheel_storage::AppendInfo;
use utoipa::ToSchema;

use super::idempotency::{self, Attempt, First, Turn};
use super::partitions::numbered;
use super::problem::Problem;
use super::queries::DryRun;
use super::state::Admin;
use super::topics::named;
use crate::api::error::append_code;
use crate::api::produce;
use crate::clock;
use crate::partition::{Acks, AppendError};
use crate::topics::Topic;

/// How long a record may take to be on the disk.
const WAIT: Duration = Duration::from_secs(20);
/// The header that asks for a delay.
const DELAY_UNTIL: &str = "delay-until";

/// A record that is to be appended.
#[derive(Debug, Hash, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RecordRequest {
    /// Its partition. Where it is left out, that which Kafka's clients choose for the key; without a key they take
    /// turns.
    partition: Option<i32>,
    /// Its key.
    key: Option<Payload>,
    /// Its value; a tombstone where it is left out.
    value: Option<Payload>,
    /// Its headers, in their order.
    #[serde(default)]
    headers: Vec<HeaderRequest>,
    /// Its timestamp; now where it is left out.
    timestamp_ms: Option<i64>,
    /// When it is to be delivered, in topics with `delay.mode`; it is given to the broker in the form that the mode asks
    /// for.
    deliver_at_ms: Option<i64>,
}

/// A header of a record.
#[derive(Debug, Hash, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HeaderRequest {
    /// Its name.
    key: String,
    /// Its value.
    value: Option<Payload>,
}

/// Bytes of a record.
#[derive(Debug, Hash, Deserialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Payload {
    /// A text, in UTF-8.
    Text(String),
    /// Any bytes.
    Encoded(EncodedPayload),
}

/// Bytes in base64.
#[derive(Debug, Hash, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EncodedPayload {
    /// With padding.
    base64: String,
}

/// A record that was appended, or would be.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct RecordProduced {
    /// The topic.
    topic: String,
    /// The partition.
    partition: i32,
    /// Its offset; null where it is delivered later, and in a dry run.
    offset: Option<i64>,
    /// Its timestamp: as it was given, or the broker's clock where the topic wants that.
    timestamp_ms: i64,
    /// Whether nothing was done.
    dry_run: bool,
    /// Whether this was done by an earlier request with the same `Idempotency-Key`.
    repeated: bool,
}

impl Payload {
    fn bytes(self, pointer: &str) -> Result<Vec<u8>, Problem> {
        match self {
            Self::Text(text) => Ok(text.into_bytes()),
            Self::Encoded(EncodedPayload { base64 }) => {
                let decoded = STANDARD.decode(base64);
                let place = format!("{pointer}/base64");
                decoded.map_err(|error| Problem::invalid(place, error.to_string()))
            }
        }
    }
}

fn bytes(payload: Option<Payload>, pointer: &str) -> Result<Option<Vec<u8>>, Problem> {
    payload.map(|payload| payload.bytes(pointer)).transpose()
}

/// A record as it goes to its partition.
struct Prepared {
    partition: i32,
    timestamp_ms: i64,
    batch: Bytes,
}

/// Which partition comes next for those without a key.
#[derive(Debug, Default)]
pub(crate) struct Turns(AtomicUsize);

impl Turns {
    fn next(&self, partitions: usize) -> usize {
        let turn = self.0.fetch_add(1, Ordering::Relaxed);
        turn.checked_rem(partitions).unwrap_or_default()
    }
}

impl Prepared {
    fn new(
        topic: &Topic,
        request: RecordRequest,
        turns: &Turns,
        now_ms: i64,
    ) -> Result<Self, Problem> {
        let mut headers = Vec::with_capacity(request.headers.len() + 1);
        for (at, header) in request.headers.into_iter().enumerate() {
            let value = bytes(header.value, &format!("/headers/{at}/value"))?;
            headers.push(RecordHeader {
                key: Bytes::from(header.key),
                value: value.map(Bytes::from),
            });
        }
        let mut timestamp_ms = request.timestamp_ms.unwrap_or(now_ms);
        if let Some(deliver_at_ms) = request.deliver_at_ms {
            match asks_by_timestamp(topic, deliver_at_ms)? {
                true if request.timestamp_ms.is_some() => {
                    let detail = "in this topic the timestamp says when it is to be delivered";
                    return Err(Problem::invalid("/timestamp_ms", detail));
                }
                true => timestamp_ms = deliver_at_ms,
                false => headers.push(RecordHeader {
                    key: Bytes::from_static(DELAY_UNTIL.as_bytes()),
                    value: Some(Bytes::from(deliver_at_ms.to_string())),
                }),
            }
        }
        let (key, value) = (bytes(request.key, "/key")?, bytes(request.value, "/value")?);
        let partition = match request.partition {
            Some(partition) => partition,
            None => {
                let count = topic.partitions.len();
                let chosen = match &key {
                    Some(key) => partition_of_key(key, count),
                    None => turns.next(count),
                };
                i32::try_from(chosen).unwrap_or_default()
            }
        };
        numbered(topic, partition)?;
        let (key, value) = (key.as_deref(), value.as_deref());
        let batch = RecordBatchBuilder::new();
        let batch = batch.record_with_headers(timestamp_ms, key, value, headers);
        let batch = batch.build().map_err(AppendError::from)?;
        Ok(Self {
            partition,
            timestamp_ms,
            batch: batch.bytes,
        })
    }
}

/// Whether a topic takes a delay from the timestamp of a record; else it does so from a header.
fn asks_by_timestamp(topic: &Topic, deliver_at_ms: i64) -> Result<bool, Problem> {
    if deliver_at_ms < 0 {
        return Err(Problem::invalid("/deliver_at_ms", "it must be 0 or more"));
    }
    let first = topic.partitions.first();
    let mode = first.map_or(DelayMode::None, |first| first.log().config().delay.mode);
    match mode {
        DelayMode::Timestamp => Ok(true),
        DelayMode::Header | DelayMode::Both => Ok(false),
        DelayMode::None | DelayMode::Fixed => {
            let detail = format!(
                "delay.mode of {} lets no record say when it is due",
                topic.name
            );
            let kind = "/problems/no-delays";
            Err(Problem::new(StatusCode::CONFLICT, kind, "nothing can be delayed").detail(detail))
        }
    }
}

/// Whether a record that comes to this may be in its log all the same.
fn may_be_appended(error: &AppendError) -> bool {
    match append_code(error) {
        ErrorCode::RequestTimedOut | ErrorCode::UnknownServerError => true,
        // What meets a full disk publishes nothing.
        ErrorCode::KafkaStorageError => {
            !matches!(error, AppendError::Storage(error) if error.is_disk_full())
        }
        _ => false,
    }
}

/// Appends a record, and waits until it is as durable as its topic wants. Says in `attempt` whether it may be there.
async fn append(
    admin: &Admin,
    topic: Arc<Topic>,
    prepared: Prepared,
    attempt: Attempt,
) -> Result<AppendInfo, Problem> {
    let Prepared {
        partition, batch, ..
    } = prepared;
    let log = numbered(&topic, partition)?;
    let (traffic, begins) = (Arc::clone(log.traffic()), attempt.clone());
    let begin = admin.ask_logs(move |broker| {
        if !begins.begin() {
            return Err(AppendError::TimedOut);
        }
        let (place, now_ms) = ((&*topic, partition, &*log), broker.clock().now_ms());
        let begun = produce::append(broker, place, Some(batch), Acks::All, true, now_ms)?;
        if begun.unsynced {
            broker.flush_soon();
        }
        Ok::<_, AppendError>(begun.outcome)
    });
    let outcome = match begin.await? {
        Ok(append) => produce::outcome(append, clock::deadline(WAIT)).await,
        Err(error) => Err(error),
    };
    outcome.map_err(|error| {
        traffic.produce_failed(append_code(&error).code());
        if !may_be_appended(&error) {
            attempt.came_to_nothing();
        }
        Problem::from(error)
    })
}

/// Produces a record, and answers when it is as durable as the topic wants. Only where `tidewheel.admin.produce` is true.
/// With an `Idempotency-Key` it is produced once, however often the request is sent within some minutes, until the
/// broker is started again: 409 while the first is under way, or where nobody knows how it ended.
#[utoipa::path(post, path = "/v1/topics/{topic}/records", tag = "messages",
    params(("topic" = String, Path, description = "the topic's name"), DryRun,
        ("Idempotency-Key" = Option<String>, Header, description = "what no other request to this topic has")),
    request_body = RecordRequest, responses((status = 200, body = RecordProduced)))]
pub(crate) async fn produce(
    State(admin): State<Arc<Admin>>,
    Path(name): Path<String>,
    Query(query): Query<DryRun>,
    headers: HeaderMap,
    Json(request): Json<RecordRequest>,
) -> Result<Json<RecordProduced>, Problem> {
    if !admin.produce {
        let detail = "tidewheel.admin.produce is false";
        return Err(Problem::forbidden("/problems/produce-is-off", detail));
    }
    let (broker, dry_run) = (admin.broker()?, query.is_dry());
    let topic = named(broker, &name)?;
    if topic.is_internal() {
        return Err(AppendError::InternalTopic.into());
    }
    let key = idempotency::key(&headers, &topic.id.to_string())?.filter(|_| !dry_run);
    let first = match key
        .map(|key| admin.produced.turn(key, &request))
        .transpose()?
    {
        Some(Turn::Again(produced)) => {
            return Ok(Json(RecordProduced {
                repeated: true,
                ..produced
            }));
        }
        Some(Turn::First(first)) => Some(first),
        None => None,
    };
    let now_ms = broker.clock().now_ms();
    let prepared = Prepared::new(&topic, request, &admin.turns, now_ms)?;
    let mut produced = RecordProduced {
        topic: name,
        partition: prepared.partition,
        offset: None,
        timestamp_ms: prepared.timestamp_ms,
        dry_run,
        repeated: false,
    };
    if dry_run {
        return Ok(Json(produced));
    }
    let attempt = first.as_ref().map(First::attempt).unwrap_or_default();
    let info = append(&admin, topic, prepared, attempt).await?;
    produced.offset = Some(info.base_offset).filter(|offset| *offset >= 0);
    if info.log_append_time >= 0 {
        produced.timestamp_ms = info.log_append_time;
    }
    if let Some(first) = first {
        first.done(produced.clone());
    }
    Ok(Json(produced))
}
