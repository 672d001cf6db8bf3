//! What the files of a stopped storage must be.

use std::path::{Path, PathBuf};

use tidewheel_config::LogConfig;
use tidewheel_storage::fs::{DirEntry, FileSystem, OpenMode, SimFs};
use tidewheel_storage::inspect::{ReindexOptions, Severity, reindex, verify};

use super::config;

/// What `log verify` finds damaged in `/data`.
pub(crate) fn damages(fs: &SimFs) -> Vec<String> {
    let mut damages = Vec::new();
    verify(fs, Path::new("/data"), &mut |finding| {
        if finding.severity == Severity::Damage {
            damages.push(finding.to_string());
        }
    })
    .unwrap();
    damages
}

/// The partitions in `/data`. What was deleted has files only until they are unlinked.
fn partitions(fs: &SimFs) -> impl Iterator<Item = DirEntry> {
    let entries = fs.read_dir(Path::new("/data")).unwrap().into_iter();
    entries.filter(|entry| entry.is_dir && !entry.name.ends_with("-delete"))
}

/// The index files of all their segments, by their paths.
fn indexes(fs: &SimFs) -> Vec<(PathBuf, Vec<u8>)> {
    let mut indexes = Vec::new();
    for partition in partitions(fs) {
        let dir = Path::new("/data").join(partition.name);
        for entry in fs.read_dir(&dir).unwrap_or_default() {
            let Some(segment) = entry.name.strip_suffix(".log") else {
                continue;
            };
            for kind in ["index", "timeindex"] {
                let path = dir.join(format!("{segment}.{kind}"));
                if let Ok(file) = fs.open(&path, OpenMode::Read) {
                    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
                    file.read_exact_at(&mut bytes, 0).unwrap();
                    indexes.push((path, bytes));
                }
            }
        }
    }
    indexes
}

/// After a clean stop nothing is damaged, and every segment's indexes are, byte for byte, what a rebuild of
/// all of them from the batches makes.
pub(crate) fn check_files(fs: &SimFs) {
    let rebuilt = fs.kill();
    assert_eq!(damages(&rebuilt), Vec::<String>::new());
    let kept = indexes(fs);
    for (path, _) in &kept {
        rebuilt.remove_file(path).unwrap();
    }
    for partition in partitions(fs) {
        let name = &partition.name;
        let config = match name.starts_with("__tidewheel_metadata-") {
            true => LogConfig::everlasting(),
            false => config(),
        };
        let options = ReindexOptions {
            interval_bytes: config.index_interval_bytes,
            dry_run: false,
        };
        let dir = Path::new("/data").join(name);
        reindex(&rebuilt, &dir, options, &mut |_| ()).unwrap();
    }
    let rebuilt = indexes(&rebuilt);
    assert_eq!(kept.len(), rebuilt.len());
    for (kept, rebuilt) in kept.iter().zip(&rebuilt) {
        assert_eq!(kept, rebuilt, "indexes are those of a full rebuild");
    }
}
