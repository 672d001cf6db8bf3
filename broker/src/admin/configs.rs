//! Settings, with where each value comes from.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::header::{HeaderName, HeaderValue};
use serde::Serialize;
use serde_json::Value;
use tidewheel_config::{
    BrokerConfig, Check, ConfigEntry, ConfigKey, ConfigSource, ConfigType, Place, Scope, Unit,
    acts_at_once, describe_broker, describe_topic, find, keys,
};
use utoipa::ToSchema;

use super::listing::{ListQuery, Listing, Page};
use super::problem::Problem;
use super::setting_changes::etag;
use super::state::Admin;
use crate::topics::Topic;

/// A setting as it is in force.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Setting {
    /// Its name.
    name: &'static str,
    /// The value that acts; null where there is none or it is a secret.
    value: Option<String>,
    /// What it is where nobody says anything.
    default: Option<&'static str>,
    /// Kafka's name of where the value comes from, such as `STATIC_BROKER_CONFIG`.
    source: &'static str,
    /// The file, variable or argument that gave it, where one did.
    origin: Option<Origin>,
    /// Whether nobody set it.
    is_default: bool,
    /// Kafka's name of the type.
    #[serde(rename = "type")]
    config_type: &'static str,
    /// Whether it cannot be changed while the broker runs.
    read_only: bool,
    /// Whether its value is a secret.
    sensitive: bool,
    /// What it does.
    documentation: &'static str,
    /// Every value that counts for it, the acting one first.
    synonyms: Vec<SettingSynonym>,
}

/// A value that counts for a setting.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SettingSynonym {
    /// The setting that has it.
    name: &'static str,
    /// The value; null where it is a secret.
    value: Option<String>,
    /// Kafka's name of where it comes from.
    source: &'static str,
}

/// Where a value was given.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Origin {
    /// `file`, `environment`, `argument`, `command` or `combination`.
    kind: &'static str,
    /// The file, or the variable.
    name: Option<String>,
    /// The line of the file, from 1.
    line: Option<usize>,
    /// The column of that line, from 1.
    column: Option<usize>,
}

/// What is known of a setting that may be given.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SettingSchema {
    /// Its name.
    name: &'static str,
    /// `broker`, `topic` or `group`.
    scope: &'static str,
    /// Kafka's name of the type.
    #[serde(rename = "type")]
    config_type: &'static str,
    /// What it is where nobody says anything.
    default: Option<&'static str>,
    /// The variable that gives it.
    environment: Option<String>,
    /// What the number counts: `bytes`, `ms`, `minutes` or `hours`.
    unit: Option<&'static str>,
    /// The smallest value.
    minimum: Option<i64>,
    /// The largest value.
    maximum: Option<i64>,
    /// The values that are taken, where they are few.
    enum_values: Vec<&'static str>,
    /// Whether a change needs a restart.
    needs_restart: bool,
    /// Whether its value is a secret.
    sensitive: bool,
    /// What it does.
    documentation: &'static str,
}

/// Kafka's name of a source.
pub(crate) fn source_name(source: ConfigSource) -> &'static str {
    match source {
        ConfigSource::DynamicTopic => "DYNAMIC_TOPIC_CONFIG",
        ConfigSource::DynamicGroup => "DYNAMIC_GROUP_CONFIG",
        ConfigSource::DynamicBroker => "DYNAMIC_BROKER_CONFIG",
        ConfigSource::DynamicDefaultBroker => "DYNAMIC_DEFAULT_BROKER_CONFIG",
        ConfigSource::StaticBroker => "STATIC_BROKER_CONFIG",
        ConfigSource::Default => "DEFAULT_CONFIG",
    }
}

fn type_name(config_type: ConfigType) -> &'static str {
    match config_type {
        ConfigType::Boolean => "BOOLEAN",
        ConfigType::String => "STRING",
        ConfigType::Int => "INT",
        ConfigType::Short => "SHORT",
        ConfigType::Long => "LONG",
        ConfigType::Double => "DOUBLE",
        ConfigType::List => "LIST",
    }
}

impl Origin {
    fn of(place: Place) -> Self {
        let (kind, name, position) = match place {
            Place::File { file, line, column } => ("file", Some(file), Some((line, column))),
            Place::Environment(variable) => ("environment", Some(variable), None),
            Place::Argument => ("argument", None, None),
            Place::Command => ("command", None, None),
            Place::Combination => ("combination", None, None),
        };
        let (line, column) = position.unzip();
        Self {
            kind,
            name,
            line,
            column,
        }
    }
}

impl Setting {
    fn new(entry: ConfigEntry, scope: Scope, origin: Option<Place>) -> Self {
        let synonyms = entry.synonyms.into_iter().map(|synonym| SettingSynonym {
            name: synonym.name,
            value: synonym.value,
            source: source_name(synonym.source),
        });
        Self {
            name: entry.name,
            value: entry.value,
            default: find(scope, entry.name).and_then(|row| row.default),
            source: source_name(entry.source),
            origin: origin
                .filter(|_| entry.source == ConfigSource::StaticBroker)
                .map(Origin::of),
            is_default: entry.is_default,
            config_type: type_name(entry.config_type),
            read_only: entry.read_only,
            sensitive: entry.sensitive,
            documentation: entry.documentation,
            synonyms: synonyms.collect(),
        }
    }
}

impl SettingSchema {
    fn of(row: &'static ConfigKey) -> Self {
        let (minimum, maximum) = match row.check {
            // Where only one side is bounded, the other is that of the type.
            Check::Range(least, most) => (
                Some(least).filter(|least| *least != i64::MIN),
                Some(most).filter(|most| *most != i64::MAX),
            ),
            _ => (None, None),
        };
        Self {
            name: row.name,
            scope: match row.scope {
                Scope::Broker => "broker",
                Scope::Topic => "topic",
                Scope::Group => "group",
            },
            config_type: type_name(row.config_type),
            default: row.default,
            environment: (row.scope == Scope::Broker).then(|| row.environment_name()),
            unit: match row.unit {
                Unit::None => None,
                Unit::Bytes => Some("bytes"),
                Unit::Milliseconds => Some("ms"),
                Unit::Minutes => Some("minutes"),
                Unit::Hours => Some("hours"),
            },
            minimum,
            maximum,
            enum_values: match row.check {
                Check::OneOf(values) => values.to_vec(),
                _ => Vec::new(),
            },
            needs_restart: !acts_at_once(row),
            sensitive: row.sensitive,
            documentation: row.doc,
        }
    }
}

/// What names settings as they are.
pub(crate) type Tag = [(HeaderName, HeaderValue); 1];

/// All settings of a topic.
pub(crate) fn of_topic(config: &BrokerConfig, topic: &Topic) -> (Tag, Vec<Setting>) {
    let entries = describe_topic(config, &topic.configs);
    let tag = etag(&entries);
    let settings = entries.into_iter().map(|entry| {
        let place = entry
            .synonyms
            .first()
            .and_then(|first| config.place(first.name));
        Setting::new(entry, Scope::Topic, place)
    });
    (tag, settings.collect())
}

/// One page of settings, by their names.
pub(crate) async fn page(
    admin: &Admin,
    mut settings: Vec<Setting>,
    query: ListQuery,
) -> Result<Page<Value>, Problem> {
    settings.sort_by_key(|setting| setting.name);
    let listing = Listing::read(admin, query, "name").await?;
    let chosen = listing.choose(settings.iter().map(|setting| setting.name))?;
    let is_chosen = |setting: &Setting| chosen.keys.binary_search(&setting.name).is_ok();
    let items = settings.iter().filter(|setting| is_chosen(setting));
    listing.page(&chosen, items)
}

/// The broker's settings, and where each value comes from.
#[utoipa::path(get, path = "/v1/config", tag = "config", params(ListQuery),
    responses((status = 200, body = Page<Setting>)))]
pub(crate) async fn list(
    State(admin): State<Arc<Admin>>,
    Query(query): Query<ListQuery>,
) -> Result<(Tag, Json<Page<Value>>), Problem> {
    let config = admin.broker()?.topic_defaults();
    let entries = describe_broker(&config);
    let tag = etag(&entries);
    let settings = entries.into_iter().map(|entry| {
        let place = config.place(entry.acting_name());
        Setting::new(entry, Scope::Broker, place)
    });
    let page = page(&admin, settings.collect(), query).await?;
    Ok((tag, Json(page)))
}

/// What became of the settings that the broker was given.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SettingsStatus {
    /// When the broker read them: at its start, or when it was last asked to read them again (SIGHUP).
    read_ms: i64,
    /// Settings that are given otherwise than at the start, and act after a restart only.
    pending_restart: Vec<&'static str>,
}

/// Whether settings wait for a restart.
#[utoipa::path(get, path = "/v1/config/status", tag = "config",
    responses((status = 200, body = SettingsStatus)))]
pub(crate) async fn status(
    State(admin): State<Arc<Admin>>,
) -> Result<Json<SettingsStatus>, Problem> {
    let given = admin.broker()?.given();
    Ok(Json(SettingsStatus {
        read_ms: given.read_ms,
        pending_restart: given.pending.clone(),
    }))
}

/// Every setting that there is, of the broker, of topics and of groups.
#[utoipa::path(get, path = "/v1/config/schema", tag = "config",
    responses((status = 200, body = Vec<SettingSchema>)))]
pub(crate) async fn schema() -> Json<Vec<SettingSchema>> {
    let rows = keys(Scope::Broker).chain(keys(Scope::Topic));
    let rows = rows.chain(keys(Scope::Group));
    Json(rows.map(SettingSchema::of).collect())
}
