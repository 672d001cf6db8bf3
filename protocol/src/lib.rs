//! Kafka's wire protocol: frames, headers, messages and record batches.
//!
//! Bytes from outside come in here and nowhere else, so this crate holds two promises for any
//! input: it never panics, and it never allocates more than a fixed multiple of what was received
//! (see [`wire`]) or the limit the caller gives (see [`RecordBatch::records`]). Strings, byte fields
//! and records are slices of the received frame.
//!
//! Each message is one definition in [`messages`], from which both directions follow; so is what
//! consumers say to each other through a coordinator ([`consumer_protocol`]) and what a coordinator
//! keeps in its log ([`coordinator_record`]). The crate
//! does no I/O and knows no clock: sockets, files and time belong to its users.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::expect_used))]

pub mod api_key;
pub mod compression;
pub mod consumer_protocol;
pub mod coordinator_record;
mod crc;
pub mod error_code;
pub mod frame;
#[cfg(test)]
mod generate;
pub mod header;
pub mod messages;
mod partitioner;
pub mod raw_record;
pub mod record;
pub mod record_batch;
mod record_batch_builder;
pub mod types;
pub mod wire;

pub use api_key::{ApiKey, UnknownApiKey};
pub use compression::Compression;
pub use crc::crc32c;
pub use error_code::ErrorCode;
pub use frame::{
    FrameError, decode_request_frame, decode_response_frame, encode_request_frame,
    encode_response_frame, frame_len,
};
pub use header::{RequestHeader, ResponseHeader};
pub use messages::Message;
pub use messages::fetch::Part;
pub use partitioner::partition_of_key;
pub use raw_record::{RawRecord, RawRecords};
pub use record::{Record, RecordHeader, RecordIter};
pub use record_batch::{
    BatchError, BatchHeader, Batches, RecordBatch, TimestampType, UncheckedBatch,
};
pub use record_batch_builder::RecordBatchBuilder;
pub use types::{InvalidUuid, StrBytes, TopicPartition, Uuid};
pub use wire::{DecodeError, Reader, RecordsLen, Writer};
