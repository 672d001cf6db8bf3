//! What must be true of a disk after a crash, given the ledger of the run before it.

use std::collections::BTreeMap;

use tidewheel_protocol::RecordBatch;
use tidewheel_storage::fs::SimFs;

use crate::support::files::check_files;
use crate::support::{Draft, Log, NOW, append, check_lookups, id_of, read_all};
use crate::world::{Entry, Ledger, PRODUCER, Partition, World};

/// What a disk went through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crash {
    /// The process died: whatever was acknowledged is there.
    Kill,
    /// The power was cut: whatever was said to be durable is there.
    Power,
}

/// Starts on the disk and checks everything; then stops cleanly and checks again.
pub(crate) fn check(fs: SimFs, ledger: &Ledger, crash: Crash) {
    let mut world = World {
        fs,
        ledger: ledger.clone(),
        manager: None,
    };
    world.start().expect("the start after a crash");
    check_partitions(&world, crash);
    check_found_stays(&world);
    probe(&mut world);
    let before: Vec<_> = summaries(&world);
    world
        .manager
        .as_ref()
        .unwrap()
        .close(NOW)
        .expect("a clean stop");
    check_files(&world.fs);
    let ops = world.fs.op_count();
    world.start().expect("the start after a clean stop");
    assert_eq!(before, summaries(&world), "a clean stop changes nothing");
    assert!(
        world.fs.op_count() - ops < 20,
        "a start after a clean stop touches no partition"
    );
    for partition in &world.ledger.partitions {
        let log = world
            .manager
            .as_ref()
            .unwrap()
            .get(&partition.live.tp)
            .unwrap();
        check_duplicates(&log, &read_all(&log, 1 << 20));
    }
}

/// A start has said that all it found is durable: a power cut right after it takes none of that.
fn check_found_stays(world: &World) {
    // A start that has to look for damage removes segments before the log start, a clean one leaves that to
    // retention: sizes may differ.
    let found = |world: &World| {
        let mut found = summaries(world);
        found.iter_mut().for_each(|(.., bytes, _)| *bytes = 0);
        found
    };
    let before = found(world);
    let mut again = World {
        fs: world.fs.crash_lose_all_unsynced(),
        ledger: world.ledger.clone(),
        manager: None,
    };
    again.start().expect("the start after a second power cut");
    assert_eq!(before, found(&again), "what a start found stays");
}

fn check_partitions(world: &World, crash: Crash) {
    for partition in &world.ledger.partitions {
        let manager = world.manager.as_ref().unwrap();
        let log = manager
            .get(&partition.live.tp)
            .expect("a partition that exists is open");
        assert!(log.refusal().is_none(), "{:?}", log.refusal());
        let offsets = log.offsets();
        assert_eq!(
            offsets.high_watermark, offsets.log_end,
            "all that was found is visible"
        );
        assert_eq!(offsets.durable, offsets.log_end, "and durable");
        assert!(
            offsets.log_start <= partition.log_start,
            "nobody deleted more"
        );
        let batches = read_all(&log, 700);
        check_chain(&log, &batches);
        check_ledger(partition, &batches, offsets.log_start, crash);
        check_lookups(&log, &batches);
        check_duplicates(&log, &batches);
    }
}

/// No hole, no overlap, from the log start to the log end.
fn check_chain(log: &Log, batches: &[RecordBatch]) {
    let offsets = log.offsets();
    let Some(first) = batches.first() else {
        assert_eq!(offsets.log_start, offsets.log_end);
        return;
    };
    assert!(first.header.base_offset <= offsets.log_start);
    assert!(offsets.log_start < first.header.next_offset());
    for pair in batches.windows(2) {
        assert_eq!(pair[0].header.next_offset(), pair[1].header.base_offset);
        assert!(
            id_of(&pair[0]) < id_of(&pair[1]),
            "in the order of the appends, each once"
        );
    }
    assert_eq!(
        batches.last().unwrap().header.next_offset(),
        offsets.log_end
    );
}

/// What was acknowledged at its class is there with the right bytes; what is there was sent.
fn check_ledger(partition: &Partition, batches: &[RecordBatch], log_start: i64, crash: Crash) {
    let found: BTreeMap<u64, &RecordBatch> =
        batches.iter().map(|batch| (id_of(batch), batch)).collect();
    for (id, entry) in &partition.entries {
        let Some((base_offset, next_offset)) = entry.acked else {
            continue;
        };
        let promised = crash == Crash::Kill || next_offset <= partition.durable;
        match found.get(id) {
            Some(batch) => assert_eq!(batch.header.base_offset, base_offset, "batch {id} moved"),
            None => assert!(
                !promised || next_offset <= log_start,
                "batch {id} at {base_offset} is lost"
            ),
        }
    }
    for (id, batch) in found {
        let entry = partition.entries.get(&id).expect("nobody sent this batch");
        assert_eq!(
            batch.bytes[16..],
            entry.draft.batch().bytes[16..],
            "batch {id} has other bytes"
        );
    }
}

/// The producer's last five batches are answered with their offsets and not written again.
fn check_duplicates(log: &Log, batches: &[RecordBatch]) {
    let produced = batches
        .iter()
        .rev()
        .filter(|batch| batch.header.producer_id == PRODUCER);
    for batch in produced.take(5) {
        let end = log.offsets().log_end;
        let mut draft = Draft::new(id_of(batch));
        draft.count = usize::try_from(batch.header.record_count).unwrap();
        draft.producer = Some((PRODUCER, 0, batch.header.base_sequence));
        let info = append(log, &draft, false, NOW).expect("a repeated batch");
        assert!(info.duplicate, "batch {} was written again", draft.id);
        assert_eq!(info.base_offset, batch.header.base_offset);
        assert_eq!(log.offsets().log_end, end);
    }
}

/// Every partition takes a batch and makes it durable.
pub(crate) fn probe(world: &mut World) {
    let manager = world.manager.as_ref().unwrap();
    for partition in &mut world.ledger.partitions {
        let log = manager.get(&partition.live.tp).expect("open");
        let id = 1_000_000 + log.offsets().log_end.unsigned_abs();
        let draft = Draft::new(id);
        let info = append(&log, &draft, true, NOW).expect("a healthy log takes a batch");
        let acked = Some((info.base_offset, info.last_offset + 1));
        partition.entries.insert(id, Entry { draft, acked });
        let round = manager.flush_round(0);
        assert!(
            round.error.is_none() && round.advanced.contains(&log.id()),
            "{round:?}"
        );
        assert_eq!(log.offsets().high_watermark, info.last_offset + 1);
        let slice = log.read(info.base_offset, 1, true).unwrap().slice.unwrap();
        assert_eq!(
            id_of(&RecordBatch::parse(slice.bytes().unwrap()).unwrap()),
            id
        );
    }
}

type Summary = (String, i64, i64, u64, Vec<(i64, u64)>);

fn summaries(world: &World) -> Vec<Summary> {
    let manager = world.manager.as_ref().unwrap();
    let summary = |partition: &Partition| {
        let log = manager.get(&partition.live.tp).unwrap();
        let offsets = log.offsets();
        let batches = read_all(&log, 1 << 20);
        let ids = batches
            .iter()
            .map(|batch| (batch.header.base_offset, id_of(batch)))
            .collect();
        (
            partition.live.tp.to_string(),
            offsets.log_start,
            offsets.log_end,
            log.size_bytes(),
            ids,
        )
    };
    world.ledger.partitions.iter().map(summary).collect()
}
