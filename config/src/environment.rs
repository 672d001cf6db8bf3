//! Settings in environment variables: our own form, and that of Apache Kafka's container images.

use crate::error::{ConfigError, Place, Problem, Warning};
use crate::key::{ConfigKey, Scope};
use crate::load::{Entry, SourceContent, unknown_broker_key};
use crate::registry;
use crate::suggest;
use crate::value::shorten;

/// Whether variables in the form of Kafka's container images count: `on`, the default, or `off`.
const KAFKA_SWITCH: &str = "TIDEWHEEL_KAFKA_ENV";

/// Variables with our prefix that are not settings of the broker.
const OTHER_VARIABLES: &[&str] = &[
    KAFKA_SWITCH,
    "TIDEWHEEL_LOG",
    "TIDEWHEEL_BROKERS",
    "TIDEWHEEL_ADMIN_TOKEN",
    "TIDEWHEEL_ADMIN_URL",
];

/// The id of a cluster, as Kafka's images take it to format a directory; other programs may have one of this name.
const CLUSTER_ID: &str = "CLUSTER_ID";

const OWN_CLUSTER_ID: &str = "a data directory makes an id of its own, and keeps it";
const NO_JVM: &str = "there is no JVM here, and nothing has to be set in its place";
const NO_JMX: &str = "there is no JMX here; /metrics of the HTTP API is for Prometheus";
const NO_LOG4J: &str = "there is no Log4j here; TIDEWHEEL_LOG says which lines are written";
const OF_IMAGE: &str = "it is for the scripts of an image of Kafka";

/// Why a variable has no effect that Kafka's start scripts and images read themselves, and that names no setting.
fn script_variable(name: &str) -> Option<&'static str> {
    let starts = |start| name.starts_with(start);
    match name {
        CLUSTER_ID | "KAFKA_CLUSTER_ID" => Some(OWN_CLUSTER_ID),
        "KAFKA_CLASSPATH" | "KAFKA_DEBUG" => Some(NO_JVM),
        "KAFKA_GID" | "KAFKA_GROUP" | "KAFKA_HOME" | "KAFKA_UID" | "KAFKA_USER"
        | "KAFKA_VERSION" => Some(OF_IMAGE),
        "KAFKA_TOOLS_LOG4J_LOGLEVEL" => Some(NO_LOG4J),
        _ if starts("KAFKA_JMX_") => Some(NO_JMX),
        _ if starts("KAFKA_LOG4J_") => Some(NO_LOG4J),
        _ if starts("KAFKA_") && name.ends_with("_OPTS") => Some(NO_JVM),
        _ => None,
    }
}

/// The settings in variables that begin with `TIDEWHEEL_`.
pub(crate) fn own(variables: &[(String, String)]) -> SourceContent {
    let mut content = SourceContent::default();
    for (name, value) in variables {
        if !name.starts_with("TIDEWHEEL_") || OTHER_VARIABLES.contains(&name.as_str()) {
            continue;
        }
        let row = registry::keys(Scope::Broker).find(|key| key.environment_name() == *name);
        match row {
            Some(row) => content
                .entries
                .push(entry(name, row.name.to_owned(), value)),
            // Not an error: container platforms set variables of this form for every
            // service, such as TIDEWHEEL_SERVICE_HOST for one with our name.
            None => content
                .warnings
                .push(stray(name, suggest_variable(name).as_deref())),
        }
    }
    content
}

/// The settings in variables that begin with `KAFKA_`, or `KAFKA_CFG_` as another image has it: of the rest of the name in small letters, `___`
/// stands for `-`, `__` for `_` and `_` for a dot. `has_listeners` says whether a weaker source has said
/// where to listen.
pub(crate) fn of_kafka(variables: &[(String, String)], has_listeners: bool) -> SourceContent {
    let mut content = SourceContent::default();
    let switch = variables.iter().find(|(name, _)| name == KAFKA_SWITCH);
    match switch.map(|(_, value)| value.as_str()) {
        None | Some("on") => {}
        Some("off") => return content,
        Some(other) => content.problems.push(Problem {
            place: Place::Environment(KAFKA_SWITCH.to_owned()),
            error: ConfigError::Syntax(format!("it must be on or off, not {:?}", shorten(other))),
        }),
    }
    let is_for_kafka = variables.iter().any(|(name, _)| name.starts_with("KAFKA_"));
    for (name, value) in variables {
        let rest = name.strip_prefix("KAFKA_");
        if let Some(reason) = script_variable(name) {
            if rest.is_some() || is_for_kafka {
                content.warnings.push(without_effect(name, reason));
            }
            continue;
        }
        let Some(rest) = rest else {
            continue;
        };
        let key = kafka_name(rest.strip_prefix("CFG_").unwrap_or(rest));
        if registry::is_known(&key, value) {
            content.entries.push(entry(name, key, value));
            continue;
        }
        // Not an error: programs that talk to Kafka have variables of this form as well.
        let suggestion = match unknown_broker_key(&key) {
            ConfigError::Unknown { suggestion, .. } => suggestion.map(|key| kafka_variable(&key)),
            _ => None,
        };
        content.warnings.push(stray(name, suggestion.as_deref()));
    }
    listen_where_advertised(&mut content, has_listeners);
    content
}

/// As in Kafka's images: who is told only the addresses that clients use listens on every address of
/// the machine, on the same ports.
fn listen_where_advertised(content: &mut SourceContent, has_listeners: bool) {
    let find = |key: &str| content.entries.iter().find(|entry| entry.key == key);
    let Some(advertised) = find("advertised.listeners") else {
        return;
    };
    if has_listeners || find("listeners").is_some() {
        return;
    }
    let everywhere = advertised.value.split(',').map(|listener| {
        let parts = listener.split_once("://").zip(listener.rsplit_once(':'));
        match parts {
            Some(((name, _), (_, port))) => format!("{}://:{port}", name.trim()),
            None => listener.to_owned(),
        }
    });
    let listeners = Entry {
        place: advertised.place.clone(),
        key: "listeners".to_owned(),
        value: everywhere.collect::<Vec<_>>().join(","),
    };
    content.entries.push(listeners);
}

/// The setting that `KAFKA_` and `rest` name.
fn kafka_name(rest: &str) -> String {
    let dotted = rest.to_ascii_lowercase().replace('_', ".");
    dotted.replace("...", "-").replace("..", "_")
}

/// The variable that names `key`.
pub(crate) fn kafka_variable(key: &str) -> String {
    let escaped = key.replace('_', "__").replace('-', "___");
    format!("KAFKA_{}", escaped.replace('.', "_").to_ascii_uppercase())
}

fn entry(variable: &str, key: String, value: &str) -> Entry {
    Entry {
        place: Place::Environment(variable.to_owned()),
        key,
        value: value.to_owned(),
    }
}

fn without_effect(variable: &str, reason: &str) -> Warning {
    Warning::Note {
        place: Place::Environment(shorten(variable)),
        sentence: format!("it has no effect: {reason}"),
    }
}

fn stray(variable: &str, suggestion: Option<&str>) -> Warning {
    let meant = suggestion.map(|name| format!("; did you mean {name}?"));
    Warning::Note {
        place: Place::Environment(shorten(variable)),
        sentence: format!("it is not a setting{}", meant.unwrap_or_default()),
    }
}

fn suggest_variable(name: &str) -> Option<String> {
    let names: Vec<String> = registry::keys(Scope::Broker)
        .map(ConfigKey::environment_name)
        .collect();
    let lower: Vec<String> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
    suggest::nearest(name, lower.iter().map(String::as_str)).map(str::to_ascii_uppercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_kafka_name_its_settings() {
        for (variable, key) in [
            ("NUM_PARTITIONS", "num.partitions"),
            ("A__B_C___D", "a_b.c-d"),
            ("listeners", "listeners"),
        ] {
            assert_eq!(kafka_name(variable), key);
            let upper = variable.to_ascii_uppercase();
            assert_eq!(kafka_variable(key), format!("KAFKA_{upper}"));
        }
        for row in registry::keys(Scope::Broker) {
            let variable = kafka_variable(row.name);
            let rest = variable.strip_prefix("KAFKA_");
            assert_eq!(rest.map(kafka_name).as_deref(), Some(row.name));
        }
    }
}
