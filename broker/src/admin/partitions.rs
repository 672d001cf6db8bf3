//! Partitions, and the segments of their logs.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::Serialize;
use tidewheel_storage::SegmentView;
use utoipa::ToSchema;

use super::error::coded;
use super::listing::Page;
use super::problem::Problem;
use super::queries::NumberQuery;
use super::state::Admin;
use super::topics::named;
use crate::api::error::storage_code;
use crate::broker::Broker;
use crate::clock;
use crate::delays;
use crate::partition::Partition;
use crate::topics::Topic;

/// A partition.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PartitionDetail {
    /// Its topic.
    topic: String,
    /// Its number.
    partition: i32,
    /// The broker that leads it.
    leader: i32,
    /// The epoch under which it is led.
    leader_epoch: i32,
    /// The directory of `log.dirs` that it lies in.
    log_dir: Option<String>,
    /// Offset of the first record that can be read.
    log_start_offset: i64,
    /// Offset after the last record that consumers see.
    high_watermark: i64,
    /// Offset after the last record of a decided transaction.
    last_stable_offset: i64,
    /// Offset that the next record gets.
    log_end_offset: i64,
    /// Every record below this offset is on the disk.
    flushed_offset: i64,
    /// Bytes that are not on the disk yet.
    unflushed_bytes: u64,
    /// Bytes of its segments.
    size_bytes: u64,
    /// How many segments it has.
    segments: usize,
    /// The largest timestamp of its first batch.
    first_timestamp_ms: Option<i64>,
    /// The largest timestamp.
    last_timestamp_ms: Option<i64>,
    /// When its oldest segment goes by age, as far as that is known.
    retention_next_delete_ms: Option<i64>,
    /// Idempotent producers that are remembered.
    producers: usize,
    /// What producers sent, the mean of the last 5 to 10 seconds; null in the first ones.
    in_per_second: Option<InPerSecond>,
    /// Delayed records that are pending for it; null where the delay store is being worked on.
    delayed_pending: Option<u64>,
    /// Why it takes no records, if it does not.
    refusal: Option<String>,
    /// Whether that is because of damage: it is kept for reading only.
    damaged: bool,
}

/// What comes in a second.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct InPerSecond {
    /// Records.
    records: f64,
    /// Bytes of record batches.
    bytes: f64,
}

/// A segment.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SegmentDetail {
    /// Offset that its first record has or will have.
    base_offset: i64,
    /// Offset of its last record; null where it has none.
    last_offset: Option<i64>,
    /// `active` or `sealed`.
    state: &'static str,
    /// Bytes of its data file.
    size_bytes: u64,
    /// Those of them that are on the disk.
    flushed_bytes: u64,
    /// The largest timestamp of its first batch.
    first_timestamp_ms: Option<i64>,
    /// The largest timestamp.
    last_timestamp_ms: Option<i64>,
}

fn timestamp(timestamp: i64) -> Option<i64> {
    Some(timestamp).filter(|timestamp| *timestamp >= 0)
}

impl SegmentDetail {
    fn new(segment: SegmentView) -> Self {
        let has_records = segment.end_offset > segment.base_offset;
        Self {
            base_offset: segment.base_offset,
            last_offset: has_records.then(|| segment.end_offset - 1),
            state: match segment.is_active {
                true => "active",
                false => "sealed",
            },
            size_bytes: segment.bytes,
            flushed_bytes: segment.durable_bytes.min(segment.bytes),
            first_timestamp_ms: timestamp(segment.first_timestamp),
            last_timestamp_ms: timestamp(segment.max_timestamp),
        }
    }
}

impl PartitionDetail {
    /// Takes the mutex of the log for a moment.
    fn new(broker: &Broker, topic: &Topic, number: i32, partition: &Partition) -> Self {
        let log = partition.log();
        let (offsets, segments, config) = (log.offsets(), log.segments(), log.config());
        let refusal = log.refusal();
        let unflushed = segments
            .iter()
            .map(|segment| segment.bytes.saturating_sub(segment.durable_bytes));
        let log_dir = broker.logs().dir_of(log);
        let log_dir = log_dir.and_then(|dir| broker.config().log_dirs.get(dir));
        let oldest = segments.first().filter(|oldest| !oldest.is_active);
        let kept_ms = (config.retention_ms >= 0 && config.cleanup_policy.delete)
            .then_some(config.retention_ms);
        let goes = oldest.and_then(|oldest| timestamp(oldest.max_timestamp)?.checked_add(kept_ms?));
        Self {
            topic: topic.name.to_string(),
            partition: number,
            leader: broker.node_id(),
            leader_epoch: broker.leader_epoch(),
            log_dir: log_dir.map(|dir| dir.display().to_string()),
            log_start_offset: offsets.log_start,
            high_watermark: offsets.high_watermark,
            last_stable_offset: offsets.last_stable,
            log_end_offset: offsets.log_end,
            flushed_offset: offsets.durable,
            unflushed_bytes: unflushed.sum(),
            size_bytes: segments.iter().map(|segment| segment.bytes).sum(),
            segments: segments.len(),
            first_timestamp_ms: segments
                .first()
                .and_then(|first| timestamp(first.first_timestamp)),
            last_timestamp_ms: segments
                .iter()
                .filter_map(|segment| timestamp(segment.max_timestamp))
                .max(),
            retention_next_delete_ms: goes,
            producers: log.producer_count(),
            in_per_second: partition
                .recent()
                .per_second(clock::steady_ms())
                .map(|rate| InPerSecond {
                    records: rate.records,
                    bytes: rate.bytes,
                }),
            delayed_pending: delays::pending_for(broker, topic, number),
            damaged: log.damage().is_some(),
            refusal: refusal.map(|refusal| refusal.to_string()),
        }
    }
}

/// The partition of that number.
pub(crate) fn numbered(topic: &Topic, number: i32) -> Result<Arc<Partition>, Problem> {
    let partition = topic.partition(number);
    partition
        .map(Arc::clone)
        .ok_or_else(|| Problem::unknown_partition(&topic.name, number))
}

/// Fails where nothing of a partition can be read before another start: its log only looks empty.
pub(super) fn readable(partition: &Partition) -> Result<(), Problem> {
    match partition.log().unavailable() {
        None => Ok(()),
        Some(error) => Err(coded(storage_code(&error), error.to_string())),
    }
}

/// The partitions of a topic.
#[utoipa::path(get, path = "/v1/topics/{topic}/partitions", tag = "partitions",
    params(("topic" = String, Path, description = "its name"), NumberQuery),
    responses((status = 200, body = Page<PartitionDetail>)))]
pub(crate) async fn list(
    State(admin): State<Arc<Admin>>,
    Path(name): Path<String>,
    Query(query): Query<NumberQuery>,
) -> Result<Json<Page<PartitionDetail>>, Problem> {
    let topic = named(admin.broker()?, &name)?;
    let page = admin.ask_logs(move |broker| {
        let numbers: Vec<i32> = (0..topic.partition_count()).collect();
        let numbers: Vec<_> = numbers.into_iter().zip(&topic.partitions).collect();
        query.page(
            numbers,
            |(number, _)| i64::from(*number),
            |(number, partition)| PartitionDetail::new(broker, &topic, number, partition),
        )
    });
    Ok(Json(page.await??))
}

/// One partition.
#[utoipa::path(get, path = "/v1/topics/{topic}/partitions/{partition}", tag = "partitions",
    params(("topic" = String, Path, description = "its topic's name"),
        ("partition" = i32, Path, description = "its number")),
    responses((status = 200, body = PartitionDetail)))]
pub(crate) async fn one(
    State(admin): State<Arc<Admin>>,
    Path((name, number)): Path<(String, i32)>,
) -> Result<Json<PartitionDetail>, Problem> {
    let topic = named(admin.broker()?, &name)?;
    let partition = numbered(&topic, number)?;
    let detail = admin
        .ask_logs(move |broker| PartitionDetail::new(broker, &topic, number, &partition))
        .await?;
    Ok(Json(detail))
}

/// The segments of a partition.
#[utoipa::path(get, path = "/v1/topics/{topic}/partitions/{partition}/segments", tag = "partitions",
    params(("topic" = String, Path, description = "its topic's name"),
        ("partition" = i32, Path, description = "its number"), NumberQuery),
    responses((status = 200, body = Page<SegmentDetail>)))]
pub(crate) async fn segments(
    State(admin): State<Arc<Admin>>,
    Path((name, number)): Path<(String, i32)>,
    Query(query): Query<NumberQuery>,
) -> Result<Json<Page<SegmentDetail>>, Problem> {
    let topic = named(admin.broker()?, &name)?;
    let segments = numbered(&topic, number)?.log().segments();
    let page = query.page(segments, |one| one.base_offset, SegmentDetail::new)?;
    Ok(Json(page))
}

/// One segment.
#[utoipa::path(get, path = "/v1/topics/{topic}/partitions/{partition}/segments/{base_offset}",
    tag = "partitions",
    params(("topic" = String, Path, description = "its topic's name"),
        ("partition" = i32, Path, description = "its partition's number"),
        ("base_offset" = i64, Path, description = "its first offset")),
    responses((status = 200, body = SegmentDetail)))]
pub(crate) async fn segment(
    State(admin): State<Arc<Admin>>,
    Path((name, number, base_offset)): Path<(String, i32, i64)>,
) -> Result<Json<SegmentDetail>, Problem> {
    let topic = named(admin.broker()?, &name)?;
    let mut segments = numbered(&topic, number)?.log().segments().into_iter();
    let found = segments.find(|segment| segment.base_offset == base_offset);
    let missing = || {
        Problem::not_found(format!(
            "{name}-{number} has no segment that begins at {base_offset}"
        ))
    };
    found
        .map(|segment| Json(SegmentDetail::new(segment)))
        .ok_or_else(missing)
}
