//! The files, on real disks, from Kafka, flipped byte by byte, and as `tidewheel log` sees them. One program,
//! for the sake of the time it takes to build; `cargo test --test files reindex::` runs one file of it.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that meets an error has failed, and prints its seed"
)]

mod compaction_real_disk;
mod flipped_bytes;
mod flipped_bytes_killed;
mod fuzz_corpus;
mod inspect;
mod inspect_fixture;
mod inspect_log;
mod kafka_files;
mod real_disk;
mod reindex;
mod repair;
#[path = "../support/mod.rs"]
mod support;
