//! Damage that was met in the files of a delay store: kept until somebody asks for it, and counted.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Places that are kept to be told; more are only counted.
const UNTOLD_MAX: usize = 1_000;
/// Places that are remembered, so that whoever reads a file again does not count them again.
const MET_MAX: usize = 10_000;

/// Bytes of a file of the store that are not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DelayDamage {
    /// The file.
    pub path: PathBuf,
    /// The first byte of it, from the beginning of the file.
    pub from: u64,
    /// The byte behind the last one. Beyond the end of the file where bytes are missing.
    pub to: u64,
    /// It looks like what a crash leaves of a write that nobody was told of. So does a record with zeros of its own of
    /// which another byte was changed.
    pub torn: bool,
}

impl DelayDamage {
    pub(super) fn new(path: &Path, from: u64, to: u64) -> Self {
        Self {
            path: path.to_path_buf(),
            from,
            to,
            torn: false,
        }
    }
}

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Damages {
    untold: Vec<DelayDamage>,
    met: BTreeSet<(PathBuf, u64)>,
    /// Places that are damaged, those that are torn left out.
    pub(super) places: u64,
    /// Bytes of them.
    pub(super) bytes: u64,
    /// Bytes that are torn.
    pub(super) torn_bytes: u64,
}

impl Damages {
    /// Notes a place; whether it is a new one.
    pub(super) fn note(&mut self, damage: DelayDamage) -> bool {
        let place = (damage.path.clone(), damage.from);
        if self.met.contains(&place) {
            return false;
        }
        if self.met.len() < MET_MAX {
            self.met.insert(place);
        }
        let len = damage.to.saturating_sub(damage.from);
        if damage.torn {
            self.torn_bytes += len;
        } else {
            self.places += 1;
            self.bytes += len;
        }
        if self.untold.len() < UNTOLD_MAX {
            self.untold.push(damage);
        }
        true
    }

    /// A place is known already, and nothing was lost there.
    pub(super) fn know(&mut self, path: &Path, from: u64) {
        if self.met.len() < MET_MAX {
            self.met.insert((path.to_path_buf(), from));
        }
    }

    /// What was met since the last call.
    pub(super) fn take(&mut self) -> Vec<DelayDamage> {
        std::mem::take(&mut self.untold)
    }
}
