//! `ListGroups` (16): the groups a broker looks after.
//!
//! 1 adds the throttle time; 3 is flexible; 4 adds states (KIP-518); 5 types (KIP-848); 2 looks like 1.

use super::message;
use crate::types::StrBytes;

message! {
    /// Asks for the groups.
    pub struct ListGroupsRequest (ListGroups, 0..=5) {
        /// Only groups in these states; none for all.
        states_filter: Vec<StrBytes>, 4..;
        /// Only groups of these types; none for all.
        types_filter: Vec<StrBytes>, 5..;
    }

    /// The groups.
    pub struct ListGroupsResponse (ListGroups, 0..=5) {
        /// How long the request was throttled, in ms.
        throttle_time_ms: i32, 1..;
        /// 0, or why there is no answer.
        error_code: i16, 0..;
        /// One entry per group.
        groups: Vec<ListedGroup>, 0..;
    }

    /// One group.
    pub struct ListedGroup {
        /// The group.
        group_id: StrBytes, 0..;
        /// The kind of its protocol, such as `consumer`.
        protocol_type: StrBytes, 0..;
        /// Its state, such as `Stable`.
        group_state: StrBytes, 4..;
        /// Its type, such as `classic`.
        group_type: StrBytes, 5..;
    }
}
