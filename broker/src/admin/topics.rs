//! Topics.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::configs::{self, Setting};
use super::listing::{ListQuery, Listing, Page};
use super::problem::Problem;
use super::state::Admin;
use crate::broker::Broker;
use crate::topics::Topic;

/// A topic.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TopicSummary {
    /// Its name.
    name: String,
    /// Its id.
    id: String,
    /// Whether only the broker writes to it.
    internal: bool,
    /// How many partitions it has.
    partitions: i32,
    /// How many copies there are.
    replication_factor: i16,
    /// `delete`, `compact` or both.
    cleanup_policy: String,
    /// How long records are kept; -1 for ever. Null where the setting cannot be read.
    retention_ms: Option<i64>,
    /// Offsets that can be read, as many as records unless it is compacted. Null without `stats`.
    records: Option<i64>,
    /// Bytes of its segments. Null without `stats`.
    size_bytes: Option<u64>,
    /// How many segments it has. Null without `stats`.
    segments: Option<usize>,
    /// Partitions that are kept for reading only, because of damage. Null without `stats`.
    damaged_partitions: Option<usize>,
}

/// A topic with what was set on it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TopicDetail {
    #[serde(flatten)]
    summary: TopicSummary,
    /// The settings of the topic itself; all that act are under `configs`.
    overrides: BTreeMap<String, String>,
}

impl TopicSummary {
    fn new(topic: &Topic, stats: bool) -> Self {
        let figures = stats.then(|| Figures::of(topic));
        let log_config = topic.partitions.first().map(|one| one.log().config());
        let policy = log_config.as_ref().map(|config| config.cleanup_policy);
        let policies = policy.map(|policy| {
            let names = [("delete", policy.delete), ("compact", policy.compact)];
            let names = names.into_iter().filter(|(_, is_set)| *is_set);
            names.map(|(name, _)| name).collect::<Vec<_>>().join(",")
        });
        Self {
            name: topic.name.to_string(),
            id: topic.id.to_string(),
            internal: topic.is_internal(),
            partitions: topic.partition_count(),
            replication_factor: 1,
            cleanup_policy: policies.unwrap_or_default(),
            retention_ms: log_config.map(|config| config.retention_ms),
            records: figures.as_ref().map(|figures| figures.records),
            size_bytes: figures.as_ref().map(|figures| figures.size_bytes),
            segments: figures.as_ref().map(|figures| figures.segments),
            damaged_partitions: figures.map(|figures| figures.damaged),
        }
    }
}

/// Sums over all partitions of a topic.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) records: i64,
    pub(crate) size_bytes: u64,
    pub(crate) segments: usize,
    pub(crate) damaged: usize,
}

impl Figures {
    /// Waits for no mutex of a log: whoever appends to a disk that hangs holds it.
    pub(crate) fn of(topic: &Topic) -> Self {
        let mut figures = Self::default();
        for partition in &topic.partitions {
            let log = partition.log();
            let offsets = log.offsets();
            figures.records += offsets.high_watermark - offsets.log_start;
            figures.size_bytes += log.size_bytes();
            figures.segments += log.segment_count();
            figures.damaged += usize::from(log.is_damaged());
        }
        figures
    }
}

/// The topic of that name.
pub(crate) fn named(broker: &Broker, name: &str) -> Result<Arc<Topic>, Problem> {
    let topics = broker.topics();
    let topic = topics.named(name);
    topic
        .map(Arc::clone)
        .ok_or_else(|| Problem::unknown_topic(name))
}

/// All topics.
#[utoipa::path(get, path = "/v1/topics", tag = "topics", params(ListQuery),
    responses((status = 200, body = Page<TopicSummary>)))]
pub(crate) async fn list(
    State(admin): State<Arc<Admin>>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<Value>>, Problem> {
    let listing = Listing::read(&admin, query, "name").await?;
    let page = admin.compute(move |broker| {
        let topics = broker.topics();
        let names = topics.iter().map(|topic| Arc::clone(&topic.name));
        let chosen = listing.choose(names)?;
        let found = chosen.keys.iter().filter_map(|name| topics.named(name));
        let items = found.map(|topic| TopicSummary::new(topic, listing.stats));
        listing.page(&chosen, items)
    });
    Ok(Json(page.await??))
}

/// One topic.
#[utoipa::path(get, path = "/v1/topics/{topic}", tag = "topics",
    params(("topic" = String, Path, description = "its name")),
    responses((status = 200, body = TopicDetail)))]
pub(crate) async fn one(
    State(admin): State<Arc<Admin>>,
    Path(name): Path<String>,
) -> Result<Json<TopicDetail>, Problem> {
    let topic = named(admin.broker()?, &name)?;
    let detail = admin.compute(move |_| TopicDetail {
        summary: TopicSummary::new(&topic, true),
        overrides: topic.configs.clone(),
    });
    Ok(Json(detail.await?))
}

/// The settings that act on a topic, and where each value comes from.
#[utoipa::path(get, path = "/v1/topics/{topic}/configs", tag = "topics",
    params(("topic" = String, Path, description = "its name"), ListQuery),
    responses((status = 200, body = Page<Setting>)))]
pub(crate) async fn settings(
    State(admin): State<Arc<Admin>>,
    Path(name): Path<String>,
    Query(query): Query<ListQuery>,
) -> Result<(configs::Tag, Json<Page<Value>>), Problem> {
    let broker = admin.broker()?;
    let topic = named(broker, &name)?;
    let (tag, settings) = configs::of_topic(&broker.topic_defaults(), &topic);
    Ok((tag, Json(configs::page(&admin, settings, query).await?)))
}
