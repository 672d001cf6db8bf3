//! The only reader of clocks in the daemon: everything below takes time as an argument.
//!
//! What a broker does to data goes by its own [`Clock`], which a test may turn; sockets, waits of clients and figures
//! about the process go by the functions, which nobody turns.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tidewheel_storage::delay::ClockReading;

/// The clocks by which a broker goes: those of the system, ahead of them by what a test has turned.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clock {
    /// By how many ms, where there is such a test. Never lowered.
    turned: Option<Arc<AtomicI64>>,
}

impl Clock {
    /// Clocks that are ahead by so many ms.
    pub(crate) fn turned_by(ahead_ms: Arc<AtomicI64>) -> Self {
        Self {
            turned: Some(ahead_ms),
        }
    }

    /// As [`now_ms`].
    pub(crate) fn now_ms(&self) -> i64 {
        now_ms().saturating_add(self.ahead_ms())
    }

    /// As [`steady_ms`].
    pub(crate) fn steady_ms(&self) -> i64 {
        steady_ms().saturating_add(self.ahead_ms())
    }

    /// Both, turned by the same.
    pub(crate) fn now_and_steady_ms(&self) -> (i64, i64) {
        let ahead_ms = self.ahead_ms();
        let ahead = |ms: i64| ms.saturating_add(ahead_ms);
        (ahead(now_ms()), ahead(steady_ms()))
    }

    /// As [`reading`]: a clock that is turned has not jumped.
    pub(crate) fn reading(&self) -> ClockReading {
        let (read, ahead_ms) = (reading(), self.ahead_ms());
        ClockReading {
            wall_ms: read.wall_ms.saturating_add(ahead_ms),
            boot_ms: read.boot_ms.saturating_add(ahead_ms),
        }
    }

    fn ahead_ms(&self) -> i64 {
        let turned = self.turned.as_ref();
        turned.map_or(0, |ahead_ms| ahead_ms.load(Ordering::SeqCst))
    }
}

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
