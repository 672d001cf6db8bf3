//! `tidewheel.checkpoints`: what the four offset checkpoints of a log directory say, under a checksum.
//!
//! The file is ours, Kafka has none. Kafka's own checkpoints are bare numbers: nothing tells one wrong digit from a
//! right one, and a start removes segments below a log start, and cuts what no batch below a recovery point
//! explains. So what a start believes stands here; Kafka's files are written behind it, for Kafka's tools, and
//! for the case that this one is lost:
//! ```text
//! 2\n
//! <number of entries>\n
//! <topic> <partition> <recovery point> <log start> <high watermark> <compacted to, or -> <horizon> <held back by>\n
//! crc32:1b2c3d4e\n
//! ```
//! The last line is the CRC-32 (IEEE) of every byte before it, in eight hexadecimal digits. The last two fields say
//! what tombstones wait for, of which Kafka notes nothing (`Cleaned`): a time in ms since 1970, 0 where nobody
//! knows, and an offset, or `-`. Version 1 has not got them.
//!
//! **Believed** is this file where its checksum is right, whatever the others say: it is the first that is
//! replaced, so it is never older than they are. Where it is missing or damaged, Kafka's files count, but no start
//! removes anything because of them alone: it says so, and what lies below such a log start goes with the first pass
//! of retention.

use std::collections::HashMap;
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use tidewheel_protocol::TopicPartition;

use crate::checkpoint::{
    CLEANER_OFFSET_CHECKPOINT, LOG_START_OFFSET_CHECKPOINT, RECOVERY_POINT_CHECKPOINT,
    REPLICATION_OFFSET_CHECKPOINT, read_offsets, read_small,
};
use crate::compaction::Cleaned;
use crate::error::StorageError;
use crate::fs::FileSystem;
use crate::manifest::{add_checksum, checked_body};
use crate::partition_log::CheckpointOffsets;

/// The file's name in a log directory.
pub const SEALED_CHECKPOINTS: &str = "tidewheel.checkpoints";

const VERSION: &str = "2";
/// Without what tombstones wait for.
const VERSION_1: &str = "1";

/// What is noted of the partitions of a log directory.
pub(crate) type Noted = HashMap<TopicPartition, CheckpointOffsets>;
/// What one of Kafka's files says.
pub(crate) type Offsets = HashMap<TopicPartition, i64>;

/// All that the checkpoint files of a log directory say.
#[derive(Debug)]
pub(crate) struct Found {
    /// What is believed.
    pub(crate) noted: Noted,
    /// It stands under a checksum.
    pub(crate) is_sealed: bool,
    /// Kafka's files, as they are; `None` for one that cannot be read.
    pub(crate) texts: Texts<Option<Offsets>>,
    /// What is wrong with the files, where a start may go on all the same.
    pub(crate) doubts: Vec<StorageError>,
}

/// One value for each of Kafka's files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Texts<T> {
    pub(crate) recovery_points: T,
    pub(crate) log_starts: T,
    pub(crate) high_watermarks: T,
    pub(crate) cleaned: T,
}

impl<T> Texts<T> {
    /// Each value with the name of its file.
    pub(crate) fn by_file(&mut self) -> [(&'static str, &mut T); 4] {
        [
            (RECOVERY_POINT_CHECKPOINT, &mut self.recovery_points),
            (LOG_START_OFFSET_CHECKPOINT, &mut self.log_starts),
            (REPLICATION_OFFSET_CHECKPOINT, &mut self.high_watermarks),
            (CLEANER_OFFSET_CHECKPOINT, &mut self.cleaned),
        ]
    }
}

/// What Kafka's files are to say.
pub(crate) fn texts_of(noted: &Noted) -> Texts<Offsets> {
    let pick = |value: fn(&CheckpointOffsets) -> Option<i64>| -> Offsets {
        let picked = noted
            .iter()
            .filter_map(|(tp, offsets)| Some((tp.clone(), value(offsets)?)));
        picked.collect()
    };
    Texts {
        recovery_points: pick(|offsets| Some(offsets.recovery_point)),
        // Kafka lists only what differs from the first segment's base offset; 0 says nothing.
        log_starts: pick(|offsets| Some(offsets.log_start).filter(|start| *start > 0)),
        high_watermarks: pick(|offsets| Some(offsets.high_watermark)),
        cleaned: pick(|offsets| Some(offsets.cleaned?.to)),
    }
}

/// Reads all of them, and says which are believed.
///
/// # Errors
/// `Io` where one cannot be read; `Corrupt` where one of Kafka's files is damaged and nothing stands under a
/// checksum.
pub(crate) fn find(fs: &dyn FileSystem, dir: &Path) -> Result<Found, StorageError> {
    let mut doubts = Vec::new();
    let mut texts = Texts::default();
    for (name, text) in texts.by_file() {
        *text = match read_offsets(fs, &dir.join(name)) {
            Ok(offsets) => Some(offsets),
            Err(damage @ StorageError::Corrupt { .. }) => {
                doubts.push(damage);
                None
            }
            Err(error) => return Err(error),
        };
    }
    let sealed = match read(fs, dir) {
        Err(damage @ StorageError::Corrupt { .. }) => Err(damage),
        sealed => Ok(sealed?),
    };
    let (noted, is_sealed) = match sealed {
        Ok(Some(noted)) => (noted, true),
        missing => {
            if let Some(damage) = doubts.pop() {
                return Err(damage);
            }
            doubts.extend(missing.err());
            let noted = noted_in(&texts);
            if doubts.is_empty() && !noted.is_empty() {
                let reason = "it is missing beside the offset checkpoints".to_owned();
                doubts.push(StorageError::corrupt(
                    &dir.join(SEALED_CHECKPOINTS),
                    0,
                    reason,
                ));
            }
            (noted, doubts.is_empty())
        }
    };
    Ok(Found {
        noted,
        is_sealed,
        texts,
        doubts,
    })
}

/// What Kafka's files say of each partition.
fn noted_in(texts: &Texts<Option<Offsets>>) -> Noted {
    let mut noted = Noted::new();
    let mut note = |offsets: &Option<Offsets>, put: fn(&mut CheckpointOffsets, i64)| {
        for (tp, offset) in offsets.iter().flatten() {
            put(noted.entry(tp.clone()).or_default(), *offset);
        }
    };
    note(&texts.recovery_points, |noted, offset| {
        noted.recovery_point = offset;
    });
    note(&texts.log_starts, |noted, offset| noted.log_start = offset);
    note(&texts.high_watermarks, |noted, offset| {
        noted.high_watermark = offset;
    });
    note(&texts.cleaned, |noted, offset| {
        noted.cleaned = Some(Cleaned::with_unknown_tombstones(offset));
    });
    noted
}

/// Reads what stands under the checksum, `None` where there is no such file.
///
/// # Errors
/// `Corrupt` for a damaged file or one of another version; `Io` where it cannot be read.
pub(crate) fn read(fs: &dyn FileSystem, dir: &Path) -> Result<Option<Noted>, StorageError> {
    let path = dir.join(SEALED_CHECKPOINTS);
    let Some(bytes) = read_small(fs, &path)? else {
        return Ok(None);
    };
    let noted = decode(&bytes).map_err(|reason| StorageError::corrupt(&path, 0, reason))?;
    Ok(Some(noted))
}

/// The bytes of the file, sorted by partition.
pub(crate) fn encode(noted: &Noted) -> Vec<u8> {
    let mut sorted: Vec<_> = noted.iter().collect();
    sorted.sort_unstable_by_key(|(tp, _)| *tp);
    let mut text = format!("{VERSION}\n{}\n", sorted.len());
    for (tp, offsets) in sorted {
        let CheckpointOffsets {
            recovery_point,
            log_start,
            high_watermark,
            cleaned,
        } = offsets;
        let (topic, partition) = (&tp.topic, tp.partition);
        let or_none = |number: Option<i64>| {
            number.map_or_else(|| "-".to_owned(), |number| number.to_string())
        };
        let to = or_none(cleaned.map(|cleaned| cleaned.to));
        let horizon = or_none(cleaned.and_then(|cleaned| cleaned.horizon_ms));
        let holder = or_none(cleaned.and_then(|cleaned| cleaned.held_back_by));
        let line =
            format_args!("{topic} {partition} {recovery_point} {log_start} {high_watermark}");
        // Writing to a string cannot fail.
        writeln!(text, "{line} {to} {horizon} {holder}").unwrap_or_default();
    }
    let mut bytes = text.into_bytes();
    add_checksum(&mut bytes);
    bytes
}

fn decode(bytes: &[u8]) -> Result<Noted, String> {
    let text = std::str::from_utf8(checked_body(bytes)?).map_err(|error| error.to_string())?;
    let mut lines = text.lines();
    let version = lines.next().unwrap_or_default();
    if ![VERSION, VERSION_1].contains(&version) {
        return Err(format!("version {version:?} is unknown"));
    }
    let count = lines.next().and_then(|count| count.parse().ok());
    let mut noted = Noted::new();
    for line in lines {
        let (tp, offsets) = parse(line, version).ok_or_else(|| format!("no entry: {line:?}"))?;
        if noted.insert(tp, offsets).is_some() {
            return Err(format!("twice: {line:?}"));
        }
    }
    match count == Some(noted.len()) {
        true => Ok(noted),
        false => Err(format!("{} entries, not {count:?}", noted.len())),
    }
}

fn parse(line: &str, version: &str) -> Option<(TopicPartition, CheckpointOffsets)> {
    let mut fields = line.split(' ');
    let topic = fields.next().filter(|topic| !topic.is_empty())?;
    let partition = fields.next()?.parse().ok().filter(|number| *number >= 0)?;
    let offset = |field: &str| field.parse::<i64>().ok().filter(|offset| *offset >= 0);
    let (recovery_point, log_start) = (offset(fields.next()?)?, offset(fields.next()?)?);
    let high_watermark = offset(fields.next()?)?;
    let mut or_none = || match fields.next()? {
        "-" => Some(None),
        field => Some(Some(offset(field)?)),
    };
    let cleaned = match (or_none()?, version) {
        (to, VERSION_1) => to.map(Cleaned::with_unknown_tombstones),
        (to, _) => match (to, or_none()?, or_none()?) {
            (None, None, None) => None,
            (to, horizon_ms, held_back_by) => Some(Cleaned {
                to: to?,
                horizon_ms,
                held_back_by,
            }),
        },
    };
    let tp = TopicPartition {
        topic: Arc::from(topic),
        partition,
    };
    let offsets = CheckpointOffsets {
        recovery_point,
        log_start,
        high_watermark,
        cleaned,
    };
    fields.next().is_none().then_some((tp, offsets))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::checkpoint::{write_atomically, write_offsets};
    use crate::fs::SimFs;

    fn dir() -> &'static Path {
        Path::new("/data")
    }

    fn noted() -> Noted {
        let tp = |topic, partition| TopicPartition {
            topic: Arc::from(topic),
            partition,
        };
        let offsets = |recovery_point, cleaned| CheckpointOffsets {
            recovery_point,
            log_start: 3,
            high_watermark: i64::MAX,
            cleaned,
        };
        let waits = Cleaned {
            to: 13,
            horizon_ms: None,
            held_back_by: Some(5),
        };
        let unknown = Cleaned::with_unknown_tombstones(12);
        let entries = [
            (tp("b.c-d_e", 10), offsets(7, None)),
            (tp("a", 0), offsets(900, Some(unknown))),
            (tp("a", 1), offsets(901, Some(waits))),
        ];
        entries.into_iter().collect()
    }

    /// What files know of it that do not say what tombstones wait for.
    fn without_tombstones(mut noted: Noted) -> Noted {
        for offsets in noted.values_mut() {
            let to = offsets.cleaned.map(|cleaned| cleaned.to);
            offsets.cleaned = to.map(Cleaned::with_unknown_tombstones);
        }
        noted
    }

    fn disk(sealed: Option<&[u8]>, texts: &Noted) -> SimFs {
        let fs = SimFs::new();
        fs.create_dir_all(dir()).unwrap();
        if let Some(bytes) = sealed {
            write_atomically(&fs, &dir().join(SEALED_CHECKPOINTS), bytes).unwrap();
        }
        for (name, offsets) in texts_of(texts).by_file() {
            let entries: Vec<_> = offsets.drain().collect();
            write_offsets(&fs, &dir().join(name), &entries).unwrap();
        }
        fs
    }

    #[test]
    fn what_is_written_is_lines_and_a_checksum() {
        let bytes = encode(&noted());
        let text = String::from_utf8(bytes.clone()).unwrap();
        let max = i64::MAX;
        let body = format!(
            "2\n3\na 0 900 3 {max} 12 0 -\na 1 901 3 {max} 13 - 5\nb.c-d_e 10 7 3 {max} - - -\n"
        );
        assert_eq!(text.strip_suffix('\n').unwrap().len(), body.len() + 14);
        assert!(text.starts_with(&body), "{text}");
        assert_eq!(decode(&bytes), Ok(noted()));
        assert_eq!(decode(&encode(&Noted::new())), Ok(Noted::new()));
    }

    #[test]
    fn of_the_first_version_nobody_knows_what_tombstones_wait_for() {
        let max = i64::MAX;
        let body =
            format!("1\n3\na 0 900 3 {max} 12\na 1 901 3 {max} 13\nb.c-d_e 10 7 3 {max} -\n");
        let mut bytes = body.into_bytes();
        add_checksum(&mut bytes);
        assert_eq!(decode(&bytes), Ok(without_tombstones(noted())));
    }

    #[test]
    fn what_no_checkpoint_says_is_refused_even_with_a_right_checksum() {
        for body in [
            "",
            "3\n0\n",
            "1\n1\n",
            "2\n1\n",
            "1\n1\na 0 1 1 1\n",
            "1\n1\na 0 1 1 1 - 2\n",
            "1\n1\na 0 -1 1 1 -\n",
            "1\n1\na -1 1 1 1 -\n",
            "1\n2\na 0 1 1 1 -\na 0 1 1 1 -\n",
            "2\n1\na 0 1 1 1 -\n",
            "2\n1\na 0 1 1 1 - 5 -\n",
            "2\n1\na 0 1 1 1 - - 5\n",
            "2\n1\na 0 1 1 1 5 - - -\n",
            "2\n1\na 0 1 1 1 5 -1 -\n",
        ] {
            let mut bytes = body.as_bytes().to_vec();
            add_checksum(&mut bytes);
            assert!(decode(&bytes).is_err(), "{body:?}");
        }
    }

    #[test]
    fn the_checksum_decides_what_is_believed() {
        let sealed = encode(&noted());
        let mut other = without_tombstones(noted());
        for offsets in other.values_mut() {
            offsets.recovery_point = 1;
            offsets.high_watermark = 1;
        }
        let found = find(&disk(Some(&sealed), &other), dir()).unwrap();
        assert_eq!((found.noted, found.is_sealed), (noted(), true));
        assert_eq!(found.doubts.len(), 0, "a crash leaves them behind it");
        let rotten = [&sealed[..9], b"9", &sealed[10..]].concat();
        for sealed in [Some(rotten.as_slice()), None] {
            let found = find(&disk(sealed, &other), dir()).unwrap();
            assert_eq!((found.noted, found.is_sealed), (other.clone(), false));
            assert_eq!(found.doubts.len(), 1);
        }
        let nothing = find(&disk(None, &Noted::new()), dir()).unwrap();
        assert!(nothing.is_sealed && nothing.doubts.is_empty());
    }

    #[test]
    fn one_of_kafkas_files_stops_a_start_only_where_nothing_else_says_the_same() {
        let damage = |fs: &SimFs| {
            write_atomically(fs, &dir().join(RECOVERY_POINT_CHECKPOINT), b"0\n9\n").unwrap();
        };
        let fs = disk(Some(&encode(&noted())), &noted());
        damage(&fs);
        let found = find(&fs, dir()).unwrap();
        assert_eq!((found.noted, found.doubts.len()), (noted(), 1));
        assert_eq!(found.texts.recovery_points, None);
        let fs = disk(None, &noted());
        damage(&fs);
        let refused = find(&fs, dir());
        assert!(matches!(refused, Err(StorageError::Corrupt { .. })));
    }

    proptest! {
        #[test]
        fn any_flipped_bit_is_noticed(at in any::<prop::sample::Index>(), bit in 0..8_u32) {
            let mut bytes = encode(&noted());
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            // A flipped bit may turn a lower-case digit of the checksum into the upper-case one.
            let found = decode(&bytes);
            prop_assert!(found.is_err() || found == Ok(noted()) && at >= bytes.len() - 9);
        }

        #[test]
        fn no_bytes_cause_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(decode(&bytes).is_err());
            let mut signed = bytes;
            add_checksum(&mut signed);
            drop(decode(&signed));
        }
    }
}
