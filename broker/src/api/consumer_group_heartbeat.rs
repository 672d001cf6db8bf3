//! ConsumerGroupHeartbeat: a member of a group of the newer protocol joins, is alive or leaves, and hears what it
//! may read.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;

use tidewheel_consumer_groups::records::consumer::TopicIdPartition;
use tidewheel_consumer_groups::reply::ConsumerHeartbeatReply;
use tidewheel_consumer_groups::request::ConsumerHeartbeatRequest;
use tidewheel_consumer_groups::{GroupReply, GroupRequest};
use tidewheel_protocol::messages::consumer_group_heartbeat::{
    Assignment, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, TopicPartitions,
};
use tidewheel_protocol::{DecodeError, ErrorCode, StrBytes};

use super::{Call, Context, Reply, error, weight};
use crate::groups::NoCoordinator;
use crate::ids;

pub(super) async fn handle(call: Call) -> Result<Reply, DecodeError> {
    let client_id = call.header.client_id.clone();
    let begin = move |context: Context, request| heartbeat(context, request, client_id);
    call.joined(begin, weight::consumer_group_heartbeat).await
}

fn heartbeat(
    context: Context,
    request: ConsumerGroupHeartbeatRequest,
    client_id: Option<StrBytes>,
) -> impl Future<Output = ConsumerGroupHeartbeatResponse> + Send + 'static {
    let client_ip = context.session.peer.ip();
    let request = heartbeat_request(request, context.version, client_id, client_ip);
    let group_id = Arc::clone(&request.group_id);
    let groups = context.broker.groups();
    let heard = groups.ask(&group_id, GroupRequest::ConsumerHeartbeat(request));
    async move { response(heard.await) }
}

/// A copy of all that is kept: slices would keep the whole frame in memory.
fn heartbeat_request(
    request: ConsumerGroupHeartbeatRequest,
    version: i16,
    client_id: Option<StrBytes>,
    client_ip: IpAddr,
) -> ConsumerHeartbeatRequest {
    let text = |text: StrBytes| -> Arc<str> { Arc::from(&*text) };
    let topics = request.subscribed_topic_names;
    let owned = request.topic_partitions.map(|topics| {
        let partitions = topics.into_iter().flat_map(|topic| {
            let topic_id = topic.topic_id;
            let partitions = topic.partitions.into_iter();
            partitions.map(move |partition| TopicIdPartition {
                topic_id,
                partition,
            })
        });
        partitions.collect()
    });
    ConsumerHeartbeatRequest {
        group_id: text(request.group_id),
        member_id: text(request.member_id),
        chooses_member_id: version >= 1,
        epoch: request.member_epoch,
        instance_id: request.instance_id.map(text),
        rack_id: request.rack_id.map(text),
        client_id: text(client_id.unwrap_or_default()),
        // As Java prints an address.
        client_host: Arc::from(format!("/{client_ip}")),
        rebalance_timeout_ms: request.rebalance_timeout_ms,
        topics: topics.map(|topics| topics.into_iter().map(text).collect()),
        regex: request.subscribed_topic_regex.map(text),
        assignor: request.server_assignor.map(text),
        owned,
        new_member_uuid: u128::from_be_bytes(ids::random_uuid().0),
    }
}

fn response(reply: Result<GroupReply, NoCoordinator>) -> ConsumerGroupHeartbeatResponse {
    let (code, message) = match reply {
        Ok(GroupReply::ConsumerHeartbeat(Ok(reply))) => return accepted(reply),
        Ok(GroupReply::ConsumerHeartbeat(Err(refused))) => {
            let message = StrBytes::from(refused.to_string());
            (error::group_code(refused), Some(message))
        }
        Ok(_) => (ErrorCode::UnknownServerError, None),
        Err(reason) => (error::no_coordinator_code(reason), None),
    };
    ConsumerGroupHeartbeatResponse {
        error_code: code.code(),
        error_message: message,
        ..ConsumerGroupHeartbeatResponse::default()
    }
}

fn accepted(reply: ConsumerHeartbeatReply) -> ConsumerGroupHeartbeatResponse {
    let assignment = reply.assignment.map(|topics| {
        let topics = topics.into_iter().map(|topic| TopicPartitions {
            topic_id: topic.topic_id,
            partitions: topic.partitions,
        });
        Assignment {
            topic_partitions: topics.collect(),
        }
    });
    ConsumerGroupHeartbeatResponse {
        member_id: Some(StrBytes::from(&*reply.member_id)),
        member_epoch: reply.epoch,
        heartbeat_interval_ms: reply.heartbeat_interval_ms,
        assignment,
        ..ConsumerGroupHeartbeatResponse::default()
    }
}
