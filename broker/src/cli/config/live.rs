//! `tidewheel config get|set|unset`: settings of running brokers, over Kafka's protocol, so that they may be any.

use std::io::{self, Write};

use clap::Args;
use serde::Serialize;
use tidewheel_config::{Scope, canonical};
use tidewheel_protocol::StrBytes;
use tidewheel_protocol::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
    DescribeConfigsResponse,
};
use tidewheel_protocol::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};

use crate::cli::kafka::client::{Client, To};
use crate::cli::kafka::{ClusterArguments, refused, waited_for};
use crate::cli::outcome::{EXIT_NOT_FOUND, Failure, Format, failed, print_json, usage};
use crate::cli::say;
use crate::config_changes::{BROKER, DELETE, GROUP, SET, TOPIC};

/// Whose settings, and where to ask.
#[derive(Args, Debug)]
struct Target {
    #[command(flatten)]
    cluster: ClusterArguments,
    /// Of this topic; without it and what follows, of the broker that answers
    #[arg(long, value_name = "NAME", group = "of")]
    topic: Option<String>,
    /// Of this consumer group
    #[arg(long, value_name = "ID", group = "of")]
    group: Option<String>,
    /// Of the broker with this node id
    #[arg(long, value_name = "NODE", group = "of")]
    broker: Option<i32>,
    /// Of all brokers: what counts where nothing is set on a broker itself
    #[arg(long, group = "of")]
    all_brokers: bool,
}

/// Arguments of `config get`.
#[derive(Args, Debug)]
pub(super) struct GetArguments {
    /// Names of settings; without one, all that somebody set
    names: Vec<String>,
    #[command(flatten)]
    target: Target,
    /// Show also what nobody set
    #[arg(long)]
    all: bool,
    /// Show where each value comes from
    #[arg(long)]
    origin: bool,
    /// NAME=VALUE, or one JSON object per setting and line
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Arguments of `config set`.
#[derive(Args, Debug)]
pub(super) struct SetArguments {
    /// What to set; times and sizes may have units, as 7d and 64MiB
    #[arg(required = true, value_name = "NAME=VALUE")]
    settings: Vec<String>,
    #[command(flatten)]
    target: Target,
    /// Check everything and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Arguments of `config unset`.
#[derive(Args, Debug)]
pub(super) struct UnsetArguments {
    /// Names of settings
    #[arg(required = true)]
    names: Vec<String>,
    #[command(flatten)]
    target: Target,
    /// Check everything and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// A setting in JSON, under the names that the HTTP API has.
#[derive(Serialize)]
struct Setting {
    name: String,
    value: Option<String>,
    source: String,
    read_only: bool,
    sensitive: bool,
    synonyms: Vec<Synonym>,
}

/// A value that counts for a setting.
#[derive(Serialize)]
struct Synonym {
    name: String,
    value: Option<String>,
    source: String,
}

/// Kafka's name of a source.
fn source_name(source: i8) -> String {
    let name = match source {
        1 => "DYNAMIC_TOPIC_CONFIG",
        2 => "DYNAMIC_BROKER_CONFIG",
        3 => "DYNAMIC_DEFAULT_BROKER_CONFIG",
        4 => "STATIC_BROKER_CONFIG",
        DEFAULT => "DEFAULT_CONFIG",
        6 => "DYNAMIC_BROKER_LOGGER_CONFIG",
        7 => "DYNAMIC_CLIENT_METRICS_CONFIG",
        8 => "DYNAMIC_GROUP_CONFIG",
        other => return other.to_string(),
    };
    name.to_owned()
}

/// Of a setting that nobody set.
const DEFAULT: i8 = 5;

/// Somebody who can answer for a resource.
struct Asked {
    client: Client,
    to: To<'static>,
    /// Kafka's number.
    kind: i8,
    /// The topic, the group, or the node id; empty for all brokers.
    name: String,
}

impl Asked {
    async fn find(target: &Target) -> Result<Self, Failure> {
        let client = target.cluster.connect().await?;
        let (kind, name) = match target {
            Target {
                topic: Some(topic), ..
            } => (TOPIC, topic.clone()),
            Target {
                group: Some(group), ..
            } => (GROUP, group.clone()),
            Target {
                all_brokers: true, ..
            } => (BROKER, String::new()),
            Target { broker, .. } => return Self::broker(client, *broker),
        };
        Ok(Self {
            client,
            to: To::Any,
            kind,
            name,
        })
    }

    /// Only a broker itself knows what acts on it.
    fn broker(client: Client, node: Option<i32>) -> Result<Self, Failure> {
        let brokers = client.brokers();
        let here = brokers.iter().find(|(_, at)| *at == client.here());
        let node = match (node, brokers.first_key_value(), here) {
            (Some(node), ..) if brokers.contains_key(&node) => node,
            (Some(node), ..) => {
                let sentence = format!("there is no broker {node}");
                return Err(failed(&sentence, EXIT_NOT_FOUND));
            }
            // It may call itself otherwise than it was called.
            (None, Some((&node, _)), _) if brokers.len() == 1 => node,
            (None, _, Some((&node, _))) => node,
            (None, ..) => return Err(usage("there are several brokers: name one with --broker")),
        };
        Ok(Self {
            client,
            to: To::Node(node),
            kind: BROKER,
            name: node.to_string(),
        })
    }

    fn scope(&self) -> Scope {
        match self.kind {
            TOPIC => Scope::Topic,
            GROUP => Scope::Group,
            _ => Scope::Broker,
        }
    }

    /// For people.
    fn who(&self) -> String {
        match (self.kind, self.name.as_str()) {
            (TOPIC, name) => format!("topic {name}"),
            (GROUP, name) => format!("group {name}"),
            (_, "") => "all brokers".to_owned(),
            (_, node) => format!("broker {node}"),
        }
    }

    async fn describe(
        &mut self,
        names: &[String],
    ) -> Result<Vec<DescribeConfigsResourceResult>, Failure> {
        let names = names.iter().map(|name| StrBytes::from(name.as_str()));
        let names: Vec<StrBytes> = names.collect();
        let request = DescribeConfigsRequest {
            resources: vec![DescribeConfigsResource {
                resource_type: self.kind,
                resource_name: StrBytes::from(self.name.as_str()),
                configuration_keys: (!names.is_empty()).then_some(names),
            }],
            include_synonyms: true,
            ..DescribeConfigsRequest::default()
        };
        let call = self.client.call(self.to, i16::MAX, &request);
        let answer: DescribeConfigsResponse = call.await?;
        let Some(result) = answer.results.into_iter().next() else {
            return Ok(Vec::new());
        };
        if result.error_code != 0 {
            let message = result.error_message.as_ref();
            return Err(refused(&self.who(), result.error_code, message));
        }
        let mut configs = result.configs;
        configs.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(configs)
    }

    /// Makes each change, or none of them.
    async fn alter(
        &mut self,
        changes: Vec<AlterableConfig>,
        validate_only: bool,
    ) -> Result<(), Failure> {
        let request = IncrementalAlterConfigsRequest {
            resources: vec![AlterConfigsResource {
                resource_type: self.kind,
                resource_name: StrBytes::from(self.name.as_str()),
                configs: changes,
            }],
            validate_only,
        };
        let call = self.client.call(self.to, i16::MAX, &request);
        let answer: IncrementalAlterConfigsResponse = call.await?;
        match answer.responses.first() {
            Some(result) if result.error_code != 0 => {
                let message = result.error_message.as_ref();
                Err(refused(&self.who(), result.error_code, message))
            }
            _ => Ok(()),
        }
    }
}

/// Shows what is set.
pub(super) fn get(arguments: &GetArguments) -> Result<(), Failure> {
    waited_for(async {
        let mut asked = Asked::find(&arguments.target).await?;
        let found = asked.describe(&arguments.names).await?;
        let mut out = io::stdout().lock();
        let is_shown = |config: &DescribeConfigsResourceResult| {
            arguments.all || !arguments.names.is_empty() || config.config_source != DEFAULT
        };
        for config in found.iter().filter(|config| is_shown(config)) {
            show(&mut out, config, arguments)?;
        }
        let is_missing = |name: &&String| !found.iter().any(|config| *config.name == ***name);
        let mut missing = arguments.names.iter().filter(is_missing).peekable();
        if missing.peek().is_none() {
            return Ok(());
        }
        let who = asked.who();
        missing.for_each(|name| say(&format!("tidewheel: {who} has no setting {name}")));
        Err(Failure(EXIT_NOT_FOUND))
    })
}

fn show(
    out: &mut impl Write,
    config: &DescribeConfigsResourceResult,
    arguments: &GetArguments,
) -> io::Result<()> {
    let text = |value: &Option<StrBytes>| value.as_ref().map(ToString::to_string);
    let source = source_name(config.config_source);
    if arguments.format == Format::Json {
        let synonyms = config.synonyms.iter().map(|synonym| Synonym {
            name: synonym.name.to_string(),
            value: text(&synonym.value),
            source: source_name(synonym.source),
        });
        let setting = Setting {
            name: config.name.to_string(),
            value: text(&config.value),
            source,
            read_only: config.read_only,
            sensitive: config.is_sensitive,
            synonyms: synonyms.collect(),
        };
        return print_json(out, &setting);
    }
    let line = match text(&config.value) {
        Some(value) => format!("{}={value}", &*config.name),
        None if config.is_sensitive => format!("# {} is secret", &*config.name),
        None => format!("# {} is not set", &*config.name),
    };
    match arguments.origin {
        true => writeln!(out, "{line}  # {source}"),
        false => writeln!(out, "{line}"),
    }
}

/// Sets something.
pub(super) fn set(arguments: &SetArguments) -> Result<(), Failure> {
    let mut given = Vec::new();
    for setting in &arguments.settings {
        let missing = || usage(&format!("{setting:?} is not NAME=VALUE"));
        let (name, value) = setting.split_once('=').ok_or_else(missing)?;
        given.push((name.trim(), Some(value.trim())));
    }
    alter(&arguments.target, &given, arguments.dry_run)
}

/// Sets something back.
pub(super) fn unset(arguments: &UnsetArguments) -> Result<(), Failure> {
    let given: Vec<_> = arguments.names.iter().map(|name| (&**name, None)).collect();
    alter(&arguments.target, &given, arguments.dry_run)
}

fn alter(target: &Target, given: &[(&str, Option<&str>)], dry_run: bool) -> Result<(), Failure> {
    waited_for(async {
        let mut asked = Asked::find(target).await?;
        let scope = asked.scope();
        let given: Vec<(&str, Option<String>)> = given
            .iter()
            .map(|(name, value)| (*name, value.map(|value| canonical(scope, name, value))))
            .collect();
        let changes = given.iter().map(|(name, value)| AlterableConfig {
            name: StrBytes::from(*name),
            config_operation: match value {
                Some(_) => SET,
                None => DELETE,
            },
            value: value.as_deref().map(StrBytes::from),
        });
        asked.alter(changes.collect(), dry_run).await?;
        let mut out = io::stdout().lock();
        let (who, would) = (asked.who(), if dry_run { "would be " } else { "" });
        for (name, value) in &given {
            match value {
                Some(value) => writeln!(out, "{who}: {name}={value} {would}set")?,
                None => writeln!(out, "{who}: {name} {would}set back")?,
            }
        }
        Ok(())
    })
}
