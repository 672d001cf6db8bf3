//! The newer protocol (KIP-848): the coordinator decides who reads what, and each member is led there by
//! its own heartbeats.

mod advance;
mod assignor;
pub(crate) mod classic_members;
pub(crate) mod conversion;
pub(crate) mod describe;
pub(crate) mod group;
pub(crate) mod heartbeat;
pub(crate) mod offsets;
mod reconcile;
mod regex;
pub(crate) mod removal;
pub(crate) mod timers;
mod view;

/// Settings of one group of the newer protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumerGroupSettings {
    /// Silence after which a member counts as gone (`consumer.session.timeout.ms`).
    pub session_timeout_ms: i32,
    /// When members are to come again (`consumer.heartbeat.interval.ms`).
    pub heartbeat_interval_ms: i32,
}
