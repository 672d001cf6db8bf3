//! The HTTP API for operators: what stands where, and probes. The other front door beside Kafka's API: both ask
//! the same broker, and neither decides anything.
//!
//! `server` owns the sockets, `guard` is what every request goes through, `routes` the table of paths; a file per
//! resource answers them, and `console` holds the pages for people. Everything is computed when somebody asks: with
//! nobody looking it costs nothing, but for a look at the counters each second (`stats`). What is computed for many
//! topics or partitions is computed on the blocking pool, a few answers at a time, and no answer takes the mutex of a
//! log for longer than to look at it.

mod actions;
mod aliases;
mod audit;
mod auth;
mod changes;
mod configs;
mod connections;
mod console;
mod definitions;
mod delayed;
mod delayed_bulk;
mod delayed_changes;
mod error;
mod group_changes;
mod group_offsets;
mod groups;
mod guard;
mod health;
mod idempotency;
mod idle;
mod lag_status;
mod listing;
mod loggers;
mod look;
mod messages;
mod metrics;
mod overview;
mod partition_changes;
mod partitions;
mod problem;
mod producers;
mod queries;
mod records;
mod reference;
mod routes;
mod sending;
mod server;
mod setting_changes;
mod state;
mod stats;
mod streams;
mod topic_changes;
mod topics;

pub(crate) use self::server::{AdminServer, AdminStart};

#[cfg(test)]
mod tests;
