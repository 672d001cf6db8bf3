//! Records are read: as a template has them, or as JSON.

use std::io::{self, BufRead, BufReader, Read};
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use clap::ValueEnum;
use serde::{Deserialize, Deserializer};
use tidewheel_config::limits;
use tidewheel_protocol::{Record, RecordHeader};

use super::ProduceArguments;
use crate::cli::EXIT_ENVIRONMENT;
use crate::cli::kafka::escapes::escape;
use crate::cli::outcome::{Failure, failed};
use crate::clock;

/// How records are written.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// As the template says.
    Text,
    /// One JSON object per line.
    #[value(alias = "json", alias = "json-each-row")]
    Jsonl,
}

/// A part of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Key,
    Value,
}

/// What a record looks like: bytes before the first field, and each field with the bytes behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    before: Vec<u8>,
    fields: Vec<(Field, Vec<u8>)>,
    /// What ends a record; never empty.
    end: Vec<u8>,
}

impl FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut template = Self {
            before: Vec::new(),
            fields: Vec::new(),
            end: Vec::new(),
        };
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            let field = match (c, rest.clone().next()) {
                ('%', Some('k')) => Field::Key,
                ('%', Some('v' | 's')) => Field::Value,
                ('%', Some('%')) => {
                    rest.next();
                    template.literal().push(b'%');
                    continue;
                }
                ('%', _) => return Err("it knows %k, %v and %%".to_owned()),
                ('\\', _) => {
                    let byte = escape(&mut rest)?;
                    template.literal().push(byte);
                    continue;
                }
                (c, _) => {
                    let mut bytes = [0; 4];
                    let bytes = c.encode_utf8(&mut bytes).as_bytes();
                    template.literal().extend_from_slice(bytes);
                    continue;
                }
            };
            rest.next();
            template.add(field)?;
        }
        // The bytes behind the last field end a record, the end of a line where there are none.
        match template.fields.last_mut() {
            None => return Err("it has neither %k nor %v".to_owned()),
            Some((_, behind)) => template.end = std::mem::take(behind),
        }
        if template.end.is_empty() {
            template.end.push(b'\n');
        }
        Ok(template)
    }
}

impl Template {
    /// Where bytes go that are no field.
    fn literal(&mut self) -> &mut Vec<u8> {
        match self.fields.last_mut() {
            Some((_, behind)) => behind,
            None => &mut self.before,
        }
    }

    fn add(&mut self, field: Field) -> Result<(), String> {
        if self.fields.iter().any(|(known, _)| *known == field) {
            return Err("it names a field twice".to_owned());
        }
        if self
            .fields
            .last()
            .is_some_and(|(_, behind)| behind.is_empty())
        {
            return Err("nothing stands between two of its fields".to_owned());
        }
        self.fields.push((field, Vec::new()));
        Ok(())
    }

    /// Key and value of a record, without its end; nothing where it does not look like this.
    fn split<'a>(&self, record: &'a [u8]) -> Option<Split<'a>> {
        let mut rest = record.strip_prefix(self.before.as_slice())?;
        let (mut key, mut value) = (None, None);
        for (field, behind) in &self.fields {
            let bytes = match behind.is_empty() {
                true => std::mem::take(&mut rest),
                false => {
                    let at = memchr::memmem::find(rest, behind)?;
                    let (bytes, after) = rest.split_at(at);
                    rest = after.get(behind.len()..)?;
                    bytes
                }
            };
            match field {
                Field::Key => key = Some(bytes),
                Field::Value => value = Some(bytes),
            }
        }
        Some((key, value))
    }
}

/// Key and value.
type Split<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

/// A record in JSON. What else consume writes is left to the topic that it is produced to.
#[derive(Deserialize)]
struct JsonRecord {
    #[serde(default)]
    key: Option<Payload>,
    /// Null deletes a key, so that it must be said.
    #[serde(deserialize_with = "said")]
    value: Option<Payload>,
    #[serde(default)]
    headers: Vec<JsonHeader>,
    #[serde(default)]
    timestamp_ms: Option<i64>,
}

/// What may be null but is not left out.
fn said<'de, D: Deserializer<'de>>(source: D) -> Result<Option<Payload>, D::Error> {
    Option::deserialize(source)
}

/// A header in JSON.
#[derive(Deserialize)]
struct JsonHeader {
    key: Payload,
    #[serde(default)]
    value: Option<Payload>,
}

/// Bytes: a text, or what is none in base64.
#[derive(Deserialize)]
#[serde(untagged)]
enum Payload {
    Text(String),
    Encoded { base64: String },
}

impl Payload {
    fn bytes(self) -> Result<Bytes, String> {
        match self {
            Self::Text(text) => Ok(Bytes::from(text)),
            Self::Encoded { base64 } => match STANDARD.decode(base64) {
                Ok(bytes) => Ok(Bytes::from(bytes)),
                Err(error) => Err(error.to_string()),
            },
        }
    }
}

fn from_json(line: &[u8], now_ms: i64) -> Result<Record, String> {
    // A list would be read as the fields in their order.
    if !line.trim_ascii_start().starts_with(b"{") {
        return Err("it is no JSON object".to_owned());
    }
    let record: JsonRecord = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let bytes = |payload: Option<Payload>| payload.map(Payload::bytes).transpose();
    let mut headers = Vec::with_capacity(record.headers.len());
    for header in record.headers {
        headers.push(RecordHeader {
            key: header.key.bytes()?,
            value: bytes(header.value)?,
        });
    }
    Ok(Record {
        offset: 0,
        timestamp: record.timestamp_ms.unwrap_or(now_ms),
        key: bytes(record.key)?,
        value: bytes(record.value)?,
        headers,
    })
}

/// Reads records, as many at a time as there are at hand, within bounds.
pub(super) struct Reader<'a, R> {
    source: BufReader<R>,
    input: Input,
    template: &'a Template,
    /// Records that were read.
    count: u64,
    /// Bytes that were read of them and of what ends them.
    bytes: u64,
}

/// Bytes that are read at once.
const READ_BYTES: usize = 1 << 20;

impl<'a, R: Read> Reader<'a, R> {
    pub(super) fn new(arguments: &'a ProduceArguments, source: R) -> Self {
        Self::reading(arguments.input, &arguments.template, source)
    }

    fn reading(input: Input, template: &'a Template, source: R) -> Self {
        Self {
            source: BufReader::with_capacity(READ_BYTES, source),
            input,
            template,
            count: 0,
            bytes: 0,
        }
    }

    /// The next records, at least one unless they end, and how they end, if they do. Waits for the first one alone: who
    /// types a line sees it sent.
    pub(super) fn next(&mut self) -> (Vec<Record>, Option<Result<(), Failure>>) {
        let (mut records, mut bytes) = (Vec::new(), 0);
        loop {
            match self.record() {
                Ok(Some(record)) => {
                    bytes += len(&record);
                    records.push(record);
                }
                Ok(None) => return (records, Some(Ok(()))),
                Err(failure) => return (records, Some(Err(failure))),
            }
            let is_full = bytes >= limits::COMMAND_BATCH_BYTES
                || records.len() >= limits::COMMAND_BATCH_RECORDS;
            if is_full || !self.has_more() {
                return (records, None);
            }
        }
    }

    /// Whether another record can be read without waiting.
    fn has_more(&self) -> bool {
        memchr::memmem::find(self.source.buffer(), self.end()).is_some()
    }

    fn end(&self) -> &'a [u8] {
        match self.input {
            Input::Text => &self.template.end,
            Input::Jsonl => b"\n",
        }
    }

    /// How much of the source the records make that were read.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    fn record(&mut self) -> Result<Option<Record>, Failure> {
        let record = loop {
            let Some(record) = self.piece()? else {
                return Ok(None);
            };
            self.count += 1;
            // A last empty line is no record in JSON.
            if self.input == Input::Text || !record.trim_ascii().is_empty() {
                break record;
            }
        };
        let now_ms = clock::now_ms();
        let read = match self.input {
            Input::Jsonl => from_json(&record, now_ms),
            Input::Text => match self.template.split(&record) {
                None => Err("it does not look like the template".to_owned()),
                Some((key, value)) => Ok(Record {
                    offset: 0,
                    timestamp: now_ms,
                    key: key.map(Bytes::copy_from_slice),
                    value: Some(Bytes::copy_from_slice(value.unwrap_or_default())),
                    headers: Vec::new(),
                }),
            },
        };
        let wrong =
            |error: String| failed(&format!("record {}: {error}", self.count), EXIT_ENVIRONMENT);
        read.map(Some).map_err(wrong)
    }

    /// The bytes of a record without its end; nothing after the last one.
    fn piece(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let end = self.end();
        let Some(&last) = end.last() else {
            return Ok(None);
        };
        let mut piece = Vec::new();
        loop {
            let room = limits::COMMAND_RECORD_BYTES_MAX - piece.len();
            let mut bounded = (&mut self.source).take(room as u64);
            let read = bounded.read_until(last, &mut piece).map_err(cannot_read)?;
            self.bytes += read as u64;
            if piece.ends_with(end) {
                piece.truncate(piece.len() - end.len());
                return Ok(Some(piece));
            }
            if piece.len() >= limits::COMMAND_RECORD_BYTES_MAX {
                let (number, most) = (self.count + 1, limits::COMMAND_RECORD_BYTES_MAX);
                let sentence = format!("record {number} is longer than {most} bytes");
                return Err(failed(&sentence, EXIT_ENVIRONMENT));
            }
            if read == 0 {
                return Ok(Some(piece).filter(|piece| !piece.is_empty()));
            }
        }
    }
}

fn cannot_read(error: io::Error) -> Failure {
    failed(&format!("cannot read the input: {error}"), EXIT_ENVIRONMENT)
}

/// Bytes of a record in a batch, or some more.
fn len(record: &Record) -> usize {
    let bytes = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
    let headers = record.headers.iter();
    let headers: usize = headers
        .map(|one| one.key.len() + bytes(&one.value) + 10)
        .sum();
    bytes(&record.key) + bytes(&record.value) + headers + 40
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pair = (Option<String>, Option<String>);

    fn read(input: Input, template: &str, text: &[u8]) -> (Vec<Pair>, bool) {
        let template = template.parse().unwrap();
        let mut reader = Reader::reading(input, &template, text);
        let text = |bytes: &Option<Bytes>| {
            bytes
                .as_ref()
                .map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
        };
        let mut all = Vec::new();
        loop {
            let (records, end) = reader.next();
            all.extend(records.iter().map(|one| (text(&one.key), text(&one.value))));
            if let Some(end) = end {
                return (all, end.is_ok());
            }
        }
    }

    fn pair(key: Option<&str>, value: Option<&str>) -> Pair {
        (key.map(str::to_owned), value.map(str::to_owned))
    }

    #[test]
    fn lines_are_records() {
        let all = read(Input::Text, "%v\\n", b"a\n\nlast");
        let values = ["a", "", "last"].map(|value| pair(None, Some(value)));
        assert_eq!(all, (values.to_vec(), true));
        assert_eq!(read(Input::Text, "%v\\n", b""), (Vec::new(), true));
    }

    #[test]
    fn a_template_says_where_key_and_value_are() {
        let all = read(Input::Text, "%k %v", b"k1 v1 with blanks\nk2 \n");
        let pairs = [
            pair(Some("k1"), Some("v1 with blanks")),
            pair(Some("k2"), Some("")),
        ];
        assert_eq!(all, (pairs.to_vec(), true));
        let all = read(Input::Text, "<%v|%k>;;", b"<1|a;b>;;<2|b>;;");
        let pairs = [pair(Some("a;b"), Some("1")), pair(Some("b"), Some("2"))];
        assert_eq!(all, (pairs.to_vec(), true));
        let all = read(Input::Text, "%k\\x00", b"a\0b");
        assert_eq!(
            all.0,
            [pair(Some("a"), Some("")), pair(Some("b"), Some(""))]
        );
        // What was read before is not lost.
        let all = read(Input::Text, "%k:%v", b"a:1\nno colon\nb:2\n");
        assert_eq!(all, (vec![pair(Some("a"), Some("1"))], false));
        for wrong in [
            "", "x", "%", "%x", "%k%v", "%k %k", "%v\\", "%v\\q", "%v\\x4", "%v\\xzz",
        ] {
            assert!(wrong.parse::<Template>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn json_is_read_as_consume_writes_it() {
        let text = br#"{"topic":"t","offset":7,"key":"k","value":{"base64":"AAH+"},"headers":[{"key":"h"}]}
{"value":null}
"#;
        let template = "%v".parse().unwrap();
        let mut reader = Reader::reading(Input::Jsonl, &template, &text[..]);
        let (records, _) = reader.next();
        assert_eq!(records.len(), 2);
        assert_eq!(records[0].value.as_deref(), Some(&[0, 1, 254][..]));
        assert_eq!(records[0].headers[0].value, None);
        assert_eq!((&records[1].key, &records[1].value), (&None, &None));
        for wrong in ["{", "[]", r#"{"key":5}"#, r#"{"value":{"base64":"?"}}"#] {
            assert_eq!(
                read(Input::Jsonl, "%v", wrong.as_bytes()),
                (Vec::new(), false),
                "{wrong}"
            );
        }
    }

    #[test]
    fn as_much_is_read_at_once_as_one_request_should_have() {
        let line = format!("{}\n", "x".repeat(99));
        let text = line.repeat(limits::COMMAND_BATCH_BYTES / 50);
        let template = "%v".parse().unwrap();
        let mut reader = Reader::reading(Input::Text, &template, text.as_bytes());
        let (records, end) = reader.next();
        assert!(end.is_none());
        let bytes: usize = records.iter().map(len).sum();
        assert!((limits::COMMAND_BATCH_BYTES..limits::COMMAND_BATCH_BYTES + 200).contains(&bytes));
        let endless = io::repeat(b'x');
        let mut reader = Reader::reading(Input::Text, &template, endless);
        let (records, end) = reader.next();
        assert!(records.is_empty() && end.unwrap().is_err());
    }

    #[test]
    fn a_json_record_says_its_value() {
        let read = |line: &str| from_json(line.as_bytes(), 7);
        let null = read(r#"{"key":"k","value":null}"#).unwrap();
        assert_eq!((null.key, null.value), (Some(Bytes::from("k")), None));
        // What consume writes with --meta-only, and a slip of the pen.
        for line in [
            r#"{"key":"k","value_size_bytes":3}"#,
            r#"{"key":"k","val":"x"}"#,
        ] {
            assert!(
                read(line).is_err_and(|error| error.contains("value")),
                "{line}"
            );
        }
    }
}
