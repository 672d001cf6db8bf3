//! Heartbeat: a member is alive, and hears of a rebalance.

use std::future::Future;
use std::sync::Arc;

use tidewheel_consumer_groups::{GroupReply, GroupRequest, request};
use tidewheel_protocol::ErrorCode;
use tidewheel_protocol::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};

use super::{Context, error};
use crate::groups::NoCoordinator;

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
        HeartbeatResponse {
            error_code: outcome(heard.await).code(),
            ..HeartbeatResponse::default()
        }
    }
}

fn outcome(heard: Result<GroupReply, NoCoordinator>) -> ErrorCode {
    match heard {
        Ok(GroupReply::Heartbeat(result)) => error::group_outcome(result),
        Ok(_) => ErrorCode::UnknownServerError,
        // As in Kafka: many clients give up what they own at an answer that they do not expect here.
        Err(NoCoordinator::Loading) => ErrorCode::None,
        Err(reason) => error::no_coordinator_code(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_stay_what_they_are_while_their_group_is_read() {
        assert_eq!(outcome(Err(NoCoordinator::Loading)), ErrorCode::None);
        let elsewhere = outcome(Err(NoCoordinator::Elsewhere));
        assert_eq!(elsewhere, ErrorCode::NotCoordinator);
    }
}
