//! Partitions give up their first records, begin a new segment, and are checked.

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequest, Path, Query, Request, State};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tidewheel_protocol::ErrorCode;
use utoipa::ToSchema;

use super::actions::{parted, unknown};
use super::error::coded;
use super::partitions::{numbered, readable};
use super::problem::Problem;
use super::queries::{DryRun, VerifyQuery};
use super::state::Admin;
use super::topics::named;
use crate::api::delete_records::delete;
use crate::api::error::storage_code;
use crate::broker::Broker;
use crate::partition::AppendError;
use crate::scrub;

/// Which records are to be deleted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RecordDeletion {
    /// All before this place.
    before: DeletedBefore,
}

/// A place in a partition.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DeletedBefore {
    /// Behind the last record that consumers see.
    End,
    /// This offset, of the log or its end.
    Offset(i64),
}

/// Records that were deleted, or would be.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RecordsDeleted {
    /// The topic.
    topic: String,
    /// The partition.
    partition: i32,
    /// Offset of the first record before.
    before: i64,
    /// Offset of the first record now: never moved back.
    log_start_offset: i64,
    /// Whether nothing was done.
    dry_run: bool,
}

/// Deletes the first records of a partition. Their files go once all records in them are deleted.
#[utoipa::path(post, path = "/v1/topics/{topic}/partitions/{partition}:delete-records",
    tag = "partitions",
    params(("topic" = String, Path, description = "its topic's name"),
        ("partition" = i32, Path, description = "its number"), DryRun),
    request_body = RecordDeletion, responses((status = 200, body = RecordsDeleted)))]
pub(crate) async fn delete_records(
    admin: &Admin,
    name: String,
    partition: i32,
    dry_run: bool,
    wanted: &RecordDeletion,
) -> Result<Json<RecordsDeleted>, Problem> {
    let topic = named(admin.broker()?, &name)?;
    let found = numbered(&topic, partition)?;
    readable(&found)?;
    let log = Arc::clone(found.log());
    if topic.is_internal() {
        return Err(AppendError::InternalTopic.into());
    }
    let offsets = log.offsets();
    let offset = match wanted.before {
        DeletedBefore::End => offsets.high_watermark,
        DeletedBefore::Offset(offset) => offset,
    };
    if !(0..=offsets.high_watermark).contains(&offset) {
        let detail = format!("{name}-{partition} ends at {}", offsets.high_watermark);
        return Err(coded(ErrorCode::OffsetOutOfRange, detail));
    }
    let mut log_start_offset = offset.max(offsets.log_start);
    if !dry_run {
        // It is on disk when it is answered.
        let deleted = admin.ask_logs(move |broker| delete(broker, &[(log, offset)]).pop());
        let deleted = deleted.await?;
        let stopped = || Problem::unavailable("/problems/stopping", "the broker is stopping");
        let start = deleted.ok_or_else(stopped)?;
        log_start_offset = start.map_err(|error| coded(storage_code(&error), error.to_string()))?;
    }
    Ok(Json(RecordsDeleted {
        topic: name,
        partition,
        before: offsets.log_start,
        log_start_offset,
        dry_run,
    }))
}

/// A partition that begins a new segment, or would.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SegmentRolled {
    /// The topic.
    topic: String,
    /// The partition.
    partition: i32,
    /// Whether a new segment was begun: not where the active one holds nothing.
    rolled: bool,
    /// Where the active segment begins.
    base_offset: i64,
    /// Whether nothing was done.
    dry_run: bool,
}

/// Begins a new segment, so that retention and compaction may take what the last one holds.
#[utoipa::path(post, path = "/v1/topics/{topic}/partitions/{partition}:roll", tag = "partitions",
    params(("topic" = String, Path, description = "its topic's name"),
        ("partition" = i32, Path, description = "its number"), DryRun),
    responses((status = 200, body = SegmentRolled)))]
pub(crate) async fn roll(
    admin: &Admin,
    name: String,
    partition: i32,
    dry_run: bool,
) -> Result<Json<SegmentRolled>, Problem> {
    let topic = named(admin.broker()?, &name)?;
    let log = Arc::clone(numbered(&topic, partition)?.log());
    let rolled = admin.ask_logs(move |broker| match dry_run {
        true => {
            let active = log.segments().pop();
            let would = active.map_or((false, 0), |one| match one.bytes > 0 {
                true => (true, one.end_offset),
                false => (false, one.base_offset),
            });
            log.refusal().map_or(Ok(would), Err)
        }
        false => log.roll(broker.clock().now_ms()),
    });
    let rolled = rolled.await?;
    let (rolled, base_offset) =
        rolled.map_err(|error| coded(storage_code(&error), error.to_string()))?;
    Ok(Json(SegmentRolled {
        topic: name,
        partition,
        rolled,
        base_offset,
        dry_run,
    }))
}

/// A part of a partition that was checked.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PartitionVerified {
    /// The topic.
    topic: String,
    /// The partition.
    partition: i32,
    /// Where it was begun.
    from_offset: i64,
    /// Where to go on; null where nothing is left, or damage was found.
    next_offset: Option<i64>,
    /// The end of the log when it was begun: how far there is to go.
    log_end_offset: i64,
    /// Batches that are as they were written.
    batches: u64,
    /// Bytes of them.
    checked_bytes: u64,
    /// Bytes of the partition's segments.
    size_bytes: u64,
    /// Where, and what is wrong, if anything is.
    damage: Option<String>,
    /// Whether nothing follows from it.
    dry_run: bool,
}

/// Reads and checks every batch of a partition on the disk, for 128 MiB and some seconds at most: whoever wants all of
/// it goes on at `next_offset`. One in which damage is found takes no data until the next start.
#[utoipa::path(post, path = "/v1/topics/{topic}/partitions/{partition}:verify", tag = "partitions",
    params(("topic" = String, Path, description = "its topic's name"),
        ("partition" = i32, Path, description = "its number"), VerifyQuery),
    responses((status = 200, body = PartitionVerified)))]
pub(crate) async fn verify(
    admin: &Admin,
    name: String,
    partition: i32,
    query: VerifyQuery,
) -> Result<Json<PartitionVerified>, Problem> {
    let topic = named(admin.broker()?, &name)?;
    let log = Arc::clone(numbered(&topic, partition)?.log());
    let dry_run = query.dry_run.unwrap_or(false);
    let (log_start, size_bytes) = (log.offsets().log_start, log.size_bytes());
    let from_offset = query.from_offset.unwrap_or(log_start).max(log_start);
    let work = move |broker: &Arc<Broker>| scrub::verify(broker, &log, from_offset, dry_run);
    let verified = admin.verify(work).await?;
    let verified = verified.map_err(|error| coded(storage_code(&error), error.to_string()))?;
    Ok(Json(PartitionVerified {
        topic: name,
        partition,
        from_offset,
        next_offset: verified.next_offset,
        log_end_offset: verified.end_offset,
        batches: verified.batches,
        checked_bytes: verified.bytes,
        size_bytes,
        damage: verified.damage.map(|damage| damage.to_string()),
        dry_run,
    }))
}

/// What is done to a partition, by its action.
pub(crate) async fn act(
    State(admin): State<Arc<Admin>>,
    Path((topic, target)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let (number, action) = parted(&target)?;
    let wrong = |_| Problem::invalid("partition", "it is no number");
    let partition: i32 = number.parse().map_err(wrong)?;
    let uri = request.uri().clone();
    let is_dry = || Query::<DryRun>::try_from_uri(&uri).map(|query| query.is_dry());
    match action {
        "delete-records" => {
            let dry_run = is_dry()?;
            let Json(wanted) = Json::<RecordDeletion>::from_request(request, &()).await?;
            let deleted = delete_records(&admin, topic, partition, dry_run, &wanted).await?;
            Ok(deleted.into_response())
        }
        "roll" => {
            let rolled = roll(&admin, topic, partition, is_dry()?).await?;
            Ok(rolled.into_response())
        }
        "verify" => {
            let Query(query) = Query::<VerifyQuery>::try_from_uri(&uri)?;
            let verified = verify(&admin, topic, partition, query).await?;
            Ok(verified.into_response())
        }
        action => Err(unknown(action)),
    }
}
