//! What of a log is kept from readers until its time comes, and what is kept from being removed.

use std::sync::Arc;

use tidewheel_config::LogConfig;

use super::Log;
use crate::log_offsets::LogPoint;
use crate::retention::RetentionLimits;
use crate::reveal::HiddenPart;

impl Log {
    /// What retention goes by.
    pub(super) fn limits(
        &self,
        config: &LogConfig,
        log_start: i64,
        now_ms: i64,
    ) -> RetentionLimits {
        let end = self.removable_end();
        let mut limits = RetentionLimits::new(config, log_start, end, now_ms);
        if self.state.curtain().is_some() && limits.retention_bytes >= 0 {
            // What nobody can read yet takes nothing from what is kept for readers.
            let hidden = self.state.end().bytes - self.state.visible().bytes;
            let hidden = i64::try_from(hidden).unwrap_or(i64::MAX);
            limits.retention_bytes = limits.retention_bytes.saturating_add(hidden);
        }
        limits
    }

    /// Records from here on must not be removed.
    pub(crate) fn removable_end(&self) -> i64 {
        let end = self.state.offsets().high_watermark;
        end.min(self.kept_from.unwrap_or(i64::MAX))
    }

    /// Records at or after an offset stay, unless those before it already have to.
    pub(crate) fn keep_from(&mut self, offset: i64) {
        self.kept_from.get_or_insert(offset);
    }

    /// Where what has to stay begins.
    pub(crate) fn kept_from(&self) -> Option<i64> {
        self.kept_from
    }

    /// Only records at or after an offset have to stay from here on, or none.
    pub(crate) fn keep_only(&mut self, from: Option<i64>) {
        self.kept_from = from;
    }

    /// What a look for records whose time has come needs; `None` where none waits for it.
    pub(crate) fn hidden(&self) -> Option<HiddenPart> {
        Some(HiddenPart {
            from: self.state.curtain()?,
            end: self.state.end(),
            list: Arc::clone(self.segments.list()),
        })
    }

    /// The time of everything before `point` has come.
    pub(crate) fn show_until(&mut self, point: LogPoint) {
        self.state.move_curtain(point);
        self.publish();
    }

    /// Nothing waits for its time any more.
    pub(crate) fn show_all(&mut self) {
        self.state.lift_curtain();
        self.publish();
    }

    /// At a start, before anybody reads: hides what lies from the segment on that holds `offset`. What was
    /// visible already is found there when the log is looked through for what is due.
    pub(crate) fn hide_from(&mut self, offset: i64) {
        let log_start = self.state.offsets().log_start;
        let list = Arc::clone(self.segments.list());
        let hidden = list.starting_at(offset.max(log_start));
        let Some(first) = hidden.first() else {
            return;
        };
        let point = LogPoint {
            offset: first.base_offset().max(log_start),
            bytes: 0,
            segment_base: first.base_offset(),
            position: 0,
        };
        let bytes = hidden.iter().map(|segment| segment.published_len()).sum();
        self.bytes_at_checkpoint += bytes;
        self.state.hide_from(point, bytes);
        hidden.iter().for_each(|segment| segment.show(0));
        self.publish();
    }
}
