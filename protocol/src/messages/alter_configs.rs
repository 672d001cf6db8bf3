//! `AlterConfigs` (33).
//!
//! Replaces the whole configuration of each resource: what is not named goes back to its default. 2 is
//! flexible; 1 looks like 0.

use super::message;
use crate::types::StrBytes;

message! {
    /// Replaces the configuration of topics and brokers.
    pub struct AlterConfigsRequest (AlterConfigs, 0..=2) {
        /// One entry per resource.
        resources: Vec<AlterConfigsResource>, 0..;
        /// Whether only to check.
        validate_only: bool, 0..;
    }

    /// A resource and all that is to be set on it.
    pub struct AlterConfigsResource {
        /// 2 topic, 4 broker.
        resource_type: i8, 0..;
        /// The topic's name or the broker's node id; empty for all brokers.
        resource_name: StrBytes, 0..;
        /// The settings.
        configs: Vec<AlterableConfig>, 0..;
    }

    /// One setting.
    pub struct AlterableConfig {
        /// Its name.
        name: StrBytes, 0..;
        /// Its value.
        value: Option<StrBytes>, 0.., null 0..;
    }

    /// What became of each resource.
    pub struct AlterConfigsResponse (AlterConfigs, 0..=2) {
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
