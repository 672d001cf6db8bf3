//! Groups are deleted, and sent to other offsets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::{Deserialize, Serialize};
use tidewheel_config::limits;
use tidewheel_consumer_groups::request::{
    CommitOffsetsRequest, CommitPartition, CommitTopic, DeleteGroupRequest,
};
use tidewheel_consumer_groups::{GroupError, GroupReply, GroupRequest};
use utoipa::ToSchema;

use super::error::coded;
use super::group_offsets::OffsetsDone;
use super::groups::view;
use super::partitions::{numbered, readable};
use super::problem::Problem;
use super::queries::DryRun;
use super::state::Admin;
use super::topics::named;
use crate::api::error::storage_code;
use crate::broker::Broker;
use crate::groups::{committed_offsets, find_groups};
use crate::partition::Partition;

/// A group that was deleted, or would be.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GroupDeleted {
    /// Its name.
    group: String,
    /// Whether nothing was done.
    dry_run: bool,
}

/// Where a group is to read on.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SeekRequest {
    /// The place.
    to: SeekTo,
    /// In which topics; in all partitions that it has offsets of where this is left out.
    topics: Option<Vec<SeekTopic>>,
}

/// A place in a partition; what lies outside of it stands for its nearer end.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SeekTo {
    /// The first record.
    Start,
    /// Behind the last record.
    End,
    /// This offset.
    Offset(i64),
    /// The first record with this timestamp or a later one, ms since 1970.
    TimestampMs(i64),
    /// So many records after the committed offset, or before it.
    Shift(i64),
}

/// A topic in which a group is to read on elsewhere.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SeekTopic {
    /// Its name.
    topic: String,
    /// The partitions; all of them where this is left out.
    partitions: Option<Vec<i32>>,
}

/// Where a group reads on, or would.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SeekResult {
    /// The group.
    group: String,
    /// Whether nothing was done.
    dry_run: bool,
    /// Each partition.
    partitions: Vec<SeekPartition>,
}

/// Where a group reads on in one partition.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SeekPartition {
    /// The topic.
    topic: String,
    /// The partition.
    partition: i32,
    /// The offset that was committed before, if any was.
    before: Option<i64>,
    /// The one that is committed now.
    after: i64,
    /// Offset of the first record.
    log_start_offset: i64,
    /// Offset after the last record that consumers see.
    log_end_offset: i64,
}

/// Refuses what would pull offsets away from under members.
pub(super) async fn check_empty(broker: &Broker, group: &Arc<str>) -> Result<(), Problem> {
    let view = view::describe(broker, group).await?;
    match view.members.len() {
        0 => Ok(()),
        members => {
            let code = crate::api::error::group_code(GroupError::NonEmptyGroup);
            let detail = format!("{group} has {members} members: stop them first");
            Err(coded(code, detail))
        }
    }
}

/// Deletes a group without members, with its offsets.
#[utoipa::path(delete, path = "/v1/groups/{group}", tag = "groups",
    params(("group" = String, Path, description = "its name"), DryRun),
    responses((status = 200, body = GroupDeleted)))]
pub(crate) async fn delete(
    State(admin): State<Arc<Admin>>,
    Path(group): Path<String>,
    Query(query): Query<DryRun>,
) -> Result<Json<GroupDeleted>, Problem> {
    let (broker, dry_run) = (admin.broker()?, query.is_dry());
    let group_id: Arc<str> = Arc::from(group.as_str());
    check_empty(broker, &group_id).await?;
    if !dry_run {
        let request = GroupRequest::DeleteGroup(DeleteGroupRequest { group_id });
        match broker.groups().ask(&group, request).await? {
            GroupReply::DeleteGroup(result) => result?,
            _ => return Err(GroupError::UnknownServerError.into()),
        }
    }
    Ok(Json(GroupDeleted { group, dry_run }))
}

/// Sends a group without members to other offsets, and tells where it was.
#[utoipa::path(post, path = "/v1/groups/{group}/offsets:seek", tag = "groups",
    params(("group" = String, Path, description = "its name"), DryRun),
    request_body = SeekRequest, responses((status = 200, body = SeekResult)))]
pub(crate) async fn seek(
    State(admin): State<Arc<Admin>>,
    Path(group): Path<String>,
    Query(query): Query<DryRun>,
    Json(request): Json<SeekRequest>,
) -> Result<Json<SeekResult>, Problem> {
    let (broker, dry_run) = (admin.broker()?, query.is_dry());
    let group_id: Arc<str> = Arc::from(group.as_str());
    match check_empty(broker, &group_id).await {
        // It is made by its first offset, where topics say which.
        Err(problem) if problem.is_not_found() && request.topics.is_some() => {}
        checked => checked?,
    }
    let before = committed(broker, &group_id).await?;
    let most = most(request.to);
    let places = match request.topics {
        Some(topics) => named_places(broker, topics, most)?,
        None => before.keys().cloned().collect(),
    };
    if places.len() > most {
        return Err(too_many("/topics", most));
    }
    let places = places
        .into_iter()
        .map(|place| (place, request.to))
        .collect();
    send_to(&admin, group, dry_run, &before, places).await
}

/// Sends a group to a place in each partition, or tells where that would be.
pub(super) async fn send_to(
    admin: &Admin,
    group: String,
    dry_run: bool,
    before: &BTreeMap<(String, i32), i64>,
    places: Vec<((String, i32), SeekTo)>,
) -> Result<Json<SeekResult>, Problem> {
    let mut partitions = Vec::with_capacity(places.len());
    for (place, to) in places {
        let committed = before.get(&place).copied();
        partitions.push(found(admin, place, committed, to).await?);
    }
    if !dry_run {
        commit(admin.broker()?, &Arc::from(group.as_str()), &partitions).await?;
    }
    Ok(Json(SeekResult {
        group,
        dry_run,
        partitions,
    }))
}

/// What a group has committed, by topic and partition.
pub(super) async fn committed(
    broker: &Broker,
    group_id: &Arc<str>,
) -> Result<BTreeMap<(String, i32), i64>, Problem> {
    let mut committed = BTreeMap::new();
    if broker.groups().are_there() {
        for offset in committed_offsets(broker, group_id).await? {
            let place = (offset.topic.to_string(), offset.partition);
            committed.insert(place, offset.committed.offset);
        }
    }
    Ok(committed)
}

/// Partitions at once.
fn most(to: SeekTo) -> usize {
    match to {
        // Each is looked up.
        SeekTo::TimestampMs(_) => limits::ADMIN_SEEK_TIMES_MAX,
        _ => limits::ADMIN_SEEK_MAX,
    }
}

pub(super) fn too_many(place: &str, most: usize) -> Problem {
    let detail = format!("at most {most} partitions at once");
    Problem::invalid(place, detail)
}

/// The partitions that a request names.
fn named_places(
    broker: &Broker,
    topics: Vec<SeekTopic>,
    most: usize,
) -> Result<Vec<(String, i32)>, Problem> {
    let (mut known, mut places) = (BTreeSet::new(), BTreeSet::new());
    for wanted in topics {
        let topic = named(broker, &wanted.topic)?;
        if !known.insert(wanted.topic.clone()) {
            let detail = format!("{} stands there twice", wanted.topic);
            return Err(Problem::invalid("/topics", detail));
        }
        let all = || (0..topic.partition_count()).collect();
        for partition in wanted.partitions.unwrap_or_else(all) {
            numbered(&topic, partition)?;
            places.insert((wanted.topic.clone(), partition));
            if places.len() > most {
                return Err(too_many("/topics", most));
            }
        }
    }
    Ok(places.into_iter().collect())
}

/// Where the group is to read on in one partition.
async fn found(
    admin: &Admin,
    (topic, partition): (String, i32),
    before: Option<i64>,
    to: SeekTo,
) -> Result<SeekPartition, Problem> {
    let log = numbered(&*named(admin.broker()?, &topic)?, partition)?;
    // What it holds is not known, so neither is where a group may be sent.
    readable(&log)?;
    let offsets = log.log().offsets();
    let (start, end) = (offsets.log_start, offsets.high_watermark);
    let after = match to {
        SeekTo::Start => start,
        SeekTo::End => end,
        SeekTo::Offset(offset) => offset,
        SeekTo::TimestampMs(timestamp) => at(admin, log, timestamp).await?.unwrap_or(end),
        SeekTo::Shift(records) => {
            let missing = || {
                let detail = format!("nothing is committed in {topic}-{partition} to count from");
                Problem::invalid("/to", detail)
            };
            before.ok_or_else(missing)?.saturating_add(records)
        }
    };
    Ok(SeekPartition {
        topic,
        partition,
        before,
        after: after.clamp(start, end.max(start)),
        log_start_offset: start,
        log_end_offset: end,
    })
}

/// The offset of the first record with a timestamp or a later one. Waits for the disk in its turn.
async fn at(
    admin: &Admin,
    partition: Arc<Partition>,
    timestamp: i64,
) -> Result<Option<i64>, Problem> {
    let look = move || partition.log().find_by_timestamp(timestamp);
    let found = admin.look_up(look).await?;
    let found = found.map_err(|error| coded(storage_code(&error), error.to_string()))?;
    Ok(found.map(|found| found.offset))
}

async fn commit(
    broker: &Arc<Broker>,
    group_id: &Arc<str>,
    partitions: &[SeekPartition],
) -> Result<(), Problem> {
    find_groups(broker).await?;
    let known = broker.topics();
    let mut topics: BTreeMap<&str, CommitTopic> = BTreeMap::new();
    for one in partitions {
        let entry = topics.entry(&one.topic).or_insert_with(|| CommitTopic {
            topic: Arc::from(one.topic.as_str()),
            topic_id: known
                .named(&one.topic)
                .map(|topic| topic.id)
                .unwrap_or_default(),
            partitions: Vec::new(),
        });
        entry.partitions.push(CommitPartition {
            partition: one.partition,
            offset: one.after,
            leader_epoch: None,
            metadata: None,
            commit_timestamp_ms: None,
        });
    }
    let request = GroupRequest::CommitOffsets(CommitOffsetsRequest {
        group_id: Arc::clone(group_id),
        member_id: "".into(),
        instance_id: None,
        generation: -1,
        reports_unknown_group: true,
        retention_ms: None,
        topics: topics.into_values().collect(),
    });
    match broker.groups().ask(group_id, request).await? {
        GroupReply::CommitOffsets(topics) => OffsetsDone::of(partitions.len()).take(topics),
        _ => Err(GroupError::UnknownServerError.into()),
    }
}
