//! Which leader epochs recovery believes.
//!
//! Epochs never fall, so a batch of an older one behind a newer one is a leftover of an earlier start,
//! and the log ends before it. But neither the digits of `leader-epoch-checkpoint` nor the epoch in a
//! batch's header are under a CRC, and one of them that rotted upward would cut every batch behind the
//! recovery point (RP) off. So a batch at the RP is held against the smaller of what the two say, and a
//! new epoch begins behind the larger one. What only the checkpoint knows lies further back, where
//! compaction or retention took the batches: that is history for clients, and cuts nothing.

use tidewheel_protocol::BatchHeader;

use crate::checkpoint::read_small;
use crate::leader_epochs::{LEADER_EPOCH_CHECKPOINT, LeaderEpochs};
use crate::partition_dir::PartitionDir;

/// The epochs of a log while it is walked.
#[derive(Debug)]
pub(crate) struct RecoveryEpochs {
    /// Those of the checkpoint below the RP, and of the batches from there on.
    known: LeaderEpochs,
    /// The checkpoint as it is on the disk; empty where it cannot be read.
    on_disk: LeaderEpochs,
    recovery_point: i64,
    /// Of the last batch that was passed.
    last: Option<i32>,
    min: i32,
}

impl RecoveryEpochs {
    /// The epochs below the recovery point; a missing or damaged file loses only history.
    pub(crate) fn read(dir: &PartitionDir, recovery_point: i64) -> Self {
        let path = dir.path().join(LEADER_EPOCH_CHECKPOINT);
        let bytes = read_small(dir.log_dir().fs(), &path).ok().flatten();
        let known = bytes.and_then(|bytes| LeaderEpochs::decode(&path, &bytes).ok());
        let on_disk = known.unwrap_or_default();
        let mut known = on_disk.clone();
        known.truncate_from_end(recovery_point);
        Self {
            known,
            on_disk,
            recovery_point,
            last: None,
            min: i32::MIN,
        }
    }

    /// The walk has passed a batch.
    pub(crate) fn pass(&mut self, header: &BatchHeader) {
        let epoch = header.partition_leader_epoch;
        self.last = Some(epoch);
        self.min = if header.base_offset < self.recovery_point {
            let known = self.known.latest();
            known.map_or(i32::MIN, |known| known.epoch.min(epoch))
        } else {
            self.known.assign(epoch, header.base_offset);
            epoch
        };
    }

    /// The smallest epoch that a batch from the recovery point on may have here.
    pub(crate) fn min(&self) -> i32 {
        self.min
    }

    /// One more than any epoch the log was written under.
    pub(crate) fn next_epoch(&self) -> i32 {
        let known = self.known.latest().map(|known| known.epoch);
        known
            .max(self.last)
            .map_or(0, |last| last.max(-1).saturating_add(1))
    }

    /// The checkpoint as it is on the disk; empty where it cannot be read.
    pub(crate) fn on_disk(&self) -> &LeaderEpochs {
        &self.on_disk
    }

    /// The epochs of the offsets from `log_start` to `end`.
    pub(crate) fn within(mut self, log_start: i64, end: i64) -> LeaderEpochs {
        self.known.truncate_from_end(end);
        self.known.truncate_from_start(log_start);
        self.known
    }
}
