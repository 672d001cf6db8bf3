//! FindCoordinator: this broker coordinates every group; which group, nobody needs to know yet.

use tidewheel_protocol::messages::find_coordinator::{
    Coordinator, FindCoordinatorRequest, FindCoordinatorResponse,
};
use tidewheel_protocol::{ErrorCode, StrBytes};
use tracing::warn;

use super::Context;
use crate::groups::find_groups;
use crate::rate_limit::RateLimit;

/// The kind of key that names a group.
const GROUP: i8 = 0;

/// Where the coordinator is, or why there is none.
type Found = Result<(), (ErrorCode, StrBytes)>;

pub(super) async fn handle(
    context: Context,
    request: FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    let found = find(&context, request.key_type).await;
    if context.version < 4 {
        let Coordinator {
            node_id,
            host,
            port,
            error_code,
            error_message,
            ..
        } = coordinator(&context, StrBytes::default(), &found);
        return FindCoordinatorResponse {
            error_code,
            error_message,
            node_id,
            host,
            port,
            ..FindCoordinatorResponse::default()
        };
    }
    let keys = request.coordinator_keys.into_iter();
    FindCoordinatorResponse {
        coordinators: keys.map(|key| coordinator(&context, key, &found)).collect(),
        ..FindCoordinatorResponse::default()
    }
}

/// Clients ask again and again.
static LINES: RateLimit = RateLimit::new();

async fn find(context: &Context, key_type: i8) -> Found {
    if key_type != GROUP {
        let reason = "this broker coordinates consumer groups only: transactions and share groups are \
                      not built yet";
        return Err((ErrorCode::InvalidRequest, StrBytes::from(reason)));
    }
    find_groups(&context.broker).await.map_err(|error| {
        if let Some(unsaid) = LINES.passes() {
            warn!(%error, unsaid, "no topic for the offsets of groups");
        }
        // Whatever the reason, clients look again later, as with Kafka.
        let code = ErrorCode::CoordinatorNotAvailable;
        (code, StrBytes::from(error.to_string()))
    })
}

fn coordinator(context: &Context, key: StrBytes, found: &Found) -> Coordinator {
    let endpoint = context.endpoint();
    match found {
        Ok(()) => Coordinator {
            key,
            node_id: context.broker.node_id(),
            host: StrBytes::from(endpoint.host.as_str()),
            port: i32::from(endpoint.port),
            ..Coordinator::default()
        },
        Err((code, message)) => Coordinator {
            key,
            node_id: -1,
            port: -1,
            error_code: code.code(),
            error_message: Some(message.clone()),
            ..Coordinator::default()
        },
    }
}
