//! `DescribeAcls` (29, KIP-140).
//!
//! 1 adds pattern types (KIP-290); 2 is flexible; 3 looks like 2.

use super::message;
use crate::types::StrBytes;

message! {
    /// Asks for the access rules that match a filter.
    pub struct DescribeAclsRequest (DescribeAcls, 0..=3) {
        /// Kind of resource; 1 for any.
        resource_type_filter: i8, 0..;
        /// Its name; null for any.
        resource_name_filter: Option<StrBytes>, 0.., null 0..;
        /// How the rule names the resource: 1 any, 2 matching, 3 literally, 4 by prefix.
        pattern_type_filter: i8, 1.., default 3;
        /// Whom the rule is about; null for anybody.
        principal_filter: Option<StrBytes>, 0.., null 0..;
        /// From which host; null for any.
        host_filter: Option<StrBytes>, 0.., null 0..;
        /// What is done; 1 for anything.
        operation: i8, 0..;
        /// 1 any, 2 denied, 3 allowed.
        permission_type: i8, 0..;
    }

    /// The access rules that match.
    pub struct DescribeAclsResponse (DescribeAcls, 0..=3) {
        /// How long the request was throttled, in ms.
        throttle_time_ms: i32, 0..;
        /// 0, or why there is no answer.
        error_code: i16, 0..;
        /// Why there is no answer, for people.
        error_message: Option<StrBytes>, 0.., null 0..;
        /// One entry per resource.
        resources: Vec<DescribeAclsResource>, 0..;
    }

    /// The rules of one resource.
    pub struct DescribeAclsResource {
        /// Its kind.
        resource_type: i8, 0..;
        /// Its name.
        resource_name: StrBytes, 0..;
        /// How the rules name it: 3 literally, 4 by prefix.
        pattern_type: i8, 1.., default 3;
        /// One entry per rule.
        acls: Vec<AclDescription>, 0..;
    }

    /// One rule.
    pub struct AclDescription {
        /// Whom it is about.
        principal: StrBytes, 0..;
        /// From which host.
        host: StrBytes, 0..;
        /// What is done.
        operation: i8, 0..;
        /// 2 denied, 3 allowed.
        permission_type: i8, 0..;
    }
}
