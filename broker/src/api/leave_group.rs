//! LeaveGroup: members leave, or an administrator takes them out.

use std::future::Future;
use std::sync::Arc;

use tidewheel_consumer_groups::reply::MemberLeft;
use tidewheel_consumer_groups::request::{LeaveRequest, LeavingMember};
use tidewheel_consumer_groups::{GroupReply, GroupRequest};
use tidewheel_protocol::messages::leave_group::{
    LeaveGroupRequest, LeaveGroupResponse, MemberResponse,
};
use tidewheel_protocol::{ErrorCode, StrBytes};

use super::{Context, error};

pub(super) fn handle(
    context: Context,
    request: LeaveGroupRequest,
) -> impl Future<Output = LeaveGroupResponse> + Send + 'static {
    let version = context.version;
    let members = match version {
        0..=2 => vec![LeavingMember {
            member_id: Arc::from(&*request.member_id),
            instance_id: None,
        }],
        _ => {
            let members = request.members.into_iter();
            members
                .map(|member| LeavingMember {
                    member_id: Arc::from(&*member.member_id),
                    instance_id: member.group_instance_id.map(|id| Arc::from(&*id)),
                })
                .collect()
        }
    };
    let leave = GroupRequest::Leave(LeaveRequest {
        group_id: Arc::from(&*request.group_id),
        members,
    });
    let left = context.broker.groups().ask(&request.group_id, leave);
    async move {
        match left.await {
            Ok(GroupReply::Leave(Ok(members))) => response(version, &members),
            Ok(GroupReply::Leave(Err(error))) => refused(error::group_code(error)),
            Ok(_) => refused(ErrorCode::UnknownServerError),
            Err(reason) => refused(error::no_coordinator_code(reason)),
        }
    }
}

/// Before version 3 one member leaves, and the answer is about that one.
fn response(version: i16, members: &[MemberLeft]) -> LeaveGroupResponse {
    if version < 3 {
        let only = members.first().map_or(Ok(()), |member| member.result);
        return refused(error::group_outcome(only));
    }
    let members = members.iter().map(|member| MemberResponse {
        member_id: StrBytes::from(&*member.member_id),
        group_instance_id: member.instance_id.as_deref().map(StrBytes::from),
        error_code: error::group_outcome(member.result).code(),
    });
    LeaveGroupResponse {
        members: members.collect(),
        ..LeaveGroupResponse::default()
    }
}

fn refused(code: ErrorCode) -> LeaveGroupResponse {
    LeaveGroupResponse {
        error_code: code.code(),
        ..LeaveGroupResponse::default()
    }
}
