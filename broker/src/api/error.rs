//! Every error of every crate as a Kafka error code: the only place that decides.

#![deny(clippy::wildcard_enum_match_arm)]

use tidewheel_consumer_groups::GroupError;
use tidewheel_protocol::{BatchError, ErrorCode, StrBytes};
use tidewheel_storage::StorageError;
use tidewheel_storage::delay::request::DelayError;

use crate::broker::BrokerError;
use crate::groups::NoCoordinator;
use crate::metadata::MetadataError;
use crate::partition::AppendError;

/// The code for a storage error.
pub(crate) fn storage_code(error: &StorageError) -> ErrorCode {
    match error {
        StorageError::OffsetOutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        StorageError::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequenceNumber,
        StorageError::InvalidProducerEpoch { .. } => ErrorCode::InvalidProducerEpoch,
        StorageError::InvalidRecord { .. } | StorageError::MissingKeys { .. } => {
            ErrorCode::InvalidRecord
        }
        StorageError::InvalidTimestamp { .. } => ErrorCode::InvalidTimestamp,
        StorageError::RecordTooLarge { .. } | StorageError::TooLargeToCompact { .. } => {
            ErrorCode::MessageTooLarge
        }
        StorageError::UnsupportedCompression { .. } => ErrorCode::UnsupportedCompressionType,
        StorageError::InvalidTxnState => ErrorCode::InvalidTxnState,
        StorageError::PartitionDeleted => ErrorCode::UnknownTopicOrPartition,
        StorageError::Io { .. }
        | StorageError::DiskFull { .. }
        | StorageError::NoRoom { .. }
        | StorageError::LogDirOffline { .. }
        | StorageError::Corrupt { .. }
        | StorageError::DirectoryInUse { .. }
        | StorageError::ForeignDirectory { .. }
        | StorageError::NewerFormat { .. }
        | StorageError::DirectoryMismatch { .. }
        | StorageError::DirectoryLost { .. }
        | StorageError::DeliveriesNotNoted { .. }
        | StorageError::QueueFull
        | StorageError::Closed => ErrorCode::KafkaStorageError,
    }
}

/// The code for a failed read that a Fetch of `version` asked for. Damage on the disk is said as such:
/// clients tell their users of it, while for a failed disk they try again and again. To do so, clients
/// of the first versions must be told something else: they do not know KAFKA_STORAGE_ERROR.
pub(crate) fn fetch_code(error: &StorageError, version: i16) -> ErrorCode {
    if let StorageError::Corrupt { .. } = error {
        return ErrorCode::CorruptMessage;
    }
    let code = storage_code(error);
    if code == ErrorCode::KafkaStorageError && version <= 5 {
        return ErrorCode::NotLeaderOrFollower;
    }
    code
}

/// The code for bytes that are not one valid batch.
pub(crate) fn batch_code(error: &BatchError) -> ErrorCode {
    match error {
        BatchError::TooShort(_)
        | BatchError::InvalidLength(_)
        | BatchError::Cut { .. }
        | BatchError::Crc { .. }
        | BatchError::CorruptCompression { .. } => ErrorCode::CorruptMessage,
        BatchError::UnsupportedMagic(_)
        | BatchError::TrailingBytes(_)
        | BatchError::MalformedRecord { .. }
        | BatchError::OffsetDelta { .. }
        | BatchError::RecordCount { .. } => ErrorCode::InvalidRecord,
        BatchError::UnknownCompression(_) => ErrorCode::UnsupportedCompressionType,
        BatchError::DecompressedTooLarge { .. }
        | BatchError::TooManyHeaders { .. }
        | BatchError::TooLarge => ErrorCode::MessageTooLarge,
    }
}

/// The code for a failed append.
pub(crate) fn append_code(error: &AppendError) -> ErrorCode {
    match error {
        AppendError::Batch(error) => batch_code(error),
        AppendError::Storage(error) => storage_code(error),
        AppendError::Delay(error) => match error {
            DelayError::Invalid { .. } => ErrorCode::InvalidRecord,
            DelayError::Timestamp { .. } => ErrorCode::InvalidTimestamp,
            DelayError::TooManyRecords { .. } => ErrorCode::MessageTooLarge,
            DelayError::Batch(error) => batch_code(error),
        },
        AppendError::DelayedCompacted
        | AppendError::TooManyCancellations
        | AppendError::RetryTarget { .. }
        | AppendError::DeadLetters { .. }
        | AppendError::TooMuchPending { .. } => ErrorCode::PolicyViolation,
        AppendError::NoRecords => ErrorCode::InvalidRecord,
        AppendError::NotEnoughReplicas { .. } => ErrorCode::NotEnoughReplicas,
        AppendError::TimedOut => ErrorCode::RequestTimedOut,
        AppendError::UnknownTopic => ErrorCode::UnknownTopicOrPartition,
        AppendError::UnknownTopicId => ErrorCode::UnknownTopicId,
        AppendError::InternalTopic => ErrorCode::InvalidTopicException,
        AppendError::ZstdTooNew => ErrorCode::UnsupportedCompressionType,
        AppendError::Transactional => ErrorCode::InvalidTxnState,
        AppendError::InvalidAcks => ErrorCode::InvalidRequiredAcks,
    }
}

/// The code for a failed change of metadata.
pub(crate) fn metadata_code(error: &MetadataError) -> ErrorCode {
    match error {
        MetadataError::Storage(error) => storage_code(error),
        MetadataError::Append(error) => append_code(error),
        MetadataError::Unreadable { .. }
        | MetadataError::Unusable { .. }
        | MetadataError::UnusableSettings(_) => ErrorCode::UnknownServerError,
    }
}

/// The code for a refused or failed operation of the broker.
pub(crate) fn broker_code(error: &BrokerError) -> ErrorCode {
    match error {
        BrokerError::InvalidTopic { .. } => ErrorCode::InvalidTopicException,
        BrokerError::TopicExists { .. } => ErrorCode::TopicAlreadyExists,
        BrokerError::UnknownTopic { .. } => ErrorCode::UnknownTopicOrPartition,
        BrokerError::UnknownTopicId { .. } => ErrorCode::UnknownTopicId,
        BrokerError::InvalidPartitions { .. } | BrokerError::NotMorePartitions { .. } => {
            ErrorCode::InvalidPartitions
        }
        BrokerError::TooManyPartitions { .. } => ErrorCode::PolicyViolation,
        BrokerError::InvalidReplicationFactor { .. } => ErrorCode::InvalidReplicationFactor,
        BrokerError::InvalidAssignment { .. } => ErrorCode::InvalidReplicaAssignment,
        BrokerError::InvalidConfig { .. } => ErrorCode::InvalidConfig,
        BrokerError::WrongConfigs(wrong) if !wrong.of_broker => ErrorCode::InvalidConfig,
        BrokerError::WrongConfigs(_)
        | BrokerError::InvalidRequest { .. }
        | BrokerError::RefusedBrokerConfig { .. }
        | BrokerError::ConfigsChanged => ErrorCode::InvalidRequest,
        BrokerError::DeletionDisabled => ErrorCode::TopicDeletionDisabled,
        BrokerError::Metadata(error) => metadata_code(error),
        BrokerError::Storage(error) => storage_code(error),
        BrokerError::Together(error) => broker_code(error),
        // What makes Kafka's own clients try again; its controller says so when its quota is used up.
        BrokerError::Busy | BrokerError::TooOften => ErrorCode::ThrottlingQuotaExceeded,
        BrokerError::TimedOut => ErrorCode::RequestTimedOut,
        BrokerError::Stopped => ErrorCode::UnknownServerError,
    }
}

/// The code for what a group's coordinator refuses.
pub(crate) fn group_code(error: GroupError) -> ErrorCode {
    match error {
        GroupError::CoordinatorNotAvailable => ErrorCode::CoordinatorNotAvailable,
        GroupError::NotCoordinator => ErrorCode::NotCoordinator,
        GroupError::InvalidGroupId => ErrorCode::InvalidGroupId,
        GroupError::GroupIdNotFound => ErrorCode::GroupIdNotFound,
        GroupError::UnknownMemberId => ErrorCode::UnknownMemberId,
        GroupError::MemberIdRequired => ErrorCode::MemberIdRequired,
        GroupError::IllegalGeneration => ErrorCode::IllegalGeneration,
        GroupError::RebalanceInProgress => ErrorCode::RebalanceInProgress,
        GroupError::InconsistentGroupProtocol => ErrorCode::InconsistentGroupProtocol,
        GroupError::InvalidSessionTimeout => ErrorCode::InvalidSessionTimeout,
        GroupError::GroupMaxSizeReached => ErrorCode::GroupMaxSizeReached,
        GroupError::FencedInstanceId => ErrorCode::FencedInstanceId,
        GroupError::FencedMemberEpoch => ErrorCode::FencedMemberEpoch,
        GroupError::StaleMemberEpoch => ErrorCode::StaleMemberEpoch,
        GroupError::UnreleasedInstanceId => ErrorCode::UnreleasedInstanceId,
        GroupError::UnsupportedAssignor => ErrorCode::UnsupportedAssignor,
        GroupError::InvalidRegularExpression => ErrorCode::InvalidRegularExpression,
        GroupError::UnsupportedVersion => ErrorCode::UnsupportedVersion,
        GroupError::NonEmptyGroup => ErrorCode::NonEmptyGroup,
        GroupError::GroupSubscribedToTopic => ErrorCode::GroupSubscribedToTopic,
        GroupError::OffsetMetadataTooLarge => ErrorCode::OffsetMetadataTooLarge,
        GroupError::InvalidCommitOffsetSize => ErrorCode::InvalidCommitOffsetSize,
        GroupError::InvalidRequest => ErrorCode::InvalidRequest,
        GroupError::UnknownServerError => ErrorCode::UnknownServerError,
    }
}

/// The code for what a group's coordinator did or refused.
pub(crate) fn group_outcome(result: Result<(), GroupError>) -> ErrorCode {
    result.map_or_else(group_code, |()| ErrorCode::None)
}

/// The code where no coordinator could be asked.
pub(crate) fn no_coordinator_code(reason: NoCoordinator) -> ErrorCode {
    match reason {
        NoCoordinator::Loading => ErrorCode::CoordinatorLoadInProgress,
        NoCoordinator::Elsewhere => ErrorCode::NotCoordinator,
        NoCoordinator::Failed => ErrorCode::CoordinatorNotAvailable,
    }
}

/// What is told of a change: the code, and the sentence that goes with an error.
pub(crate) fn outcome<T>(result: Result<T, BrokerError>) -> (i16, Option<StrBytes>) {
    match result {
        Ok(_) => (ErrorCode::None.code(), None),
        Err(error) => {
            let message = StrBytes::from(error.to_string());
            (broker_code(&error).code(), Some(message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_disk_makes_clients_of_every_version_try_again() {
        let code = |version| fetch_code(&StorageError::Closed, version);
        assert_eq!(code(5), ErrorCode::NotLeaderOrFollower);
        assert_eq!(code(6), ErrorCode::KafkaStorageError);
    }
}
