//! DescribeGroups: a group's state and members.

use std::collections::HashSet;
use std::sync::Arc;

use tidewheel_consumer_groups::reply::{DescribedMember, GroupDescription};
use tidewheel_consumer_groups::request::DescribeRequest;
use tidewheel_consumer_groups::{GroupError, GroupReply, GroupRequest};
use tidewheel_protocol::messages::describe_groups::{
    DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup, DescribedGroupMember,
};
use tidewheel_protocol::{ErrorCode, StrBytes};

use super::{Context, error};
use crate::groups::NoCoordinator;

/// The state of a group that is not there.
const DEAD: &str = "Dead";

pub(super) async fn handle(
    context: Context,
    request: DescribeGroupsRequest,
) -> DescribeGroupsResponse {
    let mut named = HashSet::new();
    let mut names = request.groups;
    // Once each: a name of a few bytes may stand for megabytes of members.
    names.retain(|group_id| named.insert(group_id.clone()));
    let describe = |group_id: &StrBytes| {
        let group_id: Arc<str> = Arc::from(&**group_id);
        let request = DescribeRequest {
            group_id: Arc::clone(&group_id),
        };
        (group_id, GroupRequest::Describe(request))
    };
    let mut groups = Vec::with_capacity(names.len());
    let told = |group_id, reply| groups.push(described(context.version, group_id, reply));
    context
        .broker
        .groups()
        .ask_each(names, describe, told)
        .await;
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
