//! The HTTP API over real sockets: what it tells, whom it tells it, and what it does with those who mean harm.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed step of a test fails the test"
)]

mod changes;
mod commands;
mod commands_delayed;
mod console;
mod definitions;
mod delayed;
#[path = "../support/delays.rs"]
mod delays;
mod group_offsets;
mod groups;
mod health;
mod hostile;
mod messages;
mod partitions;
mod records;
mod resources;
mod settings;
mod stats;
mod streams;
#[path = "../support/mod.rs"]
mod support;
mod tokens;
