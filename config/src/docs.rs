//! The registry as text: `docs/configuration.md` and the annotated example file.

use std::fmt::Write as _;

use crate::environment;
use crate::error::ConfigError;
use crate::key::{Check, ConfigKey, ConfigType, Scope, Unit};
use crate::load::unknown_broker_key;
use crate::registry::{self, Foreign, REGISTRY};

const HEAD: &str = "# Configuration

This file is generated from the registry in `config/src/registry/`; a test keeps it fresh.

`tidewheel serve` needs no configuration. Settings come from these sources, a later one beats an
earlier one:

1. the defaults below,
2. the file given with `--config`: one whose name ends in `.properties` is read as Apache Kafka reads
   its `server.properties`, any other is TOML (an annotated example: `config/tidewheel.toml`),
3. environment variables that begin with `KAFKA_`, as Apache Kafka's container images take them: in
   the rest of the name `_` stands for a dot, `__` for `_` and `___` for `-`
   (`KAFKA_LOG_SEGMENT_BYTES`, or `KAFKA_CFG_LOG_SEGMENT_BYTES` as another image has it);
   `TIDEWHEEL_KAFKA_ENV=off` switches them off,
4. environment variables that begin with `TIDEWHEEL_`: the name in capitals with `_` for `.`
   (`TIDEWHEEL_LOG_SEGMENT_BYTES`; the prefix `tidewheel.` is not doubled, so
   `tidewheel.admin.listen` is `TIDEWHEEL_ADMIN_LISTEN`),
5. `--set key=value` on the command line.

Names, meanings and defaults are those of Apache Kafka 4.3; own settings begin with `tidewheel.`.
In these sources numbers may carry a unit: bytes `B`, `kB`, `MB`, `GB`, `TB`, `KiB`, `MiB`, `GiB`,
`TiB`; times `ms`, `s`, `m`, `h`, `d`, `w`. A list is a TOML list or a text with commas. Where one
name is the beginning of another (`max.connections`, `max.connections.per.ip`), TOML wants both in
quotes. Where several settings mean the same thing in different units, the first one listed counts,
and a later source replaces all that earlier sources said about it.

Everything that is wrong is reported at once, with file, line and column, and nothing is started. An
unknown name is such a mistake; with `--strict=false` it is a warning. `tidewheel config check` says
the same without starting, `config show --origin` shows what is in force and where it comes from,
`config docs NAME` explains a setting, `config convert` makes TOML of any of these sources.

`config get`, `set` and `unset` ask a running broker, Apache Kafka's too, over Kafka's protocol: what is set on
it, on all brokers (`--all-brokers`), on a `--topic` or on a `--group`, and where it comes from. `config set
retention.ms=7d --topic orders` acts at once and lasts over restarts; so does `PATCH /v1/config` of the HTTP API.

SIGHUP has the broker read the file of `--config` again. Defaults of topics, and other settings of which
`/v1/config/schema` says that they need no restart, act at once; those that were altered while it ran
(`kafka-configs`) stay above them. Settings that act after a restart only are named in one warning, and in
`/v1/config/status`. A file with errors changes nothing; all of them are told in the log. Variables and
arguments stay what they were: a broker without `--config` goes on at SIGHUP with what it has, and says so. Only
where the terminal is closed in which it runs does it end, cleanly.

Where a row says \"only\", the setting exists for tools that read it: another value has no effect and
is named in a warning; of a topic it is refused.

## Starting from an existing configuration

A `server.properties` of Apache Kafka and the environment of its container images start Tidewheel as
they are. Settings that have no effect here are named in a warning each, with the reason
([below](#settings-of-apache-kafka-without-effect)). Settings whose absence would leave data
unprotected are refused: a listener that speaks TLS or asks for logins, `ssl.*`, `sasl.*`, an
authorizer, a policy class. Where an unsafe setting is empty or says \"none\", nothing is asked for.

Listeners named in `controller.listener.names` are not opened and not advertised. Where the
environment names `KAFKA_ADVERTISED_LISTENERS` and nothing says where to listen, the broker listens
on every address at the advertised ports, as in Kafka's images. Variables that only
the scripts of those images read (`KAFKA_HEAP_OPTS`, `KAFKA_OPTS`, `KAFKA_JMX_PORT`, `KAFKA_LOG4J_LOGGERS` and
the like), and `CLUSTER_ID` beside any of `KAFKA_`, are named in a warning each with the reason: a data directory
makes a cluster id of its own, and keeps it. Others that name no setting are a warning, too.

A `.properties` file has the syntax of `java.util.Properties`: `=`, `:` or white space after the
key, comments with `#` and `!`, a backslash at the end of a line that goes on in the next, `\\t`,
`\\n`, `\\r`, `\\f` and `\\uXXXX`. It is read as UTF-8 where it is that, else as Latin-1.

Apache Kafka's data directories are not opened: point `log.dirs` to a new one.
";

/// The text of `docs/configuration.md`.
#[must_use]
pub fn markdown() -> String {
    let mut out = HEAD.to_owned();
    for section in REGISTRY {
        let first = section.keys.first();
        let last = match first.is_none_or(|key| key.scope == Scope::Broker) {
            true => "since",
            false => "broker setting behind it",
        };
        push(&mut out, format_args!("\n## {}\n\n", section.title));
        push(
            &mut out,
            format_args!("| setting | type | default | values | {last} | meaning |\n"),
        );
        out.push_str("|---|---|---|---|---|---|\n");
        for key in section.keys {
            out.push_str(&row(key));
        }
    }
    out.push_str(&without_effect());
    out
}

/// The table of Apache Kafka's settings that have no row.
fn without_effect() -> String {
    let mut out = "\n## Settings of Apache Kafka without effect\n\n\
                   | setting | what happens | why |\n|---|---|---|\n"
        .to_owned();
    for (name, meaning) in registry::all_foreign() {
        let rest = if name.ends_with('.') { "*" } else { "" };
        let (what, why) = match meaning {
            Foreign::Ignored(reason) => ("ignored with a warning", reason),
            Foreign::Refused(reason) => ("refused", reason),
        };
        push(
            &mut out,
            format_args!("| `{name}{rest}` | {what} | {why} |\n"),
        );
    }
    let single = registry::OF_ONE_LISTENER;
    push(
        &mut out,
        format_args!(
            "| `{single}*` | refused where the setting itself is, else ignored with a warning | \
             listeners have no settings of their own yet |\n"
        ),
    );
    out
}

/// The text of `config/tidewheel.toml`: every broker setting with its default, commented out.
#[must_use]
pub fn example_toml() -> String {
    let mut out = "# Every setting of the broker with its default. Generated from the registry.\n\
                   # Remove the # before a setting to change it. Names are in quotes because some\n\
                   # are the beginning of others, which TOML allows only in this form.\n"
        .to_owned();
    for section in REGISTRY {
        let keys = section.keys.iter().filter(|key| key.scope == Scope::Broker);
        for (index, key) in keys.enumerate() {
            if index == 0 {
                push(&mut out, format_args!("\n## {}\n", section.title));
            }
            out.push('\n');
            for line in wrapped(key.doc, 96) {
                push(&mut out, format_args!("# {line}\n"));
            }
            push(&mut out, format_args!("{}\n", assignment(key)));
        }
    }
    out
}

/// `#"key" = default`, or a remark where there is no default to write.
fn assignment(key: &ConfigKey) -> String {
    let Some(default) = key.default else {
        return format!("# Not set by default: \"{}\"", key.name);
    };
    let value = match key.config_type {
        ConfigType::String | ConfigType::List => format!("{default:?}"),
        _ => default.to_owned(),
    };
    format!("#\"{}\" = {value}", key.name)
}

fn row(key: &ConfigKey) -> String {
    let default = match key.default {
        None => "not set".to_owned(),
        Some("") => "empty".to_owned(),
        Some(text) => format!("`{text}`"),
    };
    let last = match key.scope {
        Scope::Broker => key.since.to_owned(),
        Scope::Topic | Scope::Group => {
            let names: Vec<String> = key
                .synonyms
                .iter()
                .map(|synonym| format!("`{}`", synonym.name))
                .collect();
            names.join(", ")
        }
    };
    let config_type = format!("{:?}", key.config_type).to_lowercase();
    format!(
        "| `{}` | {config_type}{} | {default} | {} | {last} | {} |\n",
        key.name,
        unit(key),
        key.allowed(),
        meaning(key)
    )
}

/// Everything about the setting `name`, of the broker, of topics, of groups or of several of them.
///
/// # Errors
/// `Unknown` where neither Tidewheel nor Apache Kafka has a broker, topic or group setting of this name.
pub fn explain(name: &str) -> Result<String, ConfigError> {
    let scopes = [Scope::Broker, Scope::Topic, Scope::Group];
    let rows = scopes.map(|scope| registry::find(scope, name));
    let texts: Vec<String> = rows.into_iter().flatten().map(explain_row).collect();
    if !texts.is_empty() {
        return Ok(texts.join("\n"));
    }
    // Any value that is not empty: an empty one is never refused.
    match registry::foreign(name, "x") {
        Some(Foreign::Ignored(reason)) => Ok(format!(
            "{name} (a setting of Apache Kafka)\n  It has no effect here: {reason}.\n"
        )),
        Some(Foreign::Refused(reason)) => Ok(format!(
            "{name} (a setting of Apache Kafka)\n  It is refused where it asks for something: \
             {reason}.\n"
        )),
        None => Err(unknown_broker_key(name)),
    }
}

fn explain_row(key: &ConfigKey) -> String {
    let config_type = format!("{:?}", key.config_type).to_lowercase();
    let (whose, variables) = match key.scope {
        Scope::Broker => (
            "broker",
            vec![
                key.environment_name(),
                environment::kafka_variable(key.name),
            ],
        ),
        Scope::Topic => ("topic", Vec::new()),
        Scope::Group => ("group", Vec::new()),
    };
    let behind: Vec<&str> = key.synonyms.iter().map(|synonym| synonym.name).collect();
    let lines = [
        ("type", format!("{config_type}{}", unit(key))),
        ("default", key.default.unwrap_or("not set").to_owned()),
        ("values", key.allowed()),
        ("variables", variables.join(", ")),
        ("comes from", behind.join(", ")),
        ("since", key.since.to_owned()),
    ];
    let mut out = format!("{} ({whose})\n", key.name);
    for (what, text) in lines.iter().filter(|(_, text)| !text.is_empty()) {
        push(&mut out, format_args!("  {what:<11}{text}\n"));
    }
    for line in wrapped(&meaning(key), 78) {
        push(&mut out, format_args!("  {line}\n"));
    }
    out
}

fn meaning(key: &ConfigKey) -> String {
    match key.check {
        Check::OnlyDefault(reason) => {
            format!("{} Nothing else has an effect yet: {reason}.", key.doc)
        }
        _ => key.doc.to_owned(),
    }
}

fn unit(key: &ConfigKey) -> &'static str {
    match key.unit {
        Unit::None => "",
        Unit::Bytes => ", bytes",
        Unit::Milliseconds => ", ms",
        Unit::Minutes => ", minutes",
        Unit::Hours => ", hours",
    }
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text)
        .expect("writing into a String does not fail");
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("there is always a line");
        if !last.is_empty() && last.len() + 1 + word.len() > width {
            lines.push(word.to_owned());
        } else {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_explained_wherever_it_is_known() {
        let both = explain("compression.type").unwrap();
        assert!(both.starts_with("compression.type (broker)\n"), "{both}");
        assert!(both.contains("\ncompression.type (topic)\n"), "{both}");
        let own = explain("tidewheel.admin.listen").unwrap();
        assert!(
            own.contains("  variables  TIDEWHEEL_ADMIN_LISTEN, KAFKA_TIDEWHEEL_ADMIN_LISTEN\n"),
            "{own}"
        );
        let rows = registry::keys(Scope::Broker).chain(registry::keys(Scope::Topic));
        for row in rows {
            assert!(explain(row.name).unwrap().contains(row.name));
        }
        let ignored = explain("num.io.threads").unwrap();
        assert!(ignored.contains("no effect here: threads"), "{ignored}");
        let refused = explain("ssl.keystore.location").unwrap();
        assert!(refused.contains("is refused"), "{refused}");
        let unknown = explain("num.partition").unwrap_err().to_string();
        assert!(
            unknown.ends_with("did you mean num.partitions?"),
            "{unknown}"
        );
    }
}
