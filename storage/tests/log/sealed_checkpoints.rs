//! When what the checkpoints say gets its checksum, and when it is forgotten.

use std::path::Path;
use std::sync::Arc;

use tidewheel_storage::LogManager;
use tidewheel_storage::fs::{FileSystem, SimFs};
use tidewheel_storage::sealed_checkpoints::SEALED_CHECKPOINTS;

use crate::support::{
    Draft, Log, Manager, NOW, append, believe_texts, config, live, open, options,
};

fn start(disk: &SimFs, topics: &[&str]) -> (Manager, Vec<Arc<Log>>) {
    let fs: Arc<dyn FileSystem> = Arc::new(disk.clone());
    let partitions = topics.iter().zip(1..);
    let partitions = partitions.map(|(topic, id)| live(topic, id, config()));
    open(&fs, partitions.collect(), 0).unwrap()
}

fn is_sealed(disk: &SimFs) -> bool {
    let path = Path::new("/data").join(SEALED_CHECKPOINTS);
    disk.exists(&path).unwrap()
}

#[test]
fn numbers_that_nobody_has_checked_get_no_checksum_with_a_new_partition() {
    let disk = SimFs::new();
    let (manager, logs) = start(&disk, &["a"]);
    append(&logs[0], &Draft::new(1), false, NOW).unwrap();
    manager.checkpoint(NOW).unwrap();
    assert!(is_sealed(&disk));
    drop((manager, logs));
    let disk = disk.kill();
    believe_texts(&disk);
    // The new partition's name is forgotten by the checkpoints before it is made.
    let (manager, logs) = start(&disk, &["a", "b"]);
    assert!(!is_sealed(&disk));
    assert_eq!(logs.len(), 2);
    manager.checkpoint(NOW).unwrap();
    assert!(is_sealed(&disk));
}

#[test]
fn a_directory_in_which_nothing_happens_gets_its_checksum_as_well() {
    let disk = SimFs::new();
    let (manager, logs) = start(&disk, &["a"]);
    append(&logs[0], &Draft::new(1), false, NOW).unwrap();
    manager.close(NOW).unwrap();
    drop((manager, logs));
    let disk = disk.kill();
    believe_texts(&disk);
    let (manager, _logs) = start(&disk, &["a"]);
    assert!(!is_sealed(&disk));
    manager.checkpoint(NOW).unwrap();
    assert!(is_sealed(&disk));
}

/// The second topic of a name lies in another directory than the first one did, and the power is cut before
/// anything else has the first directory synced.
#[test]
fn a_topic_that_was_made_anew_elsewhere_is_not_taken_for_a_lost_one() {
    let disk = SimFs::new();
    let fs: Arc<dyn FileSystem> = Arc::new(disk.clone());
    let dirs = ["/a", "/b"];
    let manager: Manager = LogManager::open(fs, options(&dirs)).unwrap();
    manager.load(Vec::new(), 0, NOW).unwrap();
    let create = |topic, id| manager.create(live(topic, id, config()), 0).unwrap();
    let first = create("t", 1);
    append(&first, &Draft::new(1), false, NOW).unwrap();
    manager.checkpoint(NOW).unwrap();
    assert_eq!(manager.dir_of(&first), Some(0));
    manager.delete(&first, NOW).unwrap();
    create("u", 2);
    let second = create("t", 3);
    assert_eq!(manager.dir_of(&second), Some(1));

    let disk = disk.crash_lose_all_unsynced();
    let fs: Arc<dyn FileSystem> = Arc::new(disk.clone());
    let manager: Manager = LogManager::open(fs, options(&dirs)).unwrap();
    let topics = vec![live("u", 2, config()), live("t", 3, config())];
    let loaded = manager.load(topics, 1, NOW).unwrap();
    assert!(loaded.lost.is_empty(), "{:?}", loaded.lost);
    let left = disk.read_dir(Path::new("/a")).unwrap();
    let stray = left.iter().find(|entry| entry.name.ends_with("-stray"));
    assert_eq!(stray, None);
}
