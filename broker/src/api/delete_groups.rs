//! DeleteGroups: groups without members, with their offsets.

use std::collections::HashSet;
use std::sync::Arc;

use tidewheel_consumer_groups::request::DeleteGroupRequest;
use tidewheel_consumer_groups::{GroupReply, GroupRequest};
use tidewheel_protocol::messages::delete_groups::{
    DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse,
};
use tidewheel_protocol::{ErrorCode, StrBytes};

use super::{Context, error};
use crate::groups::NoCoordinator;

pub(super) async fn handle(context: Context, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let mut response = DeleteGroupsResponse::default();
    let mut seen = HashSet::new();
    let mut names = request.groups_names;
    names.retain(|name| seen.insert(name.clone()));
    let delete = |group_id: &StrBytes| {
        let group_id: Arc<str> = Arc::from(&**group_id);
        let request = DeleteGroupRequest {
            group_id: Arc::clone(&group_id),
        };
        (group_id, GroupRequest::DeleteGroup(request))
    };
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
    context.broker.groups().ask_each(names, delete, told).await;
    response
}
