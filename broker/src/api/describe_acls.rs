//! DescribeAcls: there is no authorizer, as UIs that ask for it want to know.

use tidewheel_protocol::messages::describe_acls::{DescribeAclsRequest, DescribeAclsResponse};
use tidewheel_protocol::{ErrorCode, StrBytes};

use super::Context;

pub(super) fn handle(_: &Context, _: DescribeAclsRequest) -> DescribeAclsResponse {
    DescribeAclsResponse {
        error_code: ErrorCode::SecurityDisabled.code(),
        error_message: Some(StrBytes::from_static("this broker has no authorizer")),
        ..DescribeAclsResponse::default()
    }
}
