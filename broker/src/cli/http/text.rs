//! What people read and write: tables, times and sizes.

use std::io::{self, Write};

use jiff::Timestamp;
use tidewheel_config::time_unit_ms;

use crate::cli::table::{is_hidden, lines};

/// The longest time that may be asked for, in ms: a thousand years.
const DURATION_MS_MAX: i64 = 1_000 * 366 * 86_400_000;

/// The same without what moves a terminal's cursor, changes its colours or cannot be seen: keys and names may hold
/// anything.
pub(super) fn printable(text: &str) -> String {
    text.replace(is_hidden, "?")
}

/// Rows under a heading, each column as wide as it has to be; the last one ends where it ends.
pub(super) fn table(out: &mut impl Write, head: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    for line in lines(head, rows) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// Ms since 1970 as `2026-12-01T09:00:00Z`, with what there is behind the second.
pub(super) fn time(ms: i64) -> String {
    match Timestamp::from_millisecond(ms) {
        Ok(time) => time.to_string(),
        // Beyond the year 9999.
        Err(_) => format!("@{ms}"),
    }
}

/// How long it is until then, or how long ago it was: `in 2h 5m`, `3s ago`.
pub(super) fn distance(from_ms: i64, to_ms: i64) -> String {
    match to_ms.saturating_sub(from_ms) {
        ahead @ 0.. => format!("in {}", duration(ahead)),
        behind => format!("{} ago", duration(behind.saturating_neg())),
    }
}

/// A length of time in its two greatest units.
pub(super) fn duration(ms: i64) -> String {
    let seconds = ms / 1_000;
    let (days, hours) = (seconds / 86_400, seconds / 3_600 % 24);
    let (minutes, seconds) = (seconds / 60 % 60, seconds % 60);
    let (first, second) = match (days, hours, minutes, seconds) {
        (0, 0, 0, 0) => return format!("{ms}ms"),
        (0, 0, 0, _) => return format!("{seconds}s"),
        (0, 0, _, _) => ((minutes, 'm'), (seconds, 's')),
        (0, _, _, _) => ((hours, 'h'), (minutes, 'm')),
        _ => ((days, 'd'), (hours, 'h')),
    };
    match second.0 {
        0 => format!("{}{}", first.0, first.1),
        _ => format!("{}{} {}{}", first.0, first.1, second.0, second.1),
    }
}

/// A number of bytes, in two or more digits and a unit.
pub(super) fn bytes(count: f64) -> String {
    scaled(count, 1_024.0, &[" B", " KiB", " MiB", " GiB", " TiB"])
}

/// A number of anything, in the same way.
pub(super) fn count(count: f64) -> String {
    scaled(count, 1_000.0, &["", "k", "M", "G"])
}

fn scaled(mut count: f64, step: f64, units: &[&str]) -> String {
    let mut units = units.iter();
    let mut unit = units.next().copied().unwrap_or_default();
    while count >= step
        && let Some(next) = units.next()
    {
        count /= step;
        unit = next;
    }
    match count < 10.0 && count.fract() > 0.0 {
        true => format!("{count:.1}{unit}"),
        false => format!("{count:.0}{unit}"),
    }
}

/// A length of time as people write it: `90s`, `1h30m`, `7d`. In ms.
///
/// # Errors
/// What it has to look like.
pub(super) fn parse_duration(text: &str) -> Result<i64, String> {
    let wrong = || "write a time such as 500ms, 90s, 1h30m or 7d".to_owned();
    let (mut rest, mut all_ms) = (text.trim(), 0_i64);
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: i64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let unit = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let unit_ms = time_unit_ms(rest[..unit].trim()).ok_or_else(wrong)?;
        rest = &rest[unit..];
        let more = number.checked_mul(unit_ms);
        all_ms = more
            .and_then(|more| all_ms.checked_add(more))
            .ok_or_else(wrong)?;
    }
    match all_ms <= DURATION_MS_MAX {
        true => Ok(all_ms),
        false => Err("that is more than a thousand years".to_owned()),
    }
}

/// A moment as people write it, `2026-12-01T09:00Z` with its zone, or in ms since 1970. In ms since 1970.
///
/// # Errors
/// What it has to look like.
pub(super) fn parse_moment(text: &str) -> Result<i64, String> {
    let text = text.trim();
    let digits = text.strip_prefix('@').unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return digits.parse().map_err(|_| "that is too late".to_owned());
    }
    let moment: Result<Timestamp, _> = text.parse();
    moment.map(Timestamp::as_millisecond).map_err(|_| {
        "write a moment with its zone, as 2026-12-01T09:00Z or 2026-12-01T10:00+01:00, or ms since 1970"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        for (text, ms) in [
            ("500ms", 500),
            ("90s", 90_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            (" 7d ", 604_800_000),
            ("2w", 1_209_600_000),
            ("0s", 0),
        ] {
            assert_eq!(parse_duration(text), Ok(ms), "{text}");
        }
        for text in [
            "",
            " ",
            "5",
            "-5m",
            "h",
            "1.5h",
            "5x",
            "m5",
            "5m-",
            "é",
            "5é",
            "99999999999999999999s",
            "9223372036854775807w",
            "400000d",
            "1001w 400000d",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn moments_are_read_with_their_zone_or_as_ms() {
        for (text, ms) in [
            ("2026-12-01T09:00Z", 1_796_115_600_000),
            ("2026-12-01T09:00:00Z", 1_796_115_600_000),
            ("2026-12-01T10:00:00.250+01:00", 1_796_115_600_250),
            ("1796115600000", 1_796_115_600_000),
            ("@1796115600000", 1_796_115_600_000),
            ("0", 0),
        ] {
            assert_eq!(parse_moment(text), Ok(ms), "{text}");
        }
        for text in [
            "",
            "@",
            "tomorrow",
            "2026-12-01",
            "2026-12-01T09:00",
            "-1",
            "@-1",
            "2026-13-01T09:00Z",
            "99999999999999999999",
        ] {
            assert!(parse_moment(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_and_sizes_are_told_in_short() {
        assert_eq!(time(1_796_115_600_000), "2026-12-01T09:00:00Z");
        assert_eq!(time(i64::MAX), format!("@{}", i64::MAX));
        for (ms, told) in [
            (0, "in 0ms"),
            (999, "in 999ms"),
            (3_000, "in 3s"),
            (60_000, "in 1m"),
            (7_500_000, "in 2h 5m"),
            (-90_061_000, "1d 1h ago"),
            (i64::MIN, "106751991167d 7h ago"),
        ] {
            assert_eq!(distance(0, ms), told);
        }
        for (number, told) in [
            (0.0, "0 B"),
            (1_023.0, "1023 B"),
            (1_536.0, "1.5 KiB"),
            (1e18, "909495 TiB"),
        ] {
            assert_eq!(bytes(number), told);
        }
        for (number, told) in [
            (0.0, "0"),
            (0.25, "0.2"),
            (12.5, "12"),
            (1_500.0, "1.5k"),
            (2e6, "2M"),
        ] {
            assert_eq!(count(number), told);
        }
    }

    #[test]
    fn columns_stand_under_each_other() {
        let rows = [
            vec!["a".to_owned(), "1".to_owned()],
            vec!["éé".to_owned(), String::new()],
        ];
        assert_eq!(lines(&["N", "X"], &rows), ["N   X", "a   1", "éé"]);
        assert_eq!(printable("a\u{1b}[2J\nb\u{9b}"), "a?[2J?b?");
    }
}
