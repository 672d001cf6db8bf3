//! Which file is which, by its name.

use std::path::Path;

use tidewheel_protocol::TopicPartition;

use crate::ballast::BALLAST;
use crate::checkpoint::{
    CLEAN_SHUTDOWN_MARKER, CLEANER_OFFSET_CHECKPOINT, LOG_START_OFFSET_CHECKPOINT,
    RECOVERY_POINT_CHECKPOINT, REPLICATION_OFFSET_CHECKPOINT,
};
use crate::claiming::DIRECTORIES;
use crate::leader_epochs::LEADER_EPOCH_CHECKPOINT;
use crate::manifest::MANIFEST;
pub(super) use crate::meta_properties::META_PROPERTIES;
use crate::partition_metadata::PARTITION_METADATA;
use crate::sealed_checkpoints::SEALED_CHECKPOINTS;

/// The lock file of a data directory.
pub(super) const LOCK: &str = ".lock";

/// What the name of the folder begins with that keeps what a repair cut out of a partition.
pub(super) const CUT_OUT: &str = "cut-out.";

/// In the name of a file that keeps the torn end of a log.
pub(super) const TORN: &str = ".log.torn-";

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileKind {
    /// Record batches from this base offset on.
    Log(i64),
    OffsetIndex(i64),
    TimeIndex(i64),
    /// Producer state at this offset.
    Snapshot(i64),
    LeaderEpochs,
    PartitionMetadata,
    /// One of the offset checkpoints of a data directory.
    OffsetCheckpoint,
    /// What all of these say, under a checksum.
    SealedCheckpoints,
    MetaProperties,
    Manifest,
    /// The list of all data directories.
    Directories,
    /// The clean-shutdown marker, the lock and the ballast: that they are there says everything.
    Marker,
    /// What an operation left behind that the next start removes.
    Leftover,
    Unknown,
}

impl FileKind {
    pub(super) fn of(name: &str) -> FileKind {
        match name {
            LEADER_EPOCH_CHECKPOINT => FileKind::LeaderEpochs,
            PARTITION_METADATA => FileKind::PartitionMetadata,
            RECOVERY_POINT_CHECKPOINT
            | REPLICATION_OFFSET_CHECKPOINT
            | LOG_START_OFFSET_CHECKPOINT
            | CLEANER_OFFSET_CHECKPOINT => FileKind::OffsetCheckpoint,
            SEALED_CHECKPOINTS => FileKind::SealedCheckpoints,
            META_PROPERTIES => FileKind::MetaProperties,
            MANIFEST => FileKind::Manifest,
            DIRECTORIES => FileKind::Directories,
            CLEAN_SHUTDOWN_MARKER | LOCK | BALLAST => FileKind::Marker,
            _ => FileKind::of_segment_file(name),
        }
    }

    fn of_segment_file(name: &str) -> FileKind {
        let leftover = [".tmp", ".deleted", ".cleaned", ".swap"];
        if leftover.iter().any(|suffix| name.ends_with(suffix)) || name.contains(TORN) {
            return FileKind::Leftover;
        }
        let Some((stem, extension)) = name.split_once('.') else {
            return FileKind::Unknown;
        };
        let twenty_digits = stem.len() == 20 && stem.bytes().all(|byte| byte.is_ascii_digit());
        let Some(offset) = stem.parse().ok().filter(|_| twenty_digits) else {
            return FileKind::Unknown;
        };
        match extension {
            "log" => FileKind::Log(offset),
            "index" => FileKind::OffsetIndex(offset),
            "timeindex" => FileKind::TimeIndex(offset),
            "snapshot" => FileKind::Snapshot(offset),
            _ => FileKind::Unknown,
        }
    }

    pub(super) fn of_path(path: &Path) -> FileKind {
        path.file_name()
            .and_then(|name| name.to_str())
            .map_or(FileKind::Unknown, FileKind::of)
    }

    /// For people.
    pub(super) fn name(self) -> &'static str {
        match self {
            FileKind::Log(_) => "log",
            FileKind::OffsetIndex(_) => "offset index",
            FileKind::TimeIndex(_) => "time index",
            FileKind::Snapshot(_) => "producer snapshot",
            FileKind::LeaderEpochs => "leader epochs",
            FileKind::PartitionMetadata => "partition metadata",
            FileKind::OffsetCheckpoint => "offset checkpoint",
            FileKind::SealedCheckpoints => "offset checkpoints with a checksum",
            FileKind::MetaProperties => "directory identity",
            FileKind::Manifest => "manifest",
            FileKind::Directories => "list of directories",
            FileKind::Marker => "marker",
            FileKind::Leftover => "leftover",
            FileKind::Unknown => "unknown",
        }
    }
}

/// `base.extension` with Kafka's twenty digits.
pub(super) fn segment_file(base_offset: i64, extension: &str) -> String {
    format!("{base_offset:020}.{extension}")
}

/// The partition that a directory name stands for.
pub(super) fn partition_of(dir_name: &str) -> Option<TopicPartition> {
    let (topic, partition) = dir_name.rsplit_once('-')?;
    let partition: i32 = partition.parse().ok().filter(|partition| *partition >= 0)?;
    let tp = TopicPartition {
        topic: topic.into(),
        partition,
    };
    // One spelling per partition: no "+1", no "01".
    (!topic.is_empty() && tp.to_string() == dir_name).then_some(tp)
}

pub(super) fn is_partition_dir(dir_name: &str) -> bool {
    partition_of(dir_name).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_their_names() {
        for (name, kind) in [
            ("00000000000000000000.log", FileKind::Log(0)),
            ("00000000000000000042.timeindex", FileKind::TimeIndex(42)),
            ("00000000000000000042.snapshot", FileKind::Snapshot(42)),
            ("42.log", FileKind::Unknown),
            ("-0000000000000000042.log", FileKind::Unknown),
            ("00000000000000000042.log.deleted", FileKind::Leftover),
            ("00000000000000000042.log.torn-17", FileKind::Leftover),
            ("partition.metadata", FileKind::PartitionMetadata),
            ("tidewheel.checkpoints", FileKind::SealedCheckpoints),
            ("core", FileKind::Unknown),
        ] {
            assert_eq!(FileKind::of(name), kind, "{name}");
        }
    }

    #[test]
    fn partition_directories_have_one_spelling() {
        assert!(is_partition_dir("orders-0"));
        assert!(is_partition_dir("a-b-12"));
        for name in [
            "orders",
            "orders-",
            "-0",
            "orders-01",
            "orders-+1",
            "orders--1x",
        ] {
            assert!(!is_partition_dir(name), "{name}");
        }
    }
}
