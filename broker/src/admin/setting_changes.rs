//! Settings of the broker and of topics are changed while it runs: the same changes as through Kafka's API, with a dry
//! run, and only where they are those that somebody has looked at.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Path, Query, State};
use axum::http::HeaderMap;
use axum::http::header::{ETAG, HeaderValue, IF_MATCH};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidewheel_config::ConfigEntry;
use utoipa::ToSchema;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};

use super::audit::Noted;
use super::configs::Tag;
use super::problem::Problem;
use super::queries::{BrokerSettingsQuery, DryRun};
use super::state::Admin;
use super::topic_changes::only;
use super::topics::named;
use crate::broker::{Broker, alter_configs};
use crate::config_changes::{
    BROKER, ConfigAlteration, ConfigChange, ConfigDifference, TOPIC, digest, told,
};

/// New values of settings: a text, a number, true or false, or null to set one back.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct Settings(BTreeMap<String, Value>);

impl utoipa::PartialSchema for Settings {
    fn schema() -> RefOr<Schema> {
        let value = ObjectBuilder::new().schema_type(SchemaType::from_iter([
            Type::String,
            Type::Number,
            Type::Boolean,
            Type::Null,
        ]));
        let settings = ObjectBuilder::new().additional_properties(Some(value));
        settings.into()
    }
}

impl ToSchema for Settings {}

/// Which settings of brokers.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SettingsOf {
    /// Of this one.
    Broker,
    /// Of all brokers.
    All,
}

/// Settings that were changed, or would be.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SettingsChanged {
    /// The topic's name, or the broker's node id; empty for what was set on all brokers.
    name: String,
    /// What is set otherwise than before. Nothing where all was set like this already.
    changes: Vec<SettingChange>,
    /// Whether nothing was done.
    dry_run: bool,
}

/// A setting that is set otherwise than before.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SettingChange {
    /// Its name.
    name: String,
    /// What was set here; null where nothing was, and what lies behind it acted.
    before: Option<String>,
    /// What is set here now; null where nothing is.
    after: Option<String>,
}

impl From<ConfigDifference> for SettingChange {
    fn from(difference: ConfigDifference) -> Self {
        let ConfigDifference {
            name,
            before,
            after,
        } = difference;
        Self {
            name,
            before,
            after,
        }
    }
}

/// A name within a JSON pointer.
pub(crate) fn pointer(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// The header that names the settings as they are: a change with it as `If-Match` is made to no others.
pub(crate) fn etag(settings: &[ConfigEntry]) -> Tag {
    let value = format!("\"{:016x}\"", digest(settings));
    let value = HeaderValue::try_from(value).unwrap_or(HeaderValue::from_static("\"\""));
    [(ETAG, value)]
}

/// The digests of which `If-Match` names one; `None` where any will do.
fn only_if(headers: &HeaderMap) -> Option<Vec<u64>> {
    if !headers.contains_key(IF_MATCH) {
        return None;
    }
    let values = headers.get_all(IF_MATCH).into_iter();
    let values = values.filter_map(|value| value.to_str().ok());
    let tags: Vec<&str> = values
        .flat_map(|value| value.split(',').map(str::trim))
        .collect();
    if tags.contains(&"*") {
        return None;
    }
    // What is no tag of ours matches nothing.
    let ours = tags.iter().filter_map(|tag| {
        let digits = tag.strip_prefix('"')?.strip_suffix('"')?;
        u64::from_str_radix(digits, 16).ok()
    });
    Some(ours.collect())
}

fn changes(settings: BTreeMap<String, Value>) -> Result<Vec<ConfigChange>, Problem> {
    let changes = settings.into_iter().map(|(name, value)| match value {
        Value::Null => Ok(ConfigChange::reset(name)),
        Value::String(text) => Ok(ConfigChange::set(name, Some(text))),
        Value::Bool(_) | Value::Number(_) => Ok(ConfigChange::set(name, Some(value.to_string()))),
        Value::Array(_) | Value::Object(_) => Err(Problem::invalid(
            pointer(&name),
            "a setting is a text, a number, true, false or null",
        )),
    });
    changes.collect()
}

async fn alter(
    broker: &Arc<Broker>,
    alteration: ConfigAlteration,
    dry_run: bool,
    noted: &Noted,
) -> Result<Json<SettingsChanged>, Problem> {
    let name = alteration.resource_name.clone();
    let wanted = alteration.changes.iter().map(|change| change.name.as_str());
    // What they are to be is not told before it is known that none of it is a secret.
    noted.note(wanted.collect::<Vec<_>>().join(","));
    let differences = only(alter_configs(broker, vec![alteration], dry_run, None).await)?;
    noted.note(told(&differences));
    Ok(Json(SettingsChanged {
        name,
        changes: differences.into_iter().map(SettingChange::from).collect(),
        dry_run,
    }))
}

/// Alters settings of a topic: those named are set, null sets one back to what the broker says; others stay. With
/// `If-Match` only where they are still as the `ETag` of a look at them says, else 412.
#[utoipa::path(patch, path = "/v1/topics/{topic}/configs", tag = "topics",
    params(("topic" = String, Path, description = "its name"), DryRun,
        ("If-Match" = Option<String>, Header, description = "the `ETag` of the settings that are meant")),
    request_body = Settings,
    responses((status = 200, body = SettingsChanged)))]
pub(crate) async fn alter_topic(
    State(admin): State<Arc<Admin>>,
    Path(topic): Path<String>,
    Query(query): Query<DryRun>,
    Extension(noted): Extension<Noted>,
    headers: HeaderMap,
    Json(Settings(settings)): Json<Settings>,
) -> Result<Json<SettingsChanged>, Problem> {
    let broker = admin.broker()?;
    named(broker, &topic)?;
    let alteration = ConfigAlteration {
        resource_type: TOPIC,
        resource_name: topic,
        replaces_all: false,
        changes: changes(settings)?,
        only_if: only_if(&headers),
    };
    alter(broker, alteration, query.is_dry(), &noted).await
}

/// Alters settings of this broker, or of all, while it runs: those named are set, null sets one back to what it was
/// given; others stay. It is on disk when it is answered, and lasts over restarts. With `If-Match` only where they are
/// still as the `ETag` of a look at them says, else 412.
#[utoipa::path(patch, path = "/v1/config", tag = "config",
    params(BrokerSettingsQuery,
        ("If-Match" = Option<String>, Header, description = "the `ETag` of the settings that are meant")),
    request_body = Settings,
    responses((status = 200, body = SettingsChanged)))]
pub(crate) async fn alter_broker(
    State(admin): State<Arc<Admin>>,
    Query(query): Query<BrokerSettingsQuery>,
    Extension(noted): Extension<Noted>,
    headers: HeaderMap,
    Json(Settings(settings)): Json<Settings>,
) -> Result<Json<SettingsChanged>, Problem> {
    let broker = admin.broker()?;
    let alteration = ConfigAlteration {
        resource_type: BROKER,
        resource_name: match query.of {
            None | Some(SettingsOf::Broker) => broker.node_id().to_string(),
            Some(SettingsOf::All) => String::new(),
        },
        replaces_all: false,
        changes: changes(settings)?,
        only_if: only_if(&headers),
    };
    alter(broker, alteration, query.dry_run.unwrap_or(false), &noted).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_within_a_pointer_is_escaped() {
        assert_eq!(pointer("retention.ms"), "/retention.ms");
        assert_eq!(pointer("a/b~c"), "/a~1b~0c");
    }

    #[test]
    fn a_change_is_meant_for_what_any_of_its_tags_names() {
        let meant = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(IF_MATCH, HeaderValue::from_static(value));
            }
            only_if(&headers)
        };
        assert_eq!(meant(&[]), None);
        assert_eq!(meant(&["*"]), None);
        assert_eq!(meant(&["\"1f\", \"2\"", "\"3\""]), Some(vec![31, 2, 3]));
        // A weak tag names nothing for certain.
        for other in ["", "W/\"1\"", "1", "\"", "\"x\""] {
            assert_eq!(meant(&[other]), Some(Vec::new()), "{other}");
        }
    }
}
