//! `FindCoordinator` (10): which broker looks after a group or a transactional id.
//!
//! 1 adds key types, the throttle time and error messages; 3 is flexible; 4 asks for many keys at once
//! (KIP-699); 5 may answer `TRANSACTION_ABORTABLE`; 6 adds share groups (KIP-932).

use super::message;
use crate::types::StrBytes;

message! {
    /// Asks for the coordinators of keys.
    pub struct FindCoordinatorRequest (FindCoordinator, 0..=6) {
        /// The one key, up to version 3.
        key: StrBytes, 0..=3;
        /// What the keys are: 0 groups, 1 transactional ids, 2 `group:topicId:partition` of share groups.
        key_type: i8, 1..;
        /// The keys, from version 4 on.
        coordinator_keys: Vec<StrBytes>, 4..;
    }

    /// The coordinators: one at the top up to version 3, a list from version 4 on.
    pub struct FindCoordinatorResponse (FindCoordinator, 0..=6) {
        /// How long the request was throttled, in ms.
        throttle_time_ms: i32, 1..;
        /// 0, or why there is no coordinator.
        error_code: i16, 0..=3;
        /// The same for people.
        error_message: Option<StrBytes>, 1..=3, null 1..=3;
        /// Node id of the coordinator; -1 with an error.
        node_id: i32, 0..=3;
        /// Where clients reach it: host.
        host: StrBytes, 0..=3;
        /// Where clients reach it: port; -1 with an error.
        port: i32, 0..=3;
        /// One entry per key.
        coordinators: Vec<Coordinator>, 4..;
    }

    /// The coordinator of one key.
    pub struct Coordinator {
        /// The key.
        key: StrBytes, 4..;
        /// Node id of the coordinator; -1 with an error.
        node_id: i32, 4..;
        /// Where clients reach it: host.
        host: StrBytes, 4..;
        /// Where clients reach it: port; -1 with an error.
        port: i32, 4..;
        /// 0, or why there is no coordinator.
        error_code: i16, 4..;
        /// The same for people.
        error_message: Option<StrBytes>, 4.., null 4..;
    }
}
