//! What consumers of a classic group say to each other through the coordinator, where the group's
//! protocol type is [`PROTOCOL_TYPE`]: as metadata in `JoinGroup`, as assignments in `SyncGroup`.
//!
//! ```text
//! i16 version, fields as in this version
//! ```
//! Newer versions only add fields at the end: they are read as the newest one known here, and bytes that
//! are left over are ignored. Groups of other types pass on bytes of their own, which are none of this.

use bytes::Bytes;

use crate::messages::message;
use crate::types::StrBytes;
use crate::wire::field::{Decode, Encode, Form};
use crate::wire::{DecodeError, Reader, Writer};

/// The protocol type of consumers.
pub const PROTOCOL_TYPE: &str = "consumer";
/// The newest version.
pub const VERSION_MAX: i16 = 3;

message! {
    /// What a member wants and has. 1 adds the partitions it has; 2 its generation; 3 its rack.
    pub struct ConsumerProtocolSubscription {
        /// The topics it wants.
        topics: Vec<StrBytes>, 0..;
        /// Anything for the leader's assignor.
        user_data: Option<Bytes>, 0.., null 0.., default None;
        /// The partitions it has, one entry per topic.
        owned_partitions: Vec<TopicPartition>, 1..;
        /// The generation it had them in; -1 when unknown.
        generation_id: i32, 2.., default -1;
        /// Its rack.
        rack_id: Option<StrBytes>, 3.., null 3.., default None;
    }

    /// What a member gets. All versions are alike.
    pub struct ConsumerProtocolAssignment {
        /// The partitions it gets, one entry per topic.
        assigned_partitions: Vec<TopicPartition>, 0..;
        /// Anything from the leader's assignor.
        user_data: Option<Bytes>, 0.., null 0.., default None;
    }

    /// Partitions of one topic.
    pub struct TopicPartition {
        /// The topic's name.
        topic: StrBytes, 0..;
        /// The partitions' numbers.
        partitions: Vec<i32>, 0..;
    }
}

macro_rules! versioned {
    ($($name:ident)*) => {$(
        impl $name {
            /// Reads the version and the fields. Strings and user data are slices of the input.
            ///
            /// # Errors
            /// For negative versions, and for bytes that are no such message.
            pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
                let mut reader = Reader::new(bytes);
                let version = reader.read_i16()?;
                if version < 0 {
                    return Err(DecodeError::NegativeVersion(version));
                }
                Self::decode_field(&mut reader, Form::new(version.min(VERSION_MAX), false))
            }

            /// Writes the version, of 0 to [`VERSION_MAX`], and the fields that it has.
            #[must_use]
            pub fn encode(&self, version: i16) -> Bytes {
                let version = version.clamp(0, VERSION_MAX);
                let mut writer = Writer::new();
                writer.put_i16(version);
                self.encode_field(&mut writer, Form::new(version, false));
                writer.freeze()
            }
        }
    )*};
}

versioned!(ConsumerProtocolSubscription ConsumerProtocolAssignment);

#[cfg(test)]
mod tests {
    use kafka_protocol::messages as oracle;
    use kafka_protocol::protocol::{Decodable, Encodable};

    use super::*;

    fn seed(name: &str) -> Bytes {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds/consumer_protocol/");
        Bytes::from(std::fs::read(format!("{folder}{name}")).unwrap())
    }

    fn partitions() -> Vec<TopicPartition> {
        vec![TopicPartition {
            topic: "t".into(),
            partitions: vec![0, 2],
        }]
    }

    /// A subscription as a version can say it.
    fn subscription(version: i16) -> ConsumerProtocolSubscription {
        let mut wanted = ConsumerProtocolSubscription {
            topics: vec!["t".into(), "u".into()],
            user_data: Some(Bytes::from_static(&[1, 2])),
            ..ConsumerProtocolSubscription::default()
        };
        if version >= 1 {
            wanted.owned_partitions = partitions();
        }
        if version >= 2 {
            wanted.generation_id = 5;
        }
        if version >= 3 {
            wanted.rack_id = Some("r".into());
        }
        wanted
    }

    /// The seeds are what `ConsumerProtocol` of Kafka's Java client 4.3.1 writes for these values.
    #[test]
    fn bytes_are_those_of_kafkas_client_in_every_version() {
        let assignment = ConsumerProtocolAssignment {
            assigned_partitions: partitions(),
            user_data: None,
        };
        for version in 0..=VERSION_MAX {
            let bytes = seed(&format!("subscription-{version}"));
            let wanted = subscription(version);
            assert_eq!(wanted.encode(version), bytes);
            assert_eq!(ConsumerProtocolSubscription::decode(bytes), Ok(wanted));
            let bytes = seed(&format!("assignment-{version}"));
            assert_eq!(assignment.encode(version), bytes);
            let read = ConsumerProtocolAssignment::decode(bytes).unwrap();
            assert_eq!(read, assignment);
        }
    }

    #[test]
    fn the_oracle_reads_and_writes_the_same_bytes() {
        for version in 0..=VERSION_MAX {
            let bytes = seed(&format!("subscription-{version}"));
            let mut body = bytes.slice(2..);
            let theirs = oracle::ConsumerProtocolSubscription::decode(&mut body, version).unwrap();
            let mut written = bytes::BytesMut::new();
            theirs.encode(&mut written, version).unwrap();
            assert_eq!(bytes.slice(2..), written);

            let bytes = seed(&format!("assignment-{version}"));
            let mut body = bytes.slice(2..);
            let theirs = oracle::ConsumerProtocolAssignment::decode(&mut body, version).unwrap();
            let mut written = bytes::BytesMut::new();
            theirs.encode(&mut written, version).unwrap();
            assert_eq!(bytes.slice(2..), written);
        }
    }

    #[test]
    fn newer_versions_are_read_as_the_newest_known() {
        let mut newer = seed("subscription-3").to_vec();
        newer[1] = 4;
        newer.extend(b"what version 4 adds");
        let read = ConsumerProtocolSubscription::decode(newer.into());
        assert_eq!(read, Ok(subscription(3)));
    }

    #[test]
    fn what_is_no_subscription_is_refused() {
        let whole = seed("subscription-3");
        for len in 0..whole.len() {
            assert!(ConsumerProtocolSubscription::decode(whole.slice(..len)).is_err());
        }
        let negative = Bytes::from_static(&[0xFF, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(
            ConsumerProtocolAssignment::decode(negative),
            Err(DecodeError::NegativeVersion(-1))
        );
        let null_topics = Bytes::from_static(&[0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0]);
        assert_eq!(
            ConsumerProtocolSubscription::decode(null_topics),
            Err(DecodeError::UnexpectedNull)
        );
    }
}
