//! Times and durations on the command line.

use std::time::Duration;

const DAY_MS: i64 = 86_400_000;
/// What a time may look like.
const EXPECTED: &str =
    "it is no time such as 2026-12-01T09:00Z, 2026-12-01, 1796115600000 (ms since 1970) or -1h";

/// A duration such as `500ms`, `30s`, `5m`, `1.5h` or `7d`; a plain number is seconds.
///
/// # Errors
/// For anything else.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let expected = || "it is no duration such as 500ms, 30s, 5m, 2h or 7d".to_owned();
    let text = text.trim();
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds = match &text[number.len()..] {
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => return Err(expected()),
    };
    let number: f64 = number.parse().map_err(|_| expected())?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| expected())
}

/// A time in ms since 1970: RFC 3339, whose seconds may be left out, or its date alone; ten digits are seconds, more
/// are ms; `-1h` is an hour before `now_ms`.
///
/// # Errors
/// For anything else.
pub(crate) fn parse_time(text: &str, now_ms: i64) -> Result<i64, String> {
    let text = text.trim();
    if let Some(ago) = text.strip_prefix('-') {
        let ago = parse_duration(ago).map_err(|_| EXPECTED.to_owned())?;
        let ago = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
        return Ok(now_ms.saturating_sub(ago).max(0));
    }
    if let Ok(number) = text.parse::<u64>() {
        let number = i64::try_from(number).map_err(|_| EXPECTED.to_owned())?;
        let is_seconds = text.len() <= 10;
        return Ok(number * if is_seconds { 1_000 } else { 1 });
    }
    rfc3339(text).ok_or_else(|| EXPECTED.to_owned())
}

/// A time of RFC 3339 in ms since 1970.
fn rfc3339(text: &str) -> Option<i64> {
    if !text.is_ascii() {
        return None;
    }
    let (date, rest) = text.split_at_checked(10)?;
    let days = days_of(date)?;
    if rest.is_empty() {
        return Some(days * DAY_MS);
    }
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let (time, offset_min) = match rest.strip_suffix(['Z', 'z']) {
        Some(time) => (time, 0),
        None => {
            let (time, offset) = rest.split_at_checked(rest.len().checked_sub(6)?)?;
            let (sign, offset) = match offset.split_at(1) {
                ("+", offset) => (1, offset),
                ("-", offset) => (-1, offset),
                _ => return None,
            };
            let (hours, minutes) = offset.split_once(':')?;
            let offset = number(hours, 2, 0..=23)? * 60 + number(minutes, 2, 0..=59)?;
            (time, sign * offset)
        }
    };
    Some(days * DAY_MS + time_of_day(time)? - offset_min * 60_000)
}

/// `09:00`, `09:00:30` or `09:00:30.250` in ms.
fn time_of_day(text: &str) -> Option<i64> {
    let mut parts = text.splitn(3, ':');
    let hours = number(parts.next()?, 2, 0..=23)?;
    let minutes = number(parts.next()?, 2, 0..=59)?;
    let seconds = parts.next().unwrap_or("00");
    let (seconds, ms) = match seconds.split_once('.') {
        Some((seconds, fraction)) => (seconds, thousandths(fraction)?),
        None => (seconds, 0),
    };
    // 60 is a leap second.
    let seconds = number(seconds, 2, 0..=60)?;
    Some(((hours * 60 + minutes) * 60 + seconds) * 1_000 + ms)
}

/// What stands behind the point, cut to ms.
fn thousandths(text: &str) -> Option<i64> {
    let is_number = (1..=9).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let padded = format!("{text:0<3}");
    padded.get(..3).filter(|_| is_number)?.parse().ok()
}

/// `2026-12-01` in days since 1970.
fn days_of(text: &str) -> Option<i64> {
    let mut parts = text.split('-');
    let year = number(parts.next()?, 4, 1970..=9999)?;
    let month = number(parts.next()?, 2, 1..=12)?;
    let day = number(parts.next()?, 2, 1..=31)?;
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let february = if is_leap { 29 } else { 28 };
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let before = lengths.iter().take(usize::try_from(month - 1).ok()?);
    let length = lengths.get(usize::try_from(month - 1).ok()?)?;
    if day > *length || parts.next().is_some() {
        return None;
    }
    // The leap days of all years before this one, less those before 1970.
    let earlier = year - 1;
    let leap_days = earlier / 4 - earlier / 100 + earlier / 400 - 477;
    Some((year - 1970) * 365 + leap_days + before.sum::<i64>() + day - 1)
}

fn number(text: &str, digits: usize, within: std::ops::RangeInclusive<i64>) -> Option<i64> {
    let is_number = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| is_number)?;
    within.contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_every_form() {
        const NOW: i64 = 1_800_000_000_000;
        for (text, expected) in [
            ("1970-01-01", 0),
            ("2000-03-01T00:00Z", 951_868_800_000),
            ("2024-02-29", 1_709_164_800_000),
            ("2026-12-01T09:00Z", 1_796_115_600_000),
            ("2026-12-01T09:00:00Z", 1_796_115_600_000),
            ("2026-12-01 10:30:00.250+01:30", 1_796_115_600_250),
            ("2026-12-01t04:00:00.123456789-05:00", 1_796_115_600_123),
            ("2026-12-01T09:00:00.5z", 1_796_115_600_500),
            ("9999-12-31T23:59:59Z", 253_402_300_799_000),
            ("1796115600", 1_796_115_600_000),
            ("1796115600000", 1_796_115_600_000),
            ("0", 0),
            ("-1h", NOW - 3_600_000),
            ("-1.5s", NOW - 1_500),
        ] {
            assert_eq!(parse_time(text, NOW), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "soon",
            "2026-02-29",
            "2026-13-01",
            "2026-1-1",
            "1969-12-31",
            "2026-12-01T",
            "2026-12-01T9:00Z",
            "2026-12-01T09Z",
            "2026-12-01T09:00",
            "2026-12-01T09:00+01",
            "2026-12-01T24:00Z",
            "2026-12-01T09:00:00.Z",
            "2026-12-01T09:00:00:00Z",
            "2026-12-01T09:00:+1Z",
            "2026-12-01Tä9:00Z",
            "99999999999999999999",
            "-",
            "-x",
        ] {
            assert!(parse_time(text, 0).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_have_units() {
        for (text, ms) in [
            ("500ms", 500),
            ("30", 30_000),
            ("5m", 300_000),
            ("1.5h", 5_400_000),
            ("7d", 604_800_000),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(ms)),
                "{text}"
            );
        }
        for text in ["", "m", "-5m", "5 years", "1e99d", "nan", "inf"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
