//! Metadata: the brokers and the topics, and the door through which topics are created on first use.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use tidewheel_config::limits;
use tidewheel_protocol::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker,
    MetadataResponsePartition, MetadataResponseTopic,
};
use tidewheel_protocol::{ErrorCode, StrBytes};
use tracing::debug;

use super::{Context, error, rights};
use crate::broker::{NewTopic, create_topics};
use crate::topics::{Topic, TopicsSnapshot, topic_name_problem};

pub(super) async fn handle(context: Context, request: MetadataRequest) -> MetadataResponse {
    let operations = rights::told(request.include_topic_authorized_operations, rights::TOPIC);
    let cluster_authorized_operations = rights::told(
        request.include_cluster_authorized_operations,
        rights::CLUSTER,
    );
    let mut topics = topics(&context, request).await;
    for topic in &mut topics {
        // Of an id that is no topic's there is nothing to do anything with.
        if topic.error_code != ErrorCode::UnknownTopicId.code() {
            topic.topic_authorized_operations = operations;
        }
    }
    MetadataResponse {
        cluster_authorized_operations,
        topics,
        ..this_broker(&context)
    }
}

/// An answer that names this broker, the only one and the controller, and no topics.
pub(super) fn this_broker(context: &Context) -> MetadataResponse {
    let (broker, endpoint) = (&context.broker, context.endpoint());
    MetadataResponse {
        brokers: vec![MetadataResponseBroker {
            node_id: broker.node_id(),
            host: StrBytes::from(endpoint.host.as_str()),
            port: i32::from(endpoint.port),
            ..MetadataResponseBroker::default()
        }],
        cluster_id: Some(StrBytes::from(broker.cluster_id())),
        controller_id: broker.node_id(),
        ..MetadataResponse::default()
    }
}

async fn topics(context: &Context, request: MetadataRequest) -> Vec<MetadataResponseTopic> {
    let snapshot = context.broker.topics();
    let mut wanted = match request.topics {
        // Version 0 has no null: there an empty list asks for everything.
        Some(topics) if !(topics.is_empty() && context.version == 0) => topics,
        _ => {
            return snapshot
                .iter()
                .map(|topic| described(context, topic))
                .collect();
        }
    };
    // An id counts, and not the name beside it, as in Kafka: the Java client leaves an empty one there.
    for topic in wanted.iter_mut().filter(|topic| !topic.topic_id.is_zero()) {
        topic.name = None;
    }
    // Named twice, described once, as in Kafka: an answer is bounded by what there is to tell.
    let mut seen = HashSet::new();
    wanted.retain(|topic| seen.insert((topic.name.clone(), topic.topic_id)));
    let may_create = request.allow_auto_topic_creation || context.version < 4;
    let snapshot = if may_create && context.broker.config().auto_create_topics_enable {
        create_missing(context, &wanted, snapshot).await
    } else {
        snapshot
    };
    wanted
        .iter()
        .map(|wanted| answer(context, wanted, &snapshot))
        .collect()
}

/// Creates the named topics that are missing, all in one step. Whatever keeps one from being created,
/// the client reads that there is none, as in Kafka, and asks again.
async fn create_missing(
    context: &Context,
    wanted: &[MetadataRequestTopic],
    snapshot: Arc<TopicsSnapshot>,
) -> Arc<TopicsSnapshot> {
    let missing: BTreeMap<&str, NewTopic> = wanted
        .iter()
        .filter_map(|wanted| wanted.name.as_deref())
        .filter(|name| snapshot.named(name).is_none() && topic_name_problem(name).is_none())
        .map(|name| (name, NewTopic::with_defaults(name, context.broker.config())))
        .collect();
    if missing.is_empty() {
        return snapshot;
    }
    let topics = missing.into_values().collect();
    let wait = limits::METADATA_CHANGE_WAIT;
    for result in create_topics(&context.broker, topics, false, wait).await {
        if let Err(error) = result {
            debug!(%error, "a topic was not created on first use");
        }
    }
    context.broker.topics()
}

fn answer(
    context: &Context,
    wanted: &MetadataRequestTopic,
    snapshot: &TopicsSnapshot,
) -> MetadataResponseTopic {
    let found = match &wanted.name {
        Some(name) => snapshot.named(name),
        None => snapshot.with_id(wanted.topic_id),
    };
    if let Some(topic) = found {
        return described(context, topic);
    }
    let error = match &wanted.name {
        None => ErrorCode::UnknownTopicId,
        Some(name) if topic_name_problem(name).is_some() => ErrorCode::InvalidTopicException,
        Some(_) => ErrorCode::UnknownTopicOrPartition,
    };
    // Before version 12 a name cannot be null.
    let name = match &wanted.name {
        None if context.version < 12 => Some(StrBytes::default()),
        name => name.clone(),
    };
    MetadataResponseTopic {
        error_code: error.code(),
        name,
        topic_id: wanted.topic_id,
        ..MetadataResponseTopic::default()
    }
}

fn described(context: &Context, topic: &Topic) -> MetadataResponseTopic {
    let node_id = context.broker.node_id();
    let partitions = topic
        .partitions
        .iter()
        .zip(0..)
        .map(|(partition, partition_index)| {
            let failed = partition.log().refusal();
            MetadataResponsePartition {
                error_code: failed
                    .map_or(ErrorCode::None, |error| error::storage_code(&error))
                    .code(),
                partition_index,
                leader_id: node_id,
                leader_epoch: context.broker.leader_epoch(),
                replica_nodes: vec![node_id],
                isr_nodes: vec![node_id],
                ..MetadataResponsePartition::default()
            }
        });
    MetadataResponseTopic {
        name: Some(StrBytes::from(&*topic.name)),
        topic_id: topic.id,
        is_internal: topic.is_internal(),
        partitions: partitions.collect(),
        ..MetadataResponseTopic::default()
    }
}
