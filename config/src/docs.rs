//! The registry as text: `docs/configuration.md` and the annotated example file.

use std::fmt::Write as _;

use crate::key::{Check, ConfigKey, ConfigType, Scope, Unit};
use crate::registry::REGISTRY;

const HEAD: &str = "# Configuration

This file is generated from the registry in `config/src/registry/`; a test keeps it fresh.

`tidewheel serve` needs no configuration. Settings come from these sources, a later one beats an
earlier one:

1. the defaults below,
2. the TOML file given with `--config` (an annotated example: `config/tidewheel.toml`),
3. environment variables: the name in capitals with `_` for `.` and `TIDEWHEEL_` before it
   (`TIDEWHEEL_LOG_SEGMENT_BYTES`; the prefix `tidewheel.` is not doubled, so
   `tidewheel.admin.listen` is `TIDEWHEEL_ADMIN_LISTEN`),
4. `--set key=value` on the command line.

Names, meanings and defaults are those of Apache Kafka 4.3; own settings begin with `tidewheel.`.
In these sources numbers may carry a unit: bytes `B`, `kB`, `MB`, `GB`, `TB`, `KiB`, `MiB`, `GiB`,
`TiB`; times `ms`, `s`, `m`, `h`, `d`, `w`. A list is a TOML list or a text with commas. Where one
name is the beginning of another (`max.connections`, `max.connections.per.ip`), TOML wants both in
quotes. Where several settings mean the same thing in different units, the first one listed counts,
and a later source replaces all that earlier sources said about it.

Everything that is wrong is reported at once and nothing is started. Settings of Apache Kafka that
have no meaning here are named in a warning; settings of features that are not built yet are
refused. Where a row says \"only\", the setting exists for tools that read it, and nothing but that
value is accepted yet.
";

/// The text of `docs/configuration.md`.
#[must_use]
pub fn markdown() -> String {
    let mut out = HEAD.to_owned();
    for section in REGISTRY {
        let topic = section
            .keys
            .first()
            .is_some_and(|key| key.scope == Scope::Topic);
        let last = if topic {
            "broker setting behind it"
        } else {
            "since"
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
        Scope::Topic => {
            let names: Vec<String> = key
                .synonyms
                .iter()
                .map(|synonym| format!("`{}`", synonym.name))
                .collect();
            names.join(", ")
        }
    };
    let meaning = match key.check {
        Check::OnlyDefault(reason) => format!("{} Nothing else yet: {reason}.", key.doc),
        _ => key.doc.to_owned(),
    };
    let unit = match key.unit {
        Unit::None => "",
        Unit::Bytes => ", bytes",
        Unit::Milliseconds => ", ms",
        Unit::Minutes => ", minutes",
        Unit::Hours => ", hours",
    };
    let config_type = format!("{:?}", key.config_type).to_lowercase();
    format!(
        "| `{}` | {config_type}{unit} | {default} | {} | {last} | {meaning} |\n",
        key.name,
        key.allowed()
    )
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
