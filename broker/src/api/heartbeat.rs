//! Heartbeat: a member is alive, and hears of a rebalance.

use std::future::Future;
use std::sync::Arc;

use tidewheel_consumer_groups::{GroupReply, GroupRequest, request};
use tidewheel_protocol::ErrorCode;
use tidewheel_protocol::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};

use super::{Context, error};

pub(super) fn handle(
    context: Context,
    request: HeartbeatRequest,
) -> impl Future<Output = HeartbeatResponse> + Send + 'static {
    let heartbeat = request::HeartbeatRequest {
        group_id: Arc::from(&*request.group_id),
        member_id: Arc::from(&*request.member_id),
        instance_id: request.group_instance_id.map(|id| Arc::from(&*id)),
        generation: request.generation_id,
    };
    let groups = context.broker.groups();
    let heard = groups.ask(&request.group_id, GroupRequest::Heartbeat(heartbeat));
    async move {
        let code = match heard.await {
            Ok(GroupReply::Heartbeat(result)) => error::group_outcome(result),
            Ok(_) => ErrorCode::UnknownServerError,
            Err(reason) => error::no_coordinator_code(reason),
        };
        HeartbeatResponse {
            error_code: code.code(),
            ..HeartbeatResponse::default()
        }
    }
}
