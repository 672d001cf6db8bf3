//! Bounds of delayed delivery.

use std::time::Duration;

/// Records of a log directory's delay queue that hang in memory, at 36 bytes each; those that are due later
/// lie in files. The default of `tidewheel.delay.near.records.max`.
pub const DELAY_NEAR_RECORDS_MAX: usize = 4_000_000;

/// Bytes after which a delay log begins another file.
pub const DELAY_SEGMENT_BYTES: u64 = 128 * 1024 * 1024;

/// Delayed records that a partition is handed at once.
pub const DELAY_TURN_RECORDS_MAX: usize = 10_000;

/// Bytes of delayed records that are handed out at once.
pub const DELAY_TURN_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes of delayed records that are moved between files in one go.
pub const DELAY_STEP_BYTES: u64 = 8 * 1024 * 1024;

/// Records that are loaded from a file although [`DELAY_NEAR_RECORDS_MAX`] is reached, because they are due.
pub const DELAY_STEP_RECORDS: usize = 100_000;

/// Bytes that a batch of a topic with delays may decompress to: its records are looked at one by one, and
/// may be stored as they are.
pub const DELAY_BATCH_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Records of a batch of a topic with delays, which are looked at together at some 250 bytes each.
pub const DELAY_BATCH_RECORDS_MAX: i32 = 200_000;

/// Headers of all records of such a batch, at 64 bytes each and twice that where it is split.
pub const DELAY_BATCH_HEADERS_MAX: usize = 250_000;

/// Produce requests to topics with delays that are taken at once; the next ones wait. Each may take
/// [`DELAY_BATCH_BYTES_MAX`] and, where that came in zstd, a window in which as much of it is kept.
pub const DELAY_PRODUCE_AT_ONCE: usize = 3;

/// How long what was accepted with delays may be younger than the last checkpoint of its delay store.
pub const DELAY_CHECKPOINT_PERIOD: Duration = Duration::from_secs(30);

/// After a delivery failed it is tried again this much later.
pub const DELAY_RETRY_PAUSE: Duration = Duration::from_millis(500);

/// How long to wait before what is pending is counted again after damage, where a file could not be read. Each time
/// that it still cannot be, twice as long as the last time.
pub const DELAY_RECOUNT_PAUSE: Duration = Duration::from_secs(1);

/// The longest such wait.
pub const DELAY_RECOUNT_PAUSE_MAX: Duration = Duration::from_mins(5);

/// Pending records that are listed at once.
pub const DELAY_LIST_MAX: usize = 1_000;

/// Bytes of their batches, but for the first.
pub const DELAY_LIST_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How long a look at pending records reads files; it then ends with what is certain.
pub const DELAY_LOOK_WAIT: Duration = Duration::from_secs(5);

/// How often a look at pending records begins anew because files went away.
pub const DELAY_LOOKS_MAX: usize = 10;

/// How long a producer is asked to wait that fills the last of what may be pending in a topic.
pub const DELAY_THROTTLE_MAX: Duration = Duration::from_secs(1);

/// Cancellations of delayed records that a log directory keeps until nothing is left that they could mean.
pub const DELAY_TOMBSTONES_MAX: usize = 100_000;
