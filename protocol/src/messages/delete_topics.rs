//! `DeleteTopics` (20).
//!
//! 1 adds the throttle time; 4 is flexible; 5 adds error messages; 6 deletes by name or id. 2 and 3 look
//! like 1.

use super::message;
use crate::types::{StrBytes, Uuid};

message! {
    /// Deletes topics.
    pub struct DeleteTopicsRequest (DeleteTopics, 0..=6) {
        /// One entry per topic.
        topics: Vec<DeleteTopicState>, 6..;
        /// The topics' names.
        topic_names: Vec<StrBytes>, 0..=5;
        /// How long the answer may take, in ms.
        timeout_ms: i32, 0..;
    }

    /// A topic to delete, by name or id.
    pub struct DeleteTopicState {
        /// Its name, or null to delete by id.
        name: Option<StrBytes>, 6.., null 6.., default None;
        /// Its id, or zero.
        topic_id: Uuid, 6..;
    }

    /// What became of each topic.
    pub struct DeleteTopicsResponse (DeleteTopics, 0..=6) {
        /// How long the request was throttled, in ms.
        throttle_time_ms: i32, 1..;
        /// One entry per topic.
        responses: Vec<DeletableTopicResult>, 0..;
    }

    /// The result for one topic.
    pub struct DeletableTopicResult {
        /// Its name; null for an id that no topic has.
        name: Option<StrBytes>, 0.., null 6..;
        /// Its id.
        topic_id: Uuid, 6..;
        /// 0, or why it was not deleted.
        error_code: i16, 0..;
        /// Why it was not deleted, for people.
        error_message: Option<StrBytes>, 5.., null 5.., default None;
    }
}
