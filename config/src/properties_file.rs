//! A file in the syntax of `java.util.Properties` as a flat list of settings.
//!
//! Logical lines are made of natural ones that end in an odd number of backslashes; the white space at
//! the beginning of each natural line is dropped. A key ends at the first `=`, `:` or white space without
//! a backslash before it. Bytes that are no UTF-8 are Latin-1, as Java reads every file.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::Chars;

use crate::error::{ConfigError, Place, Problem, Warning};
use crate::load::{Entry, SourceContent};

/// Reads `bytes`; what could be read is returned beside the problems.
pub(crate) fn read(file: &str, bytes: &[u8]) -> SourceContent {
    let text = decode(bytes);
    let mut lines = LogicalLines {
        chars: text.chars().peekable(),
        line: 1,
        column: 1,
    };
    let mut content = SourceContent::default();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    while let Some(logical) = lines.next() {
        let place = Place::File {
            file: file.to_owned(),
            line: logical.line,
            column: logical.column,
        };
        let (key, value) = split(&logical.text);
        match (unescape(key), unescape(value)) {
            (Ok(key), Ok(value)) => {
                if let Some(before) = seen.insert(key.clone(), logical.line) {
                    content.warnings.push(Warning::Note {
                        place: place.clone(),
                        sentence: format!(
                            "{} stands in line {before} too; the later one counts",
                            crate::value::shorten(&key)
                        ),
                    });
                }
                content.entries.push(Entry { place, key, value });
            }
            (Err(sentence), _) | (_, Err(sentence)) => content.problems.push(Problem {
                place,
                error: ConfigError::Syntax(sentence),
            }),
        }
    }
    content
}

fn decode(bytes: &[u8]) -> Cow<'_, str> {
    const BYTE_ORDER_MARK: char = '\u{feff}';
    match str::from_utf8(bytes) {
        Ok(text) => text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text).into(),
        Err(_) => bytes.iter().copied().map(char::from).collect(),
    }
}

/// One key and its value as written, and where it begins; both numbers count from 1.
struct LogicalLine {
    text: String,
    line: usize,
    column: usize,
}

/// The logical lines of a text without blank ones and comments.
struct LogicalLines<'a> {
    chars: Peekable<Chars<'a>>,
    line: usize,
    column: usize,
}

impl LogicalLines<'_> {
    /// The next character; each of `\r`, `\n` and `\r\n` is one `\n`.
    fn advance(&mut self) -> Option<char> {
        let c = self.chars.next()?;
        if c == '\r' && self.chars.peek() == Some(&'\n') {
            self.chars.next();
        }
        if matches!(c, '\r' | '\n') {
            self.line += 1;
            self.column = 1;
            return Some('\n');
        }
        self.column += 1;
        Some(c)
    }

    fn skip_white_space(&mut self) {
        while self.chars.peek().is_some_and(|c| is_white_space(*c)) {
            self.advance();
        }
    }

    fn skip_line(&mut self) {
        while !matches!(self.advance(), None | Some('\n')) {}
    }

    /// Appends the rest of a natural line; whether the next one continues it.
    fn take_natural_line(&mut self, text: &mut String) -> bool {
        let mut escaped = false;
        loop {
            let next = self.advance();
            if !matches!(next, None | Some('\n')) {
                escaped = next == Some('\\') && !escaped;
                text.extend(next);
                continue;
            }
            if escaped {
                text.pop();
            }
            // Java: a backslash before the end of the file continues nothing.
            return escaped && self.chars.peek().is_some();
        }
    }

    fn next(&mut self) -> Option<LogicalLine> {
        let mut text = String::new();
        let mut start = None;
        loop {
            self.skip_white_space();
            match self.chars.peek() {
                None if text.is_empty() => return None,
                Some('\r' | '\n') if text.is_empty() => {
                    self.advance();
                    continue;
                }
                Some('#' | '!') if text.is_empty() => {
                    self.skip_line();
                    continue;
                }
                _ => {}
            }
            if text.is_empty() {
                start = Some((self.line, self.column));
            }
            if self.take_natural_line(&mut text) {
                continue;
            }
            let (line, column) = start?;
            return Some(LogicalLine { text, line, column });
        }
    }
}

fn is_white_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{c}')
}

/// Key and value of a logical line, both still with their escapes.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let ends_key = |(_, c): &(usize, char)| {
        let ends = !escaped && (matches!(c, '=' | ':') || is_white_space(*c));
        escaped = *c == '\\' && !escaped;
        ends
    };
    let Some((end, _)) = line.char_indices().find(ends_key) else {
        return (line, "");
    };
    let (key, rest) = line.split_at(end);
    let rest = rest.trim_start_matches(is_white_space);
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (key, value.trim_start_matches(is_white_space))
}

/// Resolves `\t`, `\n`, `\r`, `\f` and `\uXXXX`; before any other character a backslash means nothing.
fn unescape(text: &str) -> Result<String, String> {
    if !text.contains('\\') {
        return Ok(text.to_owned());
    }
    // In UTF-16, because two escapes may be the halves of one character.
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let mut buffer = [0; 2];
        let c = match c {
            '\\' => match chars.next() {
                None => break,
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\u{c}',
                Some('u') => {
                    units.push(hexadecimal(&mut chars)?);
                    continue;
                }
                Some(other) => other,
            },
            other => other,
        };
        units.extend_from_slice(c.encode_utf16(&mut buffer));
    }
    String::from_utf16(&units).map_err(|_| "a \\u escape is half of a character".to_owned())
}

fn hexadecimal(chars: &mut Chars<'_>) -> Result<u16, String> {
    let digits = |count: u32, c: char| (count < 4).then(|| c.to_digit(16)).flatten();
    let mut value = 0;
    for count in 0..4 {
        let digit = chars.next().and_then(|c| digits(count, c));
        let digit = digit.ok_or("four hexadecimal digits must follow \\u")?;
        value = value * 16 + digit;
    }
    u16::try_from(value).map_err(|_| "four hexadecimal digits must follow \\u".to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Key and value, the later one of a key, in UTF-16; `None` where something is wrong.
    fn load(bytes: &[u8]) -> Option<BTreeMap<Vec<u16>, Vec<u16>>> {
        let content = read("f", bytes);
        let units = |text: &str| text.encode_utf16().collect();
        let pairs = content.entries.iter();
        let pairs = pairs.map(|entry| (units(&entry.key), units(&entry.value)));
        content.problems.is_empty().then(|| pairs.collect())
    }

    fn units(hex: &str) -> Vec<u16> {
        let unit = |digits: &[u8]| u16::from_str_radix(str::from_utf8(digits).unwrap(), 16);
        let units = hex.as_bytes().chunks(4).map(unit);
        units.map(Result::unwrap).collect()
    }

    #[test]
    fn files_are_read_as_java_reads_them() {
        let table = include_str!("../tests/data/java-properties.tsv");
        let mut count = 0;
        for line in table.lines().filter(|line| !line.starts_with('#')) {
            let (bytes, wanted) = line.split_once('\t').unwrap();
            let byte = |digits: &[u8]| u8::from_str_radix(str::from_utf8(digits).unwrap(), 16);
            let bytes = bytes.as_bytes().chunks(2).map(byte);
            let bytes: Vec<u8> = bytes.map(Result::unwrap).collect();
            let pairs = wanted.split(',').filter_map(|pair| pair.split_once('='));
            let pairs = pairs.map(|(key, value)| (units(key), units(value)));
            let wanted = (wanted != "!").then(|| pairs.collect());
            assert_eq!(
                load(&bytes),
                wanted,
                "{:?}",
                bytes.escape_ascii().to_string()
            );
            count += 1;
        }
        assert_eq!(count, 600);
    }

    #[test]
    fn utf_8_is_read_as_such_and_anything_else_as_latin_1() {
        let value = |bytes: &[u8]| read("f", bytes).entries.remove(0).value;
        assert_eq!(value("broker.rack=Zürich".as_bytes()), "Zürich");
        assert_eq!(value(b"broker.rack=Z\xfcrich"), "Zürich");
        assert_eq!(read("f", b"\xef\xbb\xbfa=b").entries[0].key, "a");
    }

    #[test]
    fn entries_and_problems_tell_where_their_key_begins() {
        let text = "# one\n\n  a = 1\r\n\tb \\\n : 2\\\n  3\r! x\rc=\\u00\na=4";
        let content = read("f", text.as_bytes());
        let places = content.entries.iter().map(|entry| entry.place.to_string());
        let places: Vec<String> = places.collect();
        assert_eq!(places, ["f:3:3", "f:4:2", "f:9:1"]);
        assert_eq!(content.entries[1].value, "23");
        let problems: Vec<String> = content.problems.iter().map(ToString::to_string).collect();
        assert_eq!(problems, ["f:8:1: four hexadecimal digits must follow \\u"]);
        let warnings: Vec<String> = content.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(
            warnings,
            ["f:9:1: a stands in line 3 too; the later one counts"]
        );
    }

    /// As `Properties.store` writes: every special character behind a backslash or as `\u`.
    fn escape(text: &str) -> String {
        let escape = |unit: u16| match char::from_u32(unit.into()) {
            Some(c) if c.is_ascii_alphanumeric() => c.to_string(),
            Some(c) if c.is_ascii_punctuation() || c == ' ' => format!("\\{c}"),
            _ => format!("\\u{unit:04X}"),
        };
        text.encode_utf16().map(escape).collect()
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            read("f", &bytes);
        }

        #[test]
        fn neither_does_what_looks_like_a_file(text in r"([ab=: \t\x0c\r\n\\#!u0é]|\\u00e9|\\\n){0,60}") {
            let content = read("f", text.as_bytes());
            prop_assert!(content.entries.iter().all(|entry| entry.place.to_string().starts_with("f:")));
        }

        #[test]
        fn what_is_escaped_comes_back(pairs in prop::collection::btree_map(".{1,12}", ".{0,12}", 0..6), separator in "[ \t]{0,2}[=: ][ \t]{0,2}") {
            let text: String = pairs
                .iter()
                .map(|(key, value)| format!("{}{separator}{}\n", escape(key), escape(value)))
                .collect();
            let units = |text: &String| text.encode_utf16().collect::<Vec<u16>>();
            let wanted = pairs.iter().map(|(key, value)| (units(key), units(value))).collect();
            prop_assert_eq!(load(text.as_bytes()), Some(wanted));
        }
    }
}
