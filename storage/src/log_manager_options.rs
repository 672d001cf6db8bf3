//! What whoever opens a [`LogManager`](crate::LogManager) decides.

use std::path::PathBuf;
use std::sync::Arc;

use tidewheel_protocol::Uuid;

use crate::disk_space::SpaceLimits;
use crate::open_files::OpenLimits;
use crate::producer_state::PRODUCER_ID_EXPIRATION_MS;
use crate::recovering::RecoveryProgress;

/// Where and how logs are kept.
#[derive(Clone, Debug)]
pub struct LogManagerOptions {
    /// The log directories; the first holds the metadata log. None twice.
    pub dirs: Vec<PathBuf>,
    /// `node.id`.
    pub node_id: i32,
    /// The cluster id to write where no directory has one yet.
    pub new_cluster_id: String,
    /// An id for each directory of `dirs` that has none yet, in the same order.
    pub new_directory_ids: Vec<Uuid>,
    /// `producer.id.expiration.ms`.
    pub producer_expiration_ms: i64,
    /// A log is checkpointed after this many bytes,
    pub checkpoint_bytes: u64,
    /// or after this many ms,
    pub checkpoint_interval_ms: i64,
    /// or when the logs of its directory have together more than this many bytes beyond their
    /// checkpoints: about what recovery reads.
    pub recovery_bytes: u64,
    /// How many threads bring partitions back that were not stopped cleanly, and write the last checkpoints of a
    /// stop.
    pub recovery_threads: usize,
    /// When free space is little, and when it is kept for the broker's own logs.
    pub space: SpaceLimits,
    /// How many files and maps all logs may hold.
    pub open: OpenLimits,
    /// Told how far the recoveries of the start are.
    pub progress: Arc<RecoveryProgress>,
}

impl LogManagerOptions {
    /// Bytes of a log after which it is checkpointed unless set otherwise: what recovery reads per log.
    pub const CHECKPOINT_BYTES: u64 = 4 << 20;
    /// Time after which a log is checkpointed unless set otherwise, in ms.
    pub const CHECKPOINT_INTERVAL_MS: i64 = 60_000;

    /// Bytes of a directory that recovery reads unless set otherwise.
    pub const RECOVERY_BYTES: u64 = 64 << 20;

    /// Options with defaults for all that has one.
    #[must_use]
    pub fn new(
        dirs: Vec<PathBuf>,
        node_id: i32,
        new_cluster_id: String,
        new_directory_ids: Vec<Uuid>,
    ) -> Self {
        Self {
            dirs,
            node_id,
            new_cluster_id,
            new_directory_ids,
            producer_expiration_ms: PRODUCER_ID_EXPIRATION_MS,
            checkpoint_bytes: Self::CHECKPOINT_BYTES,
            checkpoint_interval_ms: Self::CHECKPOINT_INTERVAL_MS,
            recovery_bytes: Self::RECOVERY_BYTES,
            recovery_threads: 1,
            space: SpaceLimits::default(),
            open: OpenLimits::default(),
            progress: Arc::default(),
        }
    }
}
