//! The only reader of clocks in the daemon: everything below takes time as an argument.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Wall time in milliseconds since 1970, as record timestamps count it.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the wall clock"
)]
pub(crate) fn now_ms() -> i64 {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}

/// Milliseconds since 1970 at the first call, and from then on by the monotonic clock: for waits and
/// sessions, which a clock that is set must neither end nor lengthen.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the clock"
)]
pub(crate) fn steady_ms() -> i64 {
    static START: OnceLock<(Instant, i64)> = OnceLock::new();
    let (began, began_ms) = START.get_or_init(|| (Instant::now(), now_ms()));
    let passed = i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX);
    began_ms.saturating_add(passed)
}

/// The moment on the runtime's monotonic clock that lies `wait` ahead.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the clock"
)]
pub(crate) fn deadline(wait: Duration) -> tokio::time::Instant {
    tokio::time::Instant::from_std(Instant::now() + wait)
}

/// Whether the moment has come.
pub(crate) fn has_come(deadline: tokio::time::Instant) -> bool {
    self::deadline(Duration::ZERO) >= deadline
}
