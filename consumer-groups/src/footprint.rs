//! How much the coordinator holds, and how much it may hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tidewheel_config::limits;

/// Hard bounds of one coordinator. A runner with several coordinators divides them with
/// [`GroupLimits::divided`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupLimits {
    /// Groups, with members or offsets or neither: a new one is refused with
    /// [`CoordinatorNotAvailable`](crate::GroupError::CoordinatorNotAvailable).
    pub groups: usize,
    /// Members that were given an id and have not joined with it: for the next one the oldest of them is forgotten.
    pub pending_members: usize,
    /// Bytes of these and of the groups that are there for them only, estimated: as many of the oldest are forgotten for
    /// the next one as it needs.
    pub pending_bytes: usize,
    /// Members of one group, whatever `group.max.size` says: the next one is refused with
    /// [`GroupMaxSizeReached`](crate::GroupError::GroupMaxSizeReached).
    pub members_per_group: usize,
    /// Bytes that a member says about itself: more is refused with
    /// [`InvalidRequest`](crate::GroupError::InvalidRequest).
    pub member_bytes: usize,
    /// Bytes of the record of one generation: a larger one is refused, as in Kafka, with
    /// [`UnknownServerError`](crate::GroupError::UnknownServerError) to whoever waits for it.
    pub group_record_bytes: usize,
    /// Offsets of one group: more are refused with
    /// [`InvalidCommitOffsetSize`](crate::GroupError::InvalidCommitOffsetSize).
    pub offsets_per_group: usize,
    /// Bytes of one group with all its offsets, estimated: new members beyond are refused with
    /// [`GroupMaxSizeReached`](crate::GroupError::GroupMaxSizeReached), offsets with
    /// [`InvalidCommitOffsetSize`](crate::GroupError::InvalidCommitOffsetSize). What members bring or are given who are
    /// in the group already is refused with
    /// [`CoordinatorNotAvailable`](crate::GroupError::CoordinatorNotAvailable): they try again and stay.
    pub group_bytes: usize,
    /// Of these, bytes beyond which there is no room for members, but still for offsets: refused in the same way.
    pub membership_bytes: usize,
    /// Groups that are new: nothing of them was ever finished, see [`GroupLimits::new_bytes`]. For the next one the oldest
    /// of them is dismissed: its members are told that they are unknown, and join again if they are there.
    pub new_groups: usize,
    /// Bytes of new groups, estimated, in all coordinators that share [`HeldBytes`]: where they hold more, a coordinator
    /// with more than [`GroupLimits::new_bytes_share`] dismisses the oldest of its own for the next one.
    pub new_bytes: usize,
    /// Bytes that new groups of one coordinator may hold whatever those of others do.
    pub new_bytes_share: usize,
    /// Bytes of everything, estimated, in all coordinators that share [`HeldBytes`]: offsets beyond are refused with
    /// [`CoordinatorNotAvailable`](crate::GroupError::CoordinatorNotAvailable).
    pub state_bytes: usize,
    /// Of these, bytes beyond which there is no room for what members bring, but still for offsets: refused with
    /// [`CoordinatorNotAvailable`](crate::GroupError::CoordinatorNotAvailable).
    pub member_state_bytes: usize,
    /// Of these, bytes beyond which there is no room for new groups and what their members bring, but still for
    /// members of the others: refused in the same way.
    pub new_state_bytes: usize,
    /// Groups and offsets that one look for expired offsets goes over before others have their turn, but for
    /// the last of the groups; and offsets that it deletes.
    pub retention_step: usize,
}

impl GroupLimits {
    /// The bounds of one of `count` coordinators that share these. What bounds one group stays, and so does
    /// what [`HeldBytes`] counts for all of them.
    #[must_use]
    pub fn divided(self, count: usize) -> GroupLimits {
        let part = |all: usize| (all / count.max(1)).max(1);
        GroupLimits {
            groups: part(self.groups),
            pending_members: part(self.pending_members),
            pending_bytes: part(self.pending_bytes),
            new_groups: part(self.new_groups),
            new_bytes_share: part(self.new_bytes_share),
            ..self
        }
    }

    /// Bytes of everything beyond which no group begins.
    pub(crate) fn new_state_bytes_max(&self) -> usize {
        self.new_state_bytes.min(self.member_state_bytes)
    }
}

impl GroupLimits {
    /// Those of coordinators that may hold so many bytes together, estimated.
    ///
    /// A quarter is for offsets alone, so that consumers commit whatever others join with; an eighth before that for
    /// members of groups that others have worked with. Of the rest ids that nobody has come back with may take a
    /// quarter of all, and new groups three sixteenths; as much again is what each coordinator has for its own new
    /// groups whatever others hold. Whoever invents groups and does no more fills these.
    #[must_use]
    pub fn holding(state_bytes: usize) -> GroupLimits {
        let new_bytes = state_bytes / 16 * 3;
        let group_bytes = limits::GROUP_BYTES_MAX.min(state_bytes / 2);
        GroupLimits {
            groups: limits::GROUPS_MAX,
            pending_members: limits::GROUP_PENDING_MEMBERS_MAX,
            pending_bytes: state_bytes / 4,
            members_per_group: limits::GROUP_MEMBERS_MAX,
            member_bytes: limits::GROUP_MEMBER_BYTES_MAX,
            group_record_bytes: limits::GROUP_RECORD_BYTES_MAX,
            offsets_per_group: limits::GROUP_OFFSETS_MAX,
            group_bytes,
            membership_bytes: group_bytes / 4 * 3,
            new_groups: limits::GROUPS_NEW_MAX,
            new_bytes,
            new_bytes_share: new_bytes,
            state_bytes,
            member_state_bytes: state_bytes / 4 * 3,
            new_state_bytes: state_bytes / 8 * 5,
            retention_step: limits::GROUP_RETENTION_STEP,
        }
    }
}

impl Default for GroupLimits {
    fn default() -> GroupLimits {
        GroupLimits::holding(limits::GROUP_STATE_BYTES_LEAST)
    }
}

/// The bytes that several coordinators hold together, estimated. Clones count the same bytes.
#[derive(Clone, Debug, Default)]
pub struct HeldBytes(Arc<Held>);

#[derive(Debug, Default)]
struct Held {
    all: AtomicUsize,
    /// Of new groups.
    new: AtomicUsize,
}

impl HeldBytes {
    /// How many they are now.
    #[must_use]
    pub fn all(&self) -> usize {
        self.0.all.load(Ordering::Relaxed)
    }

    /// A part that held so much holds so much now. Each coordinator counts its own parts only, so the sums
    /// never fall below zero.
    fn replace(&self, before: Footprint, after: Footprint) {
        self.0.all.fetch_add(after.bytes, Ordering::Relaxed);
        self.0.all.fetch_sub(before.bytes, Ordering::Relaxed);
        self.0.new.fetch_add(after.new_bytes, Ordering::Relaxed);
        self.0.new.fetch_sub(before.new_bytes, Ordering::Relaxed);
    }
}

/// What a list of groups takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// How many there are.
    pub groups: usize,
    /// Bytes of their ids and protocol types.
    pub bytes: usize,
}

/// What a group, or all of them, hold. Kept up to date by every change, never counted anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Footprint {
    pub(crate) pending_members: usize,
    /// Of these and of the groups that are there for them only.
    pub(crate) pending_bytes: usize,
    /// Groups of which nothing was ever finished.
    pub(crate) new_groups: usize,
    pub(crate) new_bytes: usize,
    pub(crate) bytes: usize,
}

impl Footprint {
    /// Replaces what a part held by what it holds now.
    pub(crate) fn replace(&mut self, before: Footprint, after: Footprint) {
        self.pending_members =
            self.pending_members + after.pending_members - before.pending_members;
        self.pending_bytes = self.pending_bytes + after.pending_bytes - before.pending_bytes;
        self.new_groups = self.new_groups + after.new_groups - before.new_groups;
        self.new_bytes = self.new_bytes + after.new_bytes - before.new_bytes;
        self.bytes = self.bytes + after.bytes - before.bytes;
    }
}

/// What all groups of a coordinator hold, with its share in what several hold.
#[derive(Debug, Default)]
pub(crate) struct Total {
    own: Footprint,
    held: HeldBytes,
}

impl Total {
    pub(crate) fn sharing(held: &HeldBytes) -> Total {
        Total {
            own: Footprint::default(),
            held: held.clone(),
        }
    }

    /// Its own pending members and new groups, and the bytes of all that share them.
    pub(crate) fn get(&self) -> Footprint {
        Footprint {
            bytes: self.held.all(),
            ..self.own
        }
    }

    /// Bytes of the new groups of all coordinators that share them.
    pub(crate) fn all_new_bytes(&self) -> usize {
        self.held.0.new.load(Ordering::Relaxed)
    }

    /// Replaces what a part held by what it holds now.
    pub(crate) fn replace(&mut self, before: Footprint, after: Footprint) {
        self.own.replace(before, after);
        self.held.replace(before, after);
    }

    /// Nothing is held any more.
    pub(crate) fn clear(&mut self) {
        self.held.replace(self.own, Footprint::default());
        self.own = Footprint::default();
    }
}

/// A coordinator that is dropped without being closed, after a panic, takes nothing from the others.
impl Drop for Total {
    fn drop(&mut self) {
        self.clear();
    }
}
