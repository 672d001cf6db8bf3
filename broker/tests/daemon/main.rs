//! The process: how it starts, is configured, told of and stopped, and what clients of bad faith can do
//! to it. One program, for the sake of the time it takes to build.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed step of a test fails the test"
)]

mod commands;
mod compaction;
mod config;
mod connections;
mod consume_group;
mod dev;
#[path = "../support/embedded.rs"]
mod embedded;
mod embedding;
mod faults;
mod generate;
mod group_command;
mod group_lag;
mod hostile;
mod hostile_memory;
mod logs;
mod lost_dir;
mod metrics;
mod notices;
mod pages;
mod prometheus;
mod records;
mod relay;
mod reload;
mod repair;
mod serve;
mod settings;
mod stop;
#[path = "../support/mod.rs"]
mod support;
mod terminal;
mod topic_command;
mod tour;
mod trouble;
mod unit;
