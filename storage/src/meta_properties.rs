//! `meta.properties`: whose a log directory is.
//!
//! Kafka's Java properties, version 1, with one key of ours:
//! ```text
//! version=1
//! cluster.id=vcBYLmRXQUi11AiDiwOyVA
//! node.id=1
//! directory.id=JkFDRPP5SW6w7Lyl-v0PyA
//! tidewheel.format.version=1
//! ```
//! A directory that Apache Kafka wrote lacks that key and is refused untouched, as is one that is
//! not empty and has no such file: it may be somebody's home directory.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::Path;

use tidewheel_protocol::Uuid;

use crate::checkpoint;
use crate::error::StorageError;
use crate::fs::FileSystem;

/// The file's name in a log directory.
pub const META_PROPERTIES: &str = "meta.properties";

/// The newest layout of a log directory that this program reads, and the one it writes.
pub const FORMAT_VERSION: i32 = 1;

const FORMAT_KEY: &str = "tidewheel.format.version";

/// What a file system itself puts into an empty directory.
const LOST_AND_FOUND: &str = "lost+found";

/// Whose a log directory is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetaProperties {
    /// The cluster's id: base64 text, or what the operator chose.
    pub cluster_id: String,
    /// The broker's `node.id`.
    pub node_id: i32,
    /// The directory's own id.
    pub directory_id: Uuid,
}

/// Writes the file of a log directory, durably.
///
/// # Errors
/// As [`checkpoint::write_atomically`].
pub fn write(fs: &dyn FileSystem, dir: &Path, meta: &MetaProperties) -> Result<(), StorageError> {
    let MetaProperties {
        cluster_id,
        node_id,
        directory_id,
    } = meta;
    let text = format!(
        "# Written by Tidewheel; do not edit.\nversion=1\ncluster.id={}\nnode.id={node_id}\n\
         directory.id={directory_id}\n{FORMAT_KEY}={FORMAT_VERSION}\n",
        escape(cluster_id)
    );
    checkpoint::write_atomically(fs, &dir.join(META_PROPERTIES), text.as_bytes())
}

/// Whose `dir` is, `None` where it is missing or empty and may be taken. Changes nothing.
///
/// # Errors
/// `ForeignDirectory` for a directory of Apache Kafka or of anything else, `NewerFormat` for one of
/// a later Tidewheel, `Corrupt` for a damaged file, `Io` where it cannot be read.
pub fn read(fs: &dyn FileSystem, dir: &Path) -> Result<Option<MetaProperties>, StorageError> {
    let path = dir.join(META_PROPERTIES);
    let Some(bytes) = checkpoint::read_small(fs, &path)? else {
        return check_empty(fs, dir).map(|()| None);
    };
    let corrupt = |reason: &str| StorageError::corrupt(&path, 0, reason);
    let text = std::str::from_utf8(&bytes).map_err(|_| corrupt("not UTF-8"))?;
    let properties = parse_properties(text);
    let Some(format) = properties.get(FORMAT_KEY) else {
        return Err(StorageError::ForeignDirectory {
            dir: dir.to_path_buf(),
            why: "it was written by Apache Kafka; its files are left untouched".to_owned(),
        });
    };
    let found: i32 = format
        .parse()
        .map_err(|_| corrupt("the format version is no number"))?;
    if found > FORMAT_VERSION {
        let dir = dir.to_path_buf();
        return Err(StorageError::NewerFormat {
            dir,
            found,
            supported: FORMAT_VERSION,
        });
    }
    if found < 1 || properties.get("version").map(String::as_str) != Some("1") {
        return Err(corrupt("unknown version"));
    }
    let value = |key: &str| properties.get(key).filter(|value| !value.is_empty());
    Ok(Some(MetaProperties {
        cluster_id: value("cluster.id")
            .ok_or_else(|| corrupt("no cluster.id"))?
            .clone(),
        node_id: value("node.id")
            .and_then(|value| value.parse().ok())
            .ok_or_else(|| corrupt("no node.id"))?,
        directory_id: value("directory.id")
            .and_then(|value| value.parse().ok())
            .ok_or_else(|| corrupt("no directory.id"))?,
    }))
}

/// Refuses a directory that holds anything but what may lie in a new one: hidden files (our lock
/// among them), `lost+found`, and our own half-made first file.
fn check_empty(fs: &dyn FileSystem, dir: &Path) -> Result<(), StorageError> {
    let entries = match fs.read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StorageError::from_io("list", dir, error)),
    };
    let half_made = format!("{META_PROPERTIES}.tmp");
    let allowed = |name: &str| name.starts_with('.') || name == LOST_AND_FOUND || name == half_made;
    match entries.iter().find(|entry| !allowed(&entry.name)) {
        None => Ok(()),
        Some(entry) => Err(StorageError::ForeignDirectory {
            dir: dir.to_path_buf(),
            why: format!(
                "it is not empty ({}) and has no {META_PROPERTIES}",
                entry.name
            ),
        }),
    }
}

/// What surrounds keys and values; a backslash makes it part of them.
const BLANKS: [char; 3] = [' ', '\t', '\u{c}'];

/// Java's properties, without continued lines, which nobody writes into this file.
fn parse_properties(text: &str) -> HashMap<String, String> {
    let mut properties = HashMap::new();
    for line in text.lines() {
        let line = line.trim_start_matches(BLANKS);
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let (key, value) = split_property(line);
        properties.insert(
            unescape(key.trim_end_matches(BLANKS)),
            unescape(value.trim_start_matches(BLANKS)),
        );
    }
    properties
}

/// Splits at the first `=` or `:` that no backslash precedes.
fn split_property(line: &str) -> (&str, &str) {
    let mut escaped = false;
    for (at, character) in line.char_indices() {
        match character {
            '\\' if !escaped => escaped = true,
            '=' | ':' if !escaped => return (&line[..at], &line[at + 1..]),
            _ => escaped = false,
        }
    }
    (line, "")
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            plain.push(character);
            continue;
        }
        match characters.next() {
            Some('n') => plain.push('\n'),
            Some('r') => plain.push('\r'),
            Some('t') => plain.push('\t'),
            Some(other) => plain.push(other),
            None => {}
        }
    }
    plain
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            ' ' | '\\' | '=' | ':' | '#' | '!' => escaped.extend(['\\', character]),
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use proptest::prelude::*;

    use super::*;
    use crate::fs::{Fault, OpenMode, SimFs};

    /// As Kafka 4.3.1 writes it.
    const KAFKAS: &str = "#\n#Sat Nov 21 04:17:13 UTC 2026\nnode.id=1\n\
        directory.id=JkFDRPP5SW6w7Lyl-v0PyA\nversion=1\ncluster.id=vcBYLmRXQUi11AiDiwOyVA\n";

    fn meta(cluster_id: &str) -> MetaProperties {
        let directory_id = "JkFDRPP5SW6w7Lyl-v0PyA".parse().unwrap();
        MetaProperties {
            cluster_id: cluster_id.to_owned(),
            node_id: 1,
            directory_id,
        }
    }

    fn dir() -> &'static Path {
        Path::new("/data")
    }

    fn disk_with(files: &[(&str, &str)]) -> SimFs {
        let fs = SimFs::new();
        fs.create_dir_all(dir()).unwrap();
        fs.sync_dir(Path::new("/")).unwrap();
        for (name, text) in files {
            let file = fs.open(&dir().join(name), OpenMode::CreateNew).unwrap();
            file.write_all_at(&[IoSlice::new(text.as_bytes())], 0)
                .unwrap();
        }
        fs
    }

    fn read_text(text: &str) -> Result<Option<MetaProperties>, StorageError> {
        read(&disk_with(&[(META_PROPERTIES, text)]), dir())
    }

    #[test]
    fn a_directory_of_apache_kafka_is_refused_and_ours_is_read() {
        let found = read_text(KAFKAS).unwrap_err();
        assert!(
            matches!(found, StorageError::ForeignDirectory { .. }),
            "{found}"
        );
        assert!(found.to_string().contains("Apache Kafka"), "{found}");
        let ours = format!("{KAFKAS}tidewheel.format.version=1\n");
        assert_eq!(
            read_text(&ours).unwrap(),
            Some(meta("vcBYLmRXQUi11AiDiwOyVA"))
        );
        let spaced = ours.replace('=', " : ").replace('\n', "\r\n  ");
        assert_eq!(
            read_text(&spaced).unwrap(),
            Some(meta("vcBYLmRXQUi11AiDiwOyVA"))
        );
    }

    #[test]
    fn a_newer_format_and_damage_are_told_apart() {
        let newer = format!("{KAFKAS}tidewheel.format.version=2\n");
        let found = read_text(&newer).unwrap_err();
        assert!(
            matches!(found, StorageError::NewerFormat { found: 2, .. }),
            "{found}"
        );
        let ours = format!("{KAFKAS}tidewheel.format.version=1\n");
        for (from, to) in [
            ("\nversion=1", "\nversion=0"),
            ("\nversion=1", ""),
            ("format.version=1", "format.version=x"),
            ("format.version=1", "format.version=0"),
            ("node.id=1", "node.id="),
            ("cluster.id", "cluster"),
            ("=JkF", "="),
        ] {
            let found = read_text(&ours.replace(from, to));
            assert!(
                matches!(found, Err(StorageError::Corrupt { .. })),
                "{to}: {found:?}"
            );
        }
    }

    #[test]
    fn only_a_new_directory_is_taken() {
        assert_eq!(read(&SimFs::new(), dir()).unwrap(), None, "a missing one");
        let new = disk_with(&[
            (".lock", ""),
            ("lost+found", ""),
            ("meta.properties.tmp", "vers"),
        ]);
        assert_eq!(read(&new, dir()).unwrap(), None);
        let home = disk_with(&[("thesis.tex", "")]);
        let found = read(&home, dir()).unwrap_err();
        assert!(
            matches!(found, StorageError::ForeignDirectory { .. }),
            "{found}"
        );
        assert!(found.to_string().contains("thesis.tex"), "{found}");
    }

    #[test]
    fn a_crash_while_the_file_is_written_leaves_a_directory_that_can_be_used() {
        let wanted = meta("c");
        let whole = disk_with(&[]);
        let first = whole.op_count();
        write(&whole, dir(), &wanted).unwrap();
        for op in first..whole.op_count() {
            let fs = disk_with(&[]);
            fs.fail_at(op, Fault::Crash);
            write(&fs, dir(), &wanted).unwrap_err();
            for seed in 0..50 {
                let found = read(&fs.crash(seed), dir()).unwrap();
                assert!(
                    found.is_none() || found.as_ref() == Some(&wanted),
                    "op {op}, seed {seed}"
                );
            }
        }
        let found = read(&whole.crash_lose_all_unsynced(), dir()).unwrap();
        assert_eq!(found, Some(wanted));
    }

    proptest! {
        #[test]
        fn any_cluster_id_comes_back(cluster_id in "\\PC{1,40}") {
            let fs = disk_with(&[]);
            write(&fs, dir(), &meta(&cluster_id)).unwrap();
            prop_assert_eq!(read(&fs, dir()).unwrap(), Some(meta(&cluster_id)));
        }
    }
}
