//! Partitions give up their first records.

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequest, Path, Query, Request, State};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tidewheel_protocol::ErrorCode;
use utoipa::ToSchema;

use super::actions::{parted, unknown};
use super::error::coded;
use super::partitions::numbered;
use super::problem::Problem;
use super::queries::DryRun;
use super::state::Admin;
use super::topics::named;
use crate::api::delete_records::delete;
use crate::api::error::storage_code;
use crate::partition::AppendError;

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
    let log = Arc::clone(numbered(&topic, partition)?.log());
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

/// What is done to a partition, by its action.
pub(crate) async fn act(
    State(admin): State<Arc<Admin>>,
    Path((topic, target)): Path<(String, String)>,
    Query(query): Query<DryRun>,
    request: Request,
) -> Result<Response, Problem> {
    let dry_run = query.is_dry();
    let (number, action) = parted(&target)?;
    let wrong = |_| Problem::invalid("partition", "it is no number");
    let partition: i32 = number.parse().map_err(wrong)?;
    match action {
        "delete-records" => match Json::<RecordDeletion>::from_request(request, &()).await {
            Ok(Json(wanted)) => {
                let deleted = delete_records(&admin, topic, partition, dry_run, &wanted).await?;
                Ok(deleted.into_response())
            }
            Err(refused) => Ok(refused.into_response()),
        },
        action => Err(unknown(action)),
    }
}
