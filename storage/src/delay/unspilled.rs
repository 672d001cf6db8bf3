//! What of the delay log is to be copied to buckets and is not yet.

/// The least and the latest due time of what has to be copied to buckets yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unspilled {
    /// Of records before `mark`.
    least: u64,
    /// Of those behind it.
    least_behind: u64,
    /// The same for the latest.
    latest: u64,
    latest_behind: u64,
    mark: u64,
}

impl Unspilled {
    pub(super) fn none() -> Self {
        Self {
            least: u64::MAX,
            least_behind: u64::MAX,
            latest: 0,
            latest_behind: 0,
            mark: 0,
        }
    }

    pub(super) fn least(self) -> u64 {
        self.least.min(self.least_behind)
    }

    /// 0 where there is nothing.
    pub(super) fn latest(self) -> u64 {
        self.latest.max(self.latest_behind)
    }

    pub(super) fn add(&mut self, due_ms: u64) {
        self.least_behind = self.least_behind.min(due_ms);
        self.latest_behind = self.latest_behind.max(due_ms);
    }

    /// Everything before `spilled` is in buckets; the log ends at `end`.
    pub(super) fn spilled(&mut self, spilled: u64, end: u64) {
        if spilled >= self.mark {
            (self.least, self.least_behind) = (self.least_behind, u64::MAX);
            (self.latest, self.latest_behind) = (self.latest_behind, 0);
            self.mark = end;
        }
        if spilled >= end {
            *self = Self::none();
        }
    }
}
