//! DeleteTopics: by name, or by id from version 6 on.

use std::collections::HashSet;
use std::sync::Arc;

use tidewheel_protocol::messages::delete_topics::{
    DeletableTopicResult, DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse,
};
use tidewheel_protocol::{ErrorCode, StrBytes, Uuid};

use super::{Context, error, wait};
use crate::broker::{BrokerError, TopicRef, delete_topics};

pub(super) async fn handle(context: Context, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    let wanted = match context.version {
        0..=5 => request
            .topic_names
            .into_iter()
            .map(|name| DeleteTopicState {
                name: Some(name),
                topic_id: Uuid::ZERO,
            })
            .collect(),
        _ => request.topics,
    };
    let mut responses = Vec::with_capacity(wanted.len());
    let mut asked = Vec::with_capacity(wanted.len());
    let mut seen = HashSet::new();
    for topic in wanted {
        match reference(&topic).filter(|_| seen.insert((topic.name.clone(), topic.topic_id))) {
            Some(reference) => asked.push((topic, reference)),
            None => {
                let reason = "a topic is named once, by its name or by its id";
                let refused = Err(BrokerError::InvalidRequest { reason });
                responses.push(answer(&context, topic, refused));
            }
        }
    }
    let (topics, references): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
    let wait = wait(request.timeout_ms);
    let results = delete_topics(&context.broker, references, false, wait).await;
    responses.extend(
        topics
            .into_iter()
            .zip(results)
            .map(|(topic, result)| answer(&context, topic, result)),
    );
    DeleteTopicsResponse {
        responses,
        ..DeleteTopicsResponse::default()
    }
}

fn reference(topic: &DeleteTopicState) -> Option<TopicRef> {
    match (&topic.name, topic.topic_id) {
        (Some(name), Uuid::ZERO) => Some(TopicRef::Name(name.to_string())),
        (None, id) if !id.is_zero() => Some(TopicRef::Id(id)),
        _ => None,
    }
}

fn answer(
    context: &Context,
    topic: DeleteTopicState,
    result: Result<(Arc<str>, Uuid), BrokerError>,
) -> DeletableTopicResult {
    match result {
        Ok((name, topic_id)) => DeletableTopicResult {
            name: Some(StrBytes::from(&*name)),
            topic_id,
            error_code: ErrorCode::None.code(),
            ..DeletableTopicResult::default()
        },
        Err(error) => {
            let code = match &error {
                // The code came with version 3.
                BrokerError::DeletionDisabled if context.version < 3 => ErrorCode::InvalidRequest,
                error => error::broker_code(error),
            };
            DeletableTopicResult {
                name: topic.name,
                topic_id: topic.topic_id,
                error_code: code.code(),
                error_message: Some(StrBytes::from(error.to_string())),
            }
        }
    }
}
