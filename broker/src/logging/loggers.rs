//! The parts of the broker that write to the log, by name, and which of their lines are written.

use std::cmp::Reverse;

use tidewheel_config::limits;
use tracing::Level;
use tracing::level_filters::LevelFilter;

use super::AUDIT;

/// The name that stands for everything.
pub(crate) const ROOT: &str = "root";

/// Every part that writes lines, and those that it is a part of. `broker/tests/tidy.rs` compares them with the
/// sources.
pub(super) const LOGGERS: &[&str] = &[
    ROOT,
    "tidewheel_broker",
    "tidewheel_broker::admin",
    "tidewheel_broker::admin::audit",
    "tidewheel_broker::admin::auth",
    "tidewheel_broker::admin::changes",
    "tidewheel_broker::admin::server",
    "tidewheel_broker::api",
    "tidewheel_broker::api::fetch",
    "tidewheel_broker::api::fetch::sending",
    "tidewheel_broker::api::find_coordinator",
    "tidewheel_broker::api::init_producer_id",
    "tidewheel_broker::api::metadata",
    "tidewheel_broker::api::produce",
    "tidewheel_broker::broker",
    "tidewheel_broker::broker::config_changes",
    "tidewheel_broker::broker::load",
    "tidewheel_broker::broker::logger_changes",
    "tidewheel_broker::broker::topic_changes",
    "tidewheel_broker::cli",
    "tidewheel_broker::cli::reload",
    "tidewheel_broker::cli::serve",
    "tidewheel_broker::compaction",
    "tidewheel_broker::connection",
    "tidewheel_broker::delays",
    "tidewheel_broker::delays::checkpoints",
    "tidewheel_broker::delays::damage",
    "tidewheel_broker::delays::dead_letters",
    "tidewheel_broker::delays::deliver",
    "tidewheel_broker::delays::reveal",
    "tidewheel_broker::delays::start",
    "tidewheel_broker::descriptors",
    "tidewheel_broker::groups",
    "tidewheel_broker::groups::loading",
    "tidewheel_broker::groups::room",
    "tidewheel_broker::groups::running",
    "tidewheel_broker::groups::shard",
    "tidewheel_broker::logging",
    "tidewheel_broker::scrub",
    "tidewheel_broker::server",
    "tidewheel_broker::service_manager",
    "tidewheel_broker::slow_requests",
    "tidewheel_broker::storage_threads",
    "tidewheel_broker::storage_threads::flush_crew",
];

/// Whether a part of the broker may be called so: a path of Rust.
pub(crate) fn is_logger(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':');
    !name.starts_with(AUDIT)
        && (1..=limits::LOGGER_NAME_LEN_MAX).contains(&name.len())
        && name.bytes().all(legal)
}

/// The name of a part in Kafka's protocol, whose tools take no colons.
pub(crate) fn kafka_name(logger: &str) -> String {
    logger.replace("::", ".")
}

/// The part of this name in Kafka's protocol.
pub(crate) fn of_kafka_name(name: &str) -> String {
    name.replace('.', "::")
}

/// Kafka's names of levels.
pub(crate) const KAFKA_LEVELS: &str = "DEBUG, ERROR, FATAL, INFO, TRACE, WARN";

/// The level of this name of Kafka's. Nothing here is worse than an error, so FATAL means errors.
pub(crate) fn kafka_level(name: &str) -> Option<Level> {
    match name {
        "FATAL" | "ERROR" => Some(Level::ERROR),
        "WARN" => Some(Level::WARN),
        "INFO" => Some(Level::INFO),
        "DEBUG" => Some(Level::DEBUG),
        "TRACE" => Some(Level::TRACE),
        _ => None,
    }
}

/// What is written of a part under `directives`, in Kafka's name: of those that it begins with the longest counts,
/// of equal ones the last. Those about fields and spans are passed over, as there are no spans.
pub(super) fn acting_level(directives: &str, logger: &str) -> &'static str {
    let of = |directive: &str| {
        let directive = directive.trim();
        if directive.is_empty() || directive.contains(['[', ']', '{', '}']) {
            return None;
        }
        let (target, level) = match directive.split_once('=') {
            Some((target, level)) => (target, level.parse().ok()?),
            None => match directive.parse::<LevelFilter>() {
                Ok(level) => ("", level),
                Err(_) => (directive, LevelFilter::TRACE),
            },
        };
        let is_meant = logger.starts_with(target) && (logger != ROOT || target.is_empty());
        is_meant.then_some((target.len(), level))
    };
    let acting = directives.rsplit(',').filter_map(of);
    let acting = acting.min_by_key(|(len, _)| Reverse(*len));
    match acting.and_then(|(_, level)| level.into_level()) {
        Some(level) => level.as_str(),
        None => "OFF",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loggers_are_paths() {
        assert!(is_logger("root") && is_logger("tidewheel_broker::admin"));
        for bad in ["", AUDIT, "a=b", "a,b", "a[b]", &"a".repeat(1_000)] {
            assert!(!is_logger(bad), "{bad}");
        }
        for known in LOGGERS {
            assert!(is_logger(known), "{known}");
        }
        assert!(LOGGERS.is_sorted(), "in their order");
        assert!(LOGGERS.len() <= limits::LOGGERS_MAX, "each may be set");
    }

    #[test]
    fn the_closest_directive_acts_and_of_equal_ones_the_last() {
        let directives = "warn,tidewheel_broker=info,tidewheel_broker::groups=off,bare,error,\
                          tidewheel_broker=debug,tidewheel_broker[span]=trace,broken=loud";
        for (logger, level) in [
            (ROOT, "ERROR"),
            ("tidewheel_broker", "DEBUG"),
            ("tidewheel_broker::scrub", "DEBUG"),
            ("tidewheel_broker::groups::shard", "OFF"),
            ("bare::part", "TRACE"),
            ("broken", "ERROR"),
            ("other", "ERROR"),
        ] {
            assert_eq!(acting_level(directives, logger), level, "{logger}");
        }
        assert_eq!(acting_level("tidewheel::audit=info", ROOT), "OFF");
    }

    #[test]
    fn levels_have_kafkas_names() {
        let names = KAFKA_LEVELS.split(", ");
        assert!(names.clone().all(|name| kafka_level(name).is_some()));
        for bad in ["", "debug", "OFF", "ALL", "5", "WARNING"] {
            assert_eq!(kafka_level(bad), None, "{bad}");
        }
        assert_eq!(kafka_level("FATAL"), Some(Level::ERROR));
    }
}
