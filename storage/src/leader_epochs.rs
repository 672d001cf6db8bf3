//! Which leader epoch wrote which offsets of a partition.
//!
//! Every start of the broker writes under a new epoch, so offsets that were lost in a power cut
//! and used again show through `OffsetForLeaderEpoch`. The file `leader-epoch-checkpoint` is
//! Kafka's: a text checkpoint (see [`crate::checkpoint`]) with one line `epoch startOffset` each.
//!
//! Invariant: epochs and start offsets both rise strictly.

use std::path::Path;

use crate::checkpoint;
use crate::error::StorageError;

/// The file's name in a partition directory.
pub const LEADER_EPOCH_CHECKPOINT: &str = "leader-epoch-checkpoint";

/// What [`LeaderEpochs::end_offset_for`] answers where the epoch is unknown: epoch and offset -1.
pub const UNDEFINED: (i32, i64) = (-1, -1);

/// The first offset that an epoch wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct EpochEntry {
    /// The leader epoch, from 0.
    pub epoch: i32,
    /// The offset of its first record.
    pub start_offset: i64,
}

/// The epochs of one partition, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaderEpochs {
    entries: Vec<EpochEntry>,
}

impl LeaderEpochs {
    /// No epoch yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The entries, oldest first.
    #[must_use]
    pub fn entries(&self) -> &[EpochEntry] {
        &self.entries
    }

    /// The epochs with these entries; ones that contradict a later one are dropped, as by
    /// [`LeaderEpochs::assign`].
    #[must_use]
    pub fn from_entries(entries: impl IntoIterator<Item = EpochEntry>) -> Self {
        let mut epochs = Self::new();
        for entry in entries {
            epochs.assign(entry.epoch, entry.start_offset);
        }
        epochs
    }

    /// The epoch that writes now, `None` before the first append.
    #[must_use]
    pub fn latest(&self) -> Option<EpochEntry> {
        self.entries.last().copied()
    }

    /// Notes that `epoch` writes from `start_offset` on; returns whether anything changed.
    ///
    /// Entries that contradict the new one (an epoch or an offset not below it) go: what they
    /// described was cut off. Negative arguments are ignored: Kafka has no such epoch.
    pub fn assign(&mut self, epoch: i32, start_offset: i64) -> bool {
        if epoch < 0 || start_offset < 0 {
            return false;
        }
        if let Some(last) = self.entries.last()
            && last.epoch == epoch
            && last.start_offset <= start_offset
        {
            return false;
        }
        while let Some(last) = self.entries.last()
            && (last.epoch >= epoch || last.start_offset >= start_offset)
        {
            self.entries.pop();
        }
        self.entries.push(EpochEntry {
            epoch,
            start_offset,
        });
        true
    }

    /// The epoch that wrote `offset`, `None` where that is unknown.
    #[must_use]
    pub fn epoch_for(&self, offset: i64) -> Option<i32> {
        let after = self
            .entries
            .partition_point(|entry| entry.start_offset <= offset);
        Some(self.entries.get(after.checked_sub(1)?)?.epoch)
    }

    /// The largest known epoch up to `epoch` and the offset at which it ended, as
    /// `OffsetForLeaderEpoch` answers; [`UNDEFINED`] for an epoch from the future.
    ///
    /// An epoch older than all that is kept answers itself with the start of the first kept one:
    /// its data is gone.
    #[must_use]
    pub fn end_offset_for(&self, epoch: i32, log_end_offset: i64) -> (i32, i64) {
        if epoch < 0 {
            return UNDEFINED;
        }
        if self.latest().is_some_and(|last| last.epoch == epoch) {
            return (epoch, log_end_offset);
        }
        let higher = self.entries.partition_point(|entry| entry.epoch <= epoch);
        let Some(next) = self.entries.get(higher) else {
            return UNDEFINED;
        };
        let floor = higher.checked_sub(1).and_then(|at| self.entries.get(at));
        (floor.map_or(epoch, |entry| entry.epoch), next.start_offset)
    }

    /// Forgets epochs that begin at or after `end_offset`; returns whether anything changed.
    pub fn truncate_from_end(&mut self, end_offset: i64) -> bool {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.start_offset < end_offset);
        self.entries.len() != before
    }

    /// Forgets epochs that ended at or before `start_offset`; the one that covers it begins there
    /// from now on. Returns whether anything changed.
    pub fn truncate_from_start(&mut self, start_offset: i64) -> bool {
        let after = self
            .entries
            .partition_point(|entry| entry.start_offset <= start_offset);
        let Some(covering) = after.checked_sub(1) else {
            return false;
        };
        if covering == 0 && self.entries[0].start_offset == start_offset {
            return false;
        }
        self.entries.drain(..covering);
        self.entries[0].start_offset = start_offset;
        true
    }

    /// The text of `leader-epoch-checkpoint`.
    #[must_use]
    pub fn encode(&self) -> String {
        checkpoint::encode_lines(
            self.entries
                .iter()
                .map(|entry| format!("{} {}", entry.epoch, entry.start_offset)),
        )
    }

    /// Reads the text of `leader-epoch-checkpoint`; `path` names it in errors.
    ///
    /// # Errors
    /// `Corrupt` where the text is no checkpoint of version 0 or the entries do not rise.
    pub fn decode(path: &Path, text: &[u8]) -> Result<Self, StorageError> {
        let mut entries: Vec<EpochEntry> = Vec::new();
        for (position, line) in checkpoint::decode_lines(path, text)? {
            let entry = line
                .split_once(' ')
                .and_then(|(epoch, offset)| {
                    Some(EpochEntry {
                        epoch: epoch.parse().ok().filter(|epoch| *epoch >= 0)?,
                        start_offset: offset.parse().ok().filter(|offset| *offset >= 0)?,
                    })
                })
                .ok_or_else(|| {
                    StorageError::corrupt(path, position, format!("no epoch and offset: {line:?}"))
                })?;
            let rises = entries.last().is_none_or(|last| {
                last.epoch < entry.epoch && last.start_offset < entry.start_offset
            });
            if !rises {
                return Err(StorageError::corrupt(path, position, "epochs do not rise"));
            }
            entries.push(entry);
        }
        Ok(Self { entries })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn epochs(entries: &[(i32, i64)]) -> LeaderEpochs {
        LeaderEpochs::from_entries(entries.iter().map(|&(epoch, start_offset)| EpochEntry {
            epoch,
            start_offset,
        }))
    }

    #[test]
    fn the_end_of_an_epoch_is_the_start_of_the_next() {
        let known = epochs(&[(2, 10), (4, 20), (5, 30)]);
        let cases = [
            (-1, UNDEFINED),
            (0, (0, 10)),
            (2, (2, 20)),
            (3, (2, 20)),
            (4, (4, 30)),
            (5, (5, 44)),
            (6, UNDEFINED),
        ];
        for (epoch, answer) in cases {
            assert_eq!(known.end_offset_for(epoch, 44), answer, "epoch {epoch}");
        }
        assert_eq!(LeaderEpochs::new().end_offset_for(0, 0), UNDEFINED);
    }

    #[test]
    fn an_offset_belongs_to_the_last_epoch_that_began_at_or_before_it() {
        let known = epochs(&[(2, 10), (4, 20)]);
        let cases = [
            (9, None),
            (10, Some(2)),
            (19, Some(2)),
            (20, Some(4)),
            (99, Some(4)),
        ];
        for (offset, answer) in cases {
            assert_eq!(known.epoch_for(offset), answer, "offset {offset}");
        }
    }

    #[test]
    fn a_new_epoch_removes_what_contradicts_it() {
        let mut known = epochs(&[(1, 0), (2, 10), (3, 20)]);
        assert!(!known.assign(3, 25), "the epoch goes on");
        assert!(known.assign(4, 20), "an epoch without records is replaced");
        assert_eq!(known, epochs(&[(1, 0), (2, 10), (4, 20)]));
        assert!(
            known.assign(2, 5),
            "an older epoch at an older offset cuts the rest"
        );
        assert_eq!(known, epochs(&[(1, 0), (2, 5)]));
        assert!(!known.assign(-1, 30));
        assert!(!known.assign(3, -1));
    }

    #[test]
    fn truncation_keeps_the_epoch_that_covers_the_edge() {
        let mut known = epochs(&[(1, 0), (2, 10), (3, 20)]);
        assert!(!known.truncate_from_end(21));
        assert!(known.truncate_from_end(20));
        assert_eq!(known, epochs(&[(1, 0), (2, 10)]));
        assert!(!known.truncate_from_start(0));
        assert!(known.truncate_from_start(15));
        assert_eq!(known, epochs(&[(2, 15)]));
        assert!(!known.truncate_from_start(3));
        assert!(known.truncate_from_start(40));
        assert_eq!(known, epochs(&[(2, 40)]));
    }

    #[test]
    fn the_file_is_kafkas_text() {
        let known = epochs(&[(0, 0), (7, 123)]);
        assert_eq!(known.encode(), "0\n2\n0 0\n7 123\n");
        let path = Path::new("leader-epoch-checkpoint");
        assert_eq!(
            LeaderEpochs::decode(path, b"0\n2\n0 0\n7 123\n").unwrap(),
            known
        );
        assert_eq!(
            LeaderEpochs::decode(path, b"").unwrap(),
            LeaderEpochs::new()
        );
        for bad in [
            "0\n1\nx 0\n",
            "0\n2\n1 5\n1 6\n",
            "0\n2\n1 5\n2 5\n",
            "0\n1\n-1 0\n",
        ] {
            let found = LeaderEpochs::decode(path, bad.as_bytes());
            assert!(
                matches!(found, Err(StorageError::Corrupt { .. })),
                "{bad:?}: {found:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_history_stays_strictly_rising_and_survives_the_file(
            steps in prop::collection::vec((0..3_u8, 0..20_i32, 0..100_i64), 0..40),
        ) {
            let mut known = LeaderEpochs::new();
            for (kind, epoch, offset) in steps {
                match kind {
                    0 => known.assign(epoch, offset),
                    1 => known.truncate_from_end(offset),
                    _ => known.truncate_from_start(offset),
                };
                for pair in known.entries().windows(2) {
                    prop_assert!(pair[0].epoch < pair[1].epoch);
                    prop_assert!(pair[0].start_offset < pair[1].start_offset);
                }
            }
            let path = Path::new("leader-epoch-checkpoint");
            let back = LeaderEpochs::decode(path, known.encode().as_bytes()).unwrap();
            prop_assert_eq!(back, known);
        }
    }
}
