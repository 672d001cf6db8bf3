//! Records are written.

use std::io::{self, BufWriter, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use tidewheel_protocol::{Record, TopicPartition};

use super::template::Template;
use crate::cli::outcome::print_json;

/// How records are written.
#[derive(Debug)]
pub(super) enum Form {
    /// As a template says.
    Template(Template),
    /// An object for each.
    Json {
        /// Without their values.
        meta_only: bool,
    },
}

/// Writes records.
#[derive(Debug)]
pub(super) struct Printer<W: Write> {
    form: Form,
    out: BufWriter<W>,
}

/// A record in JSON, under the names that the HTTP API has.
#[derive(Serialize)]
struct JsonRecord<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    timestamp_ms: i64,
    key: Payload<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Payload<'a>>,
    /// In the place of the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    value_size_bytes: Option<usize>,
    headers: Vec<JsonHeader<'a>>,
}

/// A header in JSON.
#[derive(Serialize)]
struct JsonHeader<'a> {
    key: Payload<'a>,
    value: Payload<'a>,
}

/// Bytes: a text, null where there are none, what is no text in base64.
struct Payload<'a>(Option<&'a Bytes>);

impl Serialize for Payload<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(bytes) = self.0 else {
            return serializer.serialize_none();
        };
        match std::str::from_utf8(bytes) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => {
                let mut encoded = serializer.serialize_map(Some(1))?;
                encoded.serialize_entry("base64", &STANDARD.encode(bytes))?;
                encoded.end()
            }
        }
    }
}

impl<W: Write> Printer<W> {
    pub(super) fn new(form: Form, out: W) -> Self {
        Self {
            form,
            out: BufWriter::new(out),
        }
    }

    /// Writes a record; it may be kept until the next flush.
    pub(super) fn print(&mut self, partition: &TopicPartition, record: &Record) -> io::Result<()> {
        let meta_only = match &self.form {
            Form::Template(template) => {
                let (topic, number) = (&partition.topic, partition.partition);
                return template.write(&mut self.out, topic, number, record);
            }
            Form::Json { meta_only } => *meta_only,
        };
        let headers = record.headers.iter().map(|header| JsonHeader {
            key: Payload(Some(&header.key)),
            value: Payload(header.value.as_ref()),
        });
        let record = JsonRecord {
            topic: &partition.topic,
            partition: partition.partition,
            offset: record.offset,
            timestamp_ms: record.timestamp,
            key: Payload(record.key.as_ref()),
            value: (!meta_only).then_some(Payload(record.value.as_ref())),
            value_size_bytes: record.value.as_ref().filter(|_| meta_only).map(Bytes::len),
            headers: headers.collect(),
        };
        print_json(&mut self.out, &record)
    }

    /// Passes on what is kept.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use tidewheel_protocol::RecordHeader;

    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_written_in_base64() {
        let record = Record {
            offset: 7,
            timestamp: 5,
            key: None,
            value: Some(Bytes::from_static(&[0, 1, 254])),
            headers: vec![RecordHeader {
                key: Bytes::from_static(b"h"),
                value: Some(Bytes::from_static(b"\x1b[2J")),
            }],
        };
        let partition = TopicPartition {
            topic: "t".into(),
            partition: 1,
        };
        for (meta_only, rest) in [
            (false, r#""value":{"base64":"AAH+"}"#),
            (true, r#""value_size_bytes":3"#),
        ] {
            let mut out = Vec::new();
            let mut printer = Printer::new(Form::Json { meta_only }, &mut out);
            printer.print(&partition, &record).unwrap();
            printer.flush().unwrap();
            drop(printer);
            let expected = format!(
                "{{\"topic\":\"t\",\"partition\":1,\"offset\":7,\"timestamp_ms\":5,\"key\":null,{rest},\
                 \"headers\":[{{\"key\":\"h\",\"value\":\"\\u001b[2J\"}}]}}\n"
            );
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
