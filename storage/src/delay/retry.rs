//! Retry topics: a consumer produces a record it could not handle to `T.retry`; the broker counts the attempt,
//! delays it, and delivers it to `T`, or to `T.dlq` when it was tried too often.
//!
//! The attempt is counted in the header `delay-attempt`, which the broker writes: 1 on the first delivery from
//! the retry topic. The pauses grow by a factor up to a limit; with jitter a pause is between half of that and
//! all of it.

use bytes::Bytes;
use tidewheel_config::RetryConfig;
use tidewheel_protocol::RecordHeader;

use super::dead_letter::{ATTEMPTS, Origin, header};

/// The header that counts attempts.
pub const ATTEMPT_HEADER: &str = "delay-attempt";

/// What becomes of a record of a retry topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RetryPlan {
    /// Deliver it to the target.
    Again {
        /// After this pause, in ms.
        pause_ms: u64,
        /// With these headers.
        headers: Vec<RecordHeader>,
    },
    /// Append it to the dead-letter topic now, with these headers.
    DeadLetter {
        /// Those it came with, and where it came from.
        headers: Vec<RecordHeader>,
    },
}

/// Decides about a record with these headers and this timestamp, ms since 1970, that will go to this partition of
/// the target. An attempt count that cannot be read counts as none; `chance` is any number.
#[must_use]
pub fn plan(
    config: &RetryConfig,
    headers: &[RecordHeader],
    (timestamp_ms, partition): (i64, i32),
    chance: u64,
) -> RetryPlan {
    let attempt = attempt_of(headers).saturating_add(1);
    let others = headers
        .iter()
        .filter(|header| header.key.as_ref() != ATTEMPT_HEADER.as_bytes());
    let mut headers: Vec<RecordHeader> = others.cloned().collect();
    if attempt <= config.attempts_max {
        headers.push(header(ATTEMPT_HEADER, attempt.to_string()));
        let pause_ms = config.backoff.pause_ms(attempt, chance);
        return RetryPlan::Again { pause_ms, headers };
    }
    headers.push(header(ATTEMPT_HEADER, (attempt - 1).to_string()));
    let origin = Origin {
        topic: &config.target,
        partition,
        timestamp_ms,
    };
    let headers = origin.headers(headers, ATTEMPTS);
    RetryPlan::DeadLetter { headers }
}

/// How often a record was tried, by its last header that says so.
fn attempt_of(headers: &[RecordHeader]) -> u32 {
    let last = headers
        .iter()
        .rfind(|header| header.key.as_ref() == ATTEMPT_HEADER.as_bytes());
    let digits = |value: &&Bytes| !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    last.and_then(|header| header.value.as_ref())
        .filter(digits)
        .and_then(|value| std::str::from_utf8(value).ok())
        .and_then(|text| text.parse().ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use tidewheel_config::RetryBackoff;

    use super::*;

    #[test]
    fn attempts_are_counted_up_to_the_dead_letter_topic() {
        let config = RetryConfig {
            target: "orders".to_owned(),
            backoff: RetryBackoff::parse("10,3x").unwrap(),
            attempts_max: 2,
        };
        let mut headers = vec![header("trace", "7".to_owned())];
        for expected in [10, 30] {
            let RetryPlan::Again {
                pause_ms,
                headers: next,
            } = plan(&config, &headers, (5, 3), 0)
            else {
                panic!("there are attempts left");
            };
            assert_eq!(pause_ms, expected);
            headers = next;
        }
        let RetryPlan::DeadLetter { headers } = plan(&config, &headers, (5, 3), 0) else {
            panic!("it was tried twice");
        };
        let text: Vec<_> = headers
            .iter()
            .map(|header| {
                let value = header.value.clone().unwrap();
                (
                    header.key.clone(),
                    String::from_utf8(value.to_vec()).unwrap(),
                )
            })
            .collect();
        let expected = [
            ("trace", "7"),
            (ATTEMPT_HEADER, "2"),
            ("delay-origin-topic", "orders"),
            ("delay-origin-partition", "3"),
            ("delay-origin-timestamp", "5"),
            ("delay-reason", "attempts"),
        ];
        let expected = expected.map(|(key, value)| (Bytes::from(key), value.to_owned()));
        assert_eq!(text, expected);
        assert_eq!(config.dead_letter_topic(), "orders.dlq");
    }

    #[test]
    fn a_count_that_is_no_number_counts_as_none() {
        for wrong in ["", "x", "-1", "+1", "99999999999"] {
            assert_eq!(attempt_of(&[header(ATTEMPT_HEADER, wrong.to_owned())]), 0);
        }
        let twice = ["9", "1"].map(|count| header(ATTEMPT_HEADER, count.to_owned()));
        assert_eq!(attempt_of(&twice), 1);
    }
}
