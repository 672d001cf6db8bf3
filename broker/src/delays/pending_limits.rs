//! How much may be pending in a topic.
//!
//! What is over the limit is refused with an error that clients do not try again: a storm of retries would
//! not make room. Before that, producers that add to it are asked to wait.

use tidewheel_config::{DelayConfig, limits};
use tidewheel_storage::delay::{DelayCount, DelayOperation};

use crate::partition::AppendError;

/// A limit and how much of it is taken.
struct Limit {
    what: &'static str,
    key: &'static str,
    max: u64,
    pending: u64,
    wanted: u64,
}

/// The limits that a topic has; `wanted` is to be added to `pending`.
fn limits_of(
    config: &DelayConfig,
    pending: DelayCount,
    wanted: DelayCount,
) -> impl Iterator<Item = Limit> {
    let records = u64::try_from(config.pending_records_max).map(|max| Limit {
        what: "records",
        key: "delay.max.pending.records",
        max,
        pending: pending.records,
        wanted: wanted.records,
    });
    let bytes = u64::try_from(config.pending_bytes_max).map(|max| Limit {
        what: "bytes",
        key: "delay.max.pending.bytes",
        max,
        pending: pending.bytes,
        wanted: wanted.bytes,
    });
    // Negative for no limit.
    records.into_iter().chain(bytes)
}

/// Whether a topic has limits at all.
pub(super) fn has_limits(config: &DelayConfig) -> bool {
    config.pending_records_max >= 0 || config.pending_bytes_max >= 0
}

/// Refuses what does not fit.
pub(super) fn check(
    config: &DelayConfig,
    pending: DelayCount,
    wanted: DelayCount,
) -> Result<(), AppendError> {
    // Nothing but delays takes room: a cancellation always fits.
    let full = limits_of(config, pending, wanted)
        .find(|limit| limit.wanted > 0 && limit.pending.saturating_add(limit.wanted) > limit.max);
    full.map_or(Ok(()), |limit| {
        Err(AppendError::TooMuchPending {
            what: limit.what,
            key: limit.key,
            max: limit.max,
            pending: limit.pending,
            wanted: limit.wanted,
        })
    })
}

/// How long to ask a producer to wait that has just added `wanted`, in ms: nothing up to 80 % of a limit,
/// and from there the longer the fuller it is.
pub(super) fn throttle_ms(config: &DelayConfig, pending: DelayCount, wanted: DelayCount) -> i32 {
    let longest = limits::DELAY_THROTTLE_MAX.as_millis();
    let of_limit = |limit: Limit| {
        let used = u128::from(limit.pending.saturating_add(limit.wanted)) * 5;
        let (free, all) = (u128::from(limit.max) * 4, u128::from(limit.max).max(1));
        (used.saturating_sub(free).min(all) * longest).div_ceil(all)
    };
    let waits = limits_of(config, pending, wanted).map(of_limit);
    i32::try_from(waits.max().unwrap_or_default()).unwrap_or(i32::MAX)
}

/// What the operations add to what is pending.
pub(super) fn wanted(operations: &[DelayOperation]) -> DelayCount {
    let mut wanted = DelayCount::default();
    for operation in operations {
        if let DelayOperation::Add(add) = operation {
            wanted.join(add.count());
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(records: u64, bytes: u64) -> DelayCount {
        DelayCount { records, bytes }
    }

    #[test]
    fn what_does_not_fit_is_refused_and_names_the_limit() {
        let config = DelayConfig {
            pending_records_max: 100,
            pending_bytes_max: 5_000,
            ..DelayConfig::default()
        };
        assert!(check(&config, count(90, 0), count(10, 0)).is_ok());
        let refused = check(&config, count(90, 0), count(11, 0)).unwrap_err();
        let text = "90 records of the topic are pending and 11 more do not fit into \
                    delay.max.pending.records=100";
        assert_eq!(refused.to_string(), text);
        let refused = check(&config, count(1, 4_999), count(1, 2)).unwrap_err();
        assert!(
            refused
                .to_string()
                .ends_with("delay.max.pending.bytes=5000")
        );
        assert!(
            check(&config, count(200, 9_000), count(0, 0)).is_ok(),
            "cancels"
        );
        let endless = DelayConfig::default();
        let much = count(u64::MAX, u64::MAX);
        assert!(check(&endless, much, much).is_ok() && !has_limits(&endless));
        assert_eq!(throttle_ms(&endless, much, much), 0);
    }

    #[test]
    fn producers_wait_longer_the_fuller_it_is() {
        let config = DelayConfig {
            pending_records_max: 1_000,
            pending_bytes_max: 0,
            ..DelayConfig::default()
        };
        let wait = |records| throttle_ms(&config, count(records, 0), count(0, 0));
        assert_eq!(wait(800), 0);
        assert_eq!(wait(900), 500);
        assert_eq!([wait(1_000), wait(u64::MAX)], [1_000, 1_000]);
        assert!(
            check(&config, count(0, 0), count(1, 1)).is_err(),
            "nothing at all"
        );
    }
}
