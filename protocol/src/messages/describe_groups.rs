//! `DescribeGroups` (15): classic groups with their members.
//!
//! 1 adds the throttle time; 3 authorized operations; 4 static members; 5 is flexible; 6 has an error for
//! groups that do not exist (KIP-1043). 2 looks like 1.

use bytes::Bytes;

use super::message;
use crate::types::StrBytes;

message! {
    /// Asks what groups look like.
    pub struct DescribeGroupsRequest (DescribeGroups, 0..=6) {
        /// The groups.
        groups: Vec<StrBytes>, 0..;
        /// Whether to tell what the client may do to them.
        include_authorized_operations: bool, 3..;
    }

    /// What the groups look like.
    pub struct DescribeGroupsResponse (DescribeGroups, 0..=6) {
        /// How long the request was throttled, in ms.
        throttle_time_ms: i32, 1..;
        /// One entry per group.
        groups: Vec<DescribedGroup>, 0..;
    }

    /// One group.
    pub struct DescribedGroup {
        /// 0, or why it is not described.
        error_code: i16, 0..;
        /// The same for people.
        error_message: Option<StrBytes>, 6.., null 6.., default None;
        /// The group.
        group_id: StrBytes, 0..;
        /// Its state, such as `Stable`; `Dead` where there is no such group.
        group_state: StrBytes, 0..;
        /// The kind of its protocol, such as `consumer`.
        protocol_type: StrBytes, 0..;
        /// Its protocol: with consumers the assignor. Empty unless the group is stable.
        protocol_data: StrBytes, 0..;
        /// Its members.
        members: Vec<DescribedGroupMember>, 0..;
        /// Bits of what the client may do to it; `i32::MIN` where not asked.
        authorized_operations: i32, 3.., default i32::MIN;
    }

    /// One member.
    pub struct DescribedGroupMember {
        /// Its id.
        member_id: StrBytes, 0..;
        /// Its instance id, where it is static.
        group_instance_id: Option<StrBytes>, 4.., null 4.., default None;
        /// The client id it joined with.
        client_id: StrBytes, 0..;
        /// Where it joined from.
        client_host: StrBytes, 0..;
        /// What it says in the group's protocol. Empty unless the group is stable.
        member_metadata: Bytes, 0..;
        /// What it was assigned. Empty unless the group is stable.
        member_assignment: Bytes, 0..;
    }
}
