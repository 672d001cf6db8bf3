//! The append-only log on disk: segments, indexes, recovery, retention.
//!
//! [`LogManager`] owns the log directories and hands out one [`SharedLog`] per partition. Record
//! batches lie on the disk exactly as they travel, in Kafka's file formats. What was acknowledged at
//! its durability class survives: a batch that was written survives the death of the process, one
//! that was flushed survives the loss of power. The argument for that is made where it is kept:
//! recovery in `recovery.rs`, checkpoints in `log_checkpoint.rs`, roll in `segments.rs`, creation and
//! deletion in `log_loading.rs`, the clean stop in `log_manager.rs`.
//!
//! No path and no file descriptor leaves this crate, except inside a [`RecordSlice`]. Time is an
//! argument, and no thread is started here.

pub mod batch_validator;
pub mod delay;
pub mod error;
pub mod fs;
pub mod inspect;

mod ballast;
mod batch_scan;
mod checkpoint_turn;
mod claiming;
mod compaction;
mod dir_checkpoints;
mod dir_names;
mod disk_space;
mod flush_coalescer;
mod flush_work;
mod intervals;
mod log;
mod log_checkpoint;
mod log_dir;
mod log_dir_report;
mod log_loading;
mod log_manager;
mod log_manager_options;
mod log_offsets;
mod log_reader;
mod obsolete_files;
mod open_files;
mod over_threads;
mod partition_dir;
mod partition_homes;
mod partition_log;
mod partition_state;
mod recompression;
mod record_deletion;
mod recovering;
mod recovery;
mod recovery_epochs;
mod recovery_files;
mod retention;
mod reveal;
mod scrub;
mod segment;
mod segment_file;
mod segment_restore;
mod segment_view;
mod segments;
mod shared_log;
mod stirred;
mod timestamp_lookup;
mod timestamps;

pub mod checkpoint;
pub mod index;
pub mod leader_epochs;
pub mod manifest;
pub mod meta_properties;
mod mmap;
pub mod partition_metadata;
pub mod producer_snapshot;
pub mod producer_state;
pub mod sealed_checkpoints;

pub use batch_validator::{
    ValidBatch, contradicts_itself, must_decompress, validate, validate_header,
};
pub use compaction::{CleanerOptions, CleaningReport, CleaningStats, LogCleaner, Pace};
pub use disk_space::{SpaceLimits, SpaceState};
pub use error::StorageError;
pub use flush_coalescer::{DirtyState, FlushRound};
pub use flush_work::FlushWork;
pub use log::RetentionOutcome;
pub use log_dir_report::{LogDirReport, LogDirSpace};
pub use log_loading::{LivePartition, LoadedLogs, METADATA_TOPIC};
pub use log_manager::LogManager;
pub use log_manager_options::LogManagerOptions;
pub use log_offsets::{LogOffsetsSnapshot, VisibleEnd};
pub use log_reader::{LogRead, RecordSlice};
pub use open_files::{OpenCounts, OpenLimits};
pub use partition_state::AppendInfo;
pub use recompression::{must_recompress, own_codec, recompress};
pub use recovering::RecoveryProgress;
pub use retention::DeletedSegments;
pub use scrub::{Damage, ScrubStats, Verified};
pub use segment_view::SegmentView;
pub use shared_log::{LogId, SharedLog, TimestampOffset};
