//! DeleteGroups: groups without members, with their offsets.

use tidewheel_consumer_groups::request::DeleteGroupRequest;
use tidewheel_consumer_groups::{GroupReply, GroupRequest};
use tidewheel_protocol::ErrorCode;
use tidewheel_protocol::messages::delete_groups::{
    DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse,
};

use super::{Context, error};
use crate::groups::NoCoordinator;

pub(super) async fn handle(context: Context, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let mut response = DeleteGroupsResponse::default();
    let delete = |group_id| GroupRequest::DeleteGroup(DeleteGroupRequest { group_id });
    let told = |group_id, reply: Result<GroupReply, NoCoordinator>| {
        let code = match reply {
            Ok(GroupReply::DeleteGroup(result)) => error::group_outcome(result),
            Ok(_) => ErrorCode::UnknownServerError,
            Err(reason) => error::no_coordinator_code(reason),
        };
        response.results.push(DeletableGroupResult {
            group_id,
            error_code: code.code(),
        });
    };
    let groups = context.broker.groups();
    groups.ask_named(request.groups_names, delete, told).await;
    response
}
