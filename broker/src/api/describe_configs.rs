//! DescribeConfigs: every setting of a topic, of a group or of the broker, with where it comes from, and the levels
//! of the broker's loggers.

use std::collections::{HashMap, HashSet};

use tidewheel_config::{
    ConfigEntry, describe_broker, describe_broker_defaults, describe_group, describe_topic,
};
use tidewheel_protocol::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
    DescribeConfigsResponse, DescribeConfigsResult, DescribeConfigsSynonym,
};
use tidewheel_protocol::{ErrorCode, StrBytes};

use super::Context;
use crate::config_changes::{BROKER, BROKER_LOGGER, GROUP, TOPIC};
use crate::logging::kafka_name;
use crate::topics::topic_name_problem;

pub(super) async fn handle(
    context: Context,
    request: DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    let (synonyms, documentation) = (request.include_synonyms, request.include_documentation);
    let resources = merged(request.resources, context.broker.node_id());
    let mut results = Vec::with_capacity(resources.len());
    for resource in resources {
        let keys = resource.configuration_keys.as_ref();
        let wanted: Option<HashSet<&str>> =
            keys.map(|keys| keys.iter().map(|key| &**key).collect());
        let is_wanted = |name: &str| wanted.as_ref().is_none_or(|keys| keys.contains(name));
        let configs = match resource.resource_type {
            BROKER_LOGGER => loggers(&context, &resource.resource_name, is_wanted),
            _ => entries(&context, &resource).map(|entries| {
                let entries = entries.into_iter();
                let asked = entries.filter(|entry| is_wanted(entry.name));
                asked
                    .map(|entry| described(entry, synonyms, documentation))
                    .collect()
            }),
        };
        results.push(result(resource, configs));
        // There may be thousands, and others have work for this thread too.
        tokio::task::consume_budget().await;
    }
    DescribeConfigsResponse {
        results,
        ..DescribeConfigsResponse::default()
    }
}

/// What stands several times, under whichever name, is answered once, with all that is asked about it: an
/// answer is bounded by what there is to tell.
fn merged(asked: Vec<DescribeConfigsResource>, node_id: i32) -> Vec<DescribeConfigsResource> {
    let mut places = HashMap::new();
    let mut merged: Vec<DescribeConfigsResource> = Vec::with_capacity(asked.len());
    for mut resource in asked {
        // As in Kafka, an empty list of keys asks for all of them, like no list.
        let keys = resource.configuration_keys.take();
        let keys = keys.filter(|keys| !keys.is_empty());
        let name = match resource.resource_type {
            // A number has many spellings.
            BROKER | BROKER_LOGGER if is_node(&resource.resource_name, node_id) => {
                StrBytes::from("self")
            }
            _ => resource.resource_name.clone(),
        };
        let place = *places
            .entry((resource.resource_type, name))
            .or_insert(merged.len());
        match (merged.get_mut(place), keys) {
            (None, configuration_keys) => merged.push(DescribeConfigsResource {
                configuration_keys,
                ..resource
            }),
            (Some(known), Some(more)) => {
                if let Some(keys) = &mut known.configuration_keys {
                    keys.extend(more);
                }
            }
            (Some(known), None) => known.configuration_keys = None,
        }
    }
    merged
}

fn is_node(name: &str, node_id: i32) -> bool {
    name.parse() == Ok(node_id)
}

type Refusal = (ErrorCode, String);

fn entries(
    context: &Context,
    resource: &DescribeConfigsResource,
) -> Result<Vec<ConfigEntry>, Refusal> {
    let name: &str = &resource.resource_name;
    let config = context.broker.topic_defaults();
    match resource.resource_type {
        TOPIC => {
            if let Some(problem) = topic_name_problem(name) {
                return Err((ErrorCode::InvalidTopicException, problem.to_owned()));
            }
            match context.broker.topics().named(name) {
                Some(topic) => Ok(describe_topic(&config, &topic.configs)),
                None => Err((
                    ErrorCode::UnknownTopicOrPartition,
                    format!("there is no topic {name}"),
                )),
            }
        }
        BROKER if name.is_empty() => Ok(describe_broker_defaults(&config)),
        BROKER if is_node(name, context.broker.node_id()) => Ok(describe_broker(&config)),
        BROKER => Err((
            ErrorCode::InvalidRequest,
            format!("this is broker {}, not {name}", context.broker.node_id()),
        )),
        GROUP if name.is_empty() => Err((
            ErrorCode::InvalidRequest,
            "the defaults of all groups are settings of the broker".to_owned(),
        )),
        GROUP => {
            let set = context.broker.group_configs().get(name).cloned();
            Ok(describe_group(&config, &set.unwrap_or_default()))
        }
        other => Err((
            ErrorCode::InvalidRequest,
            format!("configs of resource type {other} are not supported"),
        )),
    }
}

/// Kafka's numbers of where the level of a logger comes from, and of a type that is not told.
const FROM_LOGGER: i8 = 6;
const NO_TYPE: i8 = 0;

fn loggers(
    context: &Context,
    name: &str,
    is_wanted: impl Fn(&str) -> bool,
) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
    let node_id = context.broker.node_id();
    if !is_node(name, node_id) {
        let reason = format!("the loggers of this broker are those of {node_id}, not {name:?}");
        return Err((ErrorCode::InvalidRequest, reason));
    }
    let logging = context.broker.logging();
    let levels = logging.map(|logging| logging.acting_levels());
    let levels = levels.unwrap_or_default().into_iter();
    let named = levels.map(|(logger, level)| (kafka_name(&logger), level));
    let asked = named.filter(|(name, _)| is_wanted(name));
    let described = asked.map(|(name, level)| DescribeConfigsResourceResult {
        name: StrBytes::from(name),
        value: Some(StrBytes::from_static(level)),
        config_source: FROM_LOGGER,
        config_type: NO_TYPE,
        ..DescribeConfigsResourceResult::default()
    });
    Ok(described.collect())
}

fn result(
    resource: DescribeConfigsResource,
    configs: Result<Vec<DescribeConfigsResourceResult>, Refusal>,
) -> DescribeConfigsResult {
    let (configs, error, message) = match configs {
        // Kafka's success has an empty message, not none.
        Ok(configs) => (configs, ErrorCode::None, StrBytes::default()),
        Err((error, message)) => (Vec::new(), error, StrBytes::from(message)),
    };
    DescribeConfigsResult {
        error_code: error.code(),
        error_message: Some(message),
        resource_type: resource.resource_type,
        resource_name: resource.resource_name,
        configs,
    }
}

fn described(
    entry: ConfigEntry,
    synonyms: bool,
    documentation: bool,
) -> DescribeConfigsResourceResult {
    let synonym = |synonym: tidewheel_config::ConfigSynonym| DescribeConfigsSynonym {
        name: StrBytes::from(synonym.name),
        value: synonym.value.map(StrBytes::from),
        source: synonym.source as i8,
    };
    DescribeConfigsResourceResult {
        name: StrBytes::from(entry.name),
        value: entry.value.map(StrBytes::from),
        read_only: entry.read_only,
        is_default: entry.is_default,
        config_source: entry.source as i8,
        is_sensitive: entry.sensitive,
        synonyms: match synonyms {
            true => entry.synonyms.into_iter().map(synonym).collect(),
            false => Vec::new(),
        },
        config_type: entry.config_type as i8,
        documentation: documentation.then(|| StrBytes::from(entry.documentation)),
    }
}
