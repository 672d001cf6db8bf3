//! `Heartbeat` (12): a member of a classic group is alive.
//!
//! 1 adds the throttle time; 3 static members; 4 is flexible; 2 looks like 1.

use super::message;
use crate::types::StrBytes;

message! {
    /// Says that the member is alive.
    pub struct HeartbeatRequest (Heartbeat, 0..=4) {
        /// The group.
        group_id: StrBytes, 0..;
        /// The generation the member knows.
        generation_id: i32, 0..;
        /// The member's id.
        member_id: StrBytes, 0..;
        /// Its instance id, where it is static.
        group_instance_id: Option<StrBytes>, 3.., null 3.., default None;
    }

    /// Whether all is well with the group.
    pub struct HeartbeatResponse (Heartbeat, 0..=4) {
        /// How long the request was throttled, in ms.
        throttle_time_ms: i32, 1..;
        /// 0, or what the member has to react to.
        error_code: i16, 0..;
    }
}
