//! How a member gets from what it reads to what it is to read.
//!
//! ```text
//!          has what it is to have            gives up first
//! Stable ─────────────────────────▶ Stable ──────────────────▶ UnrevokedPartitions
//!    │                                ▲                             │ has given up
//!    └──others must give up──▶ UnreleasedPartitions ◀──others───────┘
//! ```
//! A member stays at its epoch until it has given up what it is not to have any more, and gets a partition
//! only when nobody else has it: so no partition is read by two members.

use std::collections::BTreeSet;

use crate::records::consumer::{CurrentAssignment, MemberState, OwnedPartitions, TopicIdPartition};

/// Where a member is to be led.
pub(super) struct Destination<'a> {
    /// The epoch of the target.
    pub(super) epoch: i32,
    /// What the member is to read.
    pub(super) target: &'a BTreeSet<TopicIdPartition>,
    /// What the member says that it reads, if it says so.
    pub(super) owned: Option<&'a BTreeSet<TopicIdPartition>>,
    /// Whether another member has a partition.
    pub(super) is_held: &'a dyn Fn(TopicIdPartition) -> bool,
}

impl Destination<'_> {
    /// What the member reads now, if that may be something else than before.
    pub(super) fn approach(&self, current: &CurrentAssignment) -> Option<CurrentAssignment> {
        match current.state {
            MemberState::Stable if current.epoch == self.epoch => None,
            MemberState::UnrevokedPartitions if self.still_reads(&current.revoking) => None,
            MemberState::Stable
            | MemberState::UnrevokedPartitions
            | MemberState::UnreleasedPartitions => Some(self.next(current)),
        }
    }

    /// Whether the member reads any of these, as far as is known.
    fn still_reads(&self, partitions: &OwnedPartitions) -> bool {
        match self.owned {
            None => true,
            Some(owned) => partitions.keys().any(|partition| owned.contains(partition)),
        }
    }

    fn next(&self, current: &CurrentAssignment) -> CurrentAssignment {
        let (mut assigned, revoking): (OwnedPartitions, OwnedPartitions) = current
            .assigned
            .iter()
            .partition(|(partition, _)| self.target.contains(partition));
        if !revoking.is_empty() && self.still_reads(&revoking) {
            return CurrentAssignment {
                epoch: current.epoch,
                previous_epoch: current.epoch,
                state: MemberState::UnrevokedPartitions,
                assigned,
                revoking,
            };
        }
        let mut state = MemberState::Stable;
        for &partition in self.target {
            if assigned.contains_key(&partition) {
                continue;
            }
            if (self.is_held)(partition) {
                state = MemberState::UnreleasedPartitions;
            } else {
                assigned.insert(partition, self.epoch);
            }
        }
        CurrentAssignment {
            epoch: self.epoch,
            previous_epoch: current.epoch,
            state,
            assigned,
            revoking: OwnedPartitions::new(),
        }
    }
}
