//! The offline debugger: a sound directory is sound, and no flipped byte goes unseen.

use std::path::{Path, PathBuf};

use crate::inspect_fixture::{DATA, Fixture, ORDERS};
use tidewheel_storage::checkpoint;
use tidewheel_storage::error::StorageError;
use tidewheel_storage::fs::{FileSystem, OpenMode, SimFs};
use tidewheel_storage::inspect::{self, DumpEntry, DumpOptions, Finding, Severity, VerifySummary};

fn verify(fs: &SimFs, path: &str) -> (Vec<Finding>, VerifySummary) {
    let mut findings = Vec::new();
    let outcome = inspect::verify(fs, Path::new(path), &mut |finding| findings.push(finding));
    (findings, outcome.expect("the files can be read"))
}

fn dump(fs: &SimFs, path: &str, records: bool) -> Vec<DumpEntry> {
    let mut entries = Vec::new();
    inspect::dump(fs, Path::new(path), DumpOptions { records }, &mut |entry| {
        entries.push(entry)
    })
    .expect("the files can be read");
    entries
}

fn read(fs: &SimFs, path: &Path) -> Vec<u8> {
    checkpoint::read_small(fs, path)
        .expect("the file can be read")
        .expect("the file is there")
}

fn write(fs: &SimFs, path: &Path, bytes: &[u8]) {
    checkpoint::write_atomically(fs, path, bytes).expect("the simulated disk works");
}

fn damages(findings: &[Finding]) -> Vec<String> {
    let damages = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Damage);
    damages.map(ToString::to_string).collect()
}

#[test]
fn a_sound_directory_has_nothing_to_report() {
    let fixture = Fixture::clean();
    let (findings, summary) = verify(&fixture.fs, DATA);
    assert_eq!(findings, []);
    assert_eq!(
        (summary.partitions, summary.batches, summary.records),
        (1, 8, 16)
    );
    assert!(summary.clean);
    assert_eq!(verify(&fixture.fs, ORDERS).0, []);
}

#[test]
fn every_flipped_byte_is_found_or_reads_the_same() {
    let fixture = Fixture::clean();
    let mut unseen = Vec::new();
    for path in fixture.files() {
        let original = read(&fixture.fs, &path);
        let shown = dump(&fixture.fs, &path.to_string_lossy(), true);
        for position in 0..original.len() {
            for mask in [0x01, 0x10, 0x80, 0xff] {
                let flipped = [original[position] ^ mask];
                fixture
                    .fs
                    .rot(&path, position as u64, &flipped)
                    .expect("the file is there");
                let (findings, _) = verify(&fixture.fs, DATA);
                if damages(&findings).is_empty() {
                    let now = dump(&fixture.fs, &path.to_string_lossy(), true);
                    if now != shown {
                        unseen.push((path.clone(), position, mask));
                    }
                }
            }
            fixture
                .fs
                .rot(&path, position as u64, &original[position..=position])
                .expect("there");
        }
    }
    unseen.retain(|(path, position, _)| !is_harmless(&fixture, path, *position));
    assert_eq!(unseen, []);
    assert_eq!(verify(&fixture.fs, DATA).0, [], "the flips were taken back");
}

/// Bytes whose change nobody can see from the files alone, and why that does no harm.
fn is_harmless(fixture: &Fixture, path: &Path, position: usize) -> bool {
    let bytes = read(&fixture.fs, path);
    let line_start = bytes[..position]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    let line = String::from_utf8_lossy(&bytes[line_start..]);
    match path.file_name().and_then(|name| name.to_str()) {
        // The identity has no checksum. What it says is compared at the start with the broker's own
        // identity and with the other directories, which an offline check does not know.
        Some("meta.properties") => !line.starts_with("version"),
        // Only that it is there counts.
        Some(".kafka_cleanshutdown") => true,
        _ => false,
    }
}

#[test]
fn damage_is_named_with_file_position_and_reason() {
    let fixture = Fixture::clean();
    let log = PathBuf::from(ORDERS).join("00000000000000000000.log");
    let second = fixture.batch_positions[1];
    let byte = read(&fixture.fs, &log)[usize::try_from(second).expect("small") + 70];
    fixture
        .fs
        .rot(&log, second + 70, &[byte ^ 1])
        .expect("the file is there");
    let (findings, summary) = verify(&fixture.fs, DATA);
    assert_eq!(summary.damages, 1);
    assert_eq!(
        (findings[0].file.as_path(), findings[0].position),
        (log.as_path(), second)
    );
    assert!(findings[0].what.contains("CRC"), "{}", findings[0]);
    let entries = dump(&fixture.fs, &log.to_string_lossy(), true);
    let bad = entries
        .iter()
        .filter(|entry| matches!(entry, DumpEntry::Batch(b) if !b.crc_ok));
    assert_eq!(bad.count(), 1);
}

#[test]
fn a_torn_tail_is_a_note_after_a_crash_and_damage_after_a_clean_stop() {
    for (clean, expected) in [(true, Severity::Damage), (false, Severity::Note)] {
        let fixture = if clean {
            Fixture::clean()
        } else {
            Fixture::crashed()
        };
        let log = PathBuf::from(ORDERS).join("00000000000000000008.log");
        let mut bytes = read(&fixture.fs, &log);
        bytes.truncate(bytes.len() - 5);
        write(&fixture.fs, &log, &bytes);
        let (findings, _) = verify(&fixture.fs, DATA);
        let tail = findings
            .iter()
            .find(|finding| finding.file == log)
            .expect("the tail is seen");
        assert_eq!(tail.severity, expected, "{tail}");
        assert_eq!(
            tail.position,
            *fixture.batch_positions.last().expect("there are batches")
        );
    }
}

#[test]
fn damage_below_the_recovery_point_is_not_excused_by_a_crash() {
    let fixture = Fixture::crashed();
    let log = PathBuf::from(ORDERS).join("00000000000000000000.log");
    fixture
        .fs
        .rot(&log, 80, &[0xee])
        .expect("the file is there");
    assert_eq!(damages(&verify(&fixture.fs, DATA).0).len(), 1);
}

#[test]
fn missing_files_and_lost_segments_are_damage() {
    for name in [
        "00000000000000000000.log",
        "00000000000000000000.index",
        "00000000000000000008.timeindex",
        "00000000000000000016.snapshot",
        "leader-epoch-checkpoint",
        "partition.metadata",
    ] {
        let fixture = Fixture::clean();
        fixture
            .fs
            .remove_file(&PathBuf::from(ORDERS).join(name))
            .expect("the file is there");
        let (findings, _) = verify(&fixture.fs, DATA);
        assert!(
            !damages(&findings).is_empty(),
            "{name} is gone and nobody says so"
        );
    }
}

#[test]
fn a_dump_shows_batches_records_and_every_small_file() {
    let fixture = Fixture::clean();
    let entries = dump(&fixture.fs, DATA, true);
    let count = |select: fn(&DumpEntry) -> bool| entries.iter().filter(|e| select(e)).count();
    assert_eq!(
        count(|entry| matches!(entry, DumpEntry::Batch(batch) if batch.crc_ok)),
        8
    );
    assert_eq!(count(|entry| matches!(entry, DumpEntry::Record(_))), 16);
    assert_eq!(
        count(|entry| matches!(entry, DumpEntry::LeaderEpoch { .. })),
        2
    );
    assert_eq!(
        count(|entry| matches!(entry, DumpEntry::Producer { .. })),
        2
    );
    assert_eq!(
        count(|entry| matches!(entry, DumpEntry::PartitionMetadata { .. })),
        1
    );
    assert_eq!(
        count(|entry| matches!(entry, DumpEntry::ManifestPartition(_))),
        1
    );
    assert!(count(|entry| matches!(entry, DumpEntry::OffsetIndex { .. })) >= 2);
    assert!(count(|entry| matches!(entry, DumpEntry::TimeIndex { .. })) >= 2);
    assert_eq!(
        count(|entry| matches!(entry, DumpEntry::Unreadable { .. })),
        0
    );
    for entry in &entries {
        let json = serde_json::to_value(entry).expect("every entry is JSON");
        assert!(json["type"].is_string(), "{json}");
        assert!(!entry.to_string().is_empty());
    }
    let without = dump(&fixture.fs, ORDERS, false);
    assert!(
        !without
            .iter()
            .any(|entry| matches!(entry, DumpEntry::Record(_)))
    );
}

#[test]
fn garbage_is_shown_and_reported_without_a_panic() {
    let fixture = Fixture::clean();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    for path in fixture.files() {
        let original = read(&fixture.fs, &path);
        let garbage: Vec<u8> = (0..original.len().max(40))
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                seed.to_be_bytes()[1]
            })
            .collect();
        write(&fixture.fs, &path, &garbage);
        dump(&fixture.fs, DATA, true);
        let (findings, _) = verify(&fixture.fs, DATA);
        let text_marker = path.ends_with(".kafka_cleanshutdown");
        assert!(
            text_marker || !damages(&findings).is_empty(),
            "{}",
            path.display()
        );
        write(&fixture.fs, &path, &original);
    }
}

#[test]
fn a_directory_in_use_is_refused() {
    let fixture = Fixture::clean();
    let lock = fixture
        .fs
        .lock(&PathBuf::from(DATA).join(".lock"))
        .expect("nobody holds it");
    for path in [DATA, ORDERS, "/data/orders-0/partition.metadata"] {
        let outcome = inspect::verify(&fixture.fs, Path::new(path), &mut |_| ());
        assert!(
            matches!(outcome, Err(StorageError::DirectoryInUse { .. })),
            "{path}: {outcome:?}"
        );
        let outcome = inspect::dump(
            &fixture.fs,
            Path::new(path),
            DumpOptions::default(),
            &mut |_| (),
        );
        assert!(
            matches!(outcome, Err(StorageError::DirectoryInUse { .. })),
            "{path}: {outcome:?}"
        );
    }
    drop(lock);
    assert_eq!(verify(&fixture.fs, DATA).0, []);
}

#[test]
fn what_is_not_there_is_an_error_of_the_environment() {
    let fixture = Fixture::clean();
    let outcome = inspect::verify(&fixture.fs, Path::new("/nowhere"), &mut |_| ());
    assert!(
        matches!(outcome, Err(StorageError::Io { .. })),
        "{outcome:?}"
    );
    assert!(
        fixture
            .fs
            .open(Path::new("/nowhere"), OpenMode::Read)
            .is_err(),
        "nothing was made"
    );
}
