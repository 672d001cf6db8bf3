//! Why a request about a group is refused.

/// Why a request, or one entry of it, is refused. Each variant is one error code of Kafka's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum GroupError {
    /// The coordinator cannot take more state, or its log took no record: try again.
    #[error("the coordinator is not available")]
    CoordinatorNotAvailable,
    /// Another broker, or none for now, coordinates the group: find the coordinator again.
    #[error("this broker does not coordinate the group")]
    NotCoordinator,
    /// The group id is empty where a member needs one, or too long.
    #[error("the group id is not valid")]
    InvalidGroupId,
    /// There is no such group.
    #[error("the group does not exist")]
    GroupIdNotFound,
    /// The group has no such member.
    #[error("the member is not known")]
    UnknownMemberId,
    /// A new member shall join again with the member id that the reply carries.
    #[error("the member must join with the member id it is given")]
    MemberIdRequired,
    /// The request names another generation than the current one.
    #[error("the generation is not the current one")]
    IllegalGeneration,
    /// The group rebalances: join again.
    #[error("the group is rebalancing")]
    RebalanceInProgress,
    /// No protocol of the member is one that all members have, or its protocol type is another.
    #[error("the protocols do not match the group's")]
    InconsistentGroupProtocol,
    /// The session timeout lies outside `group.min.session.timeout.ms ..= group.max.session.timeout.ms`.
    #[error("the session timeout is outside its bounds")]
    InvalidSessionTimeout,
    /// The group has as many members as it may have.
    #[error("the group is full")]
    GroupMaxSizeReached,
    /// Another member has taken over this `group.instance.id`.
    #[error("another member uses this group instance id")]
    FencedInstanceId,
    /// The member epoch is not the one that the member has: it shall give up all partitions and join again.
    #[error("the member epoch is not the one the coordinator knows")]
    FencedMemberEpoch,
    /// An offset is committed or asked for with another member epoch than that of the member: it shall learn
    /// its epoch with the next heartbeat.
    #[error("the member epoch is not the current one")]
    StaleMemberEpoch,
    /// A static member lives that has not said it leaves: the instance id is not free.
    #[error("another member uses this group instance id and has not left")]
    UnreleasedInstanceId,
    /// The broker has no such assignor.
    #[error("the assignor is not one of: uniform, range")]
    UnsupportedAssignor,
    /// The regular expression is not valid, or needs more than one may.
    #[error("the regular expression is not valid or too large")]
    InvalidRegularExpression,
    /// Members of the newer protocol need newer versions of the API.
    #[error("the version is too old for members of the consumer group protocol")]
    UnsupportedVersion,
    /// The group has members, so it cannot be deleted.
    #[error("the group is not empty")]
    NonEmptyGroup,
    /// Members are subscribed to the topic, so its offsets cannot be deleted.
    #[error("the group is subscribed to the topic")]
    GroupSubscribedToTopic,
    /// The text beside a committed offset is longer than `offset.metadata.max.bytes`.
    #[error("the metadata of the offset is too large")]
    OffsetMetadataTooLarge,
    /// The group has as many offsets as it may have.
    #[error("the group has too many offsets")]
    InvalidCommitOffsetSize,
    /// The request is larger than any that makes sense.
    #[error("the request is not valid")]
    InvalidRequest,
    /// What the group would store is larger than a record may be.
    #[error("the group's record is too large")]
    UnknownServerError,
}
