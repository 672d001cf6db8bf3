//! How much memory all groups take, and may take.

use std::sync::atomic::{AtomicBool, Ordering};

use tidewheel_config::{GroupConfig, limits};
use tidewheel_consumer_groups::{GroupLimits, HeldBytes};
use tracing::{info, warn};

use crate::partition_budget::Granted;

/// What the coordinators share.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) limits: GroupLimits,
    pub(super) held: HeldBytes,
    /// Whether new groups find no room, as it was told last.
    is_told_full: AtomicBool,
}

impl Room {
    /// As it is set, or as much as this memory allows.
    pub(super) fn new(config: &GroupConfig, granted: Granted) -> Self {
        let by_memory = || {
            let share = granted.memory / limits::GROUP_STATE_MEMORY_SHARE;
            let share = usize::try_from(share).unwrap_or(usize::MAX);
            share.clamp(
                limits::GROUP_STATE_BYTES_LEAST,
                limits::GROUP_STATE_BYTES_MOST,
            )
        };
        let bytes = config.state_bytes_max.unwrap_or_else(by_memory);
        Self {
            limits: GroupLimits::holding(bytes.max(limits::GROUP_STATE_BYTES_MIN)),
            held: HeldBytes::default(),
            is_told_full: AtomicBool::new(false),
        }
    }

    /// Tells when new groups find no room any more, and when they do again. Between the two lies an eighth of all, so
    /// that a group that comes and goes is told of once.
    pub(super) fn look(&self) {
        let (held, max) = (self.held.all(), self.limits.state_bytes);
        if held >= self.limits.new_state_bytes {
            if !self.is_told_full.swap(true, Ordering::Relaxed) {
                warn!(
                    held,
                    max,
                    "groups take so much memory that no new ones begin; raise tidewheel.group.state.max.bytes, or \
                     lower offsets.retention.minutes where groups are many that nobody uses any more"
                );
            }
        } else if held < self.limits.state_bytes / 2
            && self.is_told_full.swap(false, Ordering::Relaxed)
        {
            info!(held, max, "new groups begin again");
        }
    }
}

#[cfg(test)]
mod tests {
    use tidewheel_consumer_groups::records::{CommittedOffset, OffsetKey};
    use tidewheel_consumer_groups::{GroupCoordinator, OffsetsRecord};
    use tidewheel_protocol::{StrBytes, Uuid};

    use super::*;
    use crate::logging::LogLines;

    const MIB: usize = 1 << 20;

    fn bytes(set: Option<usize>, memory: usize) -> usize {
        let config = GroupConfig {
            state_bytes_max: set,
            ..GroupConfig::default()
        };
        let granted = Granted {
            files: 1_024,
            maps: 65_530,
            memory: memory as u64,
        };
        Room::new(&config, granted).limits.state_bytes
    }

    #[test]
    fn a_sixteenth_of_the_memory_is_for_groups_unless_it_is_set() {
        assert_eq!(bytes(None, 512 * MIB), 64 * MIB);
        assert_eq!(bytes(None, 4_096 * MIB), 256 * MIB);
        assert_eq!(bytes(None, 64_000 * MIB), 512 * MIB);
        assert_eq!(bytes(None, usize::MAX), 512 * MIB);
        assert_eq!(bytes(Some(100 * MIB), 512 * MIB), 100 * MIB);
        assert_eq!(bytes(Some(1), 512 * MIB), 16 * MIB);
    }

    #[test]
    fn that_no_group_begins_is_told_once_and_that_they_do_again() {
        let mut room = Room::new(&GroupConfig::default(), Granted::to_this_process());
        (room.limits.state_bytes, room.limits.new_state_bytes) = (8_000, 5_000);
        let (lines, _noted) = LogLines::of_this_thread();
        let said = || {
            let (said, _) = lines.follow();
            said.into_iter()
                .map(|line| line.message.clone())
                .collect::<Vec<_>>()
        };
        let coordinator = GroupCoordinator::new(GroupConfig::default(), room.limits.clone());
        let mut coordinator = coordinator.sharing(&room.held);
        room.look();
        for number in 0..10 {
            coordinator.replay(&OffsetsRecord::OffsetCommit {
                key: OffsetKey {
                    group_id: format!("g{number}").into(),
                    topic: "t".into(),
                    partition: 0,
                },
                value: Some(CommittedOffset {
                    offset: 1,
                    leader_epoch: None,
                    metadata: StrBytes::default(),
                    topic_id: Uuid::ZERO,
                    commit_timestamp_ms: 0,
                    expire_timestamp_ms: None,
                }),
            });
            room.look();
        }
        drop(coordinator);
        room.look();
        room.look();
        let said = said();
        let [full, again] = &said[..] else {
            panic!("{said:?}");
        };
        assert!(
            full.contains("raise tidewheel.group.state.max.bytes"),
            "{full}"
        );
        assert!(again.contains("new groups begin again"), "{again}");
    }
}
