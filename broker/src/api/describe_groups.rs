//! DescribeGroups: a group's state and members.

use tidewheel_consumer_groups::reply::{DescribedMember, GroupDescription};
use tidewheel_consumer_groups::request::DescribeRequest;
use tidewheel_consumer_groups::{GroupError, GroupReply, GroupRequest};
use tidewheel_protocol::messages::describe_groups::{
    DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup, DescribedGroupMember,
};
use tidewheel_protocol::{ErrorCode, StrBytes};

use super::{Context, error, rights};
use crate::groups::NoCoordinator;

/// The state of a group that is not there.
const DEAD: &str = "Dead";

pub(super) async fn handle(
    context: Context,
    request: DescribeGroupsRequest,
) -> DescribeGroupsResponse {
    let describe = |group_id| GroupRequest::Describe(DescribeRequest { group_id });
    let operations = rights::told(request.include_authorized_operations, rights::GROUP);
    let mut groups = Vec::new();
    let told = |group_id, reply| {
        let mut group = described(context.version, group_id, reply);
        if group.error_code == ErrorCode::None.code() {
            group.authorized_operations = operations;
        }
        groups.push(group);
    };
    let all = context.broker.groups();
    all.ask_named(request.groups, describe, told).await;
    DescribeGroupsResponse {
        groups,
        ..DescribeGroupsResponse::default()
    }
}

fn described(
    version: i16,
    group_id: StrBytes,
    reply: Result<GroupReply, NoCoordinator>,
) -> DescribedGroup {
    match reply {
        Ok(GroupReply::Describe(Ok(group))) => found(group_id, group),
        Ok(GroupReply::Describe(Err(GroupError::GroupIdNotFound))) => unknown(version, group_id),
        Ok(GroupReply::Describe(Err(error))) => refused(group_id, error::group_code(error)),
        Ok(_) => refused(group_id, ErrorCode::UnknownServerError),
        Err(reason) => refused(group_id, error::no_coordinator_code(reason)),
    }
}

fn found(group_id: StrBytes, group: GroupDescription) -> DescribedGroup {
    let member = |member: DescribedMember| DescribedGroupMember {
        member_id: StrBytes::from(&*member.member_id),
        group_instance_id: member.instance_id.as_deref().map(StrBytes::from),
        client_id: StrBytes::from(&*member.client_id),
        client_host: StrBytes::from(&*member.client_host),
        member_metadata: member.metadata,
        member_assignment: member.assignment,
    };
    DescribedGroup {
        group_id,
        group_state: StrBytes::from(group.state),
        protocol_type: StrBytes::from(&*group.protocol_type),
        protocol_data: StrBytes::from(&*group.protocol_name),
        members: group.members.into_iter().map(member).collect(),
        ..DescribedGroup::default()
    }
}

/// Clients before version 6 read the state.
fn unknown(version: i16, group_id: StrBytes) -> DescribedGroup {
    let (code, message) = match version {
        0..=5 => (ErrorCode::None, None),
        _ => {
            let message = format!("Group {group_id} not found.");
            (ErrorCode::GroupIdNotFound, Some(StrBytes::from(message)))
        }
    };
    DescribedGroup {
        error_code: code.code(),
        error_message: message,
        group_id,
        group_state: StrBytes::from(DEAD),
        ..DescribedGroup::default()
    }
}

fn refused(group_id: StrBytes, code: ErrorCode) -> DescribedGroup {
    DescribedGroup {
        error_code: code.code(),
        group_id,
        ..DescribedGroup::default()
    }
}
