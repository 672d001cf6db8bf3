//! From text to a checked value, with the units that people write.

use std::fmt;

use crate::error::ConfigError;
use crate::key::{Check, ConfigKey, ConfigType, Scope, Unit};
use crate::{limits, registry};

/// A value of one setting, checked against its row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Bool(bool),
    /// Of a Short, Int or Long row, within its range.
    Number(i64),
    Double(f64),
    Text(String),
    List(Vec<String>),
}

/// Whether suffixes such as `1GiB` and `7d` are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notation {
    /// As people write in files and on the command line.
    Human,
    /// As Kafka's API takes it: bare numbers.
    Kafka,
}

impl fmt::Display for Value {
    /// The canonical text, as DescribeConfigs reports it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Bool(value) => write!(f, "{value}"),
            Value::Number(value) => write!(f, "{value}"),
            // As Java writes it, with a capital E.
            Value::Double(value) => f.write_str(&format!("{value:?}").to_uppercase()),
            Value::Text(value) => f.write_str(value),
            Value::List(values) => f.write_str(&values.join(",")),
        }
    }
}

/// Reads `text` as a value of `key`.
///
/// # Errors
/// `Invalid` with the allowed range, or `Unsupported` where only the default acts.
pub(crate) fn parse(key: &ConfigKey, text: &str, notation: Notation) -> Result<Value, ConfigError> {
    let invalid = |expected: String| ConfigError::Invalid {
        key: key.name.to_owned(),
        value: shorten(text),
        expected,
    };
    if text.len() > limits::CONFIG_VALUE_LEN_MAX {
        return Err(invalid(format!(
            "it is longer than {} bytes",
            limits::CONFIG_VALUE_LEN_MAX
        )));
    }
    let trimmed = text.trim();
    let value = parse_type(key, trimmed, notation).map_err(invalid)?;
    match key.check {
        Check::Any => Ok(value),
        Check::Range(min, max) => match value {
            Value::Number(number) if number < min || number > max => {
                Err(invalid(range_sentence(key)))
            }
            _ => Ok(value),
        },
        Check::NotZero if value == Value::Number(0) => Err(invalid(
            "it must be at least 1, or -1 for no limit".to_owned(),
        )),
        Check::NotZero => Ok(value),
        Check::OneOf(allowed) if allowed.contains(&trimmed) => Ok(value),
        Check::OneOf(allowed) => Err(invalid(format!("it must be one of {}", allowed.join(", ")))),
        Check::OnlyDefault(reason) => only_default(key, value, text, reason),
        Check::Custom(check) => check(trimmed).map(|()| value).map_err(invalid),
    }
}

/// What Kafka's API takes for what a person wrote: `7d` as a number of ms. As it stands where that is not known: a
/// setting that another broker has, or a value that none takes.
#[must_use]
pub fn canonical(scope: Scope, name: &str, text: &str) -> String {
    let row = registry::find(scope, name);
    let value = row.and_then(|row| parse(row, text, Notation::Human).ok());
    value.map_or_else(|| text.to_owned(), |value| value.to_string())
}

/// The default of `key` as a value.
pub(crate) fn default_of(key: &ConfigKey) -> Option<Value> {
    let text = key.default?;
    Some(parse(key, text, Notation::Human).expect("a test parses every default"))
}

fn only_default(
    key: &ConfigKey,
    value: Value,
    text: &str,
    reason: &str,
) -> Result<Value, ConfigError> {
    let default = key
        .default
        .map(|default| parse_type(key, default, Notation::Human));
    if default == Some(Ok(value.clone())) {
        return Ok(value);
    }
    let only = key.default.map_or_else(
        || "it cannot be set".to_owned(),
        |default| format!("only {default:?} is accepted"),
    );
    Err(ConfigError::Unsupported {
        key: key.name.to_owned(),
        value: shorten(text),
        reason: format!("{reason}, so {only}"),
    })
}

fn parse_type(key: &ConfigKey, text: &str, notation: Notation) -> Result<Value, String> {
    match key.config_type {
        ConfigType::Boolean if text.eq_ignore_ascii_case("true") => Ok(Value::Bool(true)),
        ConfigType::Boolean if text.eq_ignore_ascii_case("false") => Ok(Value::Bool(false)),
        ConfigType::Boolean => Err("it must be true or false".to_owned()),
        ConfigType::Short | ConfigType::Int | ConfigType::Long => number(key, text, notation),
        ConfigType::Double => match text.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(Value::Double(value)),
            _ => Err("it must be a number".to_owned()),
        },
        ConfigType::String => Ok(Value::Text(text.to_owned())),
        ConfigType::List => list(text),
    }
}

fn list(text: &str) -> Result<Value, String> {
    if text.is_empty() {
        return Ok(Value::List(Vec::new()));
    }
    let items: Vec<String> = text.split(',').map(|item| item.trim().to_owned()).collect();
    if items.len() > limits::CONFIG_LIST_LEN_MAX {
        return Err(format!(
            "it has more than {} entries",
            limits::CONFIG_LIST_LEN_MAX
        ));
    }
    if items.iter().any(String::is_empty) {
        return Err("it has an empty entry".to_owned());
    }
    Ok(Value::List(items))
}

fn number(key: &ConfigKey, text: &str, notation: Notation) -> Result<Value, String> {
    let (min, max) = type_range(key.config_type);
    let parsed = match notation {
        Notation::Human => parse_human(text, key.unit),
        Notation::Kafka => text.parse().map_err(|_| ParseNumber::NotANumber),
    };
    match parsed {
        Ok(value) if value >= min && value <= max => Ok(Value::Number(value)),
        Ok(_) | Err(ParseNumber::OutOfRange) => Err(range_sentence(key)),
        Err(ParseNumber::NotANumber) => Err(format!("it must be {}", unit_words(key.unit))),
        Err(ParseNumber::Uneven) => {
            Err(format!("it must be {} without rest", unit_words(key.unit)))
        }
    }
}

fn type_range(config_type: ConfigType) -> (i64, i64) {
    match config_type {
        ConfigType::Short => (i16::MIN.into(), i16::MAX.into()),
        ConfigType::Int => (i32::MIN.into(), i32::MAX.into()),
        _ => (i64::MIN, i64::MAX),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum ParseNumber {
    NotANumber,
    OutOfRange,
    Uneven,
}

/// A whole number with an optional suffix, converted into `unit`.
fn parse_human(text: &str, unit: Unit) -> Result<i64, ParseNumber> {
    let text = text.replace('_', "");
    let digits_end = text
        .char_indices()
        .find(|(index, c)| !(c.is_ascii_digit() || (*index == 0 && matches!(c, '-' | '+'))))
        .map_or(text.len(), |(index, _)| index);
    let (digits, suffix) = text.split_at(digits_end);
    if !digits.bytes().any(|b| b.is_ascii_digit()) {
        return Err(ParseNumber::NotANumber);
    }
    let number: i128 = digits.parse().map_err(|_| ParseNumber::OutOfRange)?;
    let suffix = suffix.trim();
    let scaled = if suffix.is_empty() {
        number
    } else {
        let (factor, divisor) = suffix_factor(suffix, unit).ok_or(ParseNumber::NotANumber)?;
        let product = number.checked_mul(factor).ok_or(ParseNumber::OutOfRange)?;
        if product % divisor != 0 {
            return Err(ParseNumber::Uneven);
        }
        product / divisor
    };
    i64::try_from(scaled).map_err(|_| ParseNumber::OutOfRange)
}

/// What a number with `suffix` is multiplied by and divided by to count `unit`.
fn suffix_factor(suffix: &str, unit: Unit) -> Option<(i128, i128)> {
    let milliseconds = match unit {
        Unit::None => return None,
        Unit::Bytes => {
            let factor = match suffix {
                "B" => 1,
                "kB" | "KB" => 1_000,
                "MB" => 1_000_000,
                "GB" => 1_000_000_000,
                "TB" => 1_000_000_000_000,
                "KiB" => 1 << 10,
                "MiB" => 1 << 20,
                "GiB" => 1 << 30,
                "TiB" => 1 << 40,
                _ => return None,
            };
            return Some((factor, 1));
        }
        Unit::Milliseconds => 1,
        Unit::Minutes => 60_000,
        Unit::Hours => 3_600_000,
    };
    Some((i128::from(time_unit_ms(suffix)?), milliseconds))
}

/// How many milliseconds a unit of time has: `ms`, `s`, `m` or `min`, `h`, `d` or `w`.
#[must_use]
pub fn time_unit_ms(unit: &str) -> Option<i64> {
    Some(match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "w" => 604_800_000,
        _ => return None,
    })
}

/// The range of the row within the range of its type.
fn range_sentence(key: &ConfigKey) -> String {
    let (type_min, type_max) = type_range(key.config_type);
    let (min, max) = match key.check {
        Check::Range(min, max) => (min.max(type_min), max.min(type_max)),
        _ => (type_min, type_max),
    };
    let words = unit_words(key.unit);
    match max {
        i64::MAX => format!("it must be {words}, at least {min}"),
        _ => format!("it must be {words} from {min} to {max}"),
    }
}

fn unit_words(unit: Unit) -> &'static str {
    match unit {
        Unit::None => "a whole number",
        Unit::Bytes => "a number of bytes",
        Unit::Milliseconds => "a number of milliseconds",
        Unit::Minutes => "a number of minutes",
        Unit::Hours => "a number of hours",
    }
}

/// Keeps an outsider's megabyte out of error answers and logs.
pub(crate) fn shorten(text: &str) -> String {
    const CHARS_MAX: usize = 100;
    match text.char_indices().nth(CHARS_MAX) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(config_type: ConfigType, unit: Unit) -> ConfigKey {
        ConfigKey::broker("a.key", config_type, "0", "").unit(unit)
    }

    fn check(config_type: ConfigType, unit: Unit, text: &str, want: Option<i64>) {
        let got = parse(&key(config_type, unit), text, Notation::Human);
        assert_eq!(got.ok(), want.map(Value::Number), "{text}");
    }

    #[test]
    fn human_units_become_the_unit_of_the_key() {
        check(ConfigType::Int, Unit::Bytes, "1GiB", Some(1 << 30));
        check(ConfigType::Int, Unit::Bytes, "64 kB", Some(64_000));
        check(ConfigType::Int, Unit::Bytes, "2GiB", None);
        check(ConfigType::Long, Unit::Bytes, "1_000", Some(1000));
        check(
            ConfigType::Long,
            Unit::Milliseconds,
            "7d",
            Some(604_800_000),
        );
        check(ConfigType::Long, Unit::Milliseconds, "-1", Some(-1));
        check(ConfigType::Int, Unit::Hours, "7d", Some(168));
        check(ConfigType::Int, Unit::Hours, "90m", None);
        check(ConfigType::Int, Unit::Minutes, "1h", Some(60));
        check(ConfigType::Long, Unit::Milliseconds, "7GiB", None);
        check(ConfigType::Int, Unit::None, "7d", None);
        check(ConfigType::Int, Unit::None, "", None);
        check(ConfigType::Int, Unit::None, "-", None);
        check(
            ConfigType::Long,
            Unit::None,
            "9223372036854775807",
            Some(i64::MAX),
        );
        check(ConfigType::Long, Unit::None, "9223372036854775808", None);
        check(ConfigType::Short, Unit::None, "32768", None);
    }

    #[test]
    fn the_kafka_api_takes_bare_numbers_only() {
        let row = key(ConfigType::Long, Unit::Milliseconds);
        assert!(parse(&row, "7d", Notation::Kafka).is_err());
        assert_eq!(parse(&row, " 7 ", Notation::Kafka), Ok(Value::Number(7)));
    }

    #[test]
    fn what_a_person_wrote_becomes_what_the_kafka_api_takes() {
        for (scope, name, text, expected) in [
            (Scope::Topic, "retention.ms", "7d", "604800000"),
            (Scope::Broker, "log.segment.bytes", "64MiB", "67108864"),
            (Scope::Topic, "retention.ms", "soon", "soon"),
            (Scope::Topic, "of.another.broker", "7d", "7d"),
        ] {
            assert_eq!(canonical(scope, name, text), expected, "{name}");
        }
    }

    #[test]
    fn every_refusal_names_the_allowed_values() {
        let expected = |row: ConfigKey, text: &str| match parse(&row, text, Notation::Human) {
            Err(ConfigError::Invalid { expected, .. }) => expected,
            other => panic!("{other:?}"),
        };
        let row = key(ConfigType::Int, Unit::Bytes).range(14, 100);
        assert_eq!(
            expected(row, "13"),
            "it must be a number of bytes from 14 to 100"
        );
        assert_eq!(
            expected(row, "99999999999"),
            "it must be a number of bytes from 14 to 100"
        );
        assert_eq!(expected(row, "x"), "it must be a number of bytes");
        let row = key(ConfigType::String, Unit::None).check(Check::OneOf(&["a", "b"]));
        assert_eq!(expected(row, "c"), "it must be one of a, b");
        assert_eq!(
            expected(key(ConfigType::Boolean, Unit::None), "1"),
            "it must be true or false"
        );
        assert_eq!(
            expected(key(ConfigType::List, Unit::None), "a,,b"),
            "it has an empty entry"
        );
    }

    #[test]
    fn a_value_that_does_not_act_yet_is_refused_with_the_reason() {
        let row = ConfigKey::broker("a.key", ConfigType::Boolean, "false", "")
            .check(Check::OnlyDefault("there is no such thing yet"));
        assert_eq!(
            parse(&row, "False", Notation::Kafka),
            Ok(Value::Bool(false))
        );
        let error = parse(&row, "true", Notation::Kafka).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a.key = \"true\" is not supported: there is no such thing yet, so only \"false\" is accepted"
        );
    }

    #[test]
    fn a_huge_value_is_refused_without_repeating_it() {
        let row = key(ConfigType::String, Unit::None);
        let error = parse(&row, &"x".repeat(1 << 20), Notation::Human).unwrap_err();
        assert!(error.to_string().len() < 300);
    }
}
