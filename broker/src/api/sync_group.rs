//! SyncGroup: the leader hands out the assignment, the others wait for theirs.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use tidewheel_config::limits;
use tidewheel_consumer_groups::request::{MemberAssignment, SyncRequest};
use tidewheel_consumer_groups::{GroupError, GroupReply, GroupRequest};
use tidewheel_protocol::messages::sync_group::{SyncGroupRequest, SyncGroupResponse};
use tidewheel_protocol::{DecodeError, ErrorCode, StrBytes};

use super::{Call, Context, Reply, error, weight};
use crate::groups::NoCoordinator;

pub(super) async fn handle(call: Call) -> Result<Reply, DecodeError> {
    let is_long = call.body.remaining() > limits::GROUP_RECORD_BYTES_MAX;
    let begin = move |context: Context, request| sync(context, request, is_long);
    call.joined(begin, weight::synced).await
}

fn sync(
    context: Context,
    request: SyncGroupRequest,
    is_long: bool,
) -> impl Future<Output = SyncGroupResponse> + Send + 'static {
    let synced = (!is_long).then(|| {
        let request = sync_request(request);
        let group_id = Arc::clone(&request.group_id);
        let groups = context.broker.groups();
        groups.ask(&group_id, GroupRequest::Sync(request))
    });
    async move {
        response(match synced {
            Some(synced) => synced.await,
            None => Ok(GroupReply::Sync(Err(GroupError::UnknownServerError))),
        })
    }
}

/// A copy of all that is kept: slices would keep the whole frame in memory.
fn sync_request(request: SyncGroupRequest) -> SyncRequest {
    let assignments = request.assignments.iter().map(|given| MemberAssignment {
        member_id: Arc::from(&*given.member_id),
        assignment: Bytes::copy_from_slice(&given.assignment),
    });
    SyncRequest {
        group_id: Arc::from(&*request.group_id),
        member_id: Arc::from(&*request.member_id),
        instance_id: request.group_instance_id.map(|id| Arc::from(&*id)),
        generation: request.generation_id,
        protocol_type: request.protocol_type.map(|name| Arc::from(&*name)),
        protocol_name: request.protocol_name.map(|name| Arc::from(&*name)),
        assignments: assignments.collect(),
    }
}

fn response(reply: Result<GroupReply, NoCoordinator>) -> SyncGroupResponse {
    let refused = |code: ErrorCode| SyncGroupResponse {
        error_code: code.code(),
        ..SyncGroupResponse::default()
    };
    match reply {
        Ok(GroupReply::Sync(Ok(synced))) => SyncGroupResponse {
            protocol_type: synced.protocol_type.as_deref().map(StrBytes::from),
            protocol_name: synced.protocol_name.as_deref().map(StrBytes::from),
            assignment: synced.assignment,
            ..SyncGroupResponse::default()
        },
        Ok(GroupReply::Sync(Err(error))) => refused(error::group_code(error)),
        Ok(_) => refused(ErrorCode::UnknownServerError),
        // The generation is lost, and its members join anew: many clients give up at any other code here.
        Err(NoCoordinator::Loading) => refused(ErrorCode::RebalanceInProgress),
        Err(reason) => refused(error::no_coordinator_code(reason)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_join_anew_where_their_group_is_being_read() {
        let told = response(Err(NoCoordinator::Loading)).error_code;
        assert_eq!(told, ErrorCode::RebalanceInProgress.code());
    }
}
