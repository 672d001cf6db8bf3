//! `SyncGroup` (14): the leader of a classic group hands in the assignment, every member gets its part.
//!
//! 1 adds the throttle time; 3 static members; 4 is flexible; 5 tells the protocol (KIP-559); 2 looks
//! like 1.

use bytes::Bytes;

use super::message;
use crate::types::StrBytes;

message! {
    /// Asks for the member's assignment.
    pub struct SyncGroupRequest (SyncGroup, 0..=5) {
        /// The group.
        group_id: StrBytes, 0..;
        /// The generation the member knows.
        generation_id: i32, 0..;
        /// The member's id.
        member_id: StrBytes, 0..;
        /// Its instance id, where it is static.
        group_instance_id: Option<StrBytes>, 3.., null 3.., default None;
        /// The kind of the protocol.
        protocol_type: Option<StrBytes>, 5.., null 5.., default None;
        /// The protocol.
        protocol_name: Option<StrBytes>, 5.., null 5.., default None;
        /// What each member gets; the leader alone knows.
        assignments: Vec<SyncGroupRequestAssignment>, 0..;
    }

    /// What one member gets.
    pub struct SyncGroupRequestAssignment {
        /// The member's id.
        member_id: StrBytes, 0..;
        /// Its assignment, in the protocol's own form.
        assignment: Bytes, 0..;
    }

    /// The member's assignment.
    pub struct SyncGroupResponse (SyncGroup, 0..=5) {
        /// How long the request was throttled, in ms.
        throttle_time_ms: i32, 1..;
        /// 0, or why there is none.
        error_code: i16, 0..;
        /// The kind of the protocol.
        protocol_type: Option<StrBytes>, 5.., null 5.., default None;
        /// The protocol.
        protocol_name: Option<StrBytes>, 5.., null 5.., default None;
        /// The assignment, in the protocol's own form.
        assignment: Bytes, 0..;
    }
}
