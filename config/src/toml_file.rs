//! A TOML file as a flat list of settings: tables and dotted keys are joined with dots.

use toml::de::{DeTable, DeValue};

use crate::error::{ConfigError, Place, Problem};
use crate::limits;
use crate::load::Entry;

/// Flattens `text`; what could be read is returned beside the problems.
pub(crate) fn read(file: &str, text: &str) -> (Vec<Entry>, Vec<Problem>) {
    let mut reader = Reader {
        file,
        text,
        entries: Vec::new(),
        problems: Vec::new(),
    };
    if text.len() > limits::CONFIG_FILE_BYTES_MAX {
        let most = limits::CONFIG_FILE_BYTES_MAX;
        reader.problem(0, format!("the file is longer than {most} bytes"));
        return (reader.entries, reader.problems);
    }
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let start = error.span().map_or(0, |span| span.start);
        reader.problem(start, syntax_sentence(error.message()));
    }
    reader.table("", table.get_ref());
    // The parser sorts by name; people read their file from the top.
    reader.entries.sort_by_key(|entry| match entry.place {
        Place::File { line, column, .. } => (line, column),
        _ => (0, 0),
    });
    (reader.entries, reader.problems)
}

struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    entries: Vec<Entry>,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn table(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let name = match prefix {
                "" => key.get_ref().to_string(),
                _ => format!("{prefix}.{}", key.get_ref()),
            };
            let start = key.span().start;
            match value.get_ref() {
                DeValue::Table(inner) => self.table(&name, inner),
                other => match scalar_or_list(other) {
                    Ok(value) => {
                        let place = self.place(start);
                        self.entries.push(Entry {
                            place,
                            key: name,
                            value,
                        });
                    }
                    Err(reason) => self.problem(start, format!("{name}: {reason}")),
                },
            }
        }
    }

    fn place(&self, start: usize) -> Place {
        let before = self.text.get(..start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Place::File {
            file: self.file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    fn problem(&mut self, start: usize, sentence: String) {
        let place = self.place(start);
        self.problems.push(Problem {
            place,
            error: ConfigError::Syntax(sentence),
        });
    }
}

fn scalar_or_list(value: &DeValue<'_>) -> Result<String, &'static str> {
    match value {
        DeValue::Array(items) => {
            let items: Result<Vec<String>, _> =
                items.iter().map(|item| scalar(item.get_ref())).collect();
            Ok(items?.join(","))
        }
        other => scalar(other),
    }
}

fn scalar(value: &DeValue<'_>) -> Result<String, &'static str> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Boolean(flag) => Ok(flag.to_string()),
        DeValue::Float(number) => Ok(number.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map(|number| number.to_string())
            .map_err(|_| "the number is too large"),
        DeValue::Datetime(_) => Err("no setting is a date"),
        DeValue::Array(_) | DeValue::Table(_) => Err("a list holds texts and numbers only"),
    }
}

/// TOML cannot hold `max.connections` beside `max.connections.per.ip`; say how to write them.
fn syntax_sentence(message: &str) -> String {
    let clash = message.contains("dotted key") || message.contains("duplicate key");
    let advice = if clash {
        "; where one key is the beginning of another, write them in quotes: \"max.connections\""
    } else {
        ""
    };
    format!("{message}{advice}")
}
