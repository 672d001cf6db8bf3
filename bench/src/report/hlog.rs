//! The log of intervals that HdrHistogram's log tools read: one tagged histogram per kind and second.

use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use crate::clock::wall_ms;
use crate::recorder::{Interval, Series};

/// By how much tools divide values, so that nanoseconds show as milliseconds.
const MS: f64 = 1e6;
/// Bytes of a log, at most: a day of seconds. What comes later is left out.
const LOG_BYTES_MAX: usize = 512 * 1024 * 1024;

/// A log in memory.
pub(crate) struct IntervalLog {
    bytes: Vec<u8>,
    serializer: V2DeflateSerializer,
    began: bool,
}

impl IntervalLog {
    pub(crate) fn new() -> Self {
        Self {
            bytes: Vec::new(),
            serializer: V2DeflateSerializer::new(),
            began: false,
        }
    }

    /// Adds an interval that began `start` nanoseconds after the load and took `length`.
    pub(crate) fn write(&mut self, interval: &Interval, start: u64, length: u64) {
        if self.bytes.len() > LOG_BYTES_MAX {
            return;
        }
        let mut builder = IntervalLogWriterBuilder::new();
        if !self.began {
            self.began = true;
            let millis = u64::try_from(wall_ms()).unwrap_or_default();
            let began =
                Duration::from_millis(millis).saturating_sub(Duration::from_nanos(start + length));
            let began = SystemTime::UNIX_EPOCH + began;
            builder
                .add_comment("latencies in nanoseconds; the tags are the kinds of the report")
                .with_start_time(began)
                .with_base_time(began)
                .with_max_value_divisor(MS);
        }
        // Writing into memory cannot fail.
        let Ok(mut log) = builder.begin_log_with(&mut self.bytes, &mut self.serializer) else {
            return;
        };
        for series in Series::ALL {
            let histogram = interval.series(series);
            let Some(tag) = Tag::new(series.name()).filter(|_| !histogram.is_empty()) else {
                continue;
            };
            let (start, length) = (Duration::from_nanos(start), Duration::from_nanos(length));
            if log
                .write_histogram(histogram, start, length, Some(tag))
                .is_err()
            {
                return;
            }
        }
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    #[test]
    fn the_log_is_read_back_by_the_histogram_librarys_own_reader() {
        let mut log = IntervalLog::new();
        for second in 0..3_u64 {
            let mut interval = Interval::default();
            interval.record(Series::Response, (second + 1) * 1_000_000, 10 + second);
            interval.record(Series::EndToEnd, 5_000_000, 1);
            log.write(&interval, second * 1_000_000_000, 1_000_000_000);
        }
        let bytes = log.finish();
        let mut read = Vec::new();
        let mut headers = 0;
        for entry in IntervalLogIterator::new(&bytes) {
            match entry.unwrap() {
                LogEntry::Interval(interval) => {
                    let encoded = interval.encoded_histogram();
                    let raw = {
                        use base64_of_tests::decode;
                        decode(encoded)
                    };
                    let histogram: Histogram<u64> = Deserializer::new()
                        .deserialize(&mut raw.as_slice())
                        .unwrap();
                    let tag = interval.tag().unwrap().as_str().to_owned();
                    read.push((tag, interval.start_timestamp().as_secs(), histogram.len()));
                }
                LogEntry::BaseTime(_) | LogEntry::StartTime(_) => headers += 1,
            }
        }
        assert_eq!(headers, 2);
        let expected = [(0, 10), (1, 11), (2, 12)].map(|(second, count)| {
            [
                ("response".to_owned(), second, count),
                ("e2e".to_owned(), second, 1),
            ]
        });
        assert_eq!(read, expected.concat());
    }

    /// The four-to-three decoding that the log's histograms need.
    mod base64_of_tests {
        pub(super) fn decode(text: &str) -> Vec<u8> {
            let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
            let (mut bits, mut count, mut bytes) = (0_u32, 0, Vec::new());
            for c in text.chars().filter(|c| *c != '=') {
                let value = alphabet.find(c).unwrap();
                bits = bits << 6 | u32::try_from(value).unwrap();
                count += 6;
                if count >= 8 {
                    count -= 8;
                    bytes.push((bits >> count).to_le_bytes()[0]);
                }
            }
            bytes
        }
    }
}
