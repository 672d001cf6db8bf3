//! A TOML file as a flat list of settings: tables and dotted keys are joined with dots.

use toml::de::{DeTable, DeValue};

use crate::error::{ConfigError, Place, Problem};
use crate::load::{Entry, SourceContent};

/// Flattens the text in `bytes`; what could be read is returned beside the problems.
pub(crate) fn read(file: &str, bytes: &[u8]) -> SourceContent {
    // Up to where it is a text.
    let (text, broken) = match str::from_utf8(bytes) {
        Ok(text) => (text, false),
        Err(error) => {
            let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
            (str::from_utf8(good).unwrap_or_default(), true)
        }
    };
    let mut reader = Reader {
        file,
        text,
        entries: Vec::new(),
        problems: Vec::new(),
    };
    if broken {
        reader.problem(text.len(), "the file is not UTF-8".to_owned());
        return reader.content();
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
    reader.content()
}

struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    entries: Vec<Entry>,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn content(self) -> SourceContent {
        SourceContent {
            entries: self.entries,
            problems: self.problems,
            ..SourceContent::default()
        }
    }

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
