//! `ApiVersions` (18): what the broker speaks. The first request of most clients.
//!
//! Versions 0 to 2 differ in the throttle time only; 3 is flexible and adds the client's name and
//! version and the features; 4 allows features whose lowest version is 0.

use super::message;
use crate::types::StrBytes;

message! {
    /// Asks which APIs and versions the broker speaks.
    pub struct ApiVersionsRequest (ApiVersions, 0..=4) {
        /// The client library.
        client_software_name: StrBytes, 3..;
        /// Its version.
        client_software_version: StrBytes, 3..;
    }

    /// The APIs and versions the broker speaks.
    pub struct ApiVersionsResponse (ApiVersions, 0..=4) {
        /// 0, or why there is no answer.
        error_code: i16, 0..;
        /// One entry per API.
        api_keys: Vec<ApiVersion>, 0..;
        /// How long the request was throttled, in ms.
        throttle_time_ms: i32, 1..;
        /// Features the broker could use. Before version 4 without those whose lowest version is 0,
        /// which old clients cannot read.
        supported_features: Vec<SupportedFeatureKey>, 3.., tag 0;
        /// Version of the finalized features; -1 where there are none.
        finalized_features_epoch: i64, 3.., tag 1, default -1;
        /// Features in use in the cluster.
        finalized_features: Vec<FinalizedFeatureKey>, 3.., tag 2;
        /// Whether a migration from ZooKeeper could start.
        zk_migration_ready: bool, 3.., tag 3;
    }

    /// One API.
    pub struct ApiVersion {
        /// Its key.
        api_key: i16, 0..;
        /// The lowest version served.
        min_version: i16, 0..;
        /// The highest version served.
        max_version: i16, 0..;
    }

    /// A feature the broker could use.
    pub struct SupportedFeatureKey {
        /// Its name.
        name: StrBytes, 3..;
        /// The lowest level supported.
        min_version: i16, 3..;
        /// The highest level supported.
        max_version: i16, 3..;
    }

    /// A feature in use.
    pub struct FinalizedFeatureKey {
        /// Its name.
        name: StrBytes, 3..;
        /// The highest level in use.
        max_version_level: i16, 3..;
        /// The lowest level in use.
        min_version_level: i16, 3..;
    }
}
