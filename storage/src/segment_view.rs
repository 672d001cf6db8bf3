//! The segments of a log, for people.

use crate::shared_log::SharedLog;

/// One segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentView {
    /// Offset that its first record has or will have.
    pub base_offset: i64,
    /// Offset after its last record.
    pub end_offset: i64,
    /// Bytes of its `.log` file.
    pub bytes: u64,
    /// Those of them that are on the disk.
    pub durable_bytes: u64,
    /// The largest timestamp of its first batch, ms since 1970; negative where there is none.
    pub first_timestamp: i64,
    /// The largest timestamp, ms since 1970; negative where there is none.
    pub max_timestamp: i64,
    /// Whether it is the one that is written.
    pub is_active: bool,
}

impl<W> SharedLog<W> {
    /// The segments, the oldest first. Takes no lock and opens no file.
    #[must_use]
    pub fn segments(&self) -> Vec<SegmentView> {
        let reader = self.partition_log().reader();
        let list = reader.list();
        // Read after the list: it is not before the end of any segment there.
        let log_end = reader.offsets().snapshot().log_end;
        let all = list.all();
        let ends = all.iter().skip(1).map(|next| next.base_offset());
        let views = all.iter().zip(ends.chain([log_end]));
        let mut views: Vec<SegmentView> = views
            .map(|(segment, end_offset)| SegmentView {
                base_offset: segment.base_offset(),
                end_offset,
                bytes: segment.published_len(),
                durable_bytes: segment.synced_len(),
                first_timestamp: segment.first_timestamp(),
                max_timestamp: segment.max_timestamp().timestamp,
                is_active: false,
            })
            .collect();
        if let Some(active) = views.last_mut() {
            active.is_active = true;
        }
        views
    }
}
