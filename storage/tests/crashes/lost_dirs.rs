//! Starts at which a log directory, or something in one, is not there or cannot be read. What may lie there is never
//! made anew.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidewheel_storage::fs::{Fault, FileSystem, SimFs};
use tidewheel_storage::inspect::{Severity, verify};
use tidewheel_storage::{LoadedLogs, LogManager, StorageError};

use crate::support::{Draft, Log, Manager, NOW, append, config, id_of, live, options, read_all};

const DIRS: [&str; 2] = ["/a", "/b"];

fn start(
    disk: &SimFs,
    dirs: &[&str],
    epoch: i32,
) -> Result<(Manager, LoadedLogs<u64>), StorageError> {
    let fs: Arc<dyn FileSystem> = Arc::new(disk.clone());
    let manager = LogManager::open(fs, options(dirs))?;
    let metadata = manager.open_metadata_log(None, NOW)?;
    if metadata.offsets().log_end == 0 {
        append(&metadata, &Draft::new(0), false, NOW)?;
    }
    let partitions = (1..=4).map(|id| live(&format!("t{id}"), id, config()));
    let loaded = manager.load(partitions.collect(), epoch, NOW)?;
    Ok((manager, loaded))
}

fn log<'a>(loaded: &'a LoadedLogs<u64>, topic: &str) -> &'a Arc<Log> {
    let mut logs = loaded.logs.iter();
    logs.find(|log| &*log.topic_partition().topic == topic)
        .unwrap()
}

fn ids(log: &Log) -> Vec<u64> {
    read_all(log, 1 << 20).iter().map(id_of).collect()
}

/// Two directories with records in all partitions, stopped; and the topics in the second one.
fn filled(clean: bool) -> (SimFs, Vec<String>) {
    let disk = SimFs::new();
    let (manager, loaded) = start(&disk, &DIRS, 0).unwrap();
    for log in &loaded.logs {
        for id in 0..3 {
            append(log, &Draft::new(id), false, NOW).unwrap();
        }
    }
    let second = loaded.logs.iter();
    let second = second.filter(|log| manager.dir_of(log) == Some(1));
    let second = second.map(|log| log.topic_partition().topic.to_string());
    let second = second.collect::<Vec<_>>();
    assert_eq!(second.len(), 2);
    match clean {
        true => manager.close(NOW).unwrap(),
        false => manager.checkpoint(NOW).unwrap(),
    }
    drop((manager, loaded));
    (disk, second)
}

/// The partitions of the second directory say nothing and take nothing; the others go on.
fn assert_spared(manager: &Manager, loaded: &LoadedLogs<u64>, second: &[String]) {
    assert!(manager.offline_cause(1).is_some());
    assert!(manager.offline_cause(0).is_none());
    assert_eq!(loaded.logs.len(), 4);
    for log in &loaded.logs {
        let topic = log.topic_partition().topic.to_string();
        if second.contains(&topic) {
            assert!(log.unavailable().is_some() && log.refusal().is_some());
            assert!(log.read(0, 1 << 20, true).is_err(), "not an empty log");
            assert!(append(log, &Draft::new(9), false, NOW).is_err());
        } else {
            assert!(log.unavailable().is_none(), "{topic}");
            append(log, &Draft::new(3), false, NOW).unwrap();
            assert_eq!(ids(log), [0, 1, 2, 3]);
        }
    }
    manager.flush_round(0);
    manager.checkpoint(NOW).unwrap_err();
    manager.close(NOW).unwrap_err();
}

fn assert_whole(disk: &SimFs, second: &[String]) {
    let (manager, loaded) = start(disk, &DIRS, 2).unwrap();
    assert!(loaded.lost.is_empty(), "{:?}", loaded.lost);
    for log in &loaded.logs {
        let topic = log.topic_partition().topic.to_string();
        let is_second = second.contains(&topic);
        assert_eq!(manager.dir_of(log), Some(usize::from(is_second)));
        let expected: &[u64] = if is_second { &[0, 1, 2] } else { &[0, 1, 2, 3] };
        assert_eq!(ids(log), expected, "{topic}");
    }
}

/// The second disk is not mounted: where it was there is an empty directory.
#[test]
fn a_directory_that_is_not_mounted_is_not_taken_for_a_new_one() {
    for clean in [false, true] {
        for is_there in [false, true] {
            let (disk, second) = filled(clean);
            disk.rename(Path::new("/b"), Path::new("/elsewhere"))
                .unwrap();
            if is_there {
                disk.create_dir_all(Path::new("/b")).unwrap();
            }
            let (manager, loaded) = start(&disk, &DIRS, 1).unwrap();
            let cause = manager.offline_cause(1).unwrap();
            assert!(
                matches!(cause, StorageError::DirectoryLost { .. }),
                "{cause}"
            );
            assert_spared(&manager, &loaded, &second);
            drop((manager, loaded));
            if is_there {
                let left = disk.read_dir(Path::new("/b")).unwrap();
                assert!(left.is_empty(), "nothing is written to it: {left:?}");
                disk.remove_dir_all(Path::new("/b")).unwrap();
            }
            disk.rename(Path::new("/elsewhere"), Path::new("/b"))
                .unwrap();
            assert_whole(&disk, &second);
        }
    }
}

/// What `log verify` finds in the first directory.
fn damages(disk: &SimFs) -> usize {
    let mut damages = 0;
    verify(disk, Path::new("/a"), &mut |finding| {
        damages += usize::from(finding.severity == Severity::Damage);
    })
    .unwrap();
    damages
}

#[test]
fn a_damaged_list_of_directories_lets_none_be_taken_for_new() {
    let (disk, second) = filled(true);
    let list = Path::new("/a/tidewheel.directories");
    assert_eq!(damages(&disk), 0);
    disk.rot(list, 3, b"#").unwrap();
    assert_eq!(damages(&disk), 1);
    // Nobody needs it as long as all are there.
    let (manager, loaded) = start(&disk, &DIRS, 1).unwrap();
    assert!(loaded.logs.iter().all(|log| log.unavailable().is_none()));
    drop((manager, loaded));
    disk.rot(list, 3, b"#").unwrap();
    disk.rename(Path::new("/b"), Path::new("/elsewhere"))
        .unwrap();
    let (manager, loaded) = start(&disk, &DIRS, 1).unwrap();
    assert_spared(&manager, &loaded, &second);
}

#[test]
fn a_directory_that_is_really_new_is_used_and_one_that_is_not_named_any_more_is_given_up() {
    let (disk, second) = filled(true);
    let (manager, loaded) = start(&disk, &["/a", "/b", "/c"], 1).unwrap();
    assert!((0..3).all(|dir| manager.offline_cause(dir).is_none()));
    assert!(loaded.lost.is_empty());
    drop((manager, loaded));
    // Moved, it is known by its id.
    disk.rename(Path::new("/b"), Path::new("/d")).unwrap();
    let (manager, loaded) = start(&disk, &["/a", "/d", "/b"], 1).unwrap();
    assert!((0..3).all(|dir| manager.offline_cause(dir).is_none()));
    assert!(loaded.logs.iter().all(|log| ids(log) == [0, 1, 2]));
    drop((manager, loaded));
    let (_manager, loaded) = start(&disk, &["/a"], 1).unwrap();
    assert!(
        loaded
            .lost
            .iter()
            .any(|lost| lost.to_string().contains("/d")),
        "{:?}",
        loaded.lost
    );
    for topic in second {
        assert!(
            ids(log(&loaded, &topic)).is_empty(),
            "given up, it begins anew"
        );
    }
}

/// Whatever a start reads of the second directory first fails; what lies there is the same when it is back.
#[test]
fn a_directory_that_cannot_be_read_at_a_start_is_offline() {
    let unreadable: [fn(&Path) -> bool; 5] = [
        |path| path == Path::new("/b"),
        |path| path.starts_with("/b"),
        |path| path.ends_with("b/meta.properties"),
        |path| path.ends_with("b/recovery-point-offset-checkpoint"),
        |path| path.ends_with("b/tidewheel.checkpoints"),
    ];
    for clean in [false, true] {
        for (number, about) in unreadable.into_iter().enumerate() {
            println!("clean: {clean}, case {number}");
            let (disk, second) = filled(clean);
            disk.fail_reads(about);
            let (manager, loaded) = start(&disk, &DIRS, 1).unwrap();
            assert_spared(&manager, &loaded, &second);
            drop((manager, loaded));
            assert_whole(&disk.kill(), &second);
        }
    }
}

#[test]
fn without_the_first_directory_there_is_no_start() {
    let (disk, _) = filled(false);
    disk.fail_reads(|path| path.ends_with("a/meta.properties"));
    let refused = start(&disk, &DIRS, 1).map(|_| ()).unwrap_err();
    assert!(matches!(refused, StorageError::Io { .. }), "{refused}");
}

/// One bad sector of one partition.
#[test]
fn a_partition_that_cannot_be_read_at_a_start_is_offline_alone_and_comes_back() {
    let unreadable: [fn(&Path) -> bool; 3] = [
        |path| path.ends_with("t1-0/partition.metadata"),
        |path| path.ends_with("t1-0"),
        |path| path.parent().is_some_and(|dir| dir.ends_with("t1-0")),
    ];
    for (number, about) in unreadable.into_iter().enumerate() {
        println!("case {number}");
        let (disk, _) = filled(false);
        disk.fail_reads(about);
        let (manager, loaded) = start(&disk, &DIRS, 1).unwrap();
        assert!((0..2).all(|dir| manager.offline_cause(dir).is_none()));
        for log in &loaded.logs {
            let is_bad = &*log.topic_partition().topic == "t1";
            assert_eq!(log.unavailable().is_some(), is_bad);
            assert_eq!(log.read(0, 1 << 20, true).is_err(), is_bad);
            assert_eq!(append(log, &Draft::new(3), false, NOW).is_err(), is_bad);
        }
        for dir in 0..2 {
            manager.flush_round(dir);
        }
        manager.checkpoint(NOW).unwrap();
        manager.close(NOW).unwrap();
        drop((manager, loaded));
        let (_manager, loaded) = start(&disk.kill(), &DIRS, 2).unwrap();
        assert!(loaded.lost.is_empty(), "{:?}", loaded.lost);
        for log in &loaded.logs {
            assert!(log.refusal().is_none());
            let is_bad = &*log.topic_partition().topic == "t1";
            assert_eq!(ids(log).len(), if is_bad { 3 } else { 4 });
        }
    }
}

/// What is known of the damage does not go with the partition's numbers: what was durable is still known to be.
#[test]
fn the_recovery_point_of_a_partition_that_cannot_be_read_is_kept() {
    let (disk, _) = filled(false);
    disk.fail_reads(|path| path.parent().is_some_and(|dir| dir.ends_with("t1-0")));
    let (manager, loaded) = start(&disk, &DIRS, 1).unwrap();
    let other = log(&loaded, "t2");
    let size = other.size_bytes() / 3;
    append(other, &Draft::new(3), false, NOW).unwrap();
    for dir in 0..2 {
        manager.flush_round(dir);
    }
    manager.close(NOW).unwrap();
    drop((manager, loaded));
    let disk = disk.kill();
    let home = DIRS.map(|dir| PathBuf::from(dir).join("t1-0"));
    let home = home
        .into_iter()
        .find(|dir| disk.exists(dir).unwrap())
        .unwrap();
    // The last record rots while nobody looks: that is damage of durable data, and no torn tail.
    disk.rot(
        &home.join("00000000000000000000.log"),
        2 * size,
        &[0xff; 60],
    )
    .unwrap();
    let (_manager, loaded) = start(&disk, &DIRS, 2).unwrap();
    let damaged = log(&loaded, "t1");
    assert!(
        matches!(damaged.damage(), Some(StorageError::Corrupt { .. })),
        "{:?}",
        damaged.refusal()
    );
}

/// The id of a partition rots while the other disk is away: its directory is kept aside, and it is not begun anew
/// before that disk is back.
#[test]
fn a_partition_whose_directory_names_another_topic_waits_for_the_lost_directory_too() {
    let (disk, second) = filled(false);
    disk.rename(Path::new("/b"), Path::new("/elsewhere"))
        .unwrap();
    let mut topics = (1..=4).map(|id| format!("t{id}"));
    let rotten = topics.find(|topic| !second.contains(topic)).unwrap();
    let metadata = Path::new("/a").join(format!("{rotten}-0/partition.metadata"));
    disk.rot(&metadata, "version: 0\ntopic_id: AA".len() as u64, b"B")
        .unwrap();
    let (manager, loaded) = start(&disk, &DIRS, 1).unwrap();
    assert_eq!(loaded.lost.len(), 1, "{:?}", loaded.lost);
    assert!(loaded.lost[0].to_string().contains("-stray"));
    for log in &loaded.logs {
        let topic = log.topic_partition().topic.to_string();
        let is_there = topic != rotten && !second.contains(&topic);
        assert_eq!(log.unavailable().is_none(), is_there, "{topic}");
    }
    drop((manager, loaded));
    disk.remove_dir_all(Path::new("/b")).ok();
    disk.rename(Path::new("/elsewhere"), Path::new("/b"))
        .unwrap();
    let (_manager, loaded) = start(&disk, &DIRS, 2).unwrap();
    for log in &loaded.logs {
        let is_rotten = *log.topic_partition().topic == rotten;
        let expected: &[u64] = if is_rotten { &[] } else { &[0, 1, 2] };
        assert_eq!(ids(log), expected);
    }
    let kept = disk.read_dir(Path::new("/a")).unwrap();
    assert!(kept.iter().any(|entry| entry.name.ends_with("-stray")));
}

/// A disk that fails when its directory is first used: nothing was in it, so it is new at the next start as well.
#[test]
fn a_new_directory_that_failed_before_it_was_used_is_no_lost_one() {
    let mut spared = 0;
    for op in 0.. {
        let disk = SimFs::new();
        disk.fail_at(op, Fault::Eio);
        let fs: Arc<dyn FileSystem> = Arc::new(disk.clone());
        let Ok(manager) = LogManager::<u64>::open(fs, options(&DIRS)) else {
            continue;
        };
        let failed = manager.offline_cause(1).is_some();
        if disk.op_count() <= op {
            break;
        }
        drop(manager);
        spared += usize::from(failed);
        let fs: Arc<dyn FileSystem> = Arc::new(disk.kill());
        let manager = LogManager::<u64>::open(fs, options(&DIRS)).unwrap();
        let cause = manager.offline_cause(1);
        assert!(cause.is_none(), "operation {op}: {cause:?}");
    }
    assert!(spared > 0);
}

/// The broker goes on without the second directory, and one of its topics is deleted and made anew.
#[test]
fn what_was_made_anew_while_its_directory_was_away_is_not_told_as_lost() {
    let (disk, second) = filled(false);
    disk.rename(Path::new("/b"), Path::new("/away")).unwrap();
    let topic = &second[0];
    let (manager, loaded) = start(&disk, &DIRS, 1).unwrap();
    manager.delete(log(&loaded, topic), NOW).unwrap();
    let made = manager.create(live(topic, 9, config()), 1).unwrap();
    assert_eq!(manager.dir_of(&made), Some(0));
    append(&made, &Draft::new(7), false, NOW).unwrap();
    assert!(manager.flush_round(0).error.is_none());
    drop((manager, loaded, made));

    let disk = disk.kill();
    if disk.exists(Path::new("/b")).unwrap() {
        disk.remove_dir_all(Path::new("/b")).unwrap();
    }
    disk.rename(Path::new("/away"), Path::new("/b")).unwrap();
    let fs: Arc<dyn FileSystem> = Arc::new(disk.clone());
    let manager: Manager = LogManager::open(fs, options(&DIRS)).unwrap();
    manager.open_metadata_log(None, NOW).unwrap();
    let partitions = (1..=4).map(|id| {
        let name = format!("t{id}");
        let id = if name == *topic { 9 } else { id };
        live(&name, id, config())
    });
    let loaded = manager.load(partitions.collect(), 2, NOW).unwrap();
    assert!(loaded.lost.is_empty(), "{:?}", loaded.lost);
    assert_eq!(ids(log(&loaded, topic)), [7]);
    assert_eq!(ids(log(&loaded, &second[1])), [0, 1, 2]);
    let kept = disk.read_dir(Path::new("/b")).unwrap();
    let old = format!("{topic}-0.");
    let kept = kept.iter().filter(|entry| entry.name.starts_with(&old));
    let kept: Vec<_> = kept.map(|entry| entry.name.as_str()).collect();
    assert!(
        kept.len() == 1 && kept[0].ends_with("-delete"),
        "as of any topic that was deleted: {kept:?}"
    );
}

/// Another directory knows the name only; that it cannot write it down is no reason to refuse the topic.
#[test]
fn a_topic_is_made_anew_also_where_the_directory_it_was_in_is_full() {
    let mut met = 0;
    for op in 0.. {
        let (disk, second) = filled(false);
        let (manager, loaded) = start(&disk, &DIRS, 1).unwrap();
        manager.checkpoint(NOW).unwrap();
        let topic = &second[0];
        manager.delete(log(&loaded, topic), NOW).unwrap();
        // So that the first one is the emptier one.
        for other in &loaded.logs {
            if manager.dir_of(other) == Some(0) {
                manager.delete(other, NOW).unwrap();
            }
        }
        let before = disk.op_count();
        disk.fail_at(before + op, Fault::Enospc);
        let made = manager.create(live(topic, 9, config()), 1).unwrap();
        assert_eq!(manager.dir_of(&made), Some(0));
        if disk.op_count() <= before + op {
            break;
        }
        met += 1;
    }
    assert!(met > 3, "{met} operations");
}
