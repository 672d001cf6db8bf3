//! Settings as TOML: what was given, in a form that means the same on any machine.

use std::fmt::Write as _;

use crate::broker::BrokerConfig;
use crate::error::Warning;
use crate::key::{ConfigType, Scope};
use crate::registry::REGISTRY;

/// A TOML file that configures a broker as `config` was configured, from whatever sources. Settings
/// without effect stand in comments, with the reason.
#[must_use]
pub fn to_toml(config: &BrokerConfig) -> String {
    let mut out = String::new();
    for section in REGISTRY {
        let rows = section.keys.iter().filter(|row| row.scope == Scope::Broker);
        let given = rows.filter_map(|row| Some((row, config.settings.given(row.name)?)));
        let mut lines = given
            .map(|(row, value)| assignment(row.name, row.config_type, &value.to_string()))
            .peekable();
        if lines.peek().is_some() {
            push(&mut out, format_args!("# {}\n", section.title));
            lines.for_each(|line| push(&mut out, format_args!("{line}\n")));
            out.push('\n');
        }
    }
    if !config.warnings.is_empty() {
        out.push_str("# Left out:\n");
    }
    for warning in &config.warnings {
        let said = match warning {
            Warning::Ignored {
                key,
                value: Some(value),
                reason,
                ..
            } => format!("{key} = {value:?} has no effect: {reason}"),
            other => other.sentence(),
        };
        // One line, whatever stands in the key.
        push(&mut out, format_args!("# {}\n", one_line(&said)));
    }
    out
}

/// `"name" = value`, of a value as DescribeConfigs reports it.
#[must_use]
pub fn assignment(name: &str, config_type: ConfigType, value: &str) -> String {
    let text = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let value = match config_type {
        ConfigType::String => text(value),
        ConfigType::List if value.is_empty() => "[]".to_owned(),
        ConfigType::List => {
            let items: Vec<String> = value.split(',').map(text).collect();
            format!("[{}]", items.join(", "))
        }
        ConfigType::Boolean
        | ConfigType::Int
        | ConfigType::Short
        | ConfigType::Long
        | ConfigType::Double => value.to_owned(),
    };
    format!("\"{name}\" = {value}")
}

/// Without control characters, so that nothing gets out of a comment.
fn one_line(text: &str) -> String {
    let escape = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    text.chars().map(escape).collect()
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text)
        .expect("writing into a String does not fail");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{ConfigFile, Sources, describe_broker, registry};

    fn load(name: &str, text: &str) -> BrokerConfig {
        let file = Some(ConfigFile {
            name: name.to_owned(),
            bytes: text.into(),
        });
        let sources = Sources {
            file,
            ..Sources::default()
        };
        BrokerConfig::load(&sources).expect("good settings")
    }

    /// What the settings come to, without where they were given.
    fn meaning(config: &BrokerConfig) -> (Vec<crate::ConfigEntry>, String) {
        let plain = BrokerConfig {
            warnings: Vec::new(),
            settings: crate::settings::Settings::default(),
            ..config.clone()
        };
        (describe_broker(config), format!("{plain:?}"))
    }

    fn round_trip(properties: &str) -> String {
        let before = load("server.properties", properties);
        let text = to_toml(&before);
        let after = load("converted.toml", &text);
        assert_eq!(
            meaning(&before),
            meaning(&after),
            "{properties}\n---\n{text}"
        );
        assert_eq!(after.warnings, [], "{text}");
        text
    }

    #[test]
    fn the_stock_file_of_kafka_means_the_same_as_toml() {
        let text = round_trip(include_str!("../tests/data/kafka-4-server.properties"));
        let start = "# Broker and listeners\n\"node.id\" = 1\n\
                     \"listeners\" = [\"PLAINTEXT://:9092\"]\n\
                     \"advertised.listeners\" = [\"PLAINTEXT://localhost:9092\"]\n";
        assert!(text.starts_with(start), "{text}");
        let ignored =
            "# num.network.threads = \"3\" has no effect: threads are managed without settings\n";
        assert!(text.contains(ignored), "{text}");
        assert!(
            text.contains("\"log.dirs\" = [\"/tmp/kraft-combined-logs\"]\n"),
            "{text}"
        );
    }

    #[test]
    fn nothing_in_a_file_gets_out_of_its_line() {
        let text = round_trip(
            "metrics.x\\ny=1\nzookeeper.connect=a\\nb=c\nbroker.rack=a\\t\\\"b\\u0001\n",
        );
        assert!(
            text.contains("# metrics.x\\ny = \"1\" has no effect"),
            "{text}"
        );
        assert!(!text.contains("\nb=c"), "{text}");
    }

    #[test]
    fn secrets_stay_where_they_are() {
        let text = round_trip("zookeeper.ssl.keystore.password=hush\n");
        assert!(
            text.contains("# zookeeper.ssl.keystore.password has no effect"),
            "{text}"
        );
        assert!(!text.contains("hush"), "{text}");
    }

    const POOL: &[&str] = &[
        "log.retention.hours=1",
        "log.retention.minutes=90",
        "log.retention.ms=-1",
        "broker.id=4",
        "node.id=4",
        "log.dirs=/a b,/c",
        "log.dir=C:\\\\x",
        "broker.rack=r\\u00e9 'x' \\\"y\\\" \\\\",
        "log.cleaner.min.cleanable.ratio=0.25",
        "log.cleaner.io.max.bytes.per.second=1e9",
        "auto.create.topics.enable=FALSE",
        "log.segment.bytes=64MiB",
        "log.cleanup.policy=compact, delete",
        "max.connections=7",
        "max.connections.per.ip=3",
        "log.cleaner.threads=5",
        "compression.type=zstd",
        "num.io.threads=8",
        "tidewheel.log.ack.all=memory",
        "listeners=PLAINTEXT://:1,PLAINTEXT://[::1]:2,C://:3",
        "advertised.listeners=PLAINTEXT://h:1,C://h:3",
        "controller.listener.names=C",
    ];

    proptest! {
        #[test]
        fn any_configuration_means_the_same_as_toml(chosen in prop::sample::subsequence(POOL, 0..POOL.len())) {
            let mut lines = chosen;
            // Without these the listeners above contradict each other.
            if lines.iter().any(|line| line.starts_with("listeners") || line.starts_with("advertised")) {
                lines.extend(&POOL[POOL.len() - 3..]);
            }
            round_trip(&lines.join("\n"));
        }
    }

    #[test]
    fn every_default_can_be_written_down() {
        let rows = registry::keys(Scope::Broker).filter_map(|row| Some((row, row.default?)));
        let lines = rows.filter(|(row, _)| row.name != "broker.id");
        let lines = lines.map(|(row, default)| assignment(row.name, row.config_type, default));
        let text = lines.collect::<Vec<_>>().join("\n");
        let values = |config: &BrokerConfig| {
            let entries = describe_broker(config).into_iter();
            entries.map(|entry| entry.value).collect::<Vec<_>>()
        };
        assert_eq!(
            values(&load("f.toml", &text)),
            values(&BrokerConfig::default())
        );
    }
}
