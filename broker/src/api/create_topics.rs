//! CreateTopics: several topics at once, each with its own result.

use std::collections::HashMap;

use tidewheel_config::{TopicConfigOverrides, describe_topic};
use tidewheel_protocol::messages::create_topics::{
    CreatableTopic, CreatableTopicConfigs, CreatableTopicResult, CreateTopicsRequest,
    CreateTopicsResponse,
};
use tidewheel_protocol::{ErrorCode, StrBytes};

use super::{Context, error, wait};
use crate::broker::{BrokerError, CreatedTopic, NewTopic, create_topics};
use crate::topics;

pub(super) async fn handle(context: Context, request: CreateTopicsRequest) -> CreateTopicsResponse {
    let mut named: HashMap<StrBytes, usize> = HashMap::new();
    for topic in &request.topics {
        *named.entry(topic.name.clone()).or_default() += 1;
    }
    // A name that stands twice in one request is refused, once, and created not at all.
    let once = |name: &StrBytes| named.get(name) == Some(&1);
    let (wanted, doubled): (Vec<_>, Vec<_>) = request
        .topics
        .into_iter()
        .partition(|topic| once(&topic.name));
    let (internal, wanted): (Vec<_>, Vec<_>) = wanted
        .into_iter()
        .partition(|topic| is_refused(&context, &topic.name));
    let names: Vec<StrBytes> = wanted.iter().map(|topic| topic.name.clone()).collect();
    let new = wanted.into_iter().map(new_topic).collect();
    let validate_only = request.validate_only;
    let wait = wait(request.timeout_ms);
    let results = create_topics(&context.broker, new, validate_only, wait).await;
    let mut topics: Vec<CreatableTopicResult> = names
        .into_iter()
        .zip(results)
        .map(|(name, result)| answer(&context, name, result))
        .collect();
    topics.extend(internal.into_iter().map(|topic| {
        let refused = Err(BrokerError::internal_topic(&topic.name));
        answer(&context, topic.name, refused)
    }));
    let mut refused: Vec<StrBytes> = doubled.into_iter().map(|topic| topic.name).collect();
    refused.sort();
    refused.dedup();
    topics.extend(refused.into_iter().map(|name| {
        let reason = "the request names this topic more than once";
        answer(&context, name, Err(BrokerError::InvalidRequest { reason }))
    }));
    CreateTopicsResponse {
        topics,
        ..CreateTopicsResponse::default()
    }
}

/// With other partitions or another policy than the broker's, the topic would lose what groups commit.
/// Where it is there, that is what is told, as of any other.
fn is_refused(context: &Context, name: &str) -> bool {
    topics::is_internal(name) && context.broker.topics().named(name).is_none()
}

fn new_topic(topic: CreatableTopic) -> NewTopic {
    NewTopic {
        name: topic.name.to_string(),
        partitions: topic.num_partitions,
        replication_factor: topic.replication_factor,
        assignments: topic
            .assignments
            .into_iter()
            .map(|assignment| (assignment.partition_index, assignment.broker_ids))
            .collect(),
        configs: topic
            .configs
            .into_iter()
            .map(|config| {
                (
                    config.name.to_string(),
                    config.value.map(|value| value.to_string()),
                )
            })
            .collect(),
    }
}

fn answer(
    context: &Context,
    name: StrBytes,
    result: Result<CreatedTopic, BrokerError>,
) -> CreatableTopicResult {
    match result {
        Ok(created) => CreatableTopicResult {
            name,
            topic_id: created.id,
            error_code: ErrorCode::None.code(),
            error_message: None,
            num_partitions: created.partitions,
            replication_factor: created.replication_factor,
            configs: Some(effective_configs(context, &created.configs)),
            ..CreatableTopicResult::default()
        },
        Err(error) => CreatableTopicResult {
            name,
            error_code: error::broker_code(&error).code(),
            error_message: Some(StrBytes::from(error.to_string())),
            configs: Some(Vec::new()),
            ..CreatableTopicResult::default()
        },
    }
}

fn effective_configs(
    context: &Context,
    overrides: &TopicConfigOverrides,
) -> Vec<CreatableTopicConfigs> {
    let entries = describe_topic(&context.broker.topic_defaults(), overrides).into_iter();
    let shown = entries.map(|entry| CreatableTopicConfigs {
        name: StrBytes::from_static(entry.name),
        value: entry.value.map(StrBytes::from),
        read_only: entry.read_only,
        config_source: entry.source as i8,
        is_sensitive: entry.sensitive,
    });
    shown.collect()
}
