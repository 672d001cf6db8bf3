//! JoinGroup: a member joins; answered when the group's next generation has begun.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use tidewheel_config::limits;
use tidewheel_consumer_groups::reply::{JoinReply, Joined};
use tidewheel_consumer_groups::request::{JoinProtocol, JoinRequest};
use tidewheel_consumer_groups::{GroupError, GroupReply, GroupRequest};
use tidewheel_protocol::messages::join_group::{
    JoinGroupRequest, JoinGroupResponse, JoinGroupResponseMember,
};
use tidewheel_protocol::{DecodeError, ErrorCode, StrBytes};

use super::{Call, Context, Reply, error, weight};
use crate::groups::NoCoordinator;
use crate::ids;

pub(super) async fn handle(call: Call) -> Result<Reply, DecodeError> {
    let is_long = call.body.remaining() > limits::GROUP_MEMBER_BYTES_MAX;
    let client_id = call.header.client_id.clone();
    let begin = move |context: Context, request| join(context, request, client_id, is_long);
    call.joined(begin, weight::joined).await
}

fn join(
    context: Context,
    request: JoinGroupRequest,
    client_id: Option<StrBytes>,
    is_long: bool,
) -> impl Future<Output = JoinGroupResponse> + Send + 'static {
    let version = context.version;
    let member_id: Arc<str> = Arc::from(&*request.member_id);
    let joined = (!is_long).then(|| {
        let client_ip = context.session.peer.ip();
        let request = join_request(request, version, client_id, client_ip);
        let group_id = Arc::clone(&request.group_id);
        let groups = context.broker.groups();
        groups.ask(&group_id, GroupRequest::Join(request))
    });
    async move {
        let mut reply = match joined {
            Some(joined) => joined.await,
            None => Ok(GroupReply::Join(JoinReply {
                member_id: Arc::clone(&member_id),
                result: Err(GroupError::InvalidRequest),
            })),
        };
        // What was in the way has ended with it.
        if let Ok(GroupReply::JoinAgain(request)) = reply {
            let group_id = Arc::clone(&request.group_id);
            let groups = context.broker.groups();
            reply = groups.ask(&group_id, GroupRequest::Join(request)).await;
        }
        response(version, member_id, reply)
    }
}

/// A copy of all that is kept: slices would keep the whole frame in memory.
fn join_request(
    request: JoinGroupRequest,
    version: i16,
    client_id: Option<StrBytes>,
    client_ip: std::net::IpAddr,
) -> JoinRequest {
    let rebalance_timeout_ms = match version {
        0 => request.session_timeout_ms,
        _ => request.rebalance_timeout_ms,
    };
    let protocols = request.protocols.iter().map(|protocol| JoinProtocol {
        name: Arc::from(&*protocol.name),
        metadata: Bytes::copy_from_slice(&protocol.metadata),
    });
    JoinRequest {
        group_id: Arc::from(&*request.group_id),
        member_id: Arc::from(&*request.member_id),
        instance_id: request.group_instance_id.map(|id| Arc::from(&*id)),
        client_id: client_id.map_or_else(|| Arc::from(""), |id| Arc::from(&*id)),
        // As Java prints an address.
        client_host: Arc::from(format!("/{client_ip}")),
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms,
        protocol_type: Arc::from(&*request.protocol_type),
        protocols: protocols.collect(),
        member_id_required: version >= 4,
        supports_skip_assignment: version >= 9,
        new_member_uuid: u128::from_be_bytes(ids::random_uuid().0),
    }
}

fn response(
    version: i16,
    member_id: Arc<str>,
    reply: Result<GroupReply, NoCoordinator>,
) -> JoinGroupResponse {
    let refused = |member_id: &str, code: ErrorCode| JoinGroupResponse {
        error_code: code.code(),
        // Before version 7 a name cannot be null.
        protocol_name: (version < 7).then(StrBytes::default),
        member_id: StrBytes::from(member_id),
        ..JoinGroupResponse::default()
    };
    let JoinReply { member_id, result } = match reply {
        Ok(GroupReply::Join(reply)) => reply,
        Ok(GroupReply::JoinAgain(_)) => {
            return refused(&member_id, ErrorCode::RebalanceInProgress);
        }
        Ok(_) => return refused(&member_id, ErrorCode::UnknownServerError),
        Err(reason) => return refused(&member_id, error::no_coordinator_code(reason)),
    };
    match result {
        Ok(joined) => accepted(version, &member_id, joined),
        Err(error) => refused(&member_id, error::group_code(error)),
    }
}

fn accepted(version: i16, member_id: &str, joined: Joined) -> JoinGroupResponse {
    let members = joined
        .members
        .into_iter()
        .map(|member| JoinGroupResponseMember {
            member_id: StrBytes::from(&*member.member_id),
            group_instance_id: member.instance_id.as_deref().map(StrBytes::from),
            metadata: member.metadata,
        });
    let protocol_name = joined.protocol_name.as_deref().map(StrBytes::from);
    JoinGroupResponse {
        generation_id: joined.generation,
        protocol_type: joined.protocol_type.as_deref().map(StrBytes::from),
        protocol_name: match version {
            0..=6 => Some(protocol_name.unwrap_or_default()),
            _ => protocol_name,
        },
        leader: StrBytes::from(&*joined.leader),
        skip_assignment: joined.skip_assignment,
        member_id: StrBytes::from(member_id),
        members: members.collect(),
        ..JoinGroupResponse::default()
    }
}
