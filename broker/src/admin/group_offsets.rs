//! What a group has committed: shown, set in one partition or in many at once, and deleted topic by topic.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::{Deserialize, Serialize};
use tidewheel_config::limits;
use tidewheel_consumer_groups::reply::TopicResults;
use tidewheel_consumer_groups::request::DeleteOffsetsRequest;
use tidewheel_consumer_groups::{GroupError, GroupReply, GroupRequest};
use utoipa::ToSchema;

use super::group_changes::{SeekResult, SeekTo, check_empty, committed, send_to, too_many};
use super::groups::view;
use super::listing::Page;
use super::partitions::numbered;
use super::problem::Problem;
use super::queries::{DryRun, NumberQuery, OffsetsQuery};
use super::state::Admin;
use super::topics::named;
use crate::broker::Broker;
use crate::groups::committed_offsets;

/// An offset as it was committed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CommittedOffset {
    /// The topic.
    topic: String,
    /// The partition.
    partition: i32,
    /// The offset of the next record to read.
    committed_offset: i64,
    /// The client's note beside it.
    commit_metadata: String,
    /// When it was committed.
    last_commit_ms: i64,
}

/// Offsets that a group is to go on from.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"offsets": [{"topic": "orders", "partition": 0, "offset": 42}]}))]
pub(crate) struct SetOffsets {
    /// Each partition once, 10,000 at most, in a body of 1 MiB at most.
    offsets: Vec<SetOffset>,
}

/// An offset that a group is to go on from in one partition.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetOffset {
    /// The topic.
    topic: String,
    /// The partition.
    partition: i32,
    /// The offset of the next record to read; what lies outside of the partition stands for its nearer end.
    offset: i64,
}

/// Offsets of a group that were deleted, or would be.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OffsetsDeleted {
    /// The group.
    group: String,
    /// Whether nothing was done.
    dry_run: bool,
    /// Each partition.
    partitions: Vec<OffsetDeleted>,
}

/// An offset that was deleted, or would be.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OffsetDeleted {
    /// The topic.
    topic: String,
    /// The partition.
    partition: i32,
    /// The offset that was committed there.
    before: i64,
}

/// What a group has committed. Looks at no record: for how far it is behind there is `…/lag`.
#[utoipa::path(get, path = "/v1/groups/{group}/offsets", tag = "groups",
    params(("group" = String, Path, description = "its name"), NumberQuery),
    responses((status = 200, body = Page<CommittedOffset>)))]
pub(crate) async fn list(
    State(admin): State<Arc<Admin>>,
    Path(group): Path<String>,
    Query(query): Query<NumberQuery>,
) -> Result<Json<Page<CommittedOffset>>, Problem> {
    let (broker, group) = (admin.broker()?, Arc::from(group));
    view::describe(broker, &group).await?;
    let offsets = (0..).zip(committed_offsets(broker, &group).await?);
    let page = query.page(
        offsets.collect(),
        |(number, _): &(i64, _)| *number,
        |(_, offset)| CommittedOffset {
            topic: offset.topic.to_string(),
            partition: offset.partition,
            committed_offset: offset.committed.offset,
            commit_metadata: offset.committed.metadata.to_string(),
            last_commit_ms: offset.committed.commit_timestamp_ms,
        },
    )?;
    Ok(Json(page))
}

/// Sends a group without members to the offsets that are named, each partition to its own, as from a file. What is
/// not named stays as it is.
#[utoipa::path(put, path = "/v1/groups/{group}/offsets", tag = "groups",
    params(("group" = String, Path, description = "its name"), DryRun),
    request_body = SetOffsets, responses((status = 200, body = SeekResult)))]
pub(crate) async fn set(
    State(admin): State<Arc<Admin>>,
    Path(group): Path<String>,
    Query(query): Query<DryRun>,
    Json(request): Json<SetOffsets>,
) -> Result<Json<SeekResult>, Problem> {
    let (broker, dry_run) = (admin.broker()?, query.is_dry());
    let places = wanted_places(broker, request.offsets)?;
    let group_id: Arc<str> = Arc::from(group.as_str());
    match check_empty(broker, &group_id).await {
        // It is made by its first offset.
        Err(problem) if problem.is_not_found() => {}
        checked => checked?,
    }
    let before = committed(broker, &group_id).await?;
    let places = places.into_iter();
    let places = places.map(|(place, offset)| (place, SeekTo::Offset(offset)));
    send_to(&admin, group, dry_run, &before, places.collect()).await
}

/// The partitions that a request names, with where the group is to go on.
fn wanted_places(
    broker: &Broker,
    offsets: Vec<SetOffset>,
) -> Result<BTreeMap<(String, i32), i64>, Problem> {
    if offsets.is_empty() {
        return Err(Problem::invalid("/offsets", "it names no partition"));
    }
    if offsets.len() > limits::ADMIN_SEEK_MAX {
        return Err(too_many("/offsets", limits::ADMIN_SEEK_MAX));
    }
    let mut places = BTreeMap::new();
    for wanted in offsets {
        numbered(&*named(broker, &wanted.topic)?, wanted.partition)?;
        let place = (wanted.topic, wanted.partition);
        if places.contains_key(&place) {
            let detail = format!("{}-{} stands there twice", place.0, place.1);
            return Err(Problem::invalid("/offsets", detail));
        }
        places.insert(place, wanted.offset);
    }
    Ok(places)
}

/// Deletes what a group without members has committed in a topic, or in one partition of it.
#[utoipa::path(delete, path = "/v1/groups/{group}/offsets", tag = "groups",
    params(("group" = String, Path, description = "its name"), OffsetsQuery),
    responses((status = 200, body = OffsetsDeleted)))]
pub(crate) async fn delete(
    State(admin): State<Arc<Admin>>,
    Path(group): Path<String>,
    Query(query): Query<OffsetsQuery>,
) -> Result<Json<OffsetsDeleted>, Problem> {
    let (broker, dry_run) = (admin.broker()?, query.dry_run.unwrap_or(false));
    let group_id: Arc<str> = Arc::from(group.as_str());
    check_empty(broker, &group_id).await?;
    let is_meant = |(topic, partition): &(String, i32)| {
        *topic == query.topic && query.partition.is_none_or(|only| only == *partition)
    };
    let mut before = committed(broker, &group_id).await?;
    before.retain(|place, _| is_meant(place));
    if before.is_empty() {
        let detail = format!("{group} has committed nothing there");
        return Err(Problem::not_found(detail));
    }
    if !dry_run {
        let partitions: Vec<i32> = before.keys().map(|(_, partition)| *partition).collect();
        delete_offsets(broker, &group_id, &query.topic, &partitions).await?;
    }
    let deleted = |((topic, partition), before)| OffsetDeleted {
        topic,
        partition,
        before,
    };
    Ok(Json(OffsetsDeleted {
        group,
        dry_run,
        partitions: before.into_iter().map(deleted).collect(),
    }))
}

/// Has the coordinator delete offsets, some after the others: all other groups wait meanwhile.
async fn delete_offsets(
    broker: &Broker,
    group_id: &Arc<str>,
    topic: &str,
    partitions: &[i32],
) -> Result<(), Problem> {
    let topic: Arc<str> = Arc::from(topic);
    let mut change = OffsetsDone::of(partitions.len());
    for part in partitions.chunks(limits::GROUP_RETENTION_STEP) {
        let part: BTreeSet<i32> = part.iter().copied().collect();
        let request = GroupRequest::DeleteOffsets(DeleteOffsetsRequest {
            group_id: Arc::clone(group_id),
            topics: BTreeMap::from([(Arc::clone(&topic), part)]),
        });
        let answer = broker.groups().ask(group_id, request).await;
        match answer.map_err(|reason| change.told(reason.into()))? {
            GroupReply::DeleteOffsets(Ok(topics)) => change.take(topics)?,
            GroupReply::DeleteOffsets(Err(error)) => return Err(change.told(error.into())),
            _ => return Err(change.told(GroupError::UnknownServerError.into())),
        }
    }
    Ok(())
}

/// How far a change of many offsets is: a coordinator takes or refuses each for itself.
#[derive(Debug)]
pub(super) struct OffsetsDone {
    done: usize,
    of: usize,
}

impl OffsetsDone {
    /// Nothing yet, of so many.
    pub(super) fn of(of: usize) -> Self {
        Self { done: 0, of }
    }

    /// Takes in what a coordinator has answered.
    pub(super) fn take(&mut self, topics: Vec<TopicResults>) -> Result<(), Problem> {
        let results = topics.into_iter().flat_map(|topic| topic.partitions);
        let mut refused = None;
        for (_, result) in results {
            match result {
                Ok(()) => self.done += 1,
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        refused.map_or(Ok(()), |error| Err(self.stopped(error)))
    }

    /// Why it goes no further, and how far it came.
    fn stopped(&self, reason: GroupError) -> Problem {
        // A member that came meanwhile is told like one that was there.
        let reason = match reason {
            GroupError::UnknownMemberId => GroupError::NonEmptyGroup,
            error => error,
        };
        self.told(reason.into())
    }

    /// A problem that ends it, and how far it came.
    pub(super) fn told(&self, problem: Problem) -> Problem {
        match self.done {
            0 => problem,
            done => problem.also(format!("{done} of {} offsets are changed by now", self.of)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(partitions: &[(i32, Result<(), GroupError>)]) -> Vec<TopicResults> {
        vec![TopicResults {
            topic: "t".into(),
            partitions: partitions.to_vec(),
        }]
    }

    #[test]
    fn a_change_that_stops_in_the_middle_says_how_far_it_came() {
        let full = GroupError::InvalidCommitOffsetSize;
        let mut change = OffsetsDone::of(5);
        change.take(results(&[(0, Ok(())), (1, Ok(()))])).unwrap();
        let refused = change.take(results(&[(2, Err(full)), (3, Ok(())), (4, Err(full))]));
        let told = format!("{:?}", refused.unwrap_err());
        let how_far = "3 of 5 offsets are changed by now";
        assert!(told.contains(&format!("{full}; {how_far}")), "{told}");
        let told = format!("{:?}", change.stopped(GroupError::UnknownMemberId));
        let why = GroupError::NonEmptyGroup;
        assert!(told.contains(&format!("{why}; {how_far}")), "{told}");
        let nothing = OffsetsDone::of(1).take(results(&[(0, Err(full))]));
        let told = format!("{:?}", nothing.unwrap_err());
        assert!(
            told.contains(&full.to_string()) && !told.contains("by now"),
            "{told}"
        );
    }
}
