//! Which groups read a topic.

use std::cmp::Reverse;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::Serialize;
use tidewheel_config::limits;
use tidewheel_consumer_groups::request::{FetchOffsetsRequest, TopicPartitions};
use tidewheel_consumer_groups::{GroupError, GroupReply, GroupRequest};
use utoipa::ToSchema;

use super::view::{self, GroupWithOffsets, OffsetView};
use crate::admin::lag_status::LagStatus;
use crate::admin::listing::Page;
use crate::admin::problem::Problem;
use crate::admin::queries::NumberQuery;
use crate::admin::state::Admin;
use crate::admin::topics::named;
use crate::broker::Broker;
use crate::groups::GroupOffset;
use crate::topics::Topic;

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
    /// Of a group with the offsets of the topic alone; `None` where there are none.
    fn new(group: &GroupWithOffsets) -> Option<Self> {
        let records = |told: &OffsetView| told.records().unwrap_or(0);
        let key = |told: &&OffsetView| (records(told), Reverse(told.offset.partition));
        let worst = group.offsets.iter().max_by_key(key)?;
        Some(Self {
            group: group.view.group.to_string(),
            state: group.view.state,
            status: group.status(),
            partitions: group.offsets.len(),
            total_lag: group.total_lag(),
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
    let topic = named(broker, &topic)?;
    let _place = admin.group_list_place().await?;
    let all = view::all(broker).await?.into_iter();
    let groups: Vec<Arc<str>> = all.map(|group| group.group_id).collect();
    let mut found = Vec::new();
    let told = |group: &GroupWithOffsets| found.extend(TopicReader::new(group));
    let ask = |group| reader(broker, &topic, group);
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

/// A group with what it has committed in a topic. Most groups have nothing there, and are not asked for more.
///
/// # Errors
/// Where it has nothing there, as if there were no such group, or nobody can tell.
async fn reader(
    broker: &Broker,
    topic: &Topic,
    group: &Arc<str>,
) -> Result<GroupWithOffsets, Problem> {
    let offsets = committed_in(broker, topic, group).await?;
    if offsets.is_empty() {
        return Err(Problem::unknown_group(group));
    }
    let view = view::describe(broker, group).await?;
    Ok(view::with_these(broker, view, offsets).await)
}

/// What a group has committed in a topic.
async fn committed_in(
    broker: &Broker,
    topic: &Topic,
    group: &Arc<str>,
) -> Result<Vec<GroupOffset>, Problem> {
    let partitions = (0..).zip(&topic.partitions);
    let wanted = TopicPartitions {
        topic: Arc::clone(&topic.name),
        // An offset in a topic that was deleted and made again says nothing of the new one.
        topic_id: topic.id,
        partitions: partitions.map(|(number, _)| number).collect(),
    };
    let request = GroupRequest::FetchOffsets(FetchOffsetsRequest {
        group_id: Arc::clone(group),
        member: None,
        topics: Some(vec![wanted]),
        require_stable: false,
    });
    let fetched = match broker.groups().ask(group, request).await? {
        GroupReply::FetchOffsets(fetched) => fetched?,
        _ => return Err(GroupError::UnknownServerError.into()),
    };
    let partitions = fetched.into_iter().flat_map(|topic| topic.partitions);
    let offsets = partitions.filter_map(|partition| {
        Some(GroupOffset {
            topic: Arc::clone(&topic.name),
            partition: partition.partition,
            committed: partition.committed?,
        })
    });
    Ok(offsets.collect())
}
