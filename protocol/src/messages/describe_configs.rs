//! `DescribeConfigs` (32): the configuration of topics and brokers.
//!
//! 1 replaces the default flag by a source and adds synonyms; 3 adds types and documentation; 4 is
//! flexible. 2 looks like 1.

use super::message;
use crate::types::StrBytes;

message! {
    /// Asks for the configuration of some resources.
    pub struct DescribeConfigsRequest (DescribeConfigs, 0..=4) {
        /// One entry per resource.
        resources: Vec<DescribeConfigsResource>, 0..;
        /// Whether to add where each value would come from if it were not set where it is.
        include_synonyms: bool, 1..;
        /// Whether to add what each setting does.
        include_documentation: bool, 3..;
    }

    /// A resource asked for.
    pub struct DescribeConfigsResource {
        /// 2 topic, 4 broker, 8 broker logger.
        resource_type: i8, 0..;
        /// Topic name or node id.
        resource_name: StrBytes, 0..;
        /// The settings to describe; null for all.
        configuration_keys: Option<Vec<StrBytes>>, 0.., null 0..;
    }

    /// The configuration of each resource.
    pub struct DescribeConfigsResponse (DescribeConfigs, 0..=4) {
        /// How long the request was throttled, in ms.
        throttle_time_ms: i32, 0..;
        /// One entry per resource.
        results: Vec<DescribeConfigsResult>, 0..;
    }

    /// The configuration of one resource.
    pub struct DescribeConfigsResult {
        /// 0, or why there is no answer.
        error_code: i16, 0..;
        /// Why there is no answer, for people.
        error_message: Option<StrBytes>, 0.., null 0..;
        /// The resource's type, as in the request.
        resource_type: i8, 0..;
        /// The resource's name.
        resource_name: StrBytes, 0..;
        /// One entry per setting.
        configs: Vec<DescribeConfigsResourceResult>, 0..;
    }

    /// One setting.
    pub struct DescribeConfigsResourceResult {
        /// Its name.
        name: StrBytes, 0..;
        /// Its value; null where it is a secret or has none.
        value: Option<StrBytes>, 0.., null 0..;
        /// Whether it cannot be changed.
        read_only: bool, 0..;
        /// Whether nobody set it.
        is_default: bool, 0..=0;
        /// Who set it: 1 the topic, 2 this broker, 3 all brokers, 4 the configuration file, 5 nobody.
        config_source: i8, 1.., default -1;
        /// Whether the value is a secret.
        is_sensitive: bool, 0..;
        /// Where the value could come from, the most specific source first.
        synonyms: Vec<DescribeConfigsSynonym>, 1..;
        /// 1 boolean, 2 string, 3 int, 4 short, 5 long, 6 double, 7 list, 8 class, 9 password.
        config_type: i8, 3..;
        /// What it does.
        documentation: Option<StrBytes>, 3.., null 0..;
    }

    /// A place a value could come from.
    pub struct DescribeConfigsSynonym {
        /// The setting's name there.
        name: StrBytes, 1..;
        /// Its value there.
        value: Option<StrBytes>, 1.., null 0..;
        /// Which place, as `config_source`.
        source: i8, 1..;
    }
}
