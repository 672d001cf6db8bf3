//! The API keys: which request a frame carries, and from which version on it is flexible.

/// A key Kafka 4.3 has no name for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown api key {0}")]
pub struct UnknownApiKey(pub i16);

/// Builds [`ApiKey`] from one row per key: number, name, first flexible version if there is one.
macro_rules! api_keys {
    ($($key:literal $name:ident $($flexible:literal)?;)*) => {
        /// Every API that Kafka 4.3 knows by name, whether or not this broker serves it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(i16)]
        pub enum ApiKey {
            $(
                #[doc = concat!("`", stringify!($name), "`, key ", $key, ".")]
                $name = $key,
            )*
        }

        impl ApiKey {
            /// Every key, in ascending order.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The API of a key; `None` where Kafka 4.3 has none.
            #[must_use]
            pub const fn from_key(key: i16) -> Option<Self> {
                match key {
                    $($key => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// Kafka's name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            /// The first version with compact forms and tagged fields; `i16::MAX` where no version
            /// has them.
            #[must_use]
            pub const fn flexible_from(self) -> i16 {
                match self {
                    $(Self::$name => api_keys!(@flexible $($flexible)?),)*
                }
            }
        }
    };
    (@flexible $flexible:literal) => { $flexible };
    (@flexible) => { i16::MAX };
}

impl ApiKey {
    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// Whether this version has compact forms and tagged fields.
    #[must_use]
    pub const fn is_flexible(self, version: i16) -> bool {
        version >= self.flexible_from()
    }
}

impl TryFrom<i16> for ApiKey {
    type Error = UnknownApiKey;

    fn try_from(key: i16) -> Result<Self, UnknownApiKey> {
        Self::from_key(key).ok_or(UnknownApiKey(key))
    }
}

impl std::fmt::Display for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

api_keys! {
    0 Produce 9;
    1 Fetch 12;
    2 ListOffsets 6;
    3 Metadata 9;
    8 OffsetCommit 8;
    9 OffsetFetch 6;
    10 FindCoordinator 3;
    11 JoinGroup 6;
    12 Heartbeat 4;
    13 LeaveGroup 4;
    14 SyncGroup 4;
    15 DescribeGroups 5;
    16 ListGroups 3;
    17 SaslHandshake;
    18 ApiVersions 3;
    19 CreateTopics 5;
    20 DeleteTopics 4;
    21 DeleteRecords 2;
    22 InitProducerId 2;
    23 OffsetForLeaderEpoch 4;
    24 AddPartitionsToTxn 3;
    25 AddOffsetsToTxn 3;
    26 EndTxn 3;
    27 WriteTxnMarkers 1;
    28 TxnOffsetCommit 3;
    29 DescribeAcls 2;
    30 CreateAcls 2;
    31 DeleteAcls 2;
    32 DescribeConfigs 4;
    33 AlterConfigs 2;
    34 AlterReplicaLogDirs 2;
    35 DescribeLogDirs 2;
    36 SaslAuthenticate 2;
    37 CreatePartitions 2;
    38 CreateDelegationToken 2;
    39 RenewDelegationToken 2;
    40 ExpireDelegationToken 2;
    41 DescribeDelegationToken 2;
    42 DeleteGroups 2;
    43 ElectLeaders 2;
    44 IncrementalAlterConfigs 1;
    45 AlterPartitionReassignments 0;
    46 ListPartitionReassignments 0;
    47 OffsetDelete;
    48 DescribeClientQuotas 1;
    49 AlterClientQuotas 1;
    50 DescribeUserScramCredentials 0;
    51 AlterUserScramCredentials 0;
    52 Vote 0;
    53 BeginQuorumEpoch 1;
    54 EndQuorumEpoch 1;
    55 DescribeQuorum 0;
    56 AlterPartition 0;
    57 UpdateFeatures 0;
    58 Envelope 0;
    59 FetchSnapshot 0;
    60 DescribeCluster 0;
    61 DescribeProducers 0;
    62 BrokerRegistration 0;
    63 BrokerHeartbeat 0;
    64 UnregisterBroker 0;
    65 DescribeTransactions 0;
    66 ListTransactions 0;
    67 AllocateProducerIds 0;
    68 ConsumerGroupHeartbeat 0;
    69 ConsumerGroupDescribe 0;
    70 ControllerRegistration 0;
    71 GetTelemetrySubscriptions 0;
    72 PushTelemetry 0;
    73 AssignReplicasToDirs 0;
    74 ListConfigResources 0;
    75 DescribeTopicPartitions 0;
    76 ShareGroupHeartbeat 0;
    77 ShareGroupDescribe 0;
    78 ShareFetch 0;
    79 ShareAcknowledge 0;
    80 AddRaftVoter 0;
    81 RemoveRaftVoter 0;
    82 UpdateRaftVoter 0;
    83 InitializeShareGroupState 0;
    84 ReadShareGroupState 0;
    85 WriteShareGroupState 0;
    86 DeleteShareGroupState 0;
    87 ReadShareGroupStateSummary 0;
    88 StreamsGroupHeartbeat 0;
    89 StreamsGroupDescribe 0;
    90 DescribeShareGroupOffsets 0;
    91 AlterShareGroupOffsets 0;
    92 DeleteShareGroupOffsets 0;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back_and_unknown_ones_are_refused() {
        for &api in ApiKey::ALL {
            assert_eq!(ApiKey::try_from(api.code()), Ok(api));
        }
        // 4 to 7 were removed in Kafka 4.0.
        for key in [-1, 4, 5, 6, 7, 93, i16::MAX, i16::MIN] {
            assert_eq!(ApiKey::try_from(key), Err(UnknownApiKey(key)));
        }
    }

    #[test]
    fn names_and_flexible_versions_agree_with_the_oracle() {
        use kafka_protocol::messages::ApiKey as Oracle;

        let mut compared = 0;
        for &api in ApiKey::ALL {
            let Ok(oracle) = Oracle::try_from(api.code()) else {
                continue;
            };
            assert_eq!(format!("{oracle:?}"), api.name());
            let versions = oracle.valid_versions();
            for version in versions.min..=versions.max {
                let header = if api.is_flexible(version) { 2 } else { 1 };
                assert_eq!(
                    oracle.request_header_version(version),
                    header,
                    "{api} {version}"
                );
            }
            compared += 1;
        }
        assert!(compared >= 80, "the oracle knows only {compared} keys");
    }
}
