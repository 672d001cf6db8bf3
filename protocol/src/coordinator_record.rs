//! What group coordinators keep in the topic `__consumer_offsets`: one change to a group per record.
//!
//! ```text
//! key    i16 type, fields of the key         (strings with i16 lengths)
//! value  i16 version, fields of the value    or null: what the key names is gone
//! ```
//! Layouts and numbers are those of Kafka 4.3.1: a log written by it is read here, and the other way
//! round. The types of share groups (10 to 15) and of streams groups (17 and up) are not known here.

mod schemas;

use bytes::Bytes;

use crate::wire::field::{Decode, Encode, Form};
use crate::wire::{DecodeError, Reader, Writer};

pub use schemas::{
    ClassicMemberMetadata, ClassicProtocol, ConsumerGroupCurrentMemberAssignmentKey,
    ConsumerGroupCurrentMemberAssignmentValue, ConsumerGroupMemberMetadataKey,
    ConsumerGroupMemberMetadataValue, ConsumerGroupMetadataKey, ConsumerGroupMetadataValue,
    ConsumerGroupPartitionMetadataKey, ConsumerGroupPartitionMetadataValue,
    ConsumerGroupRegularExpressionKey, ConsumerGroupRegularExpressionValue,
    ConsumerGroupTargetAssignmentMemberKey, ConsumerGroupTargetAssignmentMemberValue,
    ConsumerGroupTargetAssignmentMetadataKey, ConsumerGroupTargetAssignmentMetadataValue,
    CurrentTopicPartitions, GroupMetadataKey, GroupMetadataValue, MemberMetadata, OffsetCommitKey,
    OffsetCommitValue, PartitionMetadata, TargetTopicPartition, TopicMetadata,
};

/// A record that no coordinator here can take over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CoordinatorRecordError {
    /// A type that is not in the list: perhaps a kind of group that a newer broker knows.
    #[error("coordinator record of unknown type {0}")]
    UnknownType(i16),
    /// A value in a layout that is not known.
    #[error("{record} has a value of unknown version {version}")]
    UnknownVersion {
        /// What the record is about.
        record: &'static str,
        /// The version of its value.
        version: i16,
    },
    /// Bytes that are not the key or the value they should be.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
}

/// The layouts of one kind of value.
trait RecordValue: Decode + Encode {
    /// The newest version. The oldest is 0.
    const VERSION_MAX: i16 = 0;
    /// The first version with compact forms and tagged fields.
    const FLEXIBLE_FROM: i16 = 0;

    /// The version that Kafka 4.3.1 writes this value in.
    fn version(&self) -> i16 {
        0
    }
}

/// Builds [`CoordinatorRecord`] from one row per kind: the type that is written, those that are only
/// read, and what key and value are.
macro_rules! coordinator_records {
    ($($(#[$meta:meta])* $written:literal $(| $read:literal)* $name:ident($key:ty, $value:ty);)*) => {
        /// One change to a group: what it is about and, unless that is gone, what it is now.
        #[derive(Clone, Debug, PartialEq)]
        pub enum CoordinatorRecord {
            $($(#[$meta])* $name($key, Option<$value>),)*
        }

        impl CoordinatorRecord {
            /// Reads the key and the value of a record. Strings and byte fields are slices of both.
            ///
            /// # Errors
            /// For types and versions that are not known, and for bytes that are no such record.
            pub fn decode(key: Bytes, value: Option<Bytes>) -> Result<Self, CoordinatorRecordError> {
                let mut key = Reader::new(key);
                match key.read_i16()? {
                    $($written $(| $read)* => {
                        let decode = |value| decode_value(value, stringify!($name));
                        Ok(Self::$name(decode_key(key)?, value.map(decode).transpose()?))
                    })*
                    unknown => Err(CoordinatorRecordError::UnknownType(unknown)),
                }
            }

            /// Writes the key and the value of a record, as Kafka 4.3.1 does.
            #[must_use]
            pub fn encode(&self) -> (Bytes, Option<Bytes>) {
                match self {
                    $(Self::$name(key, value) => {
                        (encode_key($written, key), value.as_ref().map(encode_value))
                    })*
                }
            }
        }
    };
}

coordinator_records! {
    /// An offset that a group has committed. Type 0 is that of Kafka before 0.9.
    1 | 0 OffsetCommit(OffsetCommitKey, OffsetCommitValue);
    /// A classic group with its members.
    2 GroupMetadata(GroupMetadataKey, GroupMetadataValue);
    /// The epoch of a KIP-848 group.
    3 ConsumerGroupMetadata(ConsumerGroupMetadataKey, ConsumerGroupMetadataValue);
    /// What the topics of a KIP-848 group looked like; only removed since Kafka 4.1.
    4 ConsumerGroupPartitionMetadata(ConsumerGroupPartitionMetadataKey, ConsumerGroupPartitionMetadataValue);
    /// A member of a KIP-848 group.
    5 ConsumerGroupMemberMetadata(ConsumerGroupMemberMetadataKey, ConsumerGroupMemberMetadataValue);
    /// The epoch of a KIP-848 group's target assignment.
    6 ConsumerGroupTargetAssignmentMetadata(ConsumerGroupTargetAssignmentMetadataKey, ConsumerGroupTargetAssignmentMetadataValue);
    /// What a member of a KIP-848 group is to read.
    7 ConsumerGroupTargetAssignmentMember(ConsumerGroupTargetAssignmentMemberKey, ConsumerGroupTargetAssignmentMemberValue);
    /// What a member of a KIP-848 group reads.
    8 ConsumerGroupCurrentMemberAssignment(ConsumerGroupCurrentMemberAssignmentKey, ConsumerGroupCurrentMemberAssignmentValue);
    /// The topics that a regular expression of a KIP-848 group stands for.
    16 ConsumerGroupRegularExpression(ConsumerGroupRegularExpressionKey, ConsumerGroupRegularExpressionValue);
}

/// Keys have one version each, which is not flexible.
fn key_form() -> Form {
    Form::new(0, false)
}

fn decode_key<K: Decode>(mut reader: Reader) -> Result<K, DecodeError> {
    let key = K::decode_field(&mut reader, key_form())?;
    reader.finish()?;
    Ok(key)
}

fn encode_key(record_type: i16, key: &impl Encode) -> Bytes {
    let mut writer = Writer::new();
    writer.put_i16(record_type);
    key.encode_field(&mut writer, key_form());
    writer.freeze()
}

fn decode_value<V: RecordValue>(
    value: Bytes,
    record: &'static str,
) -> Result<V, CoordinatorRecordError> {
    let mut reader = Reader::new(value);
    let version = reader.read_i16()?;
    if !(0..=V::VERSION_MAX).contains(&version) {
        return Err(CoordinatorRecordError::UnknownVersion { record, version });
    }
    let value = V::decode_field(&mut reader, value_form::<V>(version))?;
    reader.finish()?;
    Ok(value)
}

fn encode_value<V: RecordValue>(value: &V) -> Bytes {
    let mut writer = Writer::new();
    let version = value.version();
    writer.put_i16(version);
    value.encode_field(&mut writer, value_form::<V>(version));
    writer.freeze()
}

fn value_form<V: RecordValue>(version: i16) -> Form {
    Form::new(version, version >= V::FLEXIBLE_FROM)
}

#[cfg(test)]
mod tests;
