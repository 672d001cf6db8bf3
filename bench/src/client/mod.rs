//! A small Kafka client: raw requests over connections that their owner drives, errors as values.
//!
//! A [`Connection`] belongs to one task, which sends without waiting and takes the answers in order: no
//! channel and no lock lies between a measurement and its socket. [`Cluster`] knows the brokers, which of
//! them leads which partition, and how to reach one.

mod cluster;
mod connection;
mod error;
mod produce_frame;
#[cfg(test)]
mod tests;

pub(crate) use cluster::list_offsets;
pub use cluster::{Cluster, Leader, NewTopic, PartitionOffset, TopicInfo, address};
pub use connection::{Connection, Frame};
pub use error::ClientError;
pub(crate) use error::code_name;
pub use produce_frame::ProduceFrame;
