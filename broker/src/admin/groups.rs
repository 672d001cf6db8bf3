//! Consumer groups, and how they get on.

pub(super) mod readers;
pub(super) mod view;

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::Serialize;
use serde_json::Value;
use tidewheel_config::limits;
use utoipa::ToSchema;

use self::view::{GroupView, GroupWithOffsets, MemberView, OffsetView};
use super::lag_status::LagStatus;
use super::listing::{ListQuery, Listing, Page};
use super::problem::Problem;
use super::queries::NumberQuery;
use super::state::Admin;
use crate::broker::Broker;
use crate::groups::Lag;

/// A group.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GroupSummary {
    /// Its name.
    group: String,
    /// `classic` or `consumer`.
    #[serde(rename = "type")]
    group_type: &'static str,
    /// `consumer`, `connect` or whatever its members call it.
    protocol_type: String,
    /// The chosen protocol or assignor.
    protocol: String,
    /// Kafka's name of its state.
    state: &'static str,
    /// How the worst of its offsets gets on. Null without `stats`.
    status: Option<LagStatus>,
    /// How many members it has.
    members: usize,
    /// How many offsets it has committed. Null without `stats`.
    offsets: Option<usize>,
    /// Unread records, of all partitions that are there. Null without `stats`.
    total_lag: Option<u64>,
    /// The same of the partition that is furthest behind. Null without `stats`.
    max_lag: Option<u64>,
}

/// A group with some of its offsets.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GroupDetail {
    #[serde(flatten)]
    summary: GroupSummary,
    /// The epoch of a group of the newer protocol.
    epoch: Option<i32>,
    /// The age of the oldest of the first unread records; null where it is not known, or not all offsets are
    /// told here.
    max_lag_seconds: Option<f64>,
    /// Its offsets, by topic and partition.
    partitions: Vec<GroupPartition>,
    /// Where its next offsets begin; null after the last one.
    next_cursor: Option<String>,
}

/// An offset that a group has committed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GroupPartition {
    /// The topic.
    topic: String,
    /// The partition.
    partition: i32,
    /// The offset of the next record to read.
    committed_offset: i64,
    /// Offset after the last record that consumers see; null where the partition is gone.
    log_end_offset: Option<i64>,
    /// Unread records; null where the partition is gone or offline.
    lag: Option<u64>,
    /// The age of the first unread record; 0 where everything is read.
    lag_seconds: Option<f64>,
    /// Whether it lies behind the end: records were lost, or the topic was made anew.
    is_beyond_end: bool,
    /// How it gets on.
    status: LagStatus,
    /// The client's note beside the offset.
    commit_metadata: String,
    /// When it was committed.
    last_commit_ms: i64,
    /// Who reads the partition.
    member_id: Option<String>,
    /// That one's `client.id`.
    client_id: Option<String>,
    /// That one's address.
    client_host: Option<String>,
    /// That one's `group.instance.id`.
    instance_id: Option<String>,
}

/// A member of a group.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GroupMember {
    /// Its id.
    member_id: String,
    /// `group.instance.id` of a static member.
    instance_id: Option<String>,
    /// `client.id`.
    client_id: String,
    /// Its address.
    client_host: String,
    /// What it reads; empty where the members speak a language of their own.
    assignment: Vec<AssignedPartitions>,
}

/// Partitions of one topic.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AssignedPartitions {
    /// The topic.
    topic: String,
    /// The partitions.
    partitions: Vec<i32>,
}

impl GroupSummary {
    fn new(view: &GroupView, figures: Option<&GroupWithOffsets>) -> Self {
        Self {
            group: view.group.to_string(),
            group_type: view.group_type,
            protocol_type: view.protocol_type.clone(),
            protocol: view.protocol.clone(),
            state: view.state,
            status: figures.map(GroupWithOffsets::status),
            members: view.members.len(),
            offsets: figures.map(|group| group.offsets.len()),
            total_lag: figures.map(GroupWithOffsets::total_lag),
            max_lag: figures.map(GroupWithOffsets::max_lag),
        }
    }
}

impl GroupPartition {
    fn new(broker: &Broker, told: &OffsetView, lag: Lag, owner: Option<&MemberView>) -> Self {
        let offset = &told.offset;
        let topics = broker.topics();
        let log = topics.named(&offset.topic);
        let log = log.and_then(|topic| topic.partition(offset.partition));
        let (behind, age) = match lag {
            Lag::Behind { records, age } => (Some(records), age),
            Lag::BeyondEnd { .. } => (Some(0), None),
            Lag::Gone | Lag::Offline => (None, None),
        };
        let text = |text: &Arc<str>| text.to_string();
        Self {
            topic: offset.topic.to_string(),
            partition: offset.partition,
            committed_offset: offset.committed.offset,
            log_end_offset: log
                .filter(|_| lag != Lag::Gone)
                .map(|log| log.log().offsets().high_watermark),
            lag: behind,
            lag_seconds: age.map(|age| age.as_secs_f64()),
            is_beyond_end: matches!(lag, Lag::BeyondEnd { .. }),
            status: told.status,
            commit_metadata: offset.committed.metadata.to_string(),
            last_commit_ms: offset.committed.commit_timestamp_ms,
            member_id: owner.map(|owner| text(&owner.member_id)),
            client_id: owner.map(|owner| text(&owner.client_id)),
            client_host: owner.map(|owner| text(&owner.client_host)),
            instance_id: owner.and_then(|owner| owner.instance_id.as_ref().map(text)),
        }
    }
}

impl GroupMember {
    fn new(member: MemberView) -> Self {
        let assignment = member.assignment.into_iter();
        let assignment =
            assignment.map(|(topic, partitions)| AssignedPartitions { topic, partitions });
        Self {
            member_id: member.member_id.to_string(),
            instance_id: member.instance_id.map(|id| id.to_string()),
            client_id: member.client_id.to_string(),
            client_host: member.client_host.to_string(),
            assignment: assignment.collect(),
        }
    }
}

/// All groups.
#[utoipa::path(get, path = "/v1/groups", tag = "groups", params(ListQuery),
    responses((status = 200, body = Page<GroupSummary>)))]
pub(crate) async fn list(
    State(admin): State<Arc<Admin>>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<Value>>, Problem> {
    let broker = admin.broker()?;
    let listing = Listing::read(&admin, query, "group").await?;
    let all = view::all(broker).await?;
    let choose = move |_: &_| {
        let chosen = listing.choose(all.into_iter().map(|group| group.group_id));
        chosen.map(|chosen| (listing, chosen))
    };
    let (listing, chosen) = admin.compute(choose).await??;
    let mut found = Vec::with_capacity(chosen.keys.len());
    let _place = admin.group_list_place().await?;
    let wait = limits::ADMIN_GROUPS_WAIT;
    let left_out = if listing.stats {
        let told =
            |group: &GroupWithOffsets| found.push(GroupSummary::new(&group.view, Some(group)));
        let ask = |group| view::with_offsets(broker, group);
        view::each(&chosen.keys, wait, ask, told).await?
    } else {
        let told = |group: &GroupView| found.push(GroupSummary::new(group, None));
        let ask = |group| view::describe(broker, group);
        view::each(&chosen.keys, wait, ask, told).await?
    };
    if left_out > 0 {
        let detail = "there was no time for all groups; ask for fewer, or with stats=false";
        return Err(Problem::unavailable("/problems/timed-out", detail));
    }
    Ok(Json(listing.page(&chosen, found.into_iter())?))
}

/// One group, with its offsets and who reads them. Looks up how old the first unread record of each is.
#[utoipa::path(get, path = "/v1/groups/{group}", tag = "groups",
    params(("group" = String, Path, description = "its name"), NumberQuery),
    responses((status = 200, body = GroupDetail)))]
pub(crate) async fn one(
    State(admin): State<Arc<Admin>>,
    Path(group): Path<String>,
    Query(query): Query<NumberQuery>,
) -> Result<Json<GroupDetail>, Problem> {
    let broker = admin.broker()?;
    let group = view::with_offsets(broker, &Arc::from(group)).await?;
    let page = offsets(&admin, &group, query).await?;
    let ages = page.items.iter().filter_map(|one| one.lag_seconds);
    let oldest = ages.fold(None, |oldest: Option<f64>, age| {
        Some(oldest.map_or(age, |oldest| oldest.max(age)))
    });
    Ok(Json(GroupDetail {
        summary: GroupSummary::new(&group.view, Some(&group)),
        epoch: group.view.epoch,
        max_lag_seconds: oldest.filter(|_| page.items.len() == page.total),
        partitions: page.items,
        next_cursor: page.next_cursor,
    }))
}

/// How far a group is behind, in each offset that it has committed.
#[utoipa::path(get, path = "/v1/groups/{group}/lag", tag = "groups",
    params(("group" = String, Path, description = "its name"), NumberQuery),
    responses((status = 200, body = Page<GroupPartition>)))]
pub(crate) async fn lag(
    State(admin): State<Arc<Admin>>,
    Path(group): Path<String>,
    Query(query): Query<NumberQuery>,
) -> Result<Json<Page<GroupPartition>>, Problem> {
    let broker = admin.broker()?;
    let group = view::with_offsets(broker, &Arc::from(group)).await?;
    Ok(Json(offsets(&admin, &group, query).await?))
}

/// A page of a group's offsets, named by their places, with the ages of what is unread.
async fn offsets(
    admin: &Admin,
    group: &GroupWithOffsets,
    query: NumberQuery,
) -> Result<Page<GroupPartition>, Problem> {
    let broker = admin.broker()?;
    let numbered: Vec<(i64, &OffsetView)> = (0..).zip(&group.offsets).collect();
    let page = query.page(numbered, |(number, _)| *number, |(_, told)| told)?;
    let owners = group.owners();
    let mut items = Vec::with_capacity(page.items.len());
    for told in page.items {
        let lag = match told.offset.records(broker) {
            Lag::Behind { age: None, .. } => {
                let turn = admin.look_up_turn().await?;
                told.offset.lag(broker, turn).await
            }
            lag => lag,
        };
        let place = (&*told.offset.topic, told.offset.partition);
        let owner = owners.get(&place).copied();
        items.push(GroupPartition::new(broker, told, lag, owner));
    }
    Ok(Page {
        items,
        total: page.total,
        next_cursor: page.next_cursor,
    })
}

/// The members of a group.
#[utoipa::path(get, path = "/v1/groups/{group}/members", tag = "groups",
    params(("group" = String, Path, description = "its name"), NumberQuery),
    responses((status = 200, body = Page<GroupMember>)))]
pub(crate) async fn members(
    State(admin): State<Arc<Admin>>,
    Path(group): Path<String>,
    Query(query): Query<NumberQuery>,
) -> Result<Json<Page<GroupMember>>, Problem> {
    let group = view::describe(admin.broker()?, &Arc::from(group)).await?;
    let numbered: Vec<(i64, MemberView)> = (0..).zip(group.members).collect();
    let member = |(_, member)| GroupMember::new(member);
    Ok(Json(query.page(numbered, |(number, _)| *number, member)?))
}
