//! Loads any Kafka endpoint and reports figures that hold.
//!
//! Read in this order: [`workload`] says what a run does, `run` brings producers and consumers together,
//! `load` holds them, [`schedule`] says when records are due, [`recorder`] what is measured, `report` how
//! it is shown. [`client`] is the Kafka client below all of it. `compare`, `versus` and `suite` make
//! statements about several runs.
//!
//! Three rules make the figures hold. An open loop never moves its schedule, so that a stall shows in
//! `response` (from when a record was due) even where `service` (from when it was sent) looks fine. The
//! generator costs little: batches are encoded before they are sent, and sending copies nothing. And every
//! figure names its durability class, environment and settings.
#![forbid(unsafe_code)]

pub mod cli;
pub mod client;
pub mod clock;
pub mod environment;
pub mod process;
pub mod recorder;
pub mod schedule;
pub mod summary;
pub mod values;
pub mod workload;

mod assertion;
mod compare;
mod error;
mod keys;
mod load;
mod output;
mod payload;
mod random;
mod report;
mod run;
#[cfg(test)]
mod testing;

pub use error::BenchError;
