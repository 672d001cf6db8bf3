//! How partitions' directories are called, and what names of deleted things end with.

use std::sync::Arc;

use tidewheel_protocol::{TopicPartition, Uuid};

/// The ending of a partition directory whose topic was deleted.
pub(crate) const DELETED_SUFFIX: &str = "-delete";
/// The ending of a partition directory whose topic nobody knows; nobody removes it.
pub(crate) const STRAY_SUFFIX: &str = "-stray";
/// What the name of a segment's file ends with once the segment left the log.
pub(crate) const DELETED_FILE_SUFFIX: &str = ".deleted";
/// The longest file name that common file systems take, in bytes.
const FILE_NAME_BYTES_MAX: usize = 255;

/// The partition that a directory name stands for: `<topic>-<partition>`.
pub(crate) fn parse_partition_dir(name: &str) -> Option<TopicPartition> {
    let (topic, partition) = name.rsplit_once('-')?;
    let number: i32 = partition.parse().ok().filter(|number| *number >= 0)?;
    let plain = !topic.is_empty() && number.to_string() == partition;
    plain.then(|| TopicPartition {
        topic: Arc::from(topic),
        partition: number,
    })
}

/// The name that a deleted partition's directory gets: `<topic>-<partition>.<topic id>-delete`, like
/// Kafka's; a long topic name is cut so that the whole stays a legal file name.
pub(crate) fn deleted_dir_name(tp: &TopicPartition, topic_id: Uuid) -> String {
    ended_name(tp, topic_id, DELETED_SUFFIX)
}

/// The name of the directory of a partition that bears the id of another topic, like Kafka's:
/// `<topic>-<partition>.<id>-stray`, and from the second one on with `.<number>` behind it.
pub(crate) fn stray_dir_name(tp: &TopicPartition, topic_id: Uuid, number: u32) -> String {
    match number {
        0 => ended_name(tp, topic_id, STRAY_SUFFIX),
        _ => ended_name(tp, topic_id, &format!("{STRAY_SUFFIX}.{number}")),
    }
}

fn ended_name(tp: &TopicPartition, topic_id: Uuid, suffix: &str) -> String {
    let unique = topic_id.0.map(|byte| format!("{byte:02x}")).concat();
    let ending = format!(".{unique}{suffix}");
    let mut name = tp.to_string();
    name.truncate(FILE_NAME_BYTES_MAX.saturating_sub(ending.len()));
    name + &ending
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partition_directories_are_told_from_others() {
        let tp = parse_partition_dir("a-b.c-12").unwrap();
        assert_eq!((&*tp.topic, tp.partition), ("a-b.c", 12));
        for other in [
            "plain",
            "-1",
            "t-",
            "t-x",
            "t-01",
            "t-+1",
            "t-0.0f-delete",
            "t--1x",
        ] {
            assert!(parse_partition_dir(other).is_none(), "{other}");
        }
    }

    #[test]
    fn the_name_of_a_deleted_directory_is_never_too_long() {
        let tp = TopicPartition {
            topic: Arc::from("t".repeat(249)),
            partition: 1_000_000,
        };
        let name = deleted_dir_name(&tp, Uuid([0xff; 16]));
        assert_eq!(name.len(), 255);
        assert!(name.ends_with(&format!("{}-delete", "f".repeat(32))));
        for number in [0, 1, 9, 10, u32::MAX] {
            let name = stray_dir_name(&tp, Uuid([0xff; 16]), number);
            assert_eq!(name.len(), 255);
            let ending = match number {
                0 => "-stray".to_owned(),
                _ => format!("-stray.{number}"),
            };
            assert!(name.ends_with(&format!("{}{ending}", "f".repeat(32))));
            assert!(parse_partition_dir(&name).is_none());
        }
        let tp = TopicPartition {
            topic: Arc::from("t"),
            partition: 0,
        };
        let name = stray_dir_name(&tp, Uuid([0x0f; 16]), 2);
        assert_eq!(name, format!("t-0.{}-stray.2", "0f".repeat(16)));
        let name = deleted_dir_name(&tp, Uuid([0x0f; 16]));
        assert_eq!(name, format!("t-0.{}-delete", "0f".repeat(16)));
    }
}
