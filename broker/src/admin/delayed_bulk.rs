//! Many delayed records are cancelled at once: those that a list shows.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::delayed::Wanted;
use super::problem::Problem;
use super::queries::{DelayedCancelQuery, DelayedQuery};
use super::state::Admin;
use crate::broker::Broker;
use crate::delays;

/// Records that were cancelled, or would be.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DelayedCancelledAll {
    /// How many were found.
    matched: usize,
    /// How many of them were cancelled: those that were delivered or cancelled meanwhile were not.
    cancelled: usize,
    /// Why it was given up before all of them were looked at, if it was.
    given_up: Option<String>,
    /// Where to go on, if there may be more; null after the last one.
    next_cursor: Option<String>,
    /// Whether nothing was done.
    dry_run: bool,
}

impl DelayedCancelQuery {
    /// The list that shows them.
    fn list(self) -> DelayedQuery {
        DelayedQuery {
            topic: self.topic,
            partition: self.partition,
            due_after: self.due_after,
            due_before: self.due_before,
            state: self.state,
            key: self.key,
            limit: self.limit,
            cursor: self.cursor,
        }
    }
}

/// Refuses to cancel others than were counted before.
fn check_count(matched: usize, confirmed: Option<usize>) -> Result<(), Problem> {
    if confirmed == Some(matched) {
        return Ok(());
    }
    let kind = "/problems/count-differs";
    let differs = Problem::new(StatusCode::CONFLICT, kind, "there are not as many");
    Err(differs.detail(format!("{matched} would be cancelled; nothing was done")))
}

fn cancel(
    broker: &Broker,
    wanted: &Wanted,
    now_ms: i64,
    (confirmed, dry_run): (Option<usize>, bool),
) -> Result<DelayedCancelledAll, Problem> {
    let (page, records) = wanted.page(broker, now_ms)?;
    let (cancelled, outcome) = match dry_run {
        true => (0, Ok(())),
        false => {
            check_count(records.len(), confirmed)?;
            delays::cancel_all(broker, &records)
        }
    };
    if let (0, Err(error)) = (cancelled, &outcome) {
        return Err(error.clone().into());
    }
    Ok(DelayedCancelledAll {
        matched: records.len(),
        cancelled,
        // Whoever goes on there would pass over what is left of these.
        next_cursor: page.next_cursor().filter(|_| outcome.is_ok()),
        given_up: outcome.err().map(|error| error.to_string()),
        dry_run,
    })
}

/// Cancels at once what a list with the same query shows: none of it is delivered. `confirm_count` has to say how many
/// these are, which a dry run tells; where there are more or fewer by then, 409 is answered and nothing is done.
#[utoipa::path(delete, path = "/v1/delayed/messages", tag = "delayed",
    params(DelayedCancelQuery), responses((status = 200, body = DelayedCancelledAll)))]
pub(crate) async fn cancel_all(
    State(admin): State<Arc<Admin>>,
    Query(query): Query<DelayedCancelQuery>,
) -> Result<Json<DelayedCancelledAll>, Problem> {
    let now_ms = admin.broker()?.clock().now_ms();
    let (confirmed, dry_run) = (query.confirm_count, query.dry_run.unwrap_or(false));
    if confirmed.is_none() && !dry_run {
        let detail = "say how many are to be cancelled; a dry run tells";
        return Err(Problem::invalid("?confirm_count", detail));
    }
    let wanted = Wanted::new(admin.broker()?, query.list(), now_ms)?;
    let work = move |broker: &Arc<Broker>| cancel(broker, &wanted, now_ms, (confirmed, dry_run));
    Ok(Json(admin.list_delayed(work).await??))
}
