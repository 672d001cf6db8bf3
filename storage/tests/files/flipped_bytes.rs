//! What becomes of every flipped byte of a small data directory after a clean stop: a start says it, a
//! reader is told, `log verify` finds it, or nobody can see a difference.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::inspect_fixture::{DATA, Fixture};
use crate::support::{Log, Manager, NOW, config, tp};
use tidewheel_protocol::{Batches, Uuid};
use tidewheel_storage::checkpoint::write_atomically;
use tidewheel_storage::fs::{FileSystem, OpenMode, SimFs};
use tidewheel_storage::inspect::{Severity, verify};
use tidewheel_storage::{LivePartition, LogManagerOptions, StorageError};

/// Who notices, the first of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Noticed {
    /// The start fails, or names the partition as damaged.
    AtStart,
    /// A reader gets an error, or a batch that its CRC gives away.
    AtRead,
    /// `log verify`.
    ByVerify,
    /// Nobody: everything reads the same.
    Harmless,
}

/// What can be seen of the partition: offsets, batches as they lie there, what look-ups by time find, epochs.
pub(crate) type Seen = (
    (i64, i64),
    Vec<Vec<u8>>,
    Vec<Option<(i64, i64)>>,
    Vec<Option<i32>>,
);

fn start(fs: &SimFs) -> Result<(Manager, Arc<Log>), StorageError> {
    let fs: Arc<dyn FileSystem> = Arc::new(fs.clone());
    let options = LogManagerOptions::new(
        vec![PathBuf::from(DATA)],
        1,
        "MMLmzvLqQ8aZ4Gv8hQ9Wtw".to_owned(),
        vec![Uuid([9; 16])],
    );
    let manager = Manager::open(fs, options)?;
    let live = LivePartition {
        tp: tp("orders", 0),
        topic_id: Uuid(*b"a topic's own id"),
        config: config(),
    };
    let log = manager.load(vec![live], 7, NOW)?.logs.pop().unwrap();
    match log.refusal() {
        Some(error) => Err(error),
        None => Ok((manager, log)),
    }
}

/// Everything that clients can ask for; an error is what one of them is told.
pub(crate) fn look(log: &Log) -> Result<Seen, String> {
    let told = |error: StorageError| error.to_string();
    let offsets = log.offsets();
    let (mut batches, mut epochs, mut offset) = (Vec::new(), Vec::new(), offsets.log_start);
    while offset < offsets.high_watermark {
        let slice = log
            .read(offset, 1, true)
            .map_err(told)?
            .slice
            .ok_or("nothing")?;
        slice.load().map_err(told)?;
        for batch in Batches::new(slice.bytes().map_err(told)?) {
            let batch = batch.map_err(|error| error.to_string())?;
            for record in batch.records(1 << 20).map_err(|error| error.to_string())? {
                record.map_err(|error| error.to_string())?;
            }
            epochs.push(log.leader_epoch_at(offset));
            offset = batch.header.next_offset();
            batches.push(batch.bytes.to_vec());
        }
    }
    let mut found = Vec::new();
    for time in (NOW..NOW + 3_000)
        .step_by(100)
        .flat_map(|time| [time, time + 7])
    {
        let first = log.find_by_timestamp(time).map_err(told)?;
        found.push(first.map(|first| (first.offset, first.timestamp)));
    }
    let largest = log.max_timestamp().map_err(told)?;
    found.push(largest.map(|largest| (largest.offset, largest.timestamp)));
    Ok(((offsets.log_start, offsets.log_end), batches, found, epochs))
}

/// What a flip makes of the directory, and `None` where it is seen and nobody notices.
fn noticed(fs: &SimFs, sound: &Seen) -> Option<Noticed> {
    let Ok((_manager, log)) = start(&fs.kill()) else {
        return Some(Noticed::AtStart);
    };
    let Ok(seen) = look(&log) else {
        return Some(Noticed::AtRead);
    };
    let mut damages = 0;
    verify(fs, Path::new(DATA), &mut |finding| {
        damages += u32::from(finding.severity == Severity::Damage);
    })
    .unwrap();
    match damages {
        0 => (seen == *sound).then_some(Noticed::Harmless),
        _ => Some(Noticed::ByVerify),
    }
}

/// The kind of a file: its name, or what ends it.
pub(crate) fn kind(path: &Path) -> String {
    let name = path.file_name().unwrap().to_str().unwrap();
    let ending = name
        .rsplit_once('.')
        .filter(|(base, _)| base.parse::<i64>().is_ok());
    ending.map_or(name, |(_, ending)| ending).to_owned()
}

/// Flips every byte of a file in two ways, one after the other, and notes who notices.
fn flip_all(
    fs: &SimFs,
    path: &Path,
    sound: &Seen,
    found: &mut BTreeMap<String, BTreeSet<Noticed>>,
) {
    let file = fs.open(path, OpenMode::Read).unwrap();
    for position in 0..file.len().unwrap() {
        let mut byte = [0];
        file.read_exact_at(&mut byte, position).unwrap();
        for mask in [0x01, 0x80] {
            fs.rot(path, position, &[byte[0] ^ mask]).unwrap();
            let noticed = noticed(fs, sound);
            let place = || format!("{} at {position}, {mask:#x}", path.display());
            let noticed = noticed.unwrap_or_else(|| unreachable!("unnoticed: {}", place()));
            found.entry(kind(path)).or_default().insert(noticed);
        }
        fs.rot(path, position, &byte).unwrap();
    }
}

#[test]
fn every_flipped_byte_is_noticed_or_harmless() {
    use Noticed::{AtRead, AtStart, ByVerify, Harmless};
    let fixture = Fixture::clean();
    let (manager, log) = start(&fixture.fs.kill()).unwrap();
    let sound = look(&log).unwrap();
    assert_eq!(sound.1.len(), 8);
    drop((manager, log));
    let mut found: BTreeMap<String, BTreeSet<Noticed>> = BTreeMap::new();
    for path in fixture.files() {
        flip_all(&fixture.fs, &path, &sound, &mut found);
    }
    // With these the rules for batches are others.
    let (cleaner, ballast) = ("cleaner-offset-checkpoint", "tidewheel.ballast");
    for (name, bytes) in [(cleaner, "0\n1\norders 0 8\n"), (ballast, "nothing")] {
        let path = Path::new(DATA).join(name);
        write_atomically(&fixture.fs, &path, bytes.as_bytes()).unwrap();
        flip_all(&fixture.fs, &path, &sound, &mut found);
    }
    let expected = [
        (".kafka_cleanshutdown", vec![Harmless]),
        (cleaner, vec![AtStart, Harmless]),
        ("index", vec![ByVerify]),
        ("leader-epoch-checkpoint", vec![ByVerify]),
        ("log", vec![AtRead, ByVerify]),
        ("log-start-offset-checkpoint", vec![AtStart, ByVerify]),
        ("meta.properties", vec![AtStart, Harmless]),
        ("partition.metadata", vec![ByVerify]),
        ("recovery-point-offset-checkpoint", vec![AtStart, ByVerify]),
        ("replication-offset-checkpoint", vec![AtStart, ByVerify]),
        ("snapshot", vec![ByVerify]),
        (ballast, vec![Harmless]),
        ("tidewheel.manifest", vec![ByVerify]),
        ("timeindex", vec![ByVerify]),
    ];
    let expected = expected.map(|(kind, noticed)| (kind.to_owned(), noticed.into_iter().collect()));
    assert_eq!(found, BTreeMap::from(expected));
}
