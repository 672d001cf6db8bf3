//! IncrementalAlterConfigs: changes single settings of a resource; on disk and in force when answered.

use tidewheel_protocol::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterConfigsResourceResponse, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};

use super::{Context, error};
use crate::broker::alter_configs;
use crate::config_changes::{ConfigAlteration, ConfigChange};

pub(super) async fn handle(
    context: Context,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let alterations = request.resources.iter().map(alteration).collect();
    let (broker, peer) = (&context.broker, context.session.peer);
    let altered = alter_configs(broker, alterations, request.validate_only, Some(peer));
    let results = altered.await;
    let resources = request.resources.into_iter();
    let responses = resources.zip(results).map(|(resource, result)| {
        let (error_code, error_message) = error::outcome(result);
        AlterConfigsResourceResponse {
            error_code,
            error_message,
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
        }
    });
    IncrementalAlterConfigsResponse {
        responses: responses.collect(),
        ..IncrementalAlterConfigsResponse::default()
    }
}

fn alteration(resource: &AlterConfigsResource) -> ConfigAlteration {
    let changes = resource.configs.iter().map(|config| ConfigChange {
        name: config.name.to_string(),
        operation: config.config_operation,
        value: config.value.as_ref().map(ToString::to_string),
    });
    ConfigAlteration {
        resource_type: resource.resource_type,
        resource_name: resource.resource_name.to_string(),
        replaces_all: false,
        changes: changes.collect(),
        only_if: None,
    }
}
