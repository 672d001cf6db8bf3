//! The append-only log on disk.
pub mod batch_validator;
pub mod checkpoint;
pub mod error;
pub mod fs;
pub mod index;
pub mod inspect;
pub mod leader_epochs;
pub mod manifest;
pub mod meta_properties;
mod mmap;
pub mod partition_metadata;
pub mod producer_snapshot;
pub mod producer_state;
