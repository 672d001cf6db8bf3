//! `log reindex`: indexes made anew from the batches they lead to.

use std::path::{Path, PathBuf};

use crate::inspect_fixture::{DATA, Fixture, ORDERS};
use tidewheel_storage::StorageError;
use tidewheel_storage::checkpoint::read_small;
use tidewheel_storage::fs::{FileSystem, SimFs};
use tidewheel_storage::inspect::{
    ReindexOptions, Reindexed, ReindexedSegment, Severity, reindex, verify,
};

/// The fixture's own interval.
const OPTIONS: ReindexOptions = ReindexOptions {
    interval_bytes: 100,
    dry_run: false,
};

fn run(fs: &SimFs, path: &str, options: ReindexOptions) -> Vec<ReindexedSegment> {
    let mut segments = Vec::new();
    reindex(fs, Path::new(path), options, &mut |segment| {
        segments.push(segment);
    })
    .expect("the disk works");
    segments
}

fn damages(fs: &SimFs) -> usize {
    let mut damages = 0;
    verify(fs, Path::new(DATA), &mut |finding| {
        damages += usize::from(finding.severity == Severity::Damage);
    })
    .expect("the disk works");
    damages
}

fn file(name: &str) -> PathBuf {
    PathBuf::from(ORDERS).join(name)
}

fn indexes(fs: &SimFs) -> Vec<Option<Vec<u8>>> {
    let of = |base: &str| [format!("{base}.index"), format!("{base}.timeindex")];
    let names = ["00000000000000000000", "00000000000000000008"].map(of);
    let read = |name: &String| read_small(fs, &file(name)).expect("the disk works");
    names.as_flattened().iter().map(read).collect()
}

#[test]
fn every_flipped_byte_of_an_index_and_a_missing_one_are_made_good() {
    let fixture = Fixture::clean();
    let sound = indexes(&fixture.fs);
    assert_eq!(run(&fixture.fs, DATA, OPTIONS), [], "nothing is to be done");
    for path in fixture.files() {
        let name = path.to_str().expect("text").to_owned();
        if !name.ends_with("index") {
            continue;
        }
        let bytes = read_small(&fixture.fs, &path).expect("there").expect("it");
        for (position, byte) in (0..).zip(&bytes) {
            let rot = fixture.fs.rot(&path, position, &[byte ^ 0x10]);
            rot.expect("the file is there");
            assert!(damages(&fixture.fs) > 0);
            assert_eq!(
                run(&fixture.fs, DATA, OPTIONS).len(),
                1,
                "{name} {position}"
            );
            assert_eq!(indexes(&fixture.fs), sound, "{name} {position}");
        }
        fixture.fs.remove_file(&path).expect("the file is there");
        assert_eq!(run(&fixture.fs, ORDERS, OPTIONS).len(), 1, "{name}");
        assert_eq!(
            (indexes(&fixture.fs), damages(&fixture.fs)),
            (sound.clone(), 0)
        );
    }
}

#[test]
fn a_dry_run_writes_nothing() {
    let fixture = Fixture::clean();
    let index = file("00000000000000000000.index");
    fixture
        .fs
        .rot(&index, 3, &[0xee])
        .expect("the file is there");
    let before = indexes(&fixture.fs);
    let dry = ReindexOptions {
        dry_run: true,
        ..OPTIONS
    };
    let ops = fixture.fs.op_count();
    let found = run(&fixture.fs, DATA, dry);
    assert!(
        matches!(found[0].outcome, Reindexed::Rebuilt { offset_entries, .. } if offset_entries > 0)
    );
    assert_eq!((indexes(&fixture.fs), fixture.fs.op_count()), (before, ops));
}

#[test]
fn a_segment_whose_batches_are_damaged_keeps_its_index() {
    let fixture = Fixture::clean();
    let log = file("00000000000000000000.log");
    fixture
        .fs
        .rot(&log, 80, &[0xee])
        .expect("the file is there");
    let index = file("00000000000000000000.index");
    fixture
        .fs
        .rot(&index, 3, &[0xee])
        .expect("the file is there");
    let before = indexes(&fixture.fs);
    let found = run(&fixture.fs, DATA, OPTIONS);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].file, log);
    assert!(
        matches!(found[0].outcome, Reindexed::Damaged { position: 0, .. }),
        "{}",
        found[0]
    );
    assert_eq!(indexes(&fixture.fs), before);
}

#[test]
fn a_directory_in_use_is_refused() {
    let fixture = Fixture::clean();
    let lock = fixture
        .fs
        .lock(&PathBuf::from(DATA).join(".lock"))
        .expect("free");
    let outcome = reindex(&fixture.fs, Path::new(ORDERS), OPTIONS, &mut |_| ());
    assert!(matches!(outcome, Err(StorageError::DirectoryInUse { .. })));
    drop(lock);
}
