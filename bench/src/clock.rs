//! The only reader of clocks in the bench, and a timer that is finer than the runtime's.

use std::io;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::net::unix::pipe::Receiver;

/// Counts nanoseconds from a moment of its own on the monotonic clock, which all of a host's processes
/// share. All times of a run are on one of these.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock that shows 0 now.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the clock"
    )]
    pub fn start() -> Self {
        Self {
            origin: Instant::now(),
        }
    }

    /// Nanoseconds since the start.
    #[must_use]
    pub fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Wall time in milliseconds since 1970, as record timestamps count it.
pub(crate) fn wall_ms() -> i64 {
    wall_ns() / 1_000_000
}

/// Wall time in nanoseconds since 1970.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the wall clock"
)]
pub(crate) fn wall_ns() -> i64 {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX)
}

/// A timer of the kernel's own resolution. The runtime's counts whole milliseconds, which would be the
/// largest part of a latency that is to be measured.
///
/// A timer's descriptor becomes readable when it has expired. The runtime's reading end of a pipe is its
/// one safe owner of a readable descriptor of any kind, so that is what holds it.
#[derive(Debug)]
pub(crate) struct PreciseTimer {
    fd: Receiver,
}

impl PreciseTimer {
    pub(crate) fn new() -> io::Result<Self> {
        let fd = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )?;
        Ok(Self {
            fd: Receiver::from_owned_fd_unchecked(fd)?,
        })
    }

    /// Waits so many nanoseconds. A wait that is dropped is replaced by the next.
    pub(crate) async fn wait(&mut self, nanos: u64) -> io::Result<()> {
        // Zero would disarm it.
        let nanos = nanos.max(1);
        let value = Timespec {
            tv_sec: i64::try_from(nanos / 1_000_000_000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(nanos % 1_000_000_000).unwrap_or_default(),
        };
        let once = Itimerspec {
            it_interval: Timespec::default(),
            it_value: value,
        };
        timerfd_settime(&self.fd, TimerfdTimerFlags::empty(), &once)?;
        let mut expirations = [0; 8];
        loop {
            self.fd.readable().await?;
            match self.fd.try_read(&mut expirations) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read.map(|_| ()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_timer_waits_at_least_what_it_should_also_after_a_wait_was_dropped() {
        let mut timer = PreciseTimer::new().unwrap();
        let clock = Clock::start();
        tokio::select! {
            biased;
            _ = timer.wait(1) => {}
            () = std::future::ready(()) => {}
        }
        let begin = clock.now();
        timer.wait(300_000).await.unwrap();
        assert!(clock.now() - begin >= 300_000);
        timer.wait(0).await.unwrap();
    }
}
