//! `IncrementalAlterConfigs` (44, KIP-339).
//!
//! Changes only the settings that are named. 1 is flexible.

use super::message;
use crate::types::StrBytes;

message! {
    /// Changes single settings of topics and brokers.
    pub struct IncrementalAlterConfigsRequest (IncrementalAlterConfigs, 0..=1) {
        /// One entry per resource.
        resources: Vec<AlterConfigsResource>, 0..;
        /// Whether only to check.
        validate_only: bool, 0..;
    }

    /// A resource and what is to be changed on it.
    pub struct AlterConfigsResource {
        /// 2 topic, 4 broker.
        resource_type: i8, 0..;
        /// The topic's name or the broker's node id; empty for all brokers.
        resource_name: StrBytes, 0..;
        /// The changes.
        configs: Vec<AlterableConfig>, 0..;
    }

    /// One change.
    pub struct AlterableConfig {
        /// The setting's name.
        name: StrBytes, 0..;
        /// 0 set, 1 delete, 2 append to a list, 3 subtract from a list.
        config_operation: i8, 0..;
        /// The value; null when deleting.
        value: Option<StrBytes>, 0.., null 0..;
    }

    /// What became of each resource.
    pub struct IncrementalAlterConfigsResponse (IncrementalAlterConfigs, 0..=1) {
        /// How long the request was throttled, in ms.
        throttle_time_ms: i32, 0..;
        /// One entry per resource.
        responses: Vec<AlterConfigsResourceResponse>, 0..;
    }

    /// The result for one resource.
    pub struct AlterConfigsResourceResponse {
        /// 0, or why nothing was changed.
        error_code: i16, 0..;
        /// Why nothing was changed, for people.
        error_message: Option<StrBytes>, 0.., null 0..;
        /// As in the request.
        resource_type: i8, 0..;
        /// As in the request.
        resource_name: StrBytes, 0..;
    }
}
