//! Topics are made, grow and are deleted: the same changes as through Kafka's API, with a dry run.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use tidewheel_config::limits;
use utoipa::ToSchema;

use super::problem::Problem;
use super::queries::DryRun;
use super::state::Admin;
use crate::broker::{
    BrokerError, NewPartitions, NewTopic, TopicRef, create_partitions, create_topics, delete_topics,
};

/// A topic that is to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TopicRequest {
    /// Its name.
    name: String,
    /// How many partitions it is to have; the broker's default where it is left out.
    partitions: Option<i32>,
    /// How many copies; the broker's default where it is left out.
    replication_factor: Option<i16>,
    /// Its settings.
    #[serde(default)]
    configs: BTreeMap<String, String>,
}

/// A topic that was made, or would be.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TopicCreated {
    /// Its name.
    name: String,
    /// Its id; null in a dry run.
    id: Option<String>,
    /// How many partitions it has.
    partitions: i32,
    /// How many copies.
    replication_factor: i16,
    /// Whether nothing was done.
    dry_run: bool,
}

/// What is to change of a topic.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TopicChange {
    /// How many partitions it is to have altogether.
    partitions: i32,
}

/// A topic that was changed, or would be.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TopicChanged {
    /// Its name.
    name: String,
    /// Whether nothing was done.
    dry_run: bool,
}

/// The one result of a change of one thing.
pub(crate) fn only<T>(results: Vec<Result<T, BrokerError>>) -> Result<T, Problem> {
    let result = results.into_iter().next();
    // There is one for each that was asked for.
    Ok(result.unwrap_or(Err(BrokerError::Stopped))?)
}

/// Makes a topic.
#[utoipa::path(post, path = "/v1/topics", tag = "topics", params(DryRun),
    request_body = TopicRequest,
    responses((status = 201, body = TopicCreated),
        (status = 200, body = TopicCreated, description = "it could be made")))]
pub(crate) async fn create(
    State(admin): State<Arc<Admin>>,
    Query(query): Query<DryRun>,
    Json(request): Json<TopicRequest>,
) -> Result<(StatusCode, Json<TopicCreated>), Problem> {
    let broker = admin.broker()?;
    let name = request.name.clone();
    let configs = request.configs.into_iter();
    let topic = NewTopic {
        name: request.name,
        partitions: request.partitions.unwrap_or(-1),
        replication_factor: request.replication_factor.unwrap_or(-1),
        assignments: Vec::new(),
        configs: configs.map(|(name, value)| (name, Some(value))).collect(),
    };
    let (dry_run, wait) = (query.is_dry(), limits::METADATA_CHANGE_WAIT);
    let made = only(create_topics(broker, vec![topic], dry_run, wait).await);
    let made = made.map_err(|problem| problem.under("/configs"))?;
    let status = match dry_run {
        true => StatusCode::OK,
        false => StatusCode::CREATED,
    };
    let created = TopicCreated {
        name,
        id: (!dry_run).then(|| made.id.to_string()),
        partitions: made.partitions,
        replication_factor: made.replication_factor,
        dry_run,
    };
    Ok((status, Json(created)))
}

/// Gives a topic more partitions.
#[utoipa::path(patch, path = "/v1/topics/{topic}", tag = "topics",
    params(("topic" = String, Path, description = "its name"), DryRun),
    request_body = TopicChange, responses((status = 200, body = TopicChanged)))]
pub(crate) async fn grow(
    State(admin): State<Arc<Admin>>,
    Path(topic): Path<String>,
    Query(query): Query<DryRun>,
    Json(change): Json<TopicChange>,
) -> Result<Json<TopicChanged>, Problem> {
    let more = NewPartitions {
        topic: topic.clone(),
        count: change.partitions,
        assignments: None,
    };
    let (dry_run, wait) = (query.is_dry(), limits::METADATA_CHANGE_WAIT);
    only(create_partitions(admin.broker()?, vec![more], dry_run, wait).await)?;
    let name = topic;
    Ok(Json(TopicChanged { name, dry_run }))
}

/// Deletes a topic with its records.
#[utoipa::path(delete, path = "/v1/topics/{topic}", tag = "topics",
    params(("topic" = String, Path, description = "its name"), DryRun),
    responses((status = 200, body = TopicChanged)))]
pub(crate) async fn delete(
    State(admin): State<Arc<Admin>>,
    Path(topic): Path<String>,
    Query(query): Query<DryRun>,
) -> Result<Json<TopicChanged>, Problem> {
    let (dry_run, wait) = (query.is_dry(), limits::METADATA_CHANGE_WAIT);
    let topics = vec![TopicRef::Name(topic.clone())];
    only(delete_topics(admin.broker()?, topics, dry_run, wait).await)?;
    let name = topic;
    Ok(Json(TopicChanged { name, dry_run }))
}
