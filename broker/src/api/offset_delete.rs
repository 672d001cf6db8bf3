//! OffsetDelete: offsets of topics that a group no longer reads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidewheel_config::limits::GROUP_RETENTION_STEP;
use tidewheel_consumer_groups::reply::TopicResults;
use tidewheel_consumer_groups::request::DeleteOffsetsRequest;
use tidewheel_consumer_groups::{GroupReply, GroupRequest};
use tidewheel_protocol::messages::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestTopic, OffsetDeleteResponse,
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use tidewheel_protocol::{ErrorCode, StrBytes};

use super::{Context, error};
use crate::topics::TopicsSnapshot;

/// Topics with their partitions, each once.
type Named = BTreeMap<StrBytes, Vec<i32>>;

/// Handles OffsetDelete. The coordinator is asked for some partitions after the other: what it is asked for, it does
/// while all groups beside this one wait.
pub(super) async fn handle(context: Context, request: OffsetDeleteRequest) -> OffsetDeleteResponse {
    let (known, unknown) = split(&context.broker.topics(), named(request.topics));
    let group_id: Arc<str> = Arc::from(&*request.group_id);
    let mut response = OffsetDeleteResponse::default();
    for topics in parts(&known) {
        let delete = GroupRequest::DeleteOffsets(DeleteOffsetsRequest {
            group_id: Arc::clone(&group_id),
            topics,
        });
        let code = match context.broker.groups().ask(&group_id, delete).await {
            Ok(GroupReply::DeleteOffsets(Ok(done))) => {
                for topic in &done {
                    tell(&mut response.topics, topic);
                }
                ErrorCode::None
            }
            Ok(GroupReply::DeleteOffsets(Err(error))) => error::group_code(error),
            Ok(_) => ErrorCode::UnknownServerError,
            Err(reason) => error::no_coordinator_code(reason),
        };
        if code != ErrorCode::None {
            return OffsetDeleteResponse {
                error_code: code.code(),
                ..OffsetDeleteResponse::default()
            };
        }
    }
    response.topics.extend(unknown.into_iter().map(refused));
    response
}

/// What is asked for, each partition once: it may be named half a million times.
fn named(topics: Vec<OffsetDeleteRequestTopic>) -> Named {
    let mut named = Named::new();
    for topic in topics {
        let indexes = topic.partitions.iter().map(|asked| asked.partition_index);
        named.entry(topic.name).or_default().extend(indexes);
    }
    for partitions in named.values_mut() {
        partitions.sort_unstable();
        partitions.dedup();
    }
    named
}

/// The partitions that exist, and those that do not.
fn split(topics: &TopicsSnapshot, asked: Named) -> (Named, Named) {
    let (mut known, mut unknown) = (Named::new(), Named::new());
    for (name, partitions) in asked {
        let topic = topics.named(&name);
        let (there, missing): (Vec<i32>, Vec<i32>) = partitions
            .into_iter()
            .partition(|index| topic.is_some_and(|topic| topic.partition(*index).is_some()));
        if !there.is_empty() {
            known.insert(name.clone(), there);
        }
        if !missing.is_empty() {
            unknown.insert(name, missing);
        }
    }
    (known, unknown)
}

/// What the coordinator is asked for at once. Where no partition is there, whether the group is has to be told all the
/// same: so there is at least one.
fn parts(known: &Named) -> Vec<BTreeMap<Arc<str>, BTreeSet<i32>>> {
    let mut parts = vec![BTreeMap::new()];
    let mut room = GROUP_RETENTION_STEP;
    for (name, partitions) in known {
        let topic: Arc<str> = Arc::from(&**name);
        for partition in partitions {
            if room == 0 {
                parts.push(BTreeMap::new());
                room = GROUP_RETENTION_STEP;
            }
            room -= 1;
            if let Some(part) = parts.last_mut() {
                let named: &mut BTreeSet<i32> = part.entry(Arc::clone(&topic)).or_default();
                named.insert(*partition);
            }
        }
    }
    parts
}

/// Adds what was done to the answer. The partitions of a topic may come in several parts, one after the other.
fn tell(topics: &mut Vec<OffsetDeleteResponseTopic>, done: &TopicResults) {
    let told =
        done.partitions
            .iter()
            .map(|(partition_index, result)| OffsetDeleteResponsePartition {
                partition_index: *partition_index,
                error_code: error::group_outcome(*result).code(),
            });
    match topics.last_mut().filter(|last| *last.name == *done.topic) {
        Some(last) => last.partitions.extend(told),
        None => topics.push(OffsetDeleteResponseTopic {
            name: StrBytes::from(&*done.topic),
            partitions: told.collect(),
        }),
    }
}

fn refused((name, partitions): (StrBytes, Vec<i32>)) -> OffsetDeleteResponseTopic {
    let refused = |partition_index| OffsetDeleteResponsePartition {
        partition_index,
        error_code: ErrorCode::UnknownTopicOrPartition.code(),
    };
    OffsetDeleteResponseTopic {
        name,
        partitions: partitions.into_iter().map(refused).collect(),
    }
}
