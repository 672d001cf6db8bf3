//! What a client may do with a topic, a group or the cluster: all that can be done, since nobody is refused anything.
//!
//! The bits are Kafka's numbers of operations, as Kafka tells them that has no authorizer.

const READ: u32 = 3;
const WRITE: u32 = 4;
const CREATE: u32 = 5;
const DELETE: u32 = 6;
const ALTER: u32 = 7;
const DESCRIBE: u32 = 8;
const CLUSTER_ACTION: u32 = 9;
const DESCRIBE_CONFIGS: u32 = 10;
const ALTER_CONFIGS: u32 = 11;
const IDEMPOTENT_WRITE: u32 = 12;

/// With a topic, there or not.
pub(super) const TOPIC: i32 = 1 << READ
    | 1 << WRITE
    | 1 << CREATE
    | 1 << DELETE
    | 1 << ALTER
    | 1 << DESCRIBE
    | 1 << DESCRIBE_CONFIGS
    | 1 << ALTER_CONFIGS;

/// With a group.
pub(super) const GROUP: i32 =
    1 << READ | 1 << DESCRIBE | 1 << DELETE | 1 << DESCRIBE_CONFIGS | 1 << ALTER_CONFIGS;

/// With the cluster.
pub(super) const CLUSTER: i32 = 1 << CREATE
    | 1 << CLUSTER_ACTION
    | 1 << DESCRIBE_CONFIGS
    | 1 << ALTER_CONFIGS
    | 1 << IDEMPOTENT_WRITE
    | 1 << ALTER
    | 1 << DESCRIBE;

/// What is told where nobody asked.
const NOT_ASKED: i32 = i32::MIN;

/// The field of an answer whose request asked for it or did not.
pub(super) const fn told(is_asked: bool, operations: i32) -> i32 {
    match is_asked {
        true => operations,
        false => NOT_ASKED,
    }
}
