//! The five rules that keep the way open for another engine, each held by a test.

use std::path::Path;
use std::sync::Arc;

use crate::support::{
    self, Draft, Manager, NOW, append, check_lookups, id_of, live, open, read_all,
};
use tidewheel_storage::fs::{FileSystem, SimFs};

fn sources() -> Vec<(String, String)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            sources.push((name, std::fs::read_to_string(&path).unwrap()));
        }
    }
    assert!(sources.len() > 20);
    sources
}

/// Rule 1: every start writes under an epoch one higher, so offsets that were used twice show.
#[test]
fn offsets_used_again_after_a_power_cut_show_through_their_epoch() {
    let disk = SimFs::new();
    let partitions = || vec![live("t", 1, support::config())];
    let fs: Arc<dyn FileSystem> = Arc::new(disk.clone());
    let (manager, logs) = open(&fs, partitions(), 0).unwrap();
    append(&logs[0], &Draft::new(1), true, NOW).unwrap();
    assert!(manager.flush_round(0).error.is_none());
    for id in 2..5 {
        append(&logs[0], &Draft::new(id), false, NOW).unwrap();
    }
    assert_eq!(
        logs[0].offsets().high_watermark,
        4,
        "a reader saw offsets 1..4"
    );
    drop((manager, logs));
    let fs: Arc<dyn FileSystem> = Arc::new(disk.crash_lose_all_unsynced());
    let (_manager, logs) = open(&fs, partitions(), 1).unwrap();
    assert_eq!(
        append(&logs[0], &Draft::new(9), false, NOW)
            .unwrap()
            .base_offset,
        1
    );
    assert_eq!(logs[0].leader_epoch(), 1);
    assert_eq!(
        logs[0].end_offset_for_epoch(0),
        (0, 1),
        "the reader of epoch 0 learns of the cut"
    );
    assert_eq!(logs[0].end_offset_for_epoch(1), (1, 2));
}

/// Rule 2: an outcome comes back with the waiter it belongs to.
#[test]
fn an_outcome_reaches_its_caller_through_a_waiter() {
    /// A waiter need not be anything but movable.
    struct Waiter(&'static str);
    let fs: Arc<dyn FileSystem> = Arc::new(SimFs::new());
    let manager =
        tidewheel_storage::LogManager::<Waiter>::open(fs, support::options(&["/data"])).unwrap();
    let log = manager.create(live("t", 1, support::config()), 0).unwrap();
    let batch = Draft::new(1).valid(&support::config());
    let outcomes: Vec<(Waiter, _)> = log.append(batch, false, Waiter("mine"), NOW);
    let [(Waiter("mine"), Ok(info))] = outcomes.as_slice() else {
        panic!("one outcome, mine")
    };
    assert_eq!(info.base_offset, 0);
}

/// Rule 3: no path and no file leaves the crate, except inside a `RecordSlice`.
#[test]
fn no_public_function_of_the_log_returns_a_path_or_a_file() {
    let core = [
        "flush_coalescer.rs",
        "log_loading.rs",
        "log_manager.rs",
        "log_reader.rs",
        "shared_log.rs",
    ];
    let mut seen = 0;
    for (name, source) in sources()
        .iter()
        .filter(|(name, _)| core.contains(&name.as_str()))
    {
        for signature in source.split("pub fn ").skip(1) {
            let signature = signature.split('{').next().unwrap_or_default();
            let returned = signature
                .split_once("->")
                .map_or("", |(_, returned)| returned);
            for leak in ["Path", "File", "Fd", "MappedFile"] {
                assert!(!returned.contains(leak), "{name}: {signature}");
            }
            seen += 1;
        }
    }
    assert!(seen > 30, "{seen} signatures were looked at");
}

/// Rule 4: segment lists and log starts change in `Log::edit` and nowhere else.
#[test]
fn segment_lists_and_log_starts_change_in_one_place() {
    let changes = [
        "segments.roll(",
        "segments.drop_before(",
        "state.advance_log_start(",
        ".show_list(",
    ];
    // Lines may be broken anywhere.
    let dense = |text: &str| -> String { text.split_whitespace().collect() };
    for (name, source) in sources() {
        let source = source.split("#[cfg(test)]").next().unwrap_or_default();
        let edit = source
            .split_once("fn edit(")
            .and_then(|(_, rest)| rest.split_once("\n    }\n"));
        for change in changes {
            let found = dense(source).matches(change).count();
            let inside = edit.map_or(0, |(edit, _)| dense(edit).matches(change).count());
            assert_eq!(found, inside, "{name}: {change} outside of Log::edit");
            assert_eq!(found > 0, name == "log.rs", "{name}: {change}");
        }
    }
}

/// Rule 5: a log is recovered from its snapshot and its record batches; everything else is a help.
#[test]
fn a_log_is_recovered_from_snapshot_and_batches_alone() {
    let disk = SimFs::new();
    let partitions = || vec![live("t", 1, support::config())];
    let fs: Arc<dyn FileSystem> = Arc::new(disk.clone());
    let mut id = 0;
    let mut sequence = 0;
    for epoch in 0..3 {
        let (manager, logs) = open(&fs, partitions(), epoch).unwrap();
        for _ in 0..20 {
            let mut draft = Draft::new(id);
            draft.producer = Some((7, 0, sequence));
            append(&logs[0], &draft, false, NOW).unwrap();
            (id, sequence) = (id + 1, sequence + 1);
        }
        manager.checkpoint(NOW).unwrap();
    }
    let names = |dir: &str| fs.read_dir(Path::new(dir)).unwrap();
    let mut removed = 0;
    for entry in names("/data/t-0") {
        let helps = [".index", ".timeindex", "leader-epoch-checkpoint"];
        if helps.iter().any(|ending| entry.name.ends_with(ending)) {
            fs.remove_file(&Path::new("/data/t-0").join(entry.name))
                .unwrap();
            removed += 1;
        }
    }
    for entry in names("/data").iter().filter(|entry| {
        entry.name.ends_with("-offset-checkpoint") || entry.name.ends_with(".checkpoints")
    }) {
        fs.remove_file(&Path::new("/data").join(&entry.name))
            .unwrap();
        removed += 1;
    }
    assert!(removed > 6, "{removed} files were there to be removed");
    let (manager, logs): (Manager, _) = open(&fs, partitions(), 3).unwrap();
    let batches = read_all(&logs[0], 1 << 20);
    assert_eq!(
        batches.iter().map(id_of).collect::<Vec<_>>(),
        (0..60).collect::<Vec<_>>()
    );
    check_lookups(&logs[0], &batches);
    let mut repeat = Draft::new(59);
    repeat.producer = Some((7, 0, 59));
    assert!(append(&logs[0], &repeat, false, NOW).unwrap().duplicate);
    drop(manager);
}
