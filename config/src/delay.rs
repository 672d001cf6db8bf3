//! The settings of a topic that say which of its records become visible later.

/// `delay.mode`: what asks for a delay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DelayMode {
    /// Nothing is delayed.
    #[default]
    None,
    /// Records with a timestamp in the future are.
    Timestamp,
    /// Records with a header that says so are.
    Header,
    /// Both of these.
    Both,
    /// Every record is, for the same time.
    Fixed,
}

/// The time that a delivered batch says it is from: `delay.deliver.timestamp`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeliverTimestamp {
    /// That of the producer.
    #[default]
    Create,
    /// When it was due.
    Due,
    /// When it is appended.
    Append,
}

/// The settings of a topic that decide about delays. Times are in ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DelayConfig {
    /// `delay.mode`.
    pub mode: DelayMode,
    /// `delay.max.ms`: what asks for more is refused.
    pub max_ms: i64,
    /// `delay.fixed.ms`, for mode `fixed`.
    pub fixed_ms: i64,
    /// `delay.coalesce.ms`: records of one batch whose due times are no further apart are delivered as the
    /// batch they came in, when the last is due.
    pub coalesce_ms: i64,
    /// `delay.threshold.ms`: a timestamp that is no further in the future is none.
    pub threshold_ms: i64,
    /// `delay.trust.header`: whether in mode `timestamp` a batch is believed whose header says that nothing
    /// in it is from the future.
    pub trust_header: bool,
    /// `delay.deliver.timestamp`.
    pub deliver_timestamp: DeliverTimestamp,
    /// `delay.expired`: whether what has expired goes to the dead-letter topic.
    pub buries_expired: bool,
    /// `delay.max.pending.records`: with more pending in the topic nothing is delayed; negative for no limit.
    pub pending_records_max: i64,
    /// `delay.max.pending.bytes`: the same for what is pending on disk.
    pub pending_bytes_max: i64,
}

impl DelayConfig {
    /// 366 days, the default of `delay.max.ms`.
    pub const MAX_MS: i64 = 366 * 86_400_000;

    /// Whether a record may ask for a delay.
    #[must_use]
    pub fn delays(&self) -> bool {
        !matches!(self.mode, DelayMode::None | DelayMode::Fixed)
    }

    /// How long every record is held back, in ms; `None` where that is for the records to say.
    #[must_use]
    pub fn holds_back(&self) -> Option<i64> {
        (self.mode == DelayMode::Fixed).then_some(self.fixed_ms)
    }

    /// Whether a timestamp in the future asks for a delay.
    #[must_use]
    pub fn by_timestamp(&self) -> bool {
        matches!(self.mode, DelayMode::Timestamp | DelayMode::Both)
    }

    /// Whether a header may ask for a delay.
    #[must_use]
    pub fn by_header(&self) -> bool {
        matches!(self.mode, DelayMode::Header | DelayMode::Both)
    }
}

impl Default for DelayConfig {
    fn default() -> Self {
        Self {
            mode: DelayMode::None,
            max_ms: Self::MAX_MS,
            fixed_ms: 0,
            coalesce_ms: 10,
            threshold_ms: 0,
            trust_header: false,
            deliver_timestamp: DeliverTimestamp::Create,
            buries_expired: false,
            pending_records_max: -1,
            pending_bytes_max: -1,
        }
    }
}
