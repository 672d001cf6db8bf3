//! What is counted of every request.
//!
//! Counters lie in stripes, and a connection keeps to one: threads that serve different connections seldom
//! write to the same cache line. A scrape adds the stripes up.

use std::array;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tidewheel_config::limits;
use tidewheel_protocol::{ApiKey, ErrorCode};

use super::exposition::Exposition;
use super::families as family;
use super::histogram::{Buckets, Counts, Histogram, SIZES, TIMES};
use crate::api;

/// More than the highest version of any API.
const VERSIONS: usize = 24;

/// The phases of a request, in their order, and all of them together.
const PHASES: [&str; 5] = ["local", "queue", "wait", "respond", "total"];

/// What is counted of one API's requests.
#[derive(Debug)]
struct OneApi {
    /// Answered without an error, by version.
    answered: [AtomicU64; VERSIONS],
    in_flight: AtomicU64,
    phases: [Histogram; PHASES.len()],
    request_bytes: Histogram,
    response_bytes: Histogram,
}

impl OneApi {
    fn new() -> Self {
        Self {
            answered: array::from_fn(|_| AtomicU64::new(0)),
            in_flight: AtomicU64::new(0),
            phases: array::from_fn(|_| Histogram::new(&TIMES)),
            request_bytes: Histogram::new(&SIZES),
            response_bytes: Histogram::new(&SIZES),
        }
    }
}

/// What some connections count. As far from the next as processors fetch lines ahead.
#[derive(Debug)]
#[repr(align(128))]
struct Stripe {
    /// In the order of the table of APIs.
    apis: Vec<OneApi>,
    appends: Histogram,
}

/// What is counted of requests.
#[derive(Debug)]
pub(super) struct Requests {
    stripes: Vec<Arc<Stripe>>,
    /// The stripe of the next connection.
    next: AtomicUsize,
    /// Answered with an error, by API, version and code: seldom, and no more than there are of these.
    errors: Mutex<BTreeMap<(usize, i16, i16), u64>>,
}

impl Default for Requests {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let stripe = |_| {
            Arc::new(Stripe {
                apis: api::APIS.iter().map(|_| OneApi::new()).collect(),
                appends: Histogram::new(&TIMES),
            })
        };
        Self {
            stripes: (0..processors.min(limits::METRICS_STRIPES_MAX))
                .map(stripe)
                .collect(),
            next: AtomicUsize::new(0),
            errors: Mutex::default(),
        }
    }
}

/// Where one connection counts its requests.
#[derive(Clone, Debug)]
pub(crate) struct Meter {
    requests: Arc<Requests>,
    stripe: Arc<Stripe>,
}

impl Meter {
    pub(super) fn new(requests: &Arc<Requests>) -> Self {
        let next = requests.next.fetch_add(1, Ordering::Relaxed);
        // There is one for each processor.
        let stripe = &requests.stripes[next % requests.stripes.len()];
        Self {
            stripe: Arc::clone(stripe),
            requests: Arc::clone(requests),
        }
    }

    /// A request has been answered, with this as its first error, or none.
    pub(crate) fn answered(&self, key: ApiKey, version: i16, error: i16) {
        let Some(api) = api::place(key.code()) else {
            return;
        };
        let known = usize::try_from(version).ok().filter(|at| *at < VERSIONS);
        if error == 0
            && let (Some(one), Some(version)) = (self.stripe.apis.get(api), known)
        {
            if let Some(count) = one.answered.get(version) {
                count.fetch_add(1, Ordering::Relaxed);
            }
            return;
        }
        // A client may name any version; those that cannot be are one.
        let version = known.map_or(-1, |_| version);
        *self
            .requests
            .errors()
            .entry((api, version, error))
            .or_default() += 1;
    }

    /// A batch was checked and written, or refused, in this time.
    pub(crate) fn appended(&self, time: Duration) {
        self.stripe.appends.observe_time(time);
    }

    /// A request of so many bytes has been read at `arrived`; `None` for an API that there is not.
    pub(crate) fn begin(&self, key: i16, bytes: usize, arrived: Instant) -> Option<RequestTimer> {
        let api = api::place(key)?;
        let one = self.stripe.apis.get(api)?;
        one.in_flight.fetch_add(1, Ordering::Relaxed);
        one.request_bytes.observe(bytes as u64);
        Some(RequestTimer {
            stripe: Arc::clone(&self.stripe),
            api,
            bytes,
            arrived,
            begun: arrived,
        })
    }
}

/// The moments of one request's way out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Left {
    /// Its turn to be answered came.
    pub(crate) turn: Instant,
    /// The answer was made.
    pub(crate) answered: Instant,
    /// The answer had left.
    pub(crate) written: Instant,
    /// Bytes of the answer.
    pub(crate) bytes: usize,
}

/// How long the phases of a request took, and all of them together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Phases {
    pub(crate) local: Duration,
    pub(crate) queue: Duration,
    pub(crate) wait: Duration,
    pub(crate) respond: Duration,
    pub(crate) total: Duration,
}

/// A request under way. It is in flight until this is dropped.
#[derive(Debug)]
pub(crate) struct RequestTimer {
    stripe: Arc<Stripe>,
    api: usize,
    bytes: usize,
    arrived: Instant,
    begun: Instant,
}

impl RequestTimer {
    /// Its first stage is over: its place in the order of appends is fixed.
    pub(crate) fn begun(&mut self, now: Instant) {
        self.begun = now;
    }

    /// The API that was asked for.
    pub(crate) fn key(&self) -> Option<ApiKey> {
        api::APIS.get(self.api).map(|row| row.key)
    }

    /// Its bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Its answer has left.
    pub(crate) fn finish(&self, left: Left) -> Phases {
        // Of what leaves with others the moments are those of the first: it may have been begun since.
        let turn = left.turn.max(self.begun);
        let answered = left.answered.max(turn);
        let written = left.written.max(answered);
        let phases = Phases {
            local: self.begun.saturating_duration_since(self.arrived),
            queue: turn.saturating_duration_since(self.begun),
            wait: answered.saturating_duration_since(turn),
            respond: written.saturating_duration_since(answered),
            total: written.saturating_duration_since(self.arrived),
        };
        if let Some(one) = self.stripe.apis.get(self.api) {
            let times = [
                phases.local,
                phases.queue,
                phases.wait,
                phases.respond,
                phases.total,
            ];
            for (histogram, time) in one.phases.iter().zip(times) {
                histogram.observe_time(time);
            }
            one.response_bytes.observe(left.bytes as u64);
        }
        phases
    }
}

impl Drop for RequestTimer {
    fn drop(&mut self) {
        if let Some(one) = self.stripe.apis.get(self.api) {
            one.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Requests {
    fn errors(&self) -> std::sync::MutexGuard<'_, BTreeMap<(usize, i16, i16), u64>> {
        // Nothing panics while it is held.
        self.errors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same API in all stripes.
    fn all(&self, api: usize) -> impl Iterator<Item = &OneApi> {
        self.stripes
            .iter()
            .filter_map(move |stripe| stripe.apis.get(api))
    }

    /// Requests that were answered, those of them that were answered with an error, and those under way.
    pub(super) fn totals(&self) -> [u64; 3] {
        let errors: u64 = self.errors().values().sum();
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let all = || self.stripes.iter().flat_map(|stripe| &stripe.apis);
        let answered = all().flat_map(|one| one.answered.iter().map(load));
        let answered: u64 = answered.sum();
        let in_flight = all().map(|one| load(&one.in_flight)).sum();
        [answered + errors, errors, in_flight]
    }

    /// Tells of all APIs that were ever asked for.
    pub(super) fn expose(&self, out: &mut Exposition) {
        self.expose_answers(out);
        let names = || {
            let named = api::APIS.iter().enumerate();
            named.map(|(api, row)| (api, row.key.name()))
        };
        let mut samples = out.family(&family::REQUEST_SECONDS);
        for (api, name) in names() {
            for (at, phase) in PHASES.iter().enumerate() {
                let counts = self.sum(api, &TIMES, |one| one.phases.get(at));
                if !counts.is_empty() {
                    samples.add_histogram(&[name, phase], &counts);
                }
            }
        }
        type Sizes = fn(&OneApi) -> Option<&Histogram>;
        let sizes: [(_, Sizes); 2] = [
            (&family::REQUEST_BYTES, |one| Some(&one.request_bytes)),
            (&family::RESPONSE_BYTES, |one| Some(&one.response_bytes)),
        ];
        for (family, of) in sizes {
            let mut samples = out.family(family);
            for (api, name) in names() {
                let counts = self.sum(api, &SIZES, of);
                if !counts.is_empty() {
                    samples.add_histogram(&[name], &counts);
                }
            }
        }
        let mut samples = out.family(&family::IN_FLIGHT);
        for (api, name) in names() {
            let in_flight = self
                .all(api)
                .map(|one| one.in_flight.load(Ordering::Relaxed));
            if !self
                .sum(api, &SIZES, |one| Some(&one.request_bytes))
                .is_empty()
            {
                samples.add(&[name], in_flight.sum::<u64>());
            }
        }
    }

    fn expose_answers(&self, out: &mut Exposition) {
        let mut samples = out.family(&family::REQUESTS);
        for (api, row) in api::APIS.iter().enumerate() {
            for version in 0..VERSIONS {
                let counts = self.all(api).filter_map(|one| one.answered.get(version));
                let count: u64 = counts.map(|count| count.load(Ordering::Relaxed)).sum();
                if count > 0 {
                    let labels = [row.key.name(), &version.to_string(), ErrorCode::None.name()];
                    samples.add(&labels, count);
                }
            }
        }
        for ((api, version, error), count) in &*self.errors() {
            if let Some(row) = api::APIS.get(*api) {
                let version = match version {
                    -1 => "unknown".to_owned(),
                    version => version.to_string(),
                };
                samples.add(&[row.key.name(), &version, error_name(*error)], *count);
            }
        }
    }

    pub(super) fn expose_appends(&self, out: &mut Exposition) {
        let mut counts = Counts::new(&TIMES);
        for stripe in &self.stripes {
            counts.add(&stripe.appends);
        }
        out.family(&family::APPEND_SECONDS)
            .add_histogram(&[], &counts);
    }

    /// How long the requests of an API took, all phases together.
    pub(super) fn total_times(&self, key: ApiKey) -> Buckets {
        let counts =
            api::place(key.code()).map(|api| self.sum(api, &TIMES, |one| one.phases.last()));
        counts.map_or_else(Buckets::default, |counts| counts.raw())
    }

    fn sum<'a>(
        &'a self,
        api: usize,
        scale: &'static super::histogram::Scale,
        of: impl Fn(&'a OneApi) -> Option<&'a Histogram>,
    ) -> Counts {
        let mut counts = Counts::new(scale);
        for histogram in self.all(api).filter_map(of) {
            counts.add(histogram);
        }
        counts
    }
}

/// Kafka's name of a code.
pub(super) fn error_name(code: i16) -> &'static str {
    ErrorCode::from_code(code).map_or("UNKNOWN", ErrorCode::name)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::exposition::MetricsFormat;
    use super::*;
    use crate::clock;

    fn exposed(requests: &Requests) -> String {
        let mut out = Exposition::new(MetricsFormat::Classic);
        requests.expose(&mut out);
        out.finish()
    }

    #[test]
    fn every_version_that_is_served_has_its_counter() {
        for row in api::APIS {
            assert!(usize::try_from(*row.advertised.end()).unwrap() < VERSIONS);
        }
    }

    #[test]
    fn a_request_is_in_flight_until_it_is_dropped_and_its_phases_add_up() {
        let requests = Arc::new(Requests::default());
        let meter = Meter::new(&requests);
        let arrived = clock::instant();
        let after = |ms| arrived + Duration::from_millis(ms);
        let mut timer = meter.begin(ApiKey::Produce.code(), 300, arrived).unwrap();
        let text = exposed(&requests);
        assert!(
            text.contains("tidewheel_requests_in_flight{api=\"Produce\"} 1\n"),
            "{text}"
        );
        assert!(
            !text.contains("Fetch"),
            "what was never asked for is not told: {text}"
        );
        timer.begun(after(1));
        timer.finish(Left {
            turn: after(3),
            answered: after(7),
            written: after(8),
            bytes: 40,
        });
        drop(timer);
        let text = exposed(&requests);
        for line in [
            "tidewheel_requests_in_flight{api=\"Produce\"} 0\n",
            "tidewheel_request_duration_seconds_sum{api=\"Produce\",phase=\"local\"} 0.001\n",
            "tidewheel_request_duration_seconds_sum{api=\"Produce\",phase=\"queue\"} 0.002\n",
            "tidewheel_request_duration_seconds_sum{api=\"Produce\",phase=\"wait\"} 0.004\n",
            "tidewheel_request_duration_seconds_sum{api=\"Produce\",phase=\"respond\"} 0.001\n",
            "tidewheel_request_duration_seconds_sum{api=\"Produce\",phase=\"total\"} 0.008\n",
            "tidewheel_request_size_bytes_sum{api=\"Produce\"} 300\n",
            "tidewheel_response_size_bytes_sum{api=\"Produce\"} 40\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
        assert!(meter.begin(i16::MAX, 1, arrived).is_none());
        // It left with one whose turn had come, and whose answer was made, before it was begun.
        let mut late = meter.begin(ApiKey::Fetch.code(), 1, after(4)).unwrap();
        late.begun(after(6));
        late.finish(Left {
            turn: after(0),
            answered: after(5),
            written: after(9),
            bytes: 1,
        });
        let text = exposed(&requests);
        for (phase, seconds) in [
            ("local", "0.002"),
            ("queue", "0"),
            ("wait", "0"),
            ("respond", "0.003"),
            ("total", "0.005"),
        ] {
            let line = format!(
                "tidewheel_request_duration_seconds_sum{{api=\"Fetch\",phase=\"{phase}\"}} {seconds}\n"
            );
            assert!(text.contains(&line), "{line}{text}");
        }
    }

    #[test]
    fn answers_are_counted_by_version_and_error_and_inventions_do_not_add_series() {
        let requests = Arc::new(Requests::default());
        for at in 0..100 {
            // Of connections in all stripes.
            let meter = Meter::new(&requests);
            meter.answered(ApiKey::Metadata, 12, 0);
            meter.answered(ApiKey::Metadata, 12, 3);
            meter.answered(ApiKey::ApiVersions, 1_000 + at, 35);
        }
        let text = exposed(&requests);
        for line in [
            "{api=\"Metadata\",version=\"12\",error=\"NONE\"} 100\n",
            "{api=\"Metadata\",version=\"12\",error=\"UNKNOWN_TOPIC_OR_PARTITION\"} 100\n",
            "{api=\"ApiVersions\",version=\"unknown\",error=\"UNSUPPORTED_VERSION\"} 100\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        assert_eq!(samples.count(), 3);
    }
}
