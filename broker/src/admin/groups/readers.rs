//! Which groups read a topic.

use std::cmp::Reverse;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::Serialize;
use tidewheel_config::limits;
use utoipa::ToSchema;

use super::view::{self, GroupWithOffsets, OffsetView};
use crate::admin::lag_status::LagStatus;
use crate::admin::listing::Page;
use crate::admin::problem::Problem;
use crate::admin::queries::NumberQuery;
use crate::admin::state::Admin;

/// A group that has committed offsets in a topic. All figures are of this topic alone.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TopicReader {
    /// Its name.
    group: String,
    /// Kafka's name of its state.
    state: &'static str,
    /// How the worst of its offsets gets on.
    status: LagStatus,
    /// In how many partitions it has committed an offset.
    partitions: usize,
    /// Unread records, of all partitions that are there.
    total_lag: u64,
    /// The same of the partition that is furthest behind.
    max_lag: u64,
    /// That partition.
    max_lag_partition: i32,
}

impl TopicReader {
    /// `None` where the group has committed nothing there.
    fn new(group: &GroupWithOffsets, topic: &str) -> Option<Self> {
        let offsets = || {
            let offsets = group.offsets.iter();
            offsets.filter(|told| &*told.offset.topic == topic)
        };
        let records = |told: &OffsetView| told.records().unwrap_or(0);
        let worst = offsets().max_by_key(|told| (records(told), Reverse(told.offset.partition)))?;
        Some(Self {
            group: group.view.group.to_string(),
            state: group.view.state,
            status: offsets().map(|told| told.status).max()?,
            partitions: offsets().count(),
            total_lag: offsets().map(records).fold(0, u64::saturating_add),
            max_lag: records(worst),
            max_lag_partition: worst.offset.partition,
        })
    }
}

/// The groups that have committed offsets in a topic, those furthest behind first. Looks at all groups, so that with
/// very many of them it takes its time.
#[utoipa::path(get, path = "/v1/topics/{topic}/groups", tag = "groups",
    params(("topic" = String, Path, description = "its name"), NumberQuery),
    responses((status = 200, body = Page<TopicReader>)))]
pub(crate) async fn list(
    State(admin): State<Arc<Admin>>,
    Path(topic): Path<String>,
    Query(query): Query<NumberQuery>,
) -> Result<Json<Page<TopicReader>>, Problem> {
    let broker = admin.broker()?;
    if broker.topics().named(&topic).is_none() {
        return Err(Problem::unknown_topic(&topic));
    }
    let _place = admin.group_list_place().await?;
    let all = view::all(broker).await?.into_iter();
    let groups: Vec<Arc<str>> = all.map(|group| group.group_id).collect();
    let mut found = Vec::new();
    let told = |group: &GroupWithOffsets| found.extend(TopicReader::new(group, &topic));
    let ask = |group| view::with_offsets(broker, group);
    if view::each(&groups, limits::ADMIN_GROUPS_WAIT, ask, told).await? > 0 {
        let detail = "there was no time for all groups; /metrics/detailed tells of them";
        return Err(Problem::unavailable("/problems/timed-out", detail));
    }
    // By name already: who is as far behind as another one keeps its place.
    found.sort_by_key(|reader| Reverse(reader.total_lag));
    let numbered: Vec<(i64, TopicReader)> = (0..).zip(found).collect();
    let page = query.page(numbered, |(number, _)| *number, |(_, reader)| reader)?;
    Ok(Json(page))
}
