//! The log at work: appending, reading, syncing, compacting, deleting, and what bounds it. One program,
//! for the sake of the time it takes to build; `cargo test --test log compaction::` runs one file of it.
#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod compaction;
mod deletion;
mod descriptors;
mod engine_seam;
mod fixed_delay;
mod flush_messages;
mod flush_work;
mod lifecycle;
mod log_model;
mod open_files;
mod reading;
mod record_deletion;
mod scrub;
mod sealed_checkpoints;
#[path = "../support/mod.rs"]
mod support;
