//! Requests that take long: a line each in the log, and a few at a time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidewheel_protocol::ApiKey;
use tracing::warn;

use crate::clients::Client;
use crate::metrics::Phases;
use crate::rate_limit::RateLimit;

/// Which requests are slow, and who was told.
#[derive(Debug)]
pub(crate) struct SlowRequests {
    /// From how many µs on.
    from_us: AtomicU64,
    lines: RateLimit,
}

/// A request whose answer has left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answered<'a> {
    pub(crate) key: ApiKey,
    pub(crate) client: &'a Client,
    pub(crate) phases: Phases,
    /// How long it waited for data because its client wished to wait.
    pub(crate) wished: Duration,
    /// Whether its answer left with that of the request before it, whose moments it shares.
    pub(crate) gathered: bool,
    pub(crate) request_bytes: usize,
    pub(crate) response_bytes: usize,
}

impl Answered<'_> {
    /// How long it took, without what it waited for others of its connection, for their data or for members of
    /// its group.
    fn own_time(&self) -> Duration {
        let Phases {
            local,
            wait,
            respond,
            ..
        } = self.phases;
        match self.key {
            _ if self.gathered => local,
            ApiKey::JoinGroup | ApiKey::SyncGroup => local + respond,
            _ => local + wait.saturating_sub(self.wished) + respond,
        }
    }
}

impl SlowRequests {
    /// Requests that take as many ms are slow; with 0 none is.
    pub(crate) fn new(from_ms: i64) -> Self {
        let slow = Self {
            from_us: AtomicU64::new(0),
            lines: RateLimit::new(),
        };
        slow.begin_at(from_ms);
        slow
    }

    /// From now on requests that take as many ms are slow.
    pub(crate) fn begin_at(&self, from_ms: i64) {
        let from_us = match u64::try_from(from_ms) {
            Ok(from_ms @ 1..) => from_ms.saturating_mul(1_000),
            _ => u64::MAX,
        };
        self.from_us.store(from_us, Ordering::Relaxed);
    }

    /// Looks at a request whose answer has left.
    pub(crate) fn look(&self, answered: &Answered<'_>) {
        let from_us = u128::from(self.from_us.load(Ordering::Relaxed));
        if answered.phases.total.as_micros() >= from_us
            && answered.own_time().as_micros() >= from_us
        {
            self.tell(answered);
        }
    }

    #[cold]
    fn tell(&self, answered: &Answered<'_>) {
        let Some(unsaid) = self.lines.passes() else {
            return;
        };
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let (client, phases) = (answered.client, answered.phases);
        let software = client.software();
        warn!(
            api = answered.key.name(),
            client_id = client.client_id(),
            software = software.map(|software| software.name.as_str()),
            software_version = software.map(|software| software.version.as_str()),
            peer = %client.peer,
            connection = client.id,
            local_ms = ms(phases.local),
            queue_ms = ms(phases.queue),
            wait_ms = ms(phases.wait),
            respond_ms = ms(phases.respond),
            total_ms = ms(phases.total),
            wished_ms = ms(answered.wished),
            request_bytes = answered.request_bytes,
            response_bytes = answered.response_bytes,
            unsaid,
            "slow request"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logging::LogLines;

    /// Phases of so many ms: local, queue, wait, respond.
    fn phases([local, queue, wait, respond]: [u64; 4]) -> Phases {
        Phases {
            local: Duration::from_millis(local),
            queue: Duration::from_millis(queue),
            wait: Duration::from_millis(wait),
            respond: Duration::from_millis(respond),
            total: Duration::from_millis(local + queue + wait + respond),
        }
    }

    /// What is written of a request that took this long.
    fn told(slow: &SlowRequests, key: ApiKey, ms: [u64; 4], wished: u64, gathered: bool) -> String {
        let (lines, _guard) = LogLines::of_this_thread();
        let client = Client::new(7, ([10, 0, 0, 1], 5).into(), 0);
        client.is_software("librdkafka", "2.0.2");
        slow.look(&Answered {
            key,
            client: &client,
            phases: phases(ms),
            wished: Duration::from_millis(wished),
            gathered,
            request_bytes: 300,
            response_bytes: 40,
        });
        let (last, _) = lines.follow();
        last.first()
            .map_or(String::new(), |line| line.message.clone())
    }

    #[test]
    fn a_slow_request_is_told_with_who_sent_it_and_where_its_time_went() {
        let slow = SlowRequests::new(100);
        let line = told(&slow, ApiKey::Produce, [10, 5, 80, 10], 0, false);
        for word in [
            "slow request api=\"Produce\" software=\"librdkafka\" software_version=\"2.0.2\"",
            "peer=10.0.0.1:5 connection=7 local_ms=10 queue_ms=5 wait_ms=80 respond_ms=10 total_ms=105",
            "request_bytes=300 response_bytes=40 unsaid=0",
        ] {
            assert!(line.contains(word), "{word}: {line}");
        }
        assert_eq!(told(&slow, ApiKey::Produce, [10, 5, 79, 10], 0, false), "");
    }

    #[test]
    fn what_waits_by_its_own_wish_or_for_others_is_not_slow() {
        let slow = SlowRequests::new(100);
        for (key, ms, wished, gathered) in [
            (ApiKey::Fetch, [1, 0, 5_000, 1], 4_950, false),
            (ApiKey::Metadata, [1, 60_000, 1, 1], 0, false),
            (ApiKey::JoinGroup, [1, 0, 60_000, 1], 0, false),
            (ApiKey::SyncGroup, [1, 0, 60_000, 1], 0, false),
            (ApiKey::Produce, [99, 0, 500, 500], 0, true),
        ] {
            assert_eq!(told(&slow, key, ms, wished, gathered), "", "{key:?}");
        }
        for (key, ms, wished, gathered) in [
            (ApiKey::Fetch, [1, 0, 5_000, 1], 4_900, false),
            (ApiKey::Fetch, [1, 0, 4_950, 99], 4_950, false),
            (ApiKey::JoinGroup, [1, 0, 0, 99], 0, false),
            (ApiKey::Produce, [100, 0, 0, 0], 0, true),
        ] {
            assert_ne!(told(&slow, key, ms, wished, gathered), "", "{key:?}");
        }
    }

    #[test]
    fn it_can_be_switched_off_and_many_do_not_fill_the_log() {
        let slow = SlowRequests::new(0);
        let long = [60_000, 0, 0, 0];
        assert_eq!(told(&slow, ApiKey::Produce, long, 0, false), "");
        slow.begin_at(60_000);
        let mut lines = (0..100).map(|_| told(&slow, ApiKey::Produce, long, 0, false));
        assert!(lines.by_ref().take(2).all(|line| !line.is_empty()));
        assert!(lines.any(|line| line.is_empty()));
        slow.begin_at(-1);
        assert_eq!(told(&slow, ApiKey::Produce, long, 0, false), "");
    }
}
