//! What is known of a log's compaction, also over a start: how far it went, and what tombstones wait for.

/// How far a log is compacted, and when its tombstones may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cleaned {
    /// What lies before this offset was compacted.
    pub(crate) to: i64,
    /// No tombstone may go before this time, ms since 1970; `None` where no tombstone has a time.
    pub(crate) horizon_ms: Option<i64>,
    /// The base offset of the first batch that holds tombstones back whose time has come: they go when it has.
    pub(crate) held_back_by: Option<i64>,
}

impl Cleaned {
    /// A log that is compacted up to offset `to`, of whose tombstones nothing is known: the next look has a pass find
    /// out.
    pub(crate) fn with_unknown_tombstones(to: i64) -> Self {
        Self {
            to,
            horizon_ms: Some(0),
            held_back_by: None,
        }
    }

    /// What is true during a pass that gives tombstones the time `horizon_ms`, wherever it ends: it may have swapped
    /// in some of them and never get to tell of it. `known` is from before it.
    pub(crate) fn during_pass(known: Option<Self>, first_dirty: i64, horizon_ms: i64) -> Self {
        let earlier = known.and_then(|known| known.horizon_ms);
        Self {
            to: first_dirty,
            horizon_ms: Some(earlier.map_or(horizon_ms, |earlier| earlier.min(horizon_ms))),
            held_back_by: known.and_then(|known| known.held_back_by),
        }
    }

    /// Whether tombstones may go at `now_ms`: their time has come, or retention took what held them back from a log
    /// that begins at `first_segment` now.
    pub(crate) fn tombstones_due(&self, first_segment: i64, now_ms: i64) -> bool {
        self.horizon_ms.is_some_and(|horizon| horizon <= now_ms)
            || self
                .held_back_by
                .is_some_and(|holder| holder < first_segment)
    }
}
