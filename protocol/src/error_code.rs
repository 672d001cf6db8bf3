//! Kafka's error codes: what a response carries in its `error_code` fields.

/// Builds [`ErrorCode`] from one row per code: number, variant, Kafka's name, whether a client may
/// retry, meaning.
macro_rules! error_codes {
    ($($code:literal $variant:ident $name:literal $retriable:literal $message:literal;)*) => {
        /// Every error code Kafka 4.3 has a name for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(i16)]
        pub enum ErrorCode {
            $(
                #[doc = concat!($name, ": ", $message, ".")]
                $variant = $code,
            )*
        }

        impl ErrorCode {
            /// Every code, in ascending order.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The error a code stands for; `None` where Kafka 4.3 has no name for it.
            #[must_use]
            pub const fn from_code(code: i16) -> Option<Self> {
                match code {
                    $($code => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// Kafka's name, in capitals.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// Whether Kafka's clients try again on it.
            #[must_use]
            pub const fn is_retriable(self) -> bool {
                match self {
                    $(Self::$variant => $retriable,)*
                }
            }

            /// What it means, for people.
            #[must_use]
            pub const fn message(self) -> &'static str {
                match self {
                    $(Self::$variant => $message,)*
                }
            }
        }
    };
}

impl ErrorCode {
    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> i16 {
        self as i16
    }
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

error_codes! {
    -1 UnknownServerError "UNKNOWN_SERVER_ERROR" false "the server met an error it did not expect";
    0 None "NONE" false "no error";
    1 OffsetOutOfRange "OFFSET_OUT_OF_RANGE" false "the offset is outside the partition's log";
    2 CorruptMessage "CORRUPT_MESSAGE" true "the batch is corrupt";
    3 UnknownTopicOrPartition "UNKNOWN_TOPIC_OR_PARTITION" true "this broker does not have that topic or partition";
    4 InvalidFetchSize "INVALID_FETCH_SIZE" false "the fetch size is not valid";
    5 LeaderNotAvailable "LEADER_NOT_AVAILABLE" true "the partition has no leader yet";
    6 NotLeaderOrFollower "NOT_LEADER_OR_FOLLOWER" true "this broker does not lead or follow the partition";
    7 RequestTimedOut "REQUEST_TIMED_OUT" true "the request did not finish in time";
    8 BrokerNotAvailable "BROKER_NOT_AVAILABLE" false "the broker is not available";
    9 ReplicaNotAvailable "REPLICA_NOT_AVAILABLE" true "the replica is not available";
    10 MessageTooLarge "MESSAGE_TOO_LARGE" false "the batch is larger than the broker or topic accepts";
    11 StaleControllerEpoch "STALE_CONTROLLER_EPOCH" false "the controller has moved";
    12 OffsetMetadataTooLarge "OFFSET_METADATA_TOO_LARGE" false "the metadata of the committed offset is too long";
    13 NetworkException "NETWORK_EXCEPTION" true "the connection ended before the response came";
    14 CoordinatorLoadInProgress "COORDINATOR_LOAD_IN_PROGRESS" true "the coordinator is still loading";
    15 CoordinatorNotAvailable "COORDINATOR_NOT_AVAILABLE" true "the coordinator is not available";
    16 NotCoordinator "NOT_COORDINATOR" true "this broker is not the coordinator";
    17 InvalidTopicException "INVALID_TOPIC_EXCEPTION" false "the topic name is not valid or may not be used so";
    18 RecordListTooLarge "RECORD_LIST_TOO_LARGE" false "the batch is larger than a segment";
    19 NotEnoughReplicas "NOT_ENOUGH_REPLICAS" true "too few replicas are in sync to accept the batch";
    20 NotEnoughReplicasAfterAppend "NOT_ENOUGH_REPLICAS_AFTER_APPEND" true "the batch was appended, but too few replicas are in sync";
    21 InvalidRequiredAcks "INVALID_REQUIRED_ACKS" false "acks must be -1, 0 or 1";
    22 IllegalGeneration "ILLEGAL_GENERATION" false "the group generation is not the current one";
    23 InconsistentGroupProtocol "INCONSISTENT_GROUP_PROTOCOL" false "the member shares no protocol with the group";
    24 InvalidGroupId "INVALID_GROUP_ID" false "the group id is not valid";
    25 UnknownMemberId "UNKNOWN_MEMBER_ID" false "the coordinator does not know this member";
    26 InvalidSessionTimeout "INVALID_SESSION_TIMEOUT" false "the session timeout is outside the broker's bounds";
    27 RebalanceInProgress "REBALANCE_IN_PROGRESS" false "the group is rebalancing: join again";
    28 InvalidCommitOffsetSize "INVALID_COMMIT_OFFSET_SIZE" false "the offset commit is too large";
    29 TopicAuthorizationFailed "TOPIC_AUTHORIZATION_FAILED" false "not authorized for the topic";
    30 GroupAuthorizationFailed "GROUP_AUTHORIZATION_FAILED" false "not authorized for the group";
    31 ClusterAuthorizationFailed "CLUSTER_AUTHORIZATION_FAILED" false "not authorized for the cluster";
    32 InvalidTimestamp "INVALID_TIMESTAMP" false "the record's timestamp is outside the accepted range";
    33 UnsupportedSaslMechanism "UNSUPPORTED_SASL_MECHANISM" false "the broker does not offer this SASL mechanism";
    34 IllegalSaslState "ILLEGAL_SASL_STATE" false "the request does not fit the state of the SASL exchange";
    35 UnsupportedVersion "UNSUPPORTED_VERSION" false "the broker does not serve this version";
    36 TopicAlreadyExists "TOPIC_ALREADY_EXISTS" false "a topic of this name exists";
    37 InvalidPartitions "INVALID_PARTITIONS" false "the number of partitions is not valid";
    38 InvalidReplicationFactor "INVALID_REPLICATION_FACTOR" false "the replication factor is not valid for this cluster";
    39 InvalidReplicaAssignment "INVALID_REPLICA_ASSIGNMENT" false "the replica assignment is not valid";
    40 InvalidConfig "INVALID_CONFIG" false "the configuration is not valid";
    41 NotController "NOT_CONTROLLER" true "this broker is not the controller";
    42 InvalidRequest "INVALID_REQUEST" false "the request is malformed or contradicts itself";
    43 UnsupportedForMessageFormat "UNSUPPORTED_FOR_MESSAGE_FORMAT" false "the message format does not support the request";
    44 PolicyViolation "POLICY_VIOLATION" false "a policy refuses the request";
    45 OutOfOrderSequenceNumber "OUT_OF_ORDER_SEQUENCE_NUMBER" false "the batch does not follow the producer's last sequence number";
    46 DuplicateSequenceNumber "DUPLICATE_SEQUENCE_NUMBER" false "the sequence number was used before";
    47 InvalidProducerEpoch "INVALID_PRODUCER_EPOCH" false "the producer epoch is older than the current one";
    48 InvalidTxnState "INVALID_TXN_STATE" false "the transaction is not in a state that allows this";
    49 InvalidProducerIdMapping "INVALID_PRODUCER_ID_MAPPING" false "the producer id does not belong to this transactional id";
    50 InvalidTransactionTimeout "INVALID_TRANSACTION_TIMEOUT" false "the transaction timeout is larger than the broker allows";
    51 ConcurrentTransactions "CONCURRENT_TRANSACTIONS" true "another operation on this transaction is under way";
    52 TransactionCoordinatorFenced "TRANSACTION_COORDINATOR_FENCED" false "a newer transaction coordinator has taken over";
    53 TransactionalIdAuthorizationFailed "TRANSACTIONAL_ID_AUTHORIZATION_FAILED" false "not authorized for the transactional id";
    54 SecurityDisabled "SECURITY_DISABLED" false "security features are off";
    55 OperationNotAttempted "OPERATION_NOT_ATTEMPTED" false "not attempted, because another part of the request failed";
    56 KafkaStorageError "KAFKA_STORAGE_ERROR" true "the disk failed";
    57 LogDirNotFound "LOG_DIR_NOT_FOUND" false "no such log directory on this broker";
    58 SaslAuthenticationFailed "SASL_AUTHENTICATION_FAILED" false "SASL authentication failed";
    59 UnknownProducerId "UNKNOWN_PRODUCER_ID" false "the broker has no state for this producer id";
    60 ReassignmentInProgress "REASSIGNMENT_IN_PROGRESS" false "a reassignment of the partition is under way";
    61 DelegationTokenAuthDisabled "DELEGATION_TOKEN_AUTH_DISABLED" false "delegation tokens are off";
    62 DelegationTokenNotFound "DELEGATION_TOKEN_NOT_FOUND" false "no such delegation token";
    63 DelegationTokenOwnerMismatch "DELEGATION_TOKEN_OWNER_MISMATCH" false "the principal neither owns nor may renew the token";
    64 DelegationTokenRequestNotAllowed "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED" false "token requests are not allowed on this connection";
    65 DelegationTokenAuthorizationFailed "DELEGATION_TOKEN_AUTHORIZATION_FAILED" false "not authorized for the delegation token";
    66 DelegationTokenExpired "DELEGATION_TOKEN_EXPIRED" false "the delegation token has expired";
    67 InvalidPrincipalType "INVALID_PRINCIPAL_TYPE" false "the principal type is not supported";
    68 NonEmptyGroup "NON_EMPTY_GROUP" false "the group still has members";
    69 GroupIdNotFound "GROUP_ID_NOT_FOUND" false "no such group";
    70 FetchSessionIdNotFound "FETCH_SESSION_ID_NOT_FOUND" true "no such fetch session";
    71 InvalidFetchSessionEpoch "INVALID_FETCH_SESSION_EPOCH" true "the fetch session is at another epoch";
    72 ListenerNotFound "LISTENER_NOT_FOUND" true "the leader has no listener like the one asked";
    73 TopicDeletionDisabled "TOPIC_DELETION_DISABLED" false "topics may not be deleted here";
    74 FencedLeaderEpoch "FENCED_LEADER_EPOCH" true "the leader epoch is older than the broker's";
    75 UnknownLeaderEpoch "UNKNOWN_LEADER_EPOCH" true "the leader epoch is newer than the broker's";
    76 UnsupportedCompressionType "UNSUPPORTED_COMPRESSION_TYPE" false "this request version does not allow the batch's codec";
    77 StaleBrokerEpoch "STALE_BROKER_EPOCH" false "the broker epoch has changed";
    78 OffsetNotAvailable "OFFSET_NOT_AVAILABLE" true "the new leader does not know its high watermark yet";
    79 MemberIdRequired "MEMBER_ID_REQUIRED" false "join again with the member id given";
    80 PreferredLeaderNotAvailable "PREFERRED_LEADER_NOT_AVAILABLE" true "the preferred leader is not available";
    81 GroupMaxSizeReached "GROUP_MAX_SIZE_REACHED" false "the group is full";
    82 FencedInstanceId "FENCED_INSTANCE_ID" false "another member has taken over this group instance id";
    83 EligibleLeadersNotAvailable "ELIGIBLE_LEADERS_NOT_AVAILABLE" true "no replica may become leader now";
    84 ElectionNotNeeded "ELECTION_NOT_NEEDED" true "the partition already has the wanted leader";
    85 NoReassignmentInProgress "NO_REASSIGNMENT_IN_PROGRESS" false "no reassignment of the partition is under way";
    86 GroupSubscribedToTopic "GROUP_SUBSCRIBED_TO_TOPIC" false "the group is subscribed to the topic";
    87 InvalidRecord "INVALID_RECORD" false "the record breaks a rule of the topic or the format";
    88 UnstableOffsetCommit "UNSTABLE_OFFSET_COMMIT" true "a transaction still holds offsets of the group";
    89 ThrottlingQuotaExceeded "THROTTLING_QUOTA_EXCEEDED" true "the quota is used up for now";
    90 ProducerFenced "PRODUCER_FENCED" false "a newer producer uses this transactional id";
    91 ResourceNotFound "RESOURCE_NOT_FOUND" false "no such resource";
    92 DuplicateResource "DUPLICATE_RESOURCE" false "the request names a resource twice";
    93 UnacceptableCredential "UNACCEPTABLE_CREDENTIAL" false "the credential does not meet the rules";
    94 InconsistentVoterSet "INCONSISTENT_VOTER_SET" false "sender or receiver is not in the expected voter set";
    95 InvalidUpdateVersion "INVALID_UPDATE_VERSION" false "the update version is not valid";
    96 FeatureUpdateFailed "FEATURE_UPDATE_FAILED" false "the finalized features could not be updated";
    97 PrincipalDeserializationFailure "PRINCIPAL_DESERIALIZATION_FAILURE" false "the forwarded principal could not be read";
    98 SnapshotNotFound "SNAPSHOT_NOT_FOUND" false "no such snapshot";
    99 PositionOutOfRange "POSITION_OUT_OF_RANGE" false "the position is outside the snapshot";
    100 UnknownTopicId "UNKNOWN_TOPIC_ID" true "this broker does not have that topic id";
    101 DuplicateBrokerRegistration "DUPLICATE_BROKER_REGISTRATION" false "the broker id is in use";
    102 BrokerIdNotRegistered "BROKER_ID_NOT_REGISTERED" false "the broker id is not registered";
    103 InconsistentTopicId "INCONSISTENT_TOPIC_ID" true "the topic id is not that of the log";
    104 InconsistentClusterId "INCONSISTENT_CLUSTER_ID" false "the cluster id is another one";
    105 TransactionalIdNotFound "TRANSACTIONAL_ID_NOT_FOUND" false "no such transactional id";
    106 FetchSessionTopicIdError "FETCH_SESSION_TOPIC_ID_ERROR" true "the fetch session mixes topic names and ids";
    107 IneligibleReplica "INELIGIBLE_REPLICA" false "the new in-sync set has a replica that may not be in it";
    108 NewLeaderElected "NEW_LEADER_ELECTED" false "the partition was changed, and its leader with it";
    109 OffsetMovedToTieredStorage "OFFSET_MOVED_TO_TIERED_STORAGE" false "the offset is in tiered storage";
    110 FencedMemberEpoch "FENCED_MEMBER_EPOCH" false "the member epoch is fenced: give up all partitions and join again";
    111 UnreleasedInstanceId "UNRELEASED_INSTANCE_ID" false "another member still holds this instance id";
    112 UnsupportedAssignor "UNSUPPORTED_ASSIGNOR" false "the group does not support this assignor";
    113 StaleMemberEpoch "STALE_MEMBER_EPOCH" false "the member epoch is stale: wait for the next heartbeat";
    114 MismatchedEndpointType "MISMATCHED_ENDPOINT_TYPE" false "this endpoint is of another type";
    115 UnsupportedEndpointType "UNSUPPORTED_ENDPOINT_TYPE" false "this endpoint type is not supported";
    116 UnknownControllerId "UNKNOWN_CONTROLLER_ID" false "no such controller";
    117 UnknownSubscriptionId "UNKNOWN_SUBSCRIPTION_ID" false "the telemetry subscription is unknown or out of date";
    118 TelemetryTooLarge "TELEMETRY_TOO_LARGE" false "the telemetry is larger than the broker accepts";
    119 InvalidRegistration "INVALID_REGISTRATION" false "the controller refuses the broker's registration";
    120 TransactionAbortable "TRANSACTION_ABORTABLE" false "the transaction failed: abort it and go on";
    121 InvalidRecordState "INVALID_RECORD_STATE" false "the record cannot be acknowledged in its state";
    122 ShareSessionNotFound "SHARE_SESSION_NOT_FOUND" true "no such share session";
    123 InvalidShareSessionEpoch "INVALID_SHARE_SESSION_EPOCH" true "the share session is at another epoch";
    124 FencedStateEpoch "FENCED_STATE_EPOCH" false "the share group's state epoch is another one";
    125 InvalidVoterKey "INVALID_VOTER_KEY" false "the voter key is not the receiver's";
    126 DuplicateVoter "DUPLICATE_VOTER" false "the voter is already in the set";
    127 VoterNotFound "VOTER_NOT_FOUND" false "the voter is not in the set";
    128 InvalidRegularExpression "INVALID_REGULAR_EXPRESSION" false "the regular expression is not valid";
    129 RebootstrapRequired "REBOOTSTRAP_REQUIRED" false "the client's metadata is stale: bootstrap again";
    130 StreamsInvalidTopology "STREAMS_INVALID_TOPOLOGY" false "the topology is not valid";
    131 StreamsInvalidTopologyEpoch "STREAMS_INVALID_TOPOLOGY_EPOCH" false "the topology epoch is not valid";
    132 StreamsTopologyFenced "STREAMS_TOPOLOGY_FENCED" false "the topology epoch is out of date";
    133 ShareSessionLimitReached "SHARE_SESSION_LIMIT_REACHED" true "no more share sessions are possible now";
}

#[cfg(test)]
mod tests {
    use super::ErrorCode;

    #[test]
    fn codes_are_dense_from_minus_one_to_133_and_come_back() {
        let codes: Vec<i16> = ErrorCode::ALL.iter().map(|error| error.code()).collect();
        assert_eq!(codes, (-1..=133).collect::<Vec<i16>>());
        for &error in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_code(error.code()), Some(error));
        }
        assert_eq!(ErrorCode::from_code(134), None);
        assert_eq!(ErrorCode::from_code(-2), None);
    }

    #[test]
    fn names_and_retries_agree_with_the_oracle() {
        for &error in ErrorCode::ALL {
            let Some(oracle) = kafka_protocol::error::ResponseError::try_from_code(error.code())
            else {
                assert_eq!(error, ErrorCode::None);
                continue;
            };
            assert_eq!(
                error.name().replace('_', ""),
                oracle.to_string().to_uppercase()
            );
            // Kafka's own CONCURRENT_TRANSACTIONS is retriable; the oracle says otherwise.
            if error != ErrorCode::ConcurrentTransactions {
                assert_eq!(error.is_retriable(), oracle.is_retriable(), "{error}");
            }
        }
        assert!(ErrorCode::ConcurrentTransactions.is_retriable());
    }
}
