//! Whose turn it is to write the checkpoint files of a log directory.
//!
//! Several threads write checkpoints of logs, and whoever did has to know that the directory's files say so
//! before it goes on: DeleteRecords answers then. What one thread is about to write for others counts for them
//! only once it is written.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use crate::error::StorageError;

/// What the logs of a directory have written, and how much of it the directory's files know.
#[derive(Debug, Default)]
pub(crate) struct CheckpointTurn {
    /// How often a log wrote something that the files have to say.
    wanted: AtomicU64,
    /// How many of these they say. Held while they are written.
    written: Mutex<u64>,
}

impl CheckpointTurn {
    /// A log wrote something that the files have to say.
    pub(crate) fn want(&self) {
        self.wanted.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether something is still to be written, or is written just now.
    pub(crate) fn is_behind(&self) -> bool {
        let written = match self.written.try_lock() {
            Ok(written) => *written,
            Err(TryLockError::Poisoned(poisoned)) => *poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return true,
        };
        written < self.wanted.load(Ordering::Acquire)
    }

    /// Waits for who writes, and then writes what is still wanted; returns whether there was anything. When it
    /// returns all that was wanted before is written.
    ///
    /// # Errors
    /// Those of `write`; what was wanted then stays so.
    pub(crate) fn take(
        &self,
        write: impl FnOnce() -> Result<(), StorageError>,
    ) -> Result<bool, StorageError> {
        let mut written = self.lock();
        // Before the files are written: what comes meanwhile is written again.
        let wanted = self.wanted.load(Ordering::Acquire);
        if *written >= wanted {
            return Ok(false);
        }
        write()?;
        *written = wanted;
        Ok(true)
    }

    fn lock(&self) -> MutexGuard<'_, u64> {
        // The number is only raised once all is done.
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::sync::{Barrier, mpsc};
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_another_thread_is_about_to_write_is_waited_for() {
        let turn = CheckpointTurn::default();
        let (begun, done) = (Barrier::new(2), AtomicBool::new(false));
        let (_sender, never) = mpsc::sync_channel::<()>(1);
        turn.want();
        std::thread::scope(|scope| {
            let (turn, begun, done) = (&turn, &begun, &done);
            scope.spawn(move || {
                turn.take(|| {
                    begun.wait();
                    // Nothing comes; meanwhile the other one asks for its turn.
                    never.recv_timeout(Duration::from_millis(20)).unwrap_err();
                    done.store(true, Ordering::Release);
                    Ok(())
                })
                .unwrap();
            });
            begun.wait();
            assert!(turn.is_behind());
            let alone = turn.take(|| Ok(())).unwrap();
            assert!(!alone && done.load(Ordering::Acquire));
            assert!(!turn.is_behind());
        });
    }

    #[test]
    fn what_could_not_be_written_stays_wanted() {
        let turn = CheckpointTurn::default();
        assert!(!turn.take(|| Err(StorageError::Closed)).unwrap());
        turn.want();
        turn.take(|| Err(StorageError::Closed)).unwrap_err();
        assert!(turn.is_behind());
        let wanted_meanwhile = || {
            turn.want();
            Ok(())
        };
        assert!(turn.take(wanted_meanwhile).unwrap());
        assert!(turn.is_behind());
        assert!(turn.take(|| Ok(())).unwrap() && !turn.is_behind());
    }
}
