//! Delayed records are cancelled, delivered now or at another time, and held.

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequest, Path, Query, Request, State};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::actions::{parted, unknown};
use super::delayed::identified;
use super::problem::Problem;
use super::queries::DryRun;
use super::state::Admin;
use super::topics::named;
use crate::broker::Broker;
use crate::delays::{self, DelayedError, DelayedId};

/// A record that was cancelled, or would be.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DelayedCancelled {
    /// What named it.
    id: String,
    /// Whether nothing was done.
    dry_run: bool,
}

/// When a record is to be delivered.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RescheduleRequest {
    /// The new time, ms since 1970; a past one is now. Within `delay.max.ms` of its topic.
    deliver_at_ms: i64,
}

/// A record that is delivered at another time, or would be.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DelayedMoved {
    /// What named it.
    id: String,
    /// What names it now, until it is delivered; null in a dry run.
    new_id: Option<String>,
    /// When it is due now: never before what its partition was given last. Null in a dry run.
    deliver_at_ms: Option<i64>,
    /// Whether nothing was done.
    dry_run: bool,
}

/// A topic whose delayed records are held or delivered, or would be.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DelayedPaused {
    /// The topic.
    topic: String,
    /// Whether its delayed records are held.
    paused: bool,
    /// Whether nothing was done.
    dry_run: bool,
}

/// The clock is believed, or would be.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ClockAccepted {
    /// Whether nothing was done.
    dry_run: bool,
}

impl DelayedMoved {
    fn new(id: &DelayedId, moved: Option<DelayedId>) -> Self {
        Self {
            id: id.to_string(),
            new_id: moved.as_ref().map(DelayedId::to_string),
            deliver_at_ms: moved.as_ref().map(|moved| moved.due_ms),
            dry_run: moved.is_none(),
        }
    }
}

/// Cancels a pending record: it is never delivered. Answers 409 where it is not
/// pending any more: delivered, cancelled, moved or expired.
#[utoipa::path(delete, path = "/v1/delayed/messages/{id}", tag = "delayed",
    params(("id" = String, Path, description = "what names it"), DryRun),
    responses((status = 200, body = DelayedCancelled)))]
pub(crate) async fn cancel(
    State(admin): State<Arc<Admin>>,
    Path(id): Path<String>,
    Query(query): Query<DryRun>,
) -> Result<Json<DelayedCancelled>, Problem> {
    let dry_run = query.is_dry();
    let id = identified(&id)?;
    let work = move |broker: &Arc<Broker>| {
        match dry_run {
            true => delays::get(broker, &id).map(drop)?,
            false => delays::cancel(broker, &id)?,
        }
        let id = id.to_string();
        Ok::<_, DelayedError>(DelayedCancelled { id, dry_run })
    };
    Ok(Json(admin.one_delayed(work).await??))
}

/// Delivers a pending record now, behind what is due already. Answers 409 where it has expired,
/// and while the clock is held: see `/v1/delayed/clock:accept`.
#[utoipa::path(post, path = "/v1/delayed/messages/{id}:deliver-now", tag = "delayed",
    params(("id" = String, Path, description = "what names it"), DryRun),
    responses((status = 200, body = DelayedMoved)))]
pub(crate) async fn deliver_now(
    admin: &Admin,
    id: DelayedId,
    dry_run: bool,
) -> Result<Json<DelayedMoved>, Problem> {
    let work = move |broker: &Arc<Broker>| {
        let moved = delays::deliver_now(broker, &id, dry_run)?;
        Ok::<_, DelayedError>(DelayedMoved::new(&id, moved))
    };
    Ok(Json(admin.one_delayed(work).await??))
}

/// Delivers a pending record at another time, behind what is due then already. It has another name then. Answers 409
/// where it would have expired by then.
#[utoipa::path(post, path = "/v1/delayed/messages/{id}:reschedule", tag = "delayed",
    params(("id" = String, Path, description = "what names it"), DryRun),
    request_body = RescheduleRequest, responses((status = 200, body = DelayedMoved)))]
pub(crate) async fn reschedule(
    admin: &Admin,
    id: DelayedId,
    dry_run: bool,
    wanted: &RescheduleRequest,
) -> Result<Json<DelayedMoved>, Problem> {
    let due_ms = wanted.deliver_at_ms;
    let work = move |broker: &Arc<Broker>| {
        let moved = delays::reschedule(broker, &id, due_ms, dry_run)?;
        Ok::<_, DelayedError>(DelayedMoved::new(&id, moved))
    };
    Ok(Json(admin.one_delayed(work).await??))
}

/// Delivers nothing of a topic until it is resumed, also over restarts; records are taken all the same.
#[utoipa::path(post, path = "/v1/delayed/topics/{topic}:pause", tag = "delayed",
    params(("topic" = String, Path, description = "its name"), DryRun),
    responses((status = 200, body = DelayedPaused)))]
pub(crate) async fn pause(
    admin: &Admin,
    topic: String,
    dry_run: bool,
) -> Result<Json<DelayedPaused>, Problem> {
    set_paused(admin, topic, true, dry_run).await
}

/// Delivers the delayed records of a topic again, first what was due meanwhile.
#[utoipa::path(post, path = "/v1/delayed/topics/{topic}:resume", tag = "delayed",
    params(("topic" = String, Path, description = "its name"), DryRun),
    responses((status = 200, body = DelayedPaused)))]
pub(crate) async fn resume(
    admin: &Admin,
    topic: String,
    dry_run: bool,
) -> Result<Json<DelayedPaused>, Problem> {
    set_paused(admin, topic, false, dry_run).await
}

async fn set_paused(
    admin: &Admin,
    topic: String,
    paused: bool,
    dry_run: bool,
) -> Result<Json<DelayedPaused>, Problem> {
    named(admin.broker()?, &topic)?;
    if !dry_run {
        let name = topic.clone();
        // It is on disk when it is answered.
        let set = admin.ask_logs(move |broker| delays::set_paused(broker, &name, paused));
        set.await??;
    }
    Ok(Json(DelayedPaused {
        topic,
        paused,
        dry_run,
    }))
}

/// Says that the clock is right although it has jumped ahead: what was held is delivered.
#[utoipa::path(post, path = "/v1/delayed/clock:accept", tag = "delayed", params(DryRun),
    responses((status = 200, body = ClockAccepted)))]
pub(crate) async fn accept_clock(
    State(admin): State<Arc<Admin>>,
    Query(query): Query<DryRun>,
) -> Result<Json<ClockAccepted>, Problem> {
    let (broker, dry_run) = (admin.broker()?, query.is_dry());
    if !dry_run {
        delays::accept_clock(broker);
    }
    Ok(Json(ClockAccepted { dry_run }))
}

/// What is done to one pending record, by its action.
pub(crate) async fn act(
    State(admin): State<Arc<Admin>>,
    Path(target): Path<String>,
    Query(query): Query<DryRun>,
    request: Request,
) -> Result<Response, Problem> {
    let dry_run = query.is_dry();
    let moved = match parted(&target)? {
        (id, "deliver-now") => deliver_now(&admin, identified(id)?, dry_run).await?,
        (id, "reschedule") => {
            let id = identified(id)?;
            match Json::<RescheduleRequest>::from_request(request, &()).await {
                Ok(Json(wanted)) => reschedule(&admin, id, dry_run, &wanted).await?,
                Err(refused) => return Ok(refused.into_response()),
            }
        }
        (_, action) => return Err(unknown(action)),
    };
    Ok(moved.into_response())
}

/// What is done to the delays of a topic, by its action.
pub(crate) async fn act_on_topic(
    State(admin): State<Arc<Admin>>,
    Path(target): Path<String>,
    Query(query): Query<DryRun>,
) -> Result<Json<DelayedPaused>, Problem> {
    let dry_run = query.is_dry();
    match parted(&target)? {
        (topic, "pause") => pause(&admin, topic.to_owned(), dry_run).await,
        (topic, "resume") => resume(&admin, topic.to_owned(), dry_run).await,
        (_, action) => Err(unknown(action)),
    }
}
