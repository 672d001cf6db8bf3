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

pub(super) async fn handle(context: Context, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let mut response = DeleteGroupsResponse::default();
    let mut seen = HashSet::new();
    let mut names = request.groups_names;
    names.retain(|name| seen.insert(name.clone()));
    let groups = context.broker.groups();
    let ask = |group_id: StrBytes| {
        let delete = GroupRequest::DeleteGroup(DeleteGroupRequest {
            group_id: Arc::from(&*group_id),
        });
        (groups.ask(&group_id, delete), group_id)
    };
    // All are asked before one is waited for: what they write reaches the disk together.
    let asked: Vec<_> = names.into_iter().map(ask).collect();
    for (reply, group_id) in asked {
        let code = match reply.await {
            Ok(GroupReply::DeleteGroup(result)) => error::group_outcome(result),
            Ok(_) => ErrorCode::UnknownServerError,
            Err(reason) => error::no_coordinator_code(reason),
        };
        response.results.push(DeletableGroupResult {
            group_id,
            error_code: code.code(),
        });
    }
    response
}
