//! `tidewheel bench` against real brokers.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed step of a test fails the test"
)]

mod runs;
mod scenes;
#[path = "../support/mod.rs"]
mod support;
