//! How a record is written, in the words of kcat.

use std::io::{self, Write};
use std::str::FromStr;

use bytes::Bytes;
use tidewheel_protocol::Record;

use crate::cli::kafka::escapes::escape;

/// A piece of what is written.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(Vec<u8>),
    Topic,
    Partition,
    Offset,
    Key,
    Value,
    Headers,
    Timestamp,
    KeyLen,
    ValueLen,
    /// Four bytes, the highest first.
    BinaryValueLen,
}

/// The pieces in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Vec<Piece>);

impl Template {
    /// A line for each value.
    pub(super) fn value() -> Self {
        Self(vec![Piece::Value, Piece::Literal(b"\n".to_vec())])
    }

    /// A line for each record, with everything but its value.
    pub(super) fn meta() -> Self {
        let fields = [
            Piece::Topic,
            Piece::Partition,
            Piece::Offset,
            Piece::Timestamp,
            Piece::ValueLen,
            Piece::Key,
        ];
        let mut pieces = Vec::new();
        for field in fields {
            let between = if pieces.is_empty() { &b""[..] } else { b"\t" };
            pieces.extend([Piece::Literal(between.to_vec()), field]);
        }
        pieces.push(Piece::Literal(b"\n".to_vec()));
        Self(pieces)
    }

    /// Writes a record. Keys, values and headers are written as they are.
    pub(super) fn write(
        &self,
        out: &mut impl Write,
        topic: &str,
        partition: i32,
        record: &Record,
    ) -> io::Result<()> {
        let len = |bytes: &Option<Bytes>| bytes.as_ref().map_or(-1, |bytes| bytes.len() as i128);
        for piece in &self.0 {
            match piece {
                Piece::Literal(bytes) => out.write_all(bytes)?,
                Piece::Topic => out.write_all(topic.as_bytes())?,
                Piece::Partition => write!(out, "{partition}")?,
                Piece::Offset => write!(out, "{}", record.offset)?,
                Piece::Key => out.write_all(record.key.as_deref().unwrap_or_default())?,
                Piece::Value => out.write_all(record.value.as_deref().unwrap_or_default())?,
                Piece::Headers => write_headers(out, record)?,
                Piece::Timestamp => write!(out, "{}", record.timestamp)?,
                Piece::KeyLen => write!(out, "{}", len(&record.key))?,
                Piece::ValueLen => write!(out, "{}", len(&record.value))?,
                Piece::BinaryValueLen => {
                    let len = i32::try_from(len(&record.value)).unwrap_or(i32::MAX);
                    out.write_all(&len.to_be_bytes())?;
                }
            }
        }
        Ok(())
    }
}

/// `name=value,name=value`.
fn write_headers(out: &mut impl Write, record: &Record) -> io::Result<()> {
    for (index, header) in record.headers.iter().enumerate() {
        if index > 0 {
            out.write_all(b",")?;
        }
        out.write_all(&header.key)?;
        out.write_all(b"=")?;
        out.write_all(header.value.as_deref().unwrap_or(b"NULL"))?;
    }
    Ok(())
}

impl FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut literal = Vec::new();
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            let piece = match c {
                '%' => match rest.next() {
                    Some('t') => Piece::Topic,
                    Some('p') => Piece::Partition,
                    Some('o') => Piece::Offset,
                    Some('k') => Piece::Key,
                    Some('v' | 's') => Piece::Value,
                    Some('h') => Piece::Headers,
                    Some('T') => Piece::Timestamp,
                    Some('K') => Piece::KeyLen,
                    Some('S') => Piece::ValueLen,
                    Some('R') => Piece::BinaryValueLen,
                    Some('%') => {
                        literal.push(b'%');
                        continue;
                    }
                    _ => {
                        let known = "%t, %p, %o, %k, %v, %s, %h, %T, %K, %S, %R and %%";
                        return Err(format!("it knows {known}"));
                    }
                },
                '\\' => {
                    literal.push(escape(&mut rest)?);
                    continue;
                }
                c => {
                    let mut bytes = [0; 4];
                    literal.extend_from_slice(c.encode_utf8(&mut bytes).as_bytes());
                    continue;
                }
            };
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            }
            pieces.push(piece);
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(Self(pieces))
    }
}

#[cfg(test)]
mod tests {
    use tidewheel_protocol::RecordHeader;

    use super::*;

    fn written(template: &Template, record: &Record) -> String {
        let mut out = Vec::new();
        template.write(&mut out, "orders", 3, record).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn record() -> Record {
        let header = |key, value: Option<&'static [u8]>| RecordHeader {
            key: Bytes::from_static(key),
            value: value.map(Bytes::from_static),
        };
        Record {
            offset: 42,
            timestamp: 1_796_115_600_000,
            key: Some(Bytes::from_static(b"key")),
            value: Some(Bytes::from_static("größe".as_bytes())),
            headers: vec![header(b"a", Some(b"1")), header(b"b", None)],
        }
    }

    #[test]
    fn every_field_is_written() {
        let template: Template = "%t[%p] %o %T %K %S %k=%v %s|%h 100%%\\t\\x41ü\\n"
            .parse()
            .unwrap();
        let expected = "orders[3] 42 1796115600000 3 7 key=größe größe|a=1,b=NULL 100%\tAü\n";
        assert_eq!(written(&template, &record()), expected);
        let bare = Record {
            key: None,
            value: None,
            headers: Vec::new(),
            ..record()
        };
        let template: Template = "%k|%v|%h|%K|%S".parse().unwrap();
        assert_eq!(written(&template, &bare), "|||-1|-1");
        for (record, expected) in [(record(), &[0, 0, 0, 7]), (bare, &[255; 4])] {
            let mut out = Vec::new();
            let template: Template = "%R".parse().unwrap();
            template.write(&mut out, "orders", 3, &record).unwrap();
            assert_eq!(out, expected);
        }
        assert_eq!(written(&Template::value(), &record()), "größe\n");
        let meta = written(&Template::meta(), &record());
        assert_eq!(meta, "orders\t3\t42\t1796115600000\t7\tkey\n");
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for text in ["%", "%x", "%v%", "\\", "\\q", "\\x4", "\\xgg", "\\xä"] {
            assert!(text.parse::<Template>().is_err(), "{text}");
        }
        assert_eq!("".parse(), Ok(Template(Vec::new())));
    }
}
