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
mod wishes;

pub use regex::NamePattern;
