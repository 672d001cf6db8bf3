//! `LeaveGroup` (13): members leave a classic group.
//!
//! 1 adds the throttle time; 3 names many members, static ones too (KIP-345); 4 is flexible; 5 adds the
//! reason (KIP-800); 2 looks like 1.

use super::message;
use crate::types::StrBytes;

message! {
    /// Removes members.
    pub struct LeaveGroupRequest (LeaveGroup, 0..=5) {
        /// The group.
        group_id: StrBytes, 0..;
        /// The one member that leaves, up to version 2.
        member_id: StrBytes, 0..=2;
        /// The members that leave, from version 3 on.
        members: Vec<MemberIdentity>, 3..;
    }

    /// A member that leaves.
    pub struct MemberIdentity {
        /// Its id; may be empty where the instance id says who it is.
        member_id: StrBytes, 3..;
        /// Its instance id, where it is static.
        group_instance_id: Option<StrBytes>, 3.., null 3.., default None;
        /// Why it leaves, for people.
        reason: Option<StrBytes>, 5.., null 5.., default None;
    }

    /// What became of the members.
    pub struct LeaveGroupResponse (LeaveGroup, 0..=5) {
        /// How long the request was throttled, in ms.
        throttle_time_ms: i32, 1..;
        /// 0, or why nobody has left.
        error_code: i16, 0..;
        /// One entry per member.
        members: Vec<MemberResponse>, 3..;
    }

    /// What became of one member.
    pub struct MemberResponse {
        /// Its id.
        member_id: StrBytes, 3..;
        /// Its instance id.
        group_instance_id: Option<StrBytes>, 3.., null 3..;
        /// 0, or why it has not left.
        error_code: i16, 3..;
    }
}
