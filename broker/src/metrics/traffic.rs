//! What is counted of topics.
//!
//! Topics have series of their own while their names together are short enough; what others do is counted
//! in one that stands for all of them, so that the sums are right and no client makes a scrape grow without
//! bound. A topic has its series from its creation, or the start, to its end.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tidewheel_config::limits;

use super::exposition::{Exposition, Samples};
use super::families::{self as family, Family};
use super::requests::error_name;

/// The topic in the labels of those without series of their own. No topic can be called that.
pub(super) const OTHERS: &str = "<others>";

/// Which way an error went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Produce,
    Fetch,
}

/// What is counted of one topic, or of those without series of their own.
#[derive(Debug)]
pub(crate) struct TopicTraffic {
    records_in: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: Apart,
    errors: Mutex<BTreeMap<(Way, i16), u64>>,
    shared: Arc<Shared>,
    /// What it takes of the room for names.
    room: usize,
}

/// A counter that those who write to others do not slow down: as far from them as processors fetch lines ahead.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Apart(AtomicU64);

/// What all topics have in common.
#[derive(Debug, Default)]
struct Shared {
    /// How many pairs of topic and error have series of their own.
    error_series: AtomicUsize,
    /// The room that names take.
    taken: AtomicUsize,
    /// Errors of pairs that have none.
    other_errors: Mutex<BTreeMap<(Way, i16), u64>>,
    /// What was counted of topics that are gone.
    gone: [AtomicU64; 3],
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while one is held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl TopicTraffic {
    fn new(shared: &Arc<Shared>, room: usize) -> Self {
        shared.taken.fetch_add(room, Ordering::Relaxed);
        Self {
            records_in: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: Apart::default(),
            errors: Mutex::default(),
            shared: Arc::clone(shared),
            room,
        }
    }

    /// A batch of a producer was appended.
    pub(crate) fn appended(&self, records: i32, bytes: usize) {
        let records = u64::try_from(records).unwrap_or(0);
        self.records_in.fetch_add(records, Ordering::Relaxed);
        self.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// So many bytes of batches go to a consumer.
    pub(crate) fn fetched(&self, bytes: usize) {
        if bytes > 0 {
            self.bytes_out.0.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }

    /// A batch was refused, or its outcome was an error.
    pub(crate) fn produce_failed(&self, code: i16) {
        self.failed(Way::Produce, code);
    }

    /// A partition was answered with an error.
    pub(crate) fn fetch_failed(&self, code: i16) {
        self.failed(Way::Fetch, code);
    }

    /// Records in, bytes in and bytes out.
    fn counts(&self) -> [u64; 3] {
        let counts = [&self.records_in, &self.bytes_in, &self.bytes_out.0];
        counts.map(|count| count.load(Ordering::Relaxed))
    }

    fn failed(&self, way: Way, code: i16) {
        let mut errors = lock(&self.errors);
        if let Some(count) = errors.get_mut(&(way, code)) {
            *count += 1;
            return;
        }
        // Two at once may both find room for one.
        if self.shared.error_series.load(Ordering::Relaxed) < limits::METRICS_ERROR_SERIES_MAX {
            self.shared.error_series.fetch_add(1, Ordering::Relaxed);
            errors.insert((way, code), 1);
        } else {
            *lock(&self.shared.other_errors)
                .entry((way, code))
                .or_default() += 1;
        }
    }
}

impl Drop for TopicTraffic {
    fn drop(&mut self) {
        let series = lock(&self.errors).len();
        self.shared
            .error_series
            .fetch_sub(series, Ordering::Relaxed);
        self.shared.taken.fetch_sub(self.room, Ordering::Relaxed);
        for (gone, count) in self.shared.gone.iter().zip(self.counts()) {
            gone.fetch_add(count, Ordering::Relaxed);
        }
    }
}

/// The topics that are counted.
#[derive(Debug)]
pub(crate) struct Traffic {
    known: Mutex<HashMap<Arc<str>, Weak<TopicTraffic>>>,
    shared: Arc<Shared>,
    others: Arc<TopicTraffic>,
}

impl Default for Traffic {
    fn default() -> Self {
        let shared = Arc::new(Shared::default());
        Self {
            known: Mutex::default(),
            others: Arc::new(TopicTraffic::new(&shared, 0)),
            shared,
        }
    }
}

impl Traffic {
    /// Where a topic is counted: the same for all who ask while one of them keeps it.
    pub(crate) fn of(&self, topic: &Arc<str>) -> Arc<TopicTraffic> {
        let mut known = lock(&self.known);
        if let Some(traffic) = known.get(topic).and_then(Weak::upgrade) {
            return traffic;
        }
        let room = topic.len() + limits::METRICS_SERIES_BYTES;
        if self.shared.taken.load(Ordering::Relaxed) + room > limits::METRICS_TOPICS_BYTES {
            return Arc::clone(&self.others);
        }
        // Those of topics that are gone go with the next that comes.
        known.retain(|_, traffic| traffic.strong_count() > 0);
        let traffic = Arc::new(TopicTraffic::new(&self.shared, room));
        known.insert(Arc::clone(topic), Arc::downgrade(&traffic));
        traffic
    }

    /// Records in, bytes in and bytes out of all topics since the start, those that are gone included.
    pub(super) fn totals(&self) -> [u64; 3] {
        let known = lock(&self.known).values().cloned().collect::<Vec<_>>();
        // Held until those that are gone are counted, so that none is counted twice.
        let known: Vec<_> = known.iter().filter_map(Weak::upgrade).collect();
        let gone = self.shared.gone.each_ref();
        let mut totals = gone.map(|count| count.load(Ordering::Relaxed));
        for counts in known.iter().chain([&self.others]).map(|one| one.counts()) {
            for (total, count) in totals.iter_mut().zip(counts) {
                *total += count;
            }
        }
        totals
    }

    /// Whether it stands for topics without series of their own.
    pub(super) fn is_others(&self, traffic: &Arc<TopicTraffic>) -> bool {
        Arc::ptr_eq(traffic, &self.others)
    }

    /// Tells of these topics, and of those without series of their own together.
    pub(super) fn expose(&self, topics: &[(&str, &Arc<TopicTraffic>)], out: &mut Exposition) {
        type Count = fn(&TopicTraffic) -> &AtomicU64;
        let counts: [(&'static Family, Count); 3] = [
            (&family::TOPIC_RECORDS_IN, |topic| &topic.records_in),
            (&family::TOPIC_BYTES_IN, |topic| &topic.bytes_in),
            (&family::TOPIC_BYTES_OUT, |topic| &topic.bytes_out.0),
        ];
        let own = || {
            topics
                .iter()
                .filter(|(_, traffic)| !self.is_others(traffic))
        };
        for (family, count) in counts {
            let mut samples = out.family(family);
            for (name, traffic) in own() {
                samples.add(&[name], count(traffic).load(Ordering::Relaxed));
            }
            let others = count(&self.others).load(Ordering::Relaxed);
            if others > 0 {
                samples.add(&[OTHERS], others);
            }
        }
        for (way, family) in [
            (Way::Produce, &family::TOPIC_PRODUCE_ERRORS),
            (Way::Fetch, &family::TOPIC_FETCH_ERRORS),
        ] {
            let mut samples = out.family(family);
            for (name, traffic) in own() {
                expose_errors(name, way, &lock(&traffic.errors), &mut samples);
            }
            let mut others = lock(&self.others.errors).clone();
            for (error, count) in &*lock(&self.shared.other_errors) {
                *others.entry(*error).or_default() += count;
            }
            expose_errors(OTHERS, way, &others, &mut samples);
        }
    }
}

fn expose_errors(
    topic: &str,
    way: Way,
    errors: &BTreeMap<(Way, i16), u64>,
    samples: &mut Samples<'_>,
) {
    for ((_, code), count) in errors.range((way, i16::MIN)..=(way, i16::MAX)) {
        samples.add(&[topic, error_name(*code)], *count);
    }
}

#[cfg(test)]
mod tests {
    use super::super::exposition::MetricsFormat;
    use super::*;

    fn exposed(traffic: &Traffic, topics: &[(&str, &Arc<TopicTraffic>)]) -> String {
        let mut out = Exposition::new(MetricsFormat::Classic);
        traffic.expose(topics, &mut out);
        out.finish()
    }

    #[test]
    fn a_topic_is_counted_in_one_place_while_it_is_there() {
        let traffic = Traffic::default();
        let name: Arc<str> = "orders".into();
        let orders = traffic.of(&name);
        traffic.of(&name).appended(3, 700);
        orders.appended(-1, 5);
        orders.fetched(20);
        orders.produce_failed(87);
        orders.fetch_failed(1);
        let text = exposed(&traffic, &[("orders", &orders)]);
        for line in [
            "tidewheel_topic_records_in_total{topic=\"orders\"} 3\n",
            "tidewheel_topic_bytes_in_total{topic=\"orders\"} 705\n",
            "tidewheel_topic_bytes_out_total{topic=\"orders\"} 20\n",
            "tidewheel_topic_produce_errors_total{topic=\"orders\",error=\"INVALID_RECORD\"} 1\n",
            "tidewheel_topic_fetch_errors_total{topic=\"orders\",error=\"OFFSET_OUT_OF_RANGE\"} 1\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
        assert!(!text.contains(OTHERS), "{text}");
        assert_eq!(traffic.totals(), [3, 705, 20]);
        drop(orders);
        let again = traffic.of(&name);
        assert_eq!(again.bytes_in.load(Ordering::Relaxed), 0);
        again.appended(1, 5);
        assert_eq!(traffic.totals(), [4, 710, 20], "what is gone was there");
    }

    #[test]
    fn names_that_are_too_many_share_a_series_until_there_is_room() {
        let traffic = Traffic::default();
        let name = |at: usize| -> Arc<str> { format!("{at:0100}").into() };
        let mut own: Vec<_> = (0..limits::METRICS_TOPICS_BYTES)
            .map(|at| traffic.of(&name(at)))
            .take_while(|topic| !traffic.is_others(topic))
            .collect();
        let most = limits::METRICS_TOPICS_BYTES / (100 + limits::METRICS_SERIES_BYTES);
        assert_eq!(own.len(), most);
        let late: Arc<str> = "late".repeat(25).into();
        let shared = traffic.of(&late);
        shared.appended(1, 10);
        shared.fetch_failed(6);
        let text = exposed(&traffic, &[(&*late, &shared)]);
        assert!(
            text.contains("tidewheel_topic_bytes_in_total{topic=\"<others>\"} 10\n"),
            "{text}"
        );
        assert!(
            text.contains("{topic=\"<others>\",error=\"NOT_LEADER_OR_FOLLOWER\"} 1\n"),
            "{text}"
        );
        assert!(!text.contains("latelate"), "{text}");
        drop(own.pop());
        assert!(
            !traffic.is_others(&traffic.of(&late)),
            "room for its successor"
        );
    }

    #[test]
    fn errors_of_many_topics_have_a_bounded_number_of_series() {
        let traffic = Traffic::default();
        let topics: Vec<_> = (0..limits::METRICS_ERROR_SERIES_MAX + 10)
            .map(|at| (at.to_string(), traffic.of(&at.to_string().into())))
            .collect();
        topics.iter().for_each(|(_, topic)| topic.produce_failed(2));
        topics.iter().for_each(|(_, topic)| topic.produce_failed(2));
        let pairs: Vec<_> = topics
            .iter()
            .map(|(name, topic)| (name.as_str(), topic))
            .collect();
        let text = exposed(&traffic, &pairs);
        let errors = text.lines().filter(|line| line.contains("error="));
        assert_eq!(errors.count(), limits::METRICS_ERROR_SERIES_MAX + 1);
        let others = "{topic=\"<others>\",error=\"CORRUPT_MESSAGE\"} 20\n";
        assert!(text.contains(others), "{text}");
    }
}
