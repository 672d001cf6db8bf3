//! Checks a data directory: its partitions, and the files that speak about all of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tidewheel_protocol::{TopicPartition, Uuid};

use super::finding::{Finding, Report, VerifySummary};
use super::layout::{FileKind, META_PROPERTIES, partition_of};
use super::verify_partition::{PartitionFacts, report_corrupt, verify_partition};
use super::verify_segment::{Rules, SegmentFacts, Walk, verify_segment};
use super::{Target, lock};
use crate::checkpoint::{
    self, CLEAN_SHUTDOWN_MARKER, LOG_START_OFFSET_CHECKPOINT, RECOVERY_POINT_CHECKPOINT,
    REPLICATION_OFFSET_CHECKPOINT,
};
use crate::claiming;
use crate::delay::DELAY_DIR;
use crate::error::StorageError;
use crate::fs::FileSystem;
use crate::manifest::{self, MANIFEST, PartitionManifest, SegmentManifest};
use crate::sealed_checkpoints::{self, Offsets, SEALED_CHECKPOINTS, Texts, texts_of};
use crate::{leader_epochs, meta_properties, partition_metadata, producer_snapshot};

/// What the files of a data directory say about its partitions.
#[derive(Debug)]
struct Surroundings {
    dir: PathBuf,
    clean: bool,
    /// As a start believes them.
    noted: Texts<Offsets>,
    /// By partition; `None` where there is no manifest that counts.
    manifest: Option<BTreeMap<TopicPartition, PartitionManifest>>,
}

/// Checks a data directory, a partition directory or a single file, and reports what is wrong
/// through `out` as it is found. Where the target lies in a data directory, its checkpoints say
/// what a crash excuses.
///
/// # Errors
/// `DirectoryInUse` where a broker runs on the data directory, `Io` where something cannot be
/// read. Damage is no error.
pub fn verify(
    fs: &dyn FileSystem,
    path: &Path,
    out: &mut dyn FnMut(Finding),
) -> Result<VerifySummary, StorageError> {
    let target = Target::find(fs, path)?;
    let data_dir = target.data_dir(fs);
    let _lock = lock(fs, data_dir.as_deref())?;
    let mut report = Report::new(out);
    verify_target(fs, &target, data_dir.as_deref(), &mut report)?;
    Ok(report.summary)
}

/// The same for a caller who holds the lock of the directory.
pub(super) fn verify_target(
    fs: &dyn FileSystem,
    target: &Target,
    data_dir: Option<&Path>,
    report: &mut Report<'_>,
) -> Result<(), StorageError> {
    match (target, data_dir) {
        (Target::DataDir(dir), _) => {
            let surroundings = Surroundings::read(fs, dir, report)?;
            surroundings.verify_all(fs, report)
        }
        (Target::PartitionDir(dir), Some(data_dir)) => {
            let surroundings = Surroundings::read(fs, data_dir, report)?;
            surroundings.verify_one(fs, dir, report).map(drop)
        }
        (Target::PartitionDir(dir), None) => {
            verify_partition(fs, dir, Rules::STRICT, None, report).map(drop)
        }
        (Target::File(path), _) => verify_file(fs, path, report),
    }
}

impl Surroundings {
    fn read(
        fs: &dyn FileSystem,
        dir: &Path,
        report: &mut Report<'_>,
    ) -> Result<Surroundings, StorageError> {
        let marker = dir.join(CLEAN_SHUTDOWN_MARKER);
        let clean = fs
            .exists(&marker)
            .map_err(|error| StorageError::from_io("look up", &marker, error))?;
        report.summary.clean = clean;
        let identity = dir.join(META_PROPERTIES);
        report.summary.files += 1;
        if let Err(error) = meta_properties::read(fs, dir) {
            match error {
                StorageError::Corrupt { .. } => report_corrupt(error, &identity, report)?,
                error @ (StorageError::ForeignDirectory { .. }
                | StorageError::NewerFormat { .. }) => {
                    report.damage(&identity, 0, error.to_string());
                }
                error => return Err(error),
            }
        }
        Ok(Surroundings {
            clean,
            noted: read_noted(fs, dir, clean, report)?,
            manifest: read_manifest(fs, dir, clean, report)?,
            dir: dir.to_path_buf(),
        })
    }

    fn verify_all(&self, fs: &dyn FileSystem, report: &mut Report<'_>) -> Result<(), StorageError> {
        let failed = |error| StorageError::from_io("list", &self.dir, error);
        let mut ids: BTreeMap<String, Uuid> = BTreeMap::new();
        let mut found = Vec::new();
        for entry in fs.read_dir(&self.dir).map_err(failed)? {
            let path = self.dir.join(&entry.name);
            match (entry.is_dir, partition_of(&entry.name)) {
                (true, Some(tp)) => {
                    let facts = self.verify_one(fs, &path, report)?;
                    check_topic_id(&path, &tp, facts.topic_id, &mut ids, report);
                    found.push(tp);
                }
                (true, None) if entry.name == DELAY_DIR => {}
                (true, None) => report.note(&path, 0, "not the directory of a partition"),
                (false, _) => match FileKind::of(&entry.name) {
                    FileKind::Leftover => report.note(&path, 0, "a later step removes this file"),
                    FileKind::Unknown => report.note(&path, 0, "a file that does not belong here"),
                    FileKind::Directories => {
                        let checked = claiming::check_list(fs, &path);
                        checked.or_else(|error| report_corrupt(error, &path, report))?;
                    }
                    _ => {}
                },
            }
        }
        self.check_names(&found, report);
        Ok(())
    }

    fn verify_one(
        &self,
        fs: &dyn FileSystem,
        dir: &Path,
        report: &mut Report<'_>,
    ) -> Result<PartitionFacts, StorageError> {
        let name = dir
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let Some(tp) = partition_of(name) else {
            return verify_partition(fs, dir, Rules::STRICT, None, report);
        };
        let recovery_point = self.noted.recovery_points.get(&tp).copied().unwrap_or(0);
        let rules = Rules {
            clean: self.clean,
            recovery_point,
            holes: self.noted.cleaned.contains_key(&tp),
        };
        let log_start = self.noted.log_starts.get(&tp).copied();
        let facts = verify_partition(fs, dir, rules, log_start, report)?;
        if let Some(log_end) = facts.log_end {
            self.check_offsets(&tp, log_end, report);
        }
        if let Some(manifest) = &self.manifest
            && let Some(described) = manifest.get(&tp)
        {
            check_manifest(
                dir,
                &self.dir.join(MANIFEST),
                described,
                &facts,
                log_start,
                report,
            );
        }
        Ok(facts)
    }

    /// No checkpoint may lie behind the end of the log: what was written down as durable, or as
    /// readable, is then gone.
    fn check_offsets(&self, tp: &TopicPartition, log_end: i64, report: &mut Report<'_>) {
        let checkpoints = [
            (
                RECOVERY_POINT_CHECKPOINT,
                &self.noted.recovery_points,
                "recovery point",
            ),
            (
                LOG_START_OFFSET_CHECKPOINT,
                &self.noted.log_starts,
                "log start",
            ),
            (
                REPLICATION_OFFSET_CHECKPOINT,
                &self.noted.high_watermarks,
                "high watermark",
            ),
        ];
        for (file, offsets, what) in checkpoints {
            let path = self.dir.join(file);
            let Some(offset) = offsets.get(tp).copied() else {
                continue;
            };
            if offset > log_end {
                let text = format!("{what} {offset} of {tp} lies behind its log end {log_end}");
                // A high watermark may be of records that were never meant to survive a power cut.
                match self.clean || file != REPLICATION_OFFSET_CHECKPOINT {
                    true => report.damage(&path, 0, text),
                    false => report.note(&path, 0, text),
                }
            } else if self.clean && offset < log_end && file != LOG_START_OFFSET_CHECKPOINT {
                let text = format!("{what} {offset} of {tp} after a clean stop at {log_end}");
                report.damage(&path, 0, text);
            }
        }
    }

    /// Partitions that are spoken of but not there.
    fn check_names(&self, found: &[TopicPartition], report: &mut Report<'_>) {
        let checkpoints = [
            (RECOVERY_POINT_CHECKPOINT, &self.noted.recovery_points),
            (LOG_START_OFFSET_CHECKPOINT, &self.noted.log_starts),
            (REPLICATION_OFFSET_CHECKPOINT, &self.noted.high_watermarks),
        ];
        for (file, offsets) in checkpoints {
            let mut strangers: Vec<_> = offsets.keys().filter(|tp| !found.contains(tp)).collect();
            strangers.sort();
            for tp in strangers {
                let text = format!("names {tp}, which has no directory");
                match self.clean {
                    true => report.damage(&self.dir.join(file), 0, text),
                    false => report.note(&self.dir.join(file), 0, text),
                }
            }
        }
        for tp in self
            .manifest
            .iter()
            .flat_map(BTreeMap::keys)
            .filter(|tp| !found.contains(tp))
        {
            let path = self.dir.join(MANIFEST);
            report.damage(&path, 0, format!("describes {tp}, which has no directory"));
        }
    }
}

/// What a start believes of the checkpoints; one that says anything else is told.
fn read_noted(
    fs: &dyn FileSystem,
    dir: &Path,
    clean: bool,
    report: &mut Report<'_>,
) -> Result<Texts<Offsets>, StorageError> {
    let mut texts: Texts<Offsets> = Texts::default();
    for (name, text) in texts.by_file() {
        *text = read_offsets(fs, &dir.join(name), report)?;
    }
    let path = dir.join(SEALED_CHECKPOINTS);
    let sealed = match sealed_checkpoints::read(fs, dir) {
        Ok(sealed) => sealed,
        Err(error) => report_corrupt(error, &path, report).map(|()| None)?,
    };
    let Some(sealed) = sealed else {
        return Ok(texts);
    };
    report.summary.files += 1;
    let mut noted = texts_of(&sealed);
    for ((name, text), (_, believed)) in texts.by_file().into_iter().zip(noted.by_file()) {
        if text != believed {
            let what = format!("it says other than {SEALED_CHECKPOINTS}, which is believed");
            // A crash leaves it behind the other; a clean stop does not.
            match clean {
                true => report.damage(&dir.join(name), 0, what),
                false => report.note(&dir.join(name), 0, what),
            }
        }
    }
    Ok(noted)
}

fn read_offsets(
    fs: &dyn FileSystem,
    path: &Path,
    report: &mut Report<'_>,
) -> Result<Offsets, StorageError> {
    match checkpoint::read_offsets(fs, path) {
        Ok(offsets) => {
            report.summary.files += 1;
            Ok(offsets)
        }
        Err(error) => report_corrupt(error, path, report).map(|()| Offsets::new()),
    }
}

/// The manifest counts only together with the marker of a clean stop.
fn read_manifest(
    fs: &dyn FileSystem,
    dir: &Path,
    clean: bool,
    report: &mut Report<'_>,
) -> Result<Option<BTreeMap<TopicPartition, PartitionManifest>>, StorageError> {
    let path = dir.join(MANIFEST);
    match manifest::read(fs, dir) {
        Ok(Some(manifest)) if clean => {
            report.summary.files += 1;
            let partitions = manifest.partitions.into_iter();
            Ok(Some(
                partitions.map(|one| (one.topic_partition(), one)).collect(),
            ))
        }
        Ok(None) if clean => {
            report.damage(&path, 0, "a clean stop left no manifest");
            Ok(None)
        }
        Ok(_) => Ok(None),
        Err(error) => report_corrupt(error, &path, report).map(|()| None),
    }
}

/// All partitions of a topic have the same id.
fn check_topic_id(
    dir: &Path,
    tp: &TopicPartition,
    id: Option<Uuid>,
    ids: &mut BTreeMap<String, Uuid>,
    report: &mut Report<'_>,
) {
    let Some(id) = id else { return };
    let first = *ids.entry(tp.topic.to_string()).or_insert(id);
    if first != id {
        let path = dir.join(partition_metadata::PARTITION_METADATA);
        report.damage(
            &path,
            0,
            format!("topic id {id}, another partition has {first}"),
        );
    }
}

/// The manifest must describe the files as they are: the next start believes it without looking.
fn check_manifest(
    dir: &Path,
    path: &Path,
    described: &PartitionManifest,
    facts: &PartitionFacts,
    checkpointed_start: Option<i64>,
    report: &mut Report<'_>,
) {
    let nothing_written = described.segments.iter().all(|one| one.log_bytes == 0);
    if nothing_written && facts.segments.is_empty() {
        // The process ended while the directory was made; its first file comes with its first data.
        return;
    }
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    let mut differs = |what: &str, described: String, found: String| {
        if described != found {
            report.damage(
                path,
                0,
                format!("{name}: {what} {described}, the files say {found}"),
            );
        }
    };
    let known =
        |offset: Option<i64>| offset.map_or_else(|| "unknown".to_owned(), |o| o.to_string());
    differs(
        "log end",
        described.log_end_offset.to_string(),
        known(facts.log_end),
    );
    // The checkpoint names a log start only where it lies above the first segment's beginning.
    let first = facts.segments.first().map(|segment| segment.base_offset);
    differs(
        "log start",
        described.log_start_offset.to_string(),
        known(checkpointed_start.max(first)),
    );
    let id = facts
        .topic_id
        .map_or_else(|| "unknown".to_owned(), |id| id.to_string());
    differs("topic id", described.topic_id.to_string(), id);
    differs(
        "epochs",
        format!("{:?}", described.leader_epochs),
        format!("{:?}", facts.epochs),
    );
    let bases = |bases: &mut dyn Iterator<Item = i64>| format!("{:?}", bases.collect::<Vec<_>>());
    differs(
        "segments",
        bases(&mut described.segments.iter().map(|segment| segment.base_offset)),
        bases(&mut facts.segments.iter().map(|segment| segment.base_offset)),
    );
    for (number, (described, found)) in described.segments.iter().zip(&facts.segments).enumerate() {
        let is_last = number + 1 == facts.segments.len();
        let (described, found) = segment_texts(described, found, is_last);
        differs("segment", described, found);
    }
    if let Some(offset) = described.producer_snapshot_offset
        && !facts.snapshots.contains(&offset)
    {
        differs(
            "producer snapshot",
            offset.to_string(),
            "no such file".to_owned(),
        );
    }
}

/// A segment as the manifest describes it, and as its files are.
fn segment_texts(
    described: &SegmentManifest,
    found: &SegmentFacts,
    is_last: bool,
) -> (String, String) {
    // Nobody asks when a sealed segment began: recovery leaves that open.
    let is_open = !is_last && described.first_timestamp == -1;
    let found = SegmentManifest {
        base_offset: found.base_offset,
        log_bytes: found.log_bytes,
        max_timestamp: found.max_timestamp,
        offset_of_max_timestamp: found.offset_of_max_timestamp,
        first_timestamp: if is_open { -1 } else { found.first_timestamp },
    };
    let text = |segment: &SegmentManifest| {
        format!(
            "{} of {} bytes with timestamp {} at offset {} and first timestamp {}",
            segment.base_offset,
            segment.log_bytes,
            segment.max_timestamp,
            segment.offset_of_max_timestamp,
            segment.first_timestamp
        )
    };
    (text(described), text(&found))
}

/// Checks one file alone, as far as that goes.
fn verify_file(
    fs: &dyn FileSystem,
    path: &Path,
    report: &mut Report<'_>,
) -> Result<(), StorageError> {
    let dir = path.parent().unwrap_or(path);
    let bytes = |path: &Path| Ok(checkpoint::read_small(fs, path)?.unwrap_or_default());
    let outcome = match FileKind::of_path(path) {
        FileKind::Log(base) | FileKind::OffsetIndex(base) | FileKind::TimeIndex(base) => {
            let mut walk = Walk {
                rules: Rules::STRICT,
                next_offset: None,
                reached: 0,
                log_start: base,
                epochs: None,
                seen_epochs: Vec::new(),
            };
            return verify_segment(fs, dir, base, false, &mut walk, report).map(|_| ());
        }
        FileKind::Snapshot(_) => {
            producer_snapshot::decode(path, &bytes(path)?, i64::MAX).map(|_| ())
        }
        FileKind::LeaderEpochs => {
            leader_epochs::LeaderEpochs::decode(path, &bytes(path)?).map(|_| ())
        }
        FileKind::PartitionMetadata => partition_metadata::read(fs, dir).map(|_| ()),
        FileKind::OffsetCheckpoint => checkpoint::read_offsets(fs, path).map(|_| ()),
        FileKind::SealedCheckpoints => sealed_checkpoints::read(fs, dir).map(|_| ()),
        FileKind::MetaProperties => meta_properties::read(fs, dir).map(|_| ()),
        FileKind::Manifest => manifest::read(fs, dir).map(|_| ()),
        FileKind::Directories => claiming::check_list(fs, path),
        FileKind::Marker => Ok(()),
        FileKind::Leftover | FileKind::Unknown => {
            report.note(path, 0, "not a file that can be checked");
            Ok(())
        }
    };
    report.summary.files += 1;
    outcome.or_else(|error| report_corrupt(error, path, report))
}
