//! Idempotent producers that partitions remember.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use serde::Serialize;
use tidewheel_config::limits;
use tidewheel_storage::producer_state::ProducerEntry;
use utoipa::ToSchema;

use super::partitions::numbered;
use super::problem::Problem;
use super::queries::ProducersQuery;
use super::state::Admin;
use super::topics::named;
use crate::topics::Topic;

/// An idempotent producer, as a partition remembers it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Producer {
    /// The topic.
    topic: String,
    /// The partition.
    partition: i32,
    /// Its id.
    producer_id: i64,
    /// Its epoch.
    producer_epoch: i16,
    /// The sequence number of its last record; null where that is not known.
    last_sequence: Option<i32>,
    /// When it appended last.
    last_append_ms: i64,
}

/// Producers of a topic, by partition and id.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Producers {
    /// The producers.
    items: Vec<Producer>,
    /// Where the next ones begin; null after the last one.
    next_cursor: Option<String>,
}

impl Producer {
    fn new(topic: &Topic, partition: i32, id: i64, entry: &ProducerEntry) -> Self {
        Self {
            topic: topic.name.to_string(),
            partition,
            producer_id: id,
            producer_epoch: entry.epoch,
            last_sequence: Some(entry.last_sequence()).filter(|sequence| *sequence >= 0),
            last_append_ms: entry.last_append_ms,
        }
    }
}

/// The place after the last one that was told, `PARTITION-ID`.
fn after(cursor: &str) -> Option<(i32, i64)> {
    let (partition, id) = cursor.split_once('-')?;
    Some((partition.parse().ok()?, id.parse().ok()?))
}

/// Collects from a place on; takes the mutex of one log after the other.
fn collect(
    topic: &Topic,
    wanted: Option<i32>,
    after: Option<(i32, i64)>,
    limit: usize,
) -> Producers {
    let mut items: Vec<Producer> = Vec::new();
    let partitions = (0..).zip(&topic.partitions);
    let partitions = partitions.filter(|(number, _)| {
        let is_wanted = wanted.is_none_or(|wanted| wanted == *number);
        is_wanted && after.is_none_or(|(partition, _)| *number >= partition)
    });
    for (number, partition) in partitions {
        for (id, entry) in partition.log().producers() {
            if after.is_some_and(|after| (number, id) <= after) {
                continue;
            }
            if items.len() == limit {
                let last = items.last();
                let next_cursor =
                    last.map(|last| format!("{}-{}", last.partition, last.producer_id));
                return Producers { items, next_cursor };
            }
            items.push(Producer::new(topic, number, id, &entry));
        }
    }
    Producers {
        items,
        next_cursor: None,
    }
}

/// The idempotent producers that a topic's partitions remember.
#[utoipa::path(get, path = "/v1/producers", tag = "topics", params(ProducersQuery),
    responses((status = 200, body = Producers)))]
pub(crate) async fn list(
    State(admin): State<Arc<Admin>>,
    Query(query): Query<ProducersQuery>,
) -> Result<Json<Producers>, Problem> {
    let topic = named(admin.broker()?, &query.topic)?;
    if let Some(partition) = query.partition {
        numbered(&topic, partition)?;
    }
    let (limit, most) = (query.limit.unwrap_or(100), limits::ADMIN_PAGE_MAX);
    if !(1..=most).contains(&limit) {
        let detail = format!("it must be from 1 to {most}");
        return Err(Problem::invalid("?limit", detail));
    }
    let stale = || Problem::invalid("?cursor", "it does not belong to this list");
    let after = query.cursor.as_deref();
    let after = after
        .map(|cursor| self::after(cursor).ok_or_else(stale))
        .transpose()?;
    let producers = admin.ask_logs(move |_| collect(&topic, query.partition, after, limit));
    Ok(Json(producers.await?))
}
