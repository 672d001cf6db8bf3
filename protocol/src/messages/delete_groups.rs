//! `DeleteGroups` (42): removes groups without members, with their offsets.
//!
//! 2 is flexible; 1 looks like 0.

use super::message;
use crate::types::StrBytes;

message! {
    /// Removes groups.
    pub struct DeleteGroupsRequest (DeleteGroups, 0..=2) {
        /// The groups.
        groups_names: Vec<StrBytes>, 0..;
    }

    /// What became of the groups.
    pub struct DeleteGroupsResponse (DeleteGroups, 0..=2) {
        /// How long the request was throttled, in ms.
        throttle_time_ms: i32, 0..;
        /// One entry per group.
        results: Vec<DeletableGroupResult>, 0..;
    }

    /// What became of one group.
    pub struct DeletableGroupResult {
        /// The group.
        group_id: StrBytes, 0..;
        /// 0, or why it is still there.
        error_code: i16, 0..;
    }
}
