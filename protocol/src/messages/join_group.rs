//! `JoinGroup` (11): a member enters a classic group, or takes part in its rebalance.
//!
//! 1 adds the rebalance timeout; 2 the throttle time; from 4 on a member without an id is given one and
//! has to come again; 5 adds static members; 6 is flexible; 7 tells the protocol type (KIP-559); 8 adds
//! the reason (KIP-800); 9 lets a static leader skip the assignment (KIP-814).

use bytes::Bytes;

use super::message;
use crate::types::StrBytes;

message! {
    /// Asks to be a member.
    pub struct JoinGroupRequest (JoinGroup, 0..=9) {
        /// The group.
        group_id: StrBytes, 0..;
        /// How long the member may be silent, in ms.
        session_timeout_ms: i32, 0..;
        /// How long a rebalance waits for the member, in ms; -1 stands for the session timeout.
        rebalance_timeout_ms: i32, 1.., default -1;
        /// Its id; empty where it has none yet.
        member_id: StrBytes, 0..;
        /// Its instance id, which makes it a static member.
        group_instance_id: Option<StrBytes>, 5.., null 5.., default None;
        /// The kind of protocols below, such as `consumer` or `connect`.
        protocol_type: StrBytes, 0..;
        /// The protocols it can use, best first.
        protocols: Vec<JoinGroupRequestProtocol>, 0..;
        /// Why it joins, for people.
        reason: Option<StrBytes>, 8.., null 8.., default None;
    }

    /// One protocol a member can use.
    pub struct JoinGroupRequestProtocol {
        /// Its name: with consumers that of an assignor.
        name: StrBytes, 0..;
        /// What the member says to the leader in it.
        metadata: Bytes, 0..;
    }

    /// The generation of the group that the member is in.
    pub struct JoinGroupResponse (JoinGroup, 0..=9) {
        /// How long the request was throttled, in ms.
        throttle_time_ms: i32, 2..;
        /// 0, or why the member is not in.
        error_code: i16, 0..;
        /// The generation.
        generation_id: i32, 0.., default -1;
        /// The kind of the protocol.
        protocol_type: Option<StrBytes>, 7.., null 7.., default None;
        /// The protocol chosen.
        protocol_name: Option<StrBytes>, 0.., null 7..;
        /// The leader's member id.
        leader: StrBytes, 0..;
        /// Whether the leader is to leave the assignment as it is.
        skip_assignment: bool, 9..;
        /// The member's id.
        member_id: StrBytes, 0..;
        /// Every member, to the leader only.
        members: Vec<JoinGroupResponseMember>, 0..;
    }

    /// A member as the leader sees it.
    pub struct JoinGroupResponseMember {
        /// Its id.
        member_id: StrBytes, 0..;
        /// Its instance id, where it is static.
        group_instance_id: Option<StrBytes>, 5.., null 5.., default None;
        /// What it says in the protocol chosen.
        metadata: Bytes, 0..;
    }
}
