//! ListConfigResources: what there is to describe the configs of; of groups those on which something is set.

use tidewheel_protocol::messages::list_config_resources::{
    ConfigResource, ListConfigResourcesRequest, ListConfigResourcesResponse,
};
use tidewheel_protocol::{ErrorCode, StrBytes};

use super::Context;
use crate::config_changes::{BROKER, BROKER_LOGGER, GROUP, TOPIC};

/// The other type that Kafka knows, of which there is nothing here.
const CLIENT_METRICS: i8 = 16;
const ALL: [i8; 5] = [TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP];

pub(super) async fn handle(
    context: Context,
    request: ListConfigResourcesRequest,
) -> ListConfigResourcesResponse {
    let asked = match (context.version, request.resource_types.as_slice()) {
        (0, _) => &[CLIENT_METRICS],
        (_, []) => &ALL[..],
        (_, types) => types,
    };
    let mut response = ListConfigResourcesResponse::default();
    if asked.iter().any(|wanted| !ALL.contains(wanted)) {
        response.error_code = ErrorCode::UnsupportedVersion.code();
        return response;
    }
    for resource_type in ALL.into_iter().filter(|known| asked.contains(known)) {
        let resource = |name: &str| ConfigResource {
            resource_name: StrBytes::from(name),
            resource_type,
        };
        let found = &mut response.config_resources;
        match resource_type {
            TOPIC => {
                let topics = context.broker.topics();
                found.extend(topics.iter().map(|topic| resource(&topic.name)));
            }
            BROKER | BROKER_LOGGER => found.push(resource(&context.broker.node_id().to_string())),
            GROUP => {
                let groups = context.broker.group_configs();
                found.extend(groups.keys().map(|name| resource(name)));
            }
            _ => {}
        }
    }
    response
}
