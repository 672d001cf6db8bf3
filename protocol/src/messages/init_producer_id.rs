//! `InitProducerId` (22): gives idempotent producers their id and epoch.
//!
//! 2 is flexible; 3 lets a producer go on with its id. The others look like the one before; 4 and 5 know
//! more errors.

use super::message;
use crate::types::StrBytes;

message! {
    /// Asks for a producer id, or for the next epoch of one.
    pub struct InitProducerIdRequest (InitProducerId, 0..=5) {
        /// The producer's transactional id, if it has one.
        transactional_id: Option<StrBytes>, 0.., null 0..;
        /// After how many ms without a word the broker may abort its transactions.
        transaction_timeout_ms: i32, 0..;
        /// The id the producer has; -1 for none.
        producer_id: i64, 3.., default -1;
        /// The epoch the producer has; -1 for none.
        producer_epoch: i16, 3.., default -1;
    }

    /// A producer id and epoch.
    pub struct InitProducerIdResponse (InitProducerId, 0..=5) {
        /// How long the request was throttled, in ms.
        throttle_time_ms: i32, 0..;
        /// 0, or why there is no id.
        error_code: i16, 0..;
        /// The producer's id.
        producer_id: i64, 0.., default -1;
        /// The producer's epoch.
        producer_epoch: i16, 0..;
    }
}
