//! The only reader of clocks in the daemon: everything below takes time as an argument.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tidewheel_storage::delay::ClockReading;

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

/// Milliseconds of the monotonic clock since the first call, which setting the wall clock does not move.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the clock"
)]
pub(crate) fn steady_ms() -> i64 {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    let passed = BEGAN.get_or_init(Instant::now).elapsed();
    i64::try_from(passed.as_millis()).unwrap_or(i64::MAX)
}

/// The moment on the monotonic clock.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the clock"
)]
pub(crate) fn instant() -> Instant {
    Instant::now()
}

/// The wall clock, and beside it one that nobody sets and that goes on while the machine sleeps.
pub(crate) fn reading() -> ClockReading {
    let boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    ClockReading {
        wall_ms: now_ms(),
        boot_ms: boot.tv_sec.saturating_mul(1_000) + boot.tv_nsec / 1_000_000,
    }
}

/// Milliseconds of processor time that this process has used.
pub(crate) fn processor_ms() -> i64 {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    used.tv_sec.saturating_mul(1_000) + used.tv_nsec / 1_000_000
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
