//! `ListConfigResources` (74): what has configs of its own.
//!
//! 0 is about client metrics only; 1 about every type of resource (KIP-1142).

use super::message;
use crate::types::StrBytes;

message! {
    /// Asks what has configs.
    pub struct ListConfigResourcesRequest (ListConfigResources, 0..=1) {
        /// Only resources of these types; none for all.
        resource_types: Vec<i8>, 1..;
    }

    /// What has configs.
    pub struct ListConfigResourcesResponse (ListConfigResources, 0..=1) {
        /// How long the request was throttled, in ms.
        throttle_time_ms: i32, 0..;
        /// 0, or why there is no answer.
        error_code: i16, 0..;
        /// One entry per resource.
        config_resources: Vec<ConfigResource>, 0..;
    }

    /// One resource.
    pub struct ConfigResource {
        /// Its name.
        resource_name: StrBytes, 0..;
        /// 2 topic, 4 broker, 8 broker logger, 16 client metrics, 32 group.
        resource_type: i8, 1.., default 16;
    }
}
