//! The Tidewheel daemon: owns sockets, topics, partitions and the command line.
//!
//! A request's way, which is also the reading order: `server` accepts, `connection` reads frames
//! and writes replies in order, `api` holds the one table of API keys and a file per API, `broker`
//! is the root of state, `partition` wraps one log and everybody who waits on it. Below this crate
//! nothing knows tokio, sockets or the clock.

pub mod cli;

mod embedded;
mod faults;
mod lifecycle;
mod logging;
mod running;
mod service_manager;
mod temporary;
mod test_clock;

mod clock;

mod server;

mod clients;
mod connection;
mod connection_limits;
mod connection_places;
mod delays;
mod descriptors;
mod frame_reader;
mod memory_pool;
mod peer_counts;

mod admin;
mod api;

mod metrics;

mod broker;

mod ack_wait;
mod change_queue;
mod compaction;
mod config_changes;
mod fetch_sessions;
mod fetch_wait;
mod groups;
mod ids;
mod metadata;
mod new_partitions;
mod new_topic;
mod partition;
mod partition_budget;
mod process;
mod produce_lanes;
mod rate_limit;
mod ready;
mod recent_input;
mod scrub;
mod slow_requests;
mod storage_threads;
mod sync;
mod topics;
mod trouble;

pub use delays::{
    DelayedError, DelayedId, DelayedPage, DelayedQuery, DelayedRecord, DelayedRecords,
    DelayedTopic, NoDelayedId,
};
/// Another name of [`EmbeddedBroker`], for programs that know of no other broker.
pub use embedded::EmbeddedBroker as Broker;
pub use embedded::{EmbeddedBroker, EmbeddedBuilder};
pub use faults::{CannotRefuse, Fault, FaultBuilder, Faults};
pub use groups::{GroupLag, Lag, NoCoordinator, PartitionLag};
pub use metrics::{MetricsFormat, MetricsPage};
pub use running::EmbeddedError;
pub use test_clock::TestClock;
pub use tidewheel_protocol::{ApiKey, ErrorCode};

#[cfg(test)]
mod testing;
