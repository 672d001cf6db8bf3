//! Intervals by a wall clock that may be set.

/// Whether `interval_ms` have passed since `since_ms`; both moments are ms since 1970. A moment that lies
/// ahead was noted before the clock was set back: how long ago is not known then, and the interval
/// counts as passed. Work comes early once, and is never put off until the clock has caught up.
pub(crate) fn has_passed(interval_ms: i64, since_ms: i64, now_ms: i64) -> bool {
    !(0..interval_ms).contains(&now_ms.saturating_sub(since_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_back_puts_nothing_off() {
        assert!(!has_passed(10, 100, 100));
        assert!(!has_passed(10, 100, 109));
        assert!(has_passed(10, 100, 110));
        assert!(has_passed(10, 100, 99));
        assert!(has_passed(0, 100, 100));
        assert!(has_passed(10, i64::MIN, i64::MAX));
    }
}
