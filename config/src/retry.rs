//! The settings of a topic that say what becomes of records that a consumer could not handle.

/// `tidewheel.retry.backoff.ms`, as `1000,2x,max 1h,jitter`: the first pause, and optionally the factor, the longest
/// pause and whether to spread them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryBackoff {
    /// The first pause, in ms.
    pub first_ms: u64,
    /// By how much each pause is longer than the one before.
    pub factor: u32,
    /// The longest pause, in ms.
    pub max_ms: u64,
    /// Whether pauses are spread.
    pub jitter: bool,
}

impl RetryBackoff {
    /// Reads the setting. `None` where it cannot be understood.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(',').map(str::trim);
        let mut backoff = Self {
            first_ms: duration(parts.next()?)?,
            factor: 1,
            max_ms: u64::MAX,
            jitter: false,
        };
        for part in parts {
            if part == "jitter" && !backoff.jitter {
                backoff.jitter = true;
            } else if let Some(limit) = part
                .strip_prefix("max ")
                .filter(|_| backoff.max_ms == u64::MAX)
            {
                backoff.max_ms = duration(limit.trim())?;
            } else if let Some(factor) = part.strip_suffix('x').filter(|_| backoff.factor == 1) {
                backoff.factor = factor.parse().ok().filter(|factor| *factor >= 1)?;
            } else {
                return None;
            }
        }
        (backoff.first_ms <= backoff.max_ms).then_some(backoff)
    }

    /// The pause before an attempt, which count from 1, in ms. `chance` is any number.
    #[must_use]
    pub fn pause_ms(&self, attempt: u32, chance: u64) -> u64 {
        let mut pause_ms = self.first_ms.min(self.max_ms);
        if self.factor > 1 {
            for _ in 1..attempt.max(1) {
                if pause_ms >= self.max_ms || pause_ms == 0 {
                    break;
                }
                pause_ms = pause_ms.saturating_mul(self.factor.into()).min(self.max_ms);
            }
        }
        match self.jitter {
            true => pause_ms - chance % (pause_ms / 2 + 1),
            false => pause_ms,
        }
    }
}

/// A number of ms, or with one of the units `ms`, `s`, `m`, `h`, `d`.
fn duration(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_lowercase());
    let unit = match text.get(digits.len()..)? {
        "" | "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = plain.then(|| digits.parse().ok())??;
    number.checked_mul(unit)
}

/// The settings of a retry topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryConfig {
    /// `tidewheel.retry.target`: the topic to which records go after their pause.
    pub target: String,
    /// `tidewheel.retry.backoff.ms`.
    pub backoff: RetryBackoff,
    /// `tidewheel.retry.max`: attempts; the next one goes to the dead-letter topic.
    pub attempts_max: u32,
}

impl RetryConfig {
    /// The dead-letter topic.
    #[must_use]
    pub fn dead_letter_topic(&self) -> String {
        dead_letter_topic(&self.target)
    }
}

/// Where records of a topic go that nobody could handle, or that expired.
#[must_use]
pub fn dead_letter_topic(topic: &str) -> String {
    format!("{topic}.dlq")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backoff_is_read_with_its_units() {
        let backoff = RetryBackoff::parse("1000,2x,max 1h,jitter").unwrap();
        let expected = RetryBackoff {
            first_ms: 1_000,
            factor: 2,
            max_ms: 3_600_000,
            jitter: true,
        };
        assert_eq!(backoff, expected);
        assert_eq!(RetryBackoff::parse("5s").unwrap().first_ms, 5_000);
        for wrong in [
            "",
            "x",
            "1000,",
            "1000,0x",
            "1000,2x,3x",
            "2h,max 1h",
            "1000,max",
            "-1",
            "1.5s",
            "1000,jitter,jitter",
            "1000,max 1h,max 2h",
            "99999999999999999999",
            "9999999999999999d",
            "1é",
        ] {
            assert_eq!(RetryBackoff::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn pauses_grow_to_the_limit_and_jitter_stays_in_the_upper_half() {
        let mut backoff = RetryBackoff::parse("1000,2x,max 6s").unwrap();
        let pauses = [1, 2, 3, 4, 5, u32::MAX].map(|attempt| backoff.pause_ms(attempt, 9));
        assert_eq!(pauses, [1_000, 2_000, 4_000, 6_000, 6_000, 6_000]);
        backoff.jitter = true;
        for chance in [0, 1, 999, 2_000, 2_001, u64::MAX] {
            let pause = backoff.pause_ms(3, chance);
            assert!((2_000..=4_000).contains(&pause), "{pause}");
        }
        let endless = RetryBackoff::parse("1,4000000000x").unwrap();
        assert_eq!(endless.pause_ms(u32::MAX, 0), u64::MAX);
    }
}
