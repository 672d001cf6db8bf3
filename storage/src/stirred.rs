//! Which logs the cleaning thread has to look at.
//!
//! Of tens of thousands of partitions most are idle, and to look at all of them every second takes a share of
//! a core. So whoever takes a log's mutex, or opens one of its files, has it listed, and it stays listed until
//! nothing is left to be written, removed or closed.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::log_manager::LogManager;
use crate::partition_dir::PartitionDir;
use crate::partition_log::PartitionLog;

/// The listed partitions of a log directory.
#[derive(Debug, Default)]
pub(crate) struct Stirred(Mutex<Lists>);

#[derive(Debug, Default)]
struct Lists {
    listed: Vec<Weak<PartitionDir>>,
    /// Those that are being looked at whether they stay listed. Until that is known another thread has to see
    /// them: its checkpoint is not to miss one.
    settling: Vec<Weak<PartitionDir>>,
}

impl Stirred {
    fn lists(&self) -> MutexGuard<'_, Lists> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists a partition; each is listed once.
    pub(crate) fn add(&self, dir: &Arc<PartitionDir>, is_listed: &AtomicBool) {
        // Read first: a log that is appended to is listed already.
        if is_listed.load(Ordering::SeqCst) {
            return;
        }
        // Held over both, so that nobody who finds it noted misses it.
        let mut lists = self.lists();
        if !is_listed.swap(true, Ordering::SeqCst) {
            lists.listed.push(Arc::downgrade(dir));
        }
    }

    fn logs(&self) -> Vec<Arc<PartitionLog>> {
        let lists = self.lists();
        // Mostly none.
        let settling: HashSet<*const PartitionDir> =
            lists.settling.iter().map(Weak::as_ptr).collect();
        let listed = lists.listed.iter();
        let listed = listed.filter(|dir| !settling.contains(&dir.as_ptr()));
        let dirs = lists.settling.iter().chain(listed);
        let dirs = dirs.filter_map(Weak::upgrade);
        dirs.filter_map(|dir| dir.log()).collect()
    }

    /// Takes those off the list of which nothing is to be looked at. Who is stirred meanwhile is listed again.
    /// Where another thread does so already, nothing happens.
    fn settle(&self) {
        let settling = {
            let mut lists = self.lists();
            if !lists.settling.is_empty() {
                return;
            }
            lists.settling = std::mem::take(&mut lists.listed);
            lists.settling.clone()
        };
        for dir in settling.iter().filter_map(Weak::upgrade) {
            dir.unlisted();
            if dir.log().is_some_and(|log| log.needs_care()) {
                dir.stir();
            }
        }
        self.lists().settling.clear();
    }
}

impl<W> LogManager<W> {
    /// The logs of a directory that may have something to be written, removed or closed.
    pub(crate) fn stirred_logs_of(&self, dir: usize) -> Vec<Arc<PartitionLog>> {
        let dirs = self.dirs.get(dir);
        dirs.map_or_else(Vec::new, |managed| managed.dir.stirred().logs())
    }

    /// Forgets those that have nothing any more.
    pub(crate) fn settle_stirred(&self, dir: usize) {
        if let Some(managed) = self.dirs.get(dir) {
            managed.dir.stirred().settle();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use tidewheel_config::LogConfig;
    use tidewheel_protocol::{RecordBatchBuilder, TopicPartition, Uuid};

    use super::*;
    use crate::fs::{FileSystem, SimFs};
    use crate::shared_log::SharedLog;
    use crate::{LivePartition, LogManagerOptions, validate};

    fn live(partition: i32) -> LivePartition {
        LivePartition {
            tp: TopicPartition {
                topic: Arc::from("t"),
                partition,
            },
            topic_id: Uuid([2; 16]),
            config: LogConfig::everlasting(),
        }
    }

    /// Checkpoints come after a mebibyte or a second.
    fn manager() -> LogManager<()> {
        let dirs = vec![PathBuf::from("/data")];
        let options = LogManagerOptions {
            checkpoint_bytes: 1 << 20,
            checkpoint_interval_ms: 1_000,
            ..LogManagerOptions::new(dirs, 1, "cluster".to_owned(), vec![Uuid([1; 16])])
        };
        LogManager::open(Arc::new(SimFs::new()), options).unwrap()
    }

    fn append(log: &Arc<SharedLog<()>>) {
        let batch = RecordBatchBuilder::new().record(1, None, Some(b"v"));
        let valid = validate(batch.build().unwrap(), &log.config(), 1).unwrap();
        log.append(valid, false, (), 0).pop().unwrap().1.unwrap();
    }

    #[test]
    fn a_log_is_looked_at_until_nothing_of_it_is_left_to_do() {
        let manager = manager();
        let all = manager
            .load((0..50).map(live).collect(), 0, 0)
            .unwrap()
            .logs;
        let look = |now_ms| {
            manager.checkpoint(now_ms).unwrap();
            manager.unlink_deleted(now_ms).unwrap();
            manager.release_idle(now_ms, 100);
            manager.stirred_logs_of(0).len()
        };
        assert_eq!((manager.stirred_logs_of(0).len(), look(0)), (50, 0));
        let log = all.iter().find(|log| log.topic_partition().partition == 7);
        let log = log.unwrap();
        append(log);
        assert_eq!(look(1), 1, "its checkpoint is not due");
        assert!(manager.flush_round(0).error.is_none());
        assert_eq!(look(999), 1);
        look(1_500);
        assert_eq!(look(1_600), 0, "it is written and closed");
        // Whoever opens a file again has it closed later.
        drop(log.read(0, 1, true).unwrap());
        assert_eq!(look(1_700), 1);
        assert_eq!(look(1_800), 0);
        assert_eq!(manager.open_counts().files, 0);
    }

    #[test]
    fn logs_of_a_directory_that_is_offline_are_looked_at_once() {
        let disk = SimFs::new();
        let open = || {
            let dirs = vec![PathBuf::from("/a"), PathBuf::from("/b")];
            let ids = vec![Uuid([1; 16]), Uuid([2; 16])];
            let options = LogManagerOptions::new(dirs, 1, "cluster".to_owned(), ids);
            let manager: LogManager<()> =
                LogManager::open(Arc::new(disk.clone()), options).unwrap();
            let loaded = manager.load((0..4).map(live).collect(), 0, 0).unwrap();
            (manager, loaded.logs)
        };
        let (manager, logs) = open();
        logs.iter().for_each(append);
        manager.close(0).unwrap();
        drop((manager, logs));
        disk.remove_dir_all(Path::new("/b")).unwrap();
        let (manager, _logs) = open();
        assert!(manager.offline_cause(1).is_some());
        assert!(!manager.stirred_logs_of(1).is_empty());
        manager.checkpoint(1).unwrap_err();
        manager.release_idle(1, 100);
        assert!(manager.stirred_logs_of(1).is_empty());
    }

    #[test]
    fn a_log_that_has_something_to_do_is_seen_while_another_thread_settles() {
        let manager = manager();
        let log = manager.load(vec![live(0)], 0, 0).unwrap().logs.pop();
        append(&log.unwrap());
        let done = AtomicBool::new(false);
        let missed = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    manager.settle_stirred(0);
                }
            });
            let looks = (0..200_000).map(|_| manager.stirred_logs_of(0).len());
            let missed = looks.filter(|seen| *seen != 1).count();
            done.store(true, Ordering::Relaxed);
            missed
        });
        assert_eq!(missed, 0, "a checkpoint then would have passed it over");
    }
}
