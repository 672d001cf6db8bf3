//! DescribeCluster: this broker, its cluster id and controller.

use tidewheel_protocol::messages::describe_cluster::{
    DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
};
use tidewheel_protocol::{ErrorCode, StrBytes};

use super::{Context, rights};

/// Whom the client asks for: the brokers (KIP-919).
const BROKERS: i8 = 1;
/// Or the controllers, which have no listener of their own here.
const CONTROLLERS: i8 = 2;

pub(super) async fn handle(
    context: Context,
    request: DescribeClusterRequest,
) -> DescribeClusterResponse {
    let refusal = match request.endpoint_type {
        BROKERS => None,
        CONTROLLERS => Some((
            ErrorCode::MismatchedEndpointType,
            "this is a broker's listener",
        )),
        _ => Some((ErrorCode::UnsupportedEndpointType, "unknown endpoint type")),
    };
    if let Some((error, message)) = refusal {
        return DescribeClusterResponse {
            error_code: error.code(),
            error_message: Some(StrBytes::from_static(message)),
            endpoint_type: request.endpoint_type,
            ..DescribeClusterResponse::default()
        };
    }
    let endpoint = context.endpoint();
    DescribeClusterResponse {
        endpoint_type: BROKERS,
        cluster_id: StrBytes::from(context.broker.cluster_id()),
        controller_id: context.broker.node_id(),
        cluster_authorized_operations: rights::told(
            request.include_cluster_authorized_operations,
            rights::CLUSTER,
        ),
        brokers: vec![DescribeClusterBroker {
            broker_id: context.broker.node_id(),
            host: StrBytes::from(endpoint.host.as_str()),
            port: i32::from(endpoint.port),
            ..DescribeClusterBroker::default()
        }],
        ..DescribeClusterResponse::default()
    }
}
