//! CreatePartitions: gives topics more partitions, each with its own result.

use std::collections::HashMap;

use tidewheel_protocol::StrBytes;
use tidewheel_protocol::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
    CreatePartitionsTopicResult,
};

use super::{Context, error, wait};
use crate::broker::{BrokerError, NewPartitions, create_partitions};

pub(super) async fn handle(
    context: Context,
    request: CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let mut named: HashMap<StrBytes, usize> = HashMap::new();
    for topic in &request.topics {
        *named.entry(topic.name.clone()).or_default() += 1;
    }
    // As in Kafka, a name that stands twice in one request is refused, once, and does not grow.
    let (mut wanted, mut doubled): (Vec<_>, Vec<_>) = request
        .topics
        .into_iter()
        .partition(|topic| named.get(&topic.name) == Some(&1));
    let new = wanted.iter_mut().map(new_partitions).collect();
    let wait = wait(request.timeout_ms);
    let results = create_partitions(&context.broker, new, request.validate_only, wait).await;
    let mut results: Vec<CreatePartitionsTopicResult> = wanted
        .into_iter()
        .zip(results)
        .map(|(topic, result)| answer(topic.name, result))
        .collect();
    doubled.retain(|topic| named.remove(&topic.name).is_some());
    results.extend(doubled.into_iter().map(|topic| {
        let reason = "the request names this topic more than once";
        answer(topic.name, Err(BrokerError::InvalidRequest { reason }))
    }));
    CreatePartitionsResponse {
        results,
        ..CreatePartitionsResponse::default()
    }
}

fn new_partitions(topic: &mut CreatePartitionsTopic) -> NewPartitions {
    let assignments = topic.assignments.take().map(|assignments| {
        let brokers = assignments.into_iter().map(|one| one.broker_ids);
        brokers.collect()
    });
    NewPartitions {
        topic: topic.name.to_string(),
        count: topic.count,
        assignments,
    }
}

fn answer(name: StrBytes, result: Result<(), BrokerError>) -> CreatePartitionsTopicResult {
    let (error_code, error_message) = error::outcome(result);
    CreatePartitionsTopicResult {
        name,
        error_code,
        error_message,
    }
}
