//! A file that takes a part of the reserve ahead of need, so that it is there when others filled the disk.
//!
//! Space that is merely left free is there for every program. What a broker must still be able to write on a
//! full disk, group commits, deletions and the metadata of a start, comes in the end out of this file: it is
//! emptied as soon as less is free than it holds, and takes its blocks again once there is enough. Nothing is
//! ever written into it. On a file system that cannot reserve blocks there is none.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::fs::{DiskSpace, OpenMode};
use crate::log_dir::LogDir;

/// Its name in a log directory.
pub(crate) const BALLAST: &str = "tidewheel.ballast";

/// What is known of the file.
#[derive(Debug, Default)]
pub(crate) struct Ballast {
    /// Bytes that it takes of the file system.
    held: AtomicU64,
    /// Held while that changes.
    changing: Mutex<()>,
}

impl Ballast {
    /// Bytes that it takes of the file system.
    pub(crate) fn held(&self) -> u64 {
        self.held.load(Ordering::Acquire)
    }

    fn change(&self) -> MutexGuard<'_, ()> {
        // Nothing panics while it is held.
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogDir {
    fn ballast_path(&self) -> PathBuf {
        self.path().join(BALLAST)
    }

    /// Takes note of what an earlier start left.
    pub(crate) fn find_ballast(&self) {
        let file = self.fs().open(&self.ballast_path(), OpenMode::Read);
        let len = file.and_then(|file| file.len()).unwrap_or(0);
        if len > 0 {
            // A copy may be all holes. Where the disk is full nothing can be done about that.
            self.fs().reserve(&self.ballast_path(), len).ok();
        }
        self.ballast().held.store(len, Ordering::Release);
    }

    /// Gives its blocks to the file system; returns whether there were any.
    pub(crate) fn release_ballast(&self) -> bool {
        let _change = self.ballast().change();
        self.ballast().held() > 0 && self.set_ballast(0)
    }

    /// Has it take `wanted` bytes, if that leaves `reserved` bytes free beside it.
    pub(crate) fn keep_ballast(&self, wanted: u64, reserved: u64, space: DiskSpace) {
        let _change = self.ballast().change();
        let held = self.ballast().held();
        let there_is_room =
            space.free_bytes.saturating_add(held) >= reserved.saturating_add(wanted);
        if self.check_online().is_ok() && (held > wanted || held < wanted && there_is_room) {
            // Where the system refuses it, it is asked again the next time.
            self.set_ballast(wanted);
        }
    }

    fn set_ballast(&self, bytes: u64) -> bool {
        let set = self.fs().reserve(&self.ballast_path(), bytes).is_ok();
        if set {
            self.ballast().held.store(bytes, Ordering::Release);
            // What is free is another amount now, and clients are to get none of it.
            self.space().forget();
        }
        set
    }
}
