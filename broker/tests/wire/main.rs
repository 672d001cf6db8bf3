//! What a client is told, frame by frame, as Apache Kafka 4.3.1 tells it. One program, for the sake of
//! the time it takes to build; `cargo test --test wire fetch::` runs one file of it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed step of a test fails the test"
)]

mod admin;
mod alter;
mod api_versions;
mod create_partitions;
mod fetch;
mod fetch_sessions;
mod first_moments;
mod group_rules;
mod groups;
mod groups_consumer;
mod groups_loading;
mod loggers;
mod offsets;
mod offsets_topic;
mod old_headers;
mod old_versions;
mod produce_fetch;
mod replies;
mod settings;
mod stored_batches;
#[path = "../support/mod.rs"]
mod support;
mod timestamp_bombs;
mod topic_changes;
mod topics;
