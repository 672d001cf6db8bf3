//! The offset checkpoints of a log directory: recovery points, log starts, high watermarks, and how far
//! logs are compacted.
//!
//! All of it stands in one file under a checksum ([`crate::sealed_checkpoints`]), which is replaced first, and
//! in Kafka's four. Each is replaced as a whole, and only where it would change. What is remembered here is what
//! the first holds now, so that a name that is used again never meets the numbers of the deleted
//! partition: before a partition is created, entries of that name are removed durably.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tidewheel_protocol::TopicPartition;

use crate::checkpoint::encode_offsets;
use crate::error::StorageError;
use crate::fs::FileSystem;
use crate::log_dir::LogDir;
use crate::partition_log::CheckpointOffsets;
use crate::sealed_checkpoints::{
    Noted, Offsets, SEALED_CHECKPOINTS, Texts, encode, find, texts_of,
};

#[derive(Debug, Default)]
struct Written {
    noted: Noted,
    /// What is noted stands under a checksum on the disk; true also where nothing is.
    is_sealed: bool,
    /// Kafka's files; `None` for one that has to be written whatever it says.
    texts: Texts<Option<Offsets>>,
    /// Partitions of earlier starts that are not loaded yet: their entries stay.
    unloaded: Noted,
    doubts: Vec<StorageError>,
}

/// The checkpoint files of one log directory.
#[derive(Debug, Default)]
pub(crate) struct DirCheckpoints {
    written: Mutex<Written>,
    was_sealed: bool,
}

impl DirCheckpoints {
    /// Reads the files that are there.
    pub(crate) fn read(fs: &dyn FileSystem, dir: &std::path::Path) -> Result<Self, StorageError> {
        let found = find(fs, dir)?;
        let written = Written {
            unloaded: found.noted.clone(),
            noted: found.noted,
            is_sealed: found.is_sealed,
            texts: found.texts,
            doubts: found.doubts,
        };
        Ok(Self {
            written: Mutex::new(written),
            was_sealed: found.is_sealed,
        })
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether what [`Self::at_start`] says stood under a checksum: what does not is no reason to remove
    /// anything.
    pub(crate) fn was_sealed(&self) -> bool {
        self.was_sealed
    }

    /// What was wrong with the files although the start went on; told once.
    pub(crate) fn take_doubts(&self) -> Vec<StorageError> {
        std::mem::take(&mut self.written().doubts)
    }

    /// What the files said about a partition at the start, all 0 for one they do not know.
    pub(crate) fn at_start(&self, tp: &TopicPartition) -> CheckpointOffsets {
        self.written().unloaded.get(tp).copied().unwrap_or_default()
    }

    /// What the files say of a partition speaks of a directory that was set aside.
    pub(crate) fn set_aside(&self, tp: &TopicPartition) {
        self.written().unloaded.remove(tp);
    }

    /// All partitions are loaded but these, which cannot be read before another start: entries of others go with
    /// the next write.
    pub(crate) fn all_loaded(&self, except: &HashSet<TopicPartition>) {
        self.written().unloaded.retain(|tp, _| except.contains(tp));
    }

    /// What the files hold for a partition, all 0 for one they do not know.
    pub(crate) fn written_for(&self, tp: &TopicPartition) -> CheckpointOffsets {
        self.written().noted.get(tp).copied().unwrap_or_default()
    }

    /// Whether the files know one of these names.
    pub(crate) fn know_any(&self, names: &[TopicPartition]) -> bool {
        let written = self.written();
        names.iter().any(|tp| written.noted.contains_key(tp))
    }

    /// Brings the files to `loaded` and the partitions that are not loaded yet.
    pub(crate) fn write(
        &self,
        dir: &LogDir,
        loaded: &[(TopicPartition, CheckpointOffsets)],
    ) -> Result<(), StorageError> {
        let mut written = self.written();
        let mut all = written.unloaded.clone();
        all.extend(loaded.iter().cloned());
        written.replace(dir, all)
    }

    /// Whether the files do not say yet what they should: nothing stands under a checksum although there is
    /// something to say, or Kafka's files say something else.
    pub(crate) fn are_behind(&self) -> bool {
        let written = self.written();
        let due = texts_of(&written.noted);
        let texts = &written.texts;
        let says = |text: &Option<Offsets>, due: &Offsets| text.as_ref() == Some(due);
        !written.is_sealed
            || !says(&texts.recovery_points, &due.recovery_points)
            || !says(&texts.log_starts, &due.log_starts)
            || !says(&texts.high_watermarks, &due.high_watermarks)
            || !says(&texts.cleaned, &due.cleaned)
    }

    /// Removes the entries of names that are about to be used anew. Numbers that stand under no checksum yet are
    /// given none here: nobody has looked at the files that they speak of.
    pub(crate) fn forget(
        &self,
        dir: &LogDir,
        names: &[TopicPartition],
    ) -> Result<(), StorageError> {
        let names: HashSet<&TopicPartition> = names.iter().collect();
        let mut written = self.written();
        let mut kept = written.noted.clone();
        kept.retain(|tp, _| !names.contains(tp));
        if written.is_sealed {
            written.replace(dir, kept)?;
        } else {
            written.noted = kept;
            written.write_texts(dir)?;
        }
        written.unloaded.retain(|tp, _| !names.contains(tp));
        Ok(())
    }
}

impl Written {
    /// Writes the files whose content changes, and notes it.
    fn replace(&mut self, dir: &LogDir, noted: Noted) -> Result<(), StorageError> {
        if !self.is_sealed || self.noted != noted {
            // Durable before Kafka's files change: a start takes them for older than this one.
            dir.replace_file(SEALED_CHECKPOINTS, &encode(&noted))?;
            self.noted = noted;
            self.is_sealed = true;
        }
        self.write_texts(dir)
    }

    /// Brings Kafka's files to what is noted.
    fn write_texts(&mut self, dir: &LogDir) -> Result<(), StorageError> {
        let mut changed = false;
        let mut next = texts_of(&self.noted);
        let files = self.texts.by_file().into_iter().zip(next.by_file());
        for ((name, current), (_, next)) in files {
            if current.as_ref() == Some(&*next) {
                continue;
            }
            changed = true;
            // Until its name is durable as well.
            *current = None;
            let entries: Vec<_> = next.iter().map(|(tp, at)| (tp.clone(), *at)).collect();
            dir.replace_unnamed(name, encode_offsets(&entries).as_bytes())?;
        }
        if changed {
            dir.sync_names()?;
            for ((_, current), (_, next)) in self.texts.by_file().into_iter().zip(next.by_file()) {
                *current = Some(std::mem::take(next));
            }
        }
        Ok(())
    }
}
