//! Every error as an HTTP status: the only place that decides. What Kafka has a code for goes through that code,
//! so that both doors say the same.

use axum::http::StatusCode;
use tidewheel_consumer_groups::GroupError;
use tidewheel_protocol::ErrorCode;

use super::problem::Problem;
use super::setting_changes::pointer;
use crate::api::error::{append_code, broker_code, group_code, no_coordinator_code, storage_code};
use crate::broker::BrokerError;
use crate::delays::DelayedError;
use crate::groups::NoCoordinator;
use crate::partition::AppendError;

/// The status of what Kafka says with this code. What is not named is a fault of this broker.
fn status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::UnknownTopicOrPartition
        | ErrorCode::UnknownTopicId
        | ErrorCode::GroupIdNotFound
        | ErrorCode::UnknownMemberId
        | ErrorCode::ResourceNotFound => StatusCode::NOT_FOUND,
        ErrorCode::TopicAlreadyExists
        | ErrorCode::NonEmptyGroup
        | ErrorCode::GroupSubscribedToTopic
        | ErrorCode::PolicyViolation
        | ErrorCode::RebalanceInProgress
        | ErrorCode::IllegalGeneration => StatusCode::CONFLICT,
        ErrorCode::TopicDeletionDisabled => StatusCode::FORBIDDEN,
        ErrorCode::MessageTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::ThrottlingQuotaExceeded => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::RequestTimedOut
        | ErrorCode::CoordinatorLoadInProgress
        | ErrorCode::CoordinatorNotAvailable
        | ErrorCode::NotCoordinator
        | ErrorCode::KafkaStorageError
        | ErrorCode::NotEnoughReplicas => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::InvalidTopicException
        | ErrorCode::InvalidPartitions
        | ErrorCode::InvalidReplicationFactor
        | ErrorCode::InvalidReplicaAssignment
        | ErrorCode::InvalidConfig
        | ErrorCode::InvalidRequest
        | ErrorCode::InvalidRecord
        | ErrorCode::InvalidTimestamp
        | ErrorCode::InvalidGroupId
        | ErrorCode::InvalidCommitOffsetSize
        | ErrorCode::OffsetMetadataTooLarge
        | ErrorCode::OffsetOutOfRange
        | ErrorCode::UnsupportedCompressionType => StatusCode::BAD_REQUEST,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// What Kafka says with this code.
pub(crate) fn coded(code: ErrorCode, detail: String) -> Problem {
    Problem::kafka(status(code), code, detail)
}

impl From<BrokerError> for Problem {
    fn from(error: BrokerError) -> Self {
        let problem = coded(broker_code(&error), error.to_string());
        match &error {
            BrokerError::UnknownTopic { name } => Problem::unknown_topic(name),
            BrokerError::WrongConfigs(wrong) => {
                let errors = std::iter::once(&wrong.first).chain(&wrong.others);
                errors.fold(problem, |problem, error| {
                    let key = error.key().unwrap_or_default();
                    problem.with_field(pointer(key), error.to_string())
                })
            }
            BrokerError::ConfigsChanged => {
                let (status, kind) = (
                    StatusCode::PRECONDITION_FAILED,
                    "/problems/changed-meanwhile",
                );
                Problem::new(status, kind, "it is not what it was").detail(error.to_string())
            }
            _ => problem,
        }
    }
}

impl From<GroupError> for Problem {
    fn from(error: GroupError) -> Self {
        coded(group_code(error), error.to_string())
    }
}

impl From<DelayedError> for Problem {
    fn from(error: DelayedError) -> Self {
        let detail = error.to_string();
        match error {
            DelayedError::UnknownTopic(name) => Problem::unknown_topic(&name),
            DelayedError::Unknown => {
                let kind = "/problems/unknown-delayed-message";
                Problem::new(StatusCode::NOT_FOUND, kind, "it is not pending").detail(detail)
            }
            DelayedError::NotPendingAnyMore => {
                let kind = "/problems/not-pending-any-more";
                Problem::new(StatusCode::CONFLICT, kind, "it is not pending any more")
                    .detail(detail)
            }
            DelayedError::Expires { .. } => {
                let kind = "/problems/expires-before";
                Problem::new(StatusCode::CONFLICT, kind, "it would not be delivered").detail(detail)
            }
            DelayedError::ClockHeld => {
                let kind = "/problems/clock-held";
                Problem::new(StatusCode::CONFLICT, kind, "the clock is not believed").detail(detail)
            }
            DelayedError::TooFar { .. } => coded(ErrorCode::InvalidTimestamp, detail),
            DelayedError::TooManyCancellations => coded(ErrorCode::PolicyViolation, detail),
            DelayedError::TooLong => Problem::unavailable("/problems/timed-out", detail),
            DelayedError::Busy => Problem::unavailable("/problems/busy", detail),
            DelayedError::Storage(error) => coded(storage_code(&error), detail),
            DelayedError::Stopped => Problem::unavailable("/problems/stopping", detail),
        }
    }
}

impl From<AppendError> for Problem {
    fn from(error: AppendError) -> Self {
        coded(append_code(&error), error.to_string())
    }
}

impl From<NoCoordinator> for Problem {
    fn from(reason: NoCoordinator) -> Self {
        coded(no_coordinator_code(reason), reason.to_string())
    }
}
