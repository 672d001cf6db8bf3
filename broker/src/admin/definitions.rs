//! All topics as one document: to be kept, compared, and brought back on another broker.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};
use tidewheel_config::limits;
use utoipa::ToSchema;

use super::problem::Problem;
use super::queries::DryRun;
use super::state::Admin;
use crate::broker::{
    Broker, BrokerError, NewPartitions, NewTopic, alter_configs, create_partitions, create_topics,
};
use crate::config_changes::{ConfigAlteration, ConfigChange, TOPIC};
use crate::topics::Topic;

/// Topics, each with what makes it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"topics": [{"name": "orders", "partitions": 3, "configs": {"retention.ms": "604800000"}}]}))]
pub(crate) struct Definitions {
    /// The version of the broker that told them; nobody looks at it.
    version: Option<String>,
    /// Each topic once; 1,000 at most are brought back at once, in a body of 1 MiB at most.
    topics: Vec<TopicDefinition>,
}

/// A topic, with what makes it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TopicDefinition {
    /// Its name.
    name: String,
    /// How many partitions it has.
    partitions: i32,
    /// What is set on it.
    #[serde(default)]
    configs: BTreeMap<String, String>,
}

/// What became of topics that were to be brought back, or would.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DefinitionsDone {
    /// Whether nothing was done.
    dry_run: bool,
    /// Each topic, in the order of the request.
    topics: Vec<TopicDone>,
}

/// What became of a topic, or would.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TopicDone {
    /// Its name.
    name: String,
    /// What was done.
    change: Change,
}

/// What is done to a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Change {
    /// It was not there.
    Created,
    /// It had fewer partitions, or something was set otherwise.
    Changed,
    /// It was as it is meant to be.
    Unchanged,
}

/// All topics with their partitions and what is set on them, as one document that can be brought back. Records, groups
/// and what belongs to the broker alone are not in it.
#[utoipa::path(get, path = "/v1/definitions", tag = "topics",
    responses((status = 200, body = Definitions)))]
pub(crate) async fn export(State(admin): State<Arc<Admin>>) -> Result<Json<Definitions>, Problem> {
    let topics = admin.broker()?.topics();
    let topics = topics.iter().filter(|topic| !topic.is_internal());
    let topics = topics.map(|topic| TopicDefinition {
        name: topic.name.to_string(),
        partitions: topic.partition_count(),
        configs: topic.configs.clone(),
    });
    Ok(Json(Definitions {
        version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        topics: topics.collect(),
    }))
}

/// Makes the topics of such a document that are not there, gives those that are the partitions that they lack, and sets
/// what the document says. Nothing is taken away: no topic, no partition, no setting that it does not name. Everything
/// is checked before anything is done.
#[utoipa::path(post, path = "/v1/definitions", tag = "topics", params(DryRun),
    request_body = Definitions, responses((status = 200, body = DefinitionsDone)))]
pub(crate) async fn import(
    State(admin): State<Arc<Admin>>,
    Query(query): Query<DryRun>,
    Json(definitions): Json<Definitions>,
) -> Result<Json<DefinitionsDone>, Problem> {
    let (broker, dry_run) = (admin.broker()?, query.is_dry());
    let (plan, topics) = Plan::of(broker, definitions.topics)?;
    plan.run(broker, true).await?;
    if !dry_run {
        plan.run(broker, false).await?;
    }
    Ok(Json(DefinitionsDone { dry_run, topics }))
}

/// What is to be done. Each step names the place of its topic in the request.
#[derive(Debug, Default)]
struct Plan {
    create: Vec<(usize, NewTopic)>,
    grow: Vec<(usize, NewPartitions)>,
    alter: Vec<(usize, ConfigAlteration)>,
}

impl Plan {
    fn of(
        broker: &Broker,
        topics: Vec<TopicDefinition>,
    ) -> Result<(Self, Vec<TopicDone>), Problem> {
        if topics.len() > limits::ADMIN_PAGE_MAX {
            let detail = format!("at most {} topics at once", limits::ADMIN_PAGE_MAX);
            return Err(Problem::invalid("/topics", detail));
        }
        let (mut plan, mut done, mut names) = (Self::default(), Vec::new(), BTreeSet::new());
        let known = broker.topics();
        for (at, wanted) in topics.into_iter().enumerate() {
            if !names.insert(wanted.name.clone()) {
                let detail = format!("{} stands there twice", wanted.name);
                return Err(Problem::invalid(format!("/topics/{at}/name"), detail));
            }
            let name = wanted.name.clone();
            let change = match known.named(&name) {
                None => plan.create(at, wanted),
                Some(topic) => plan.change(at, wanted, topic),
            };
            done.push(TopicDone { name, change });
        }
        Ok((plan, done))
    }

    fn create(&mut self, at: usize, wanted: TopicDefinition) -> Change {
        let configs = wanted.configs.into_iter();
        let topic = NewTopic {
            name: wanted.name,
            partitions: wanted.partitions,
            replication_factor: -1,
            assignments: Vec::new(),
            configs: configs.map(|(name, value)| (name, Some(value))).collect(),
        };
        self.create.push((at, topic));
        Change::Created
    }

    fn change(&mut self, at: usize, wanted: TopicDefinition, topic: &Topic) -> Change {
        let mut change = Change::Unchanged;
        if wanted.partitions != topic.partition_count() {
            let more = NewPartitions {
                topic: wanted.name.clone(),
                count: wanted.partitions,
                assignments: None,
            };
            self.grow.push((at, more));
            change = Change::Changed;
        }
        let configs = wanted.configs.into_iter();
        let others = configs.filter(|(name, value)| topic.configs.get(name) != Some(value));
        let changes: Vec<_> = others
            .map(|(name, value)| ConfigChange::set(name, Some(value)))
            .collect();
        if !changes.is_empty() {
            let alteration = ConfigAlteration {
                resource_type: TOPIC,
                resource_name: wanted.name,
                replaces_all: false,
                changes,
                only_if: None,
            };
            self.alter.push((at, alteration));
            change = Change::Changed;
        }
        change
    }

    /// Carries it out, or only looks whether it can be.
    async fn run(&self, broker: &Arc<Broker>, dry_run: bool) -> Result<(), Problem> {
        let wait = limits::METADATA_CHANGE_WAIT;
        let all = self.create.len() + self.grow.len() + self.alter.len();
        let mut progress = Progress {
            dry_run,
            done: 0,
            all,
        };
        let steps = self.create.iter().map(|(_, topic)| topic.clone());
        let results = create_topics(broker, steps.collect(), dry_run, wait).await;
        progress.take(&self.create, results)?;
        let steps = self.grow.iter().map(|(_, more)| more.clone());
        let results = create_partitions(broker, steps.collect(), dry_run, wait).await;
        progress.take(&self.grow, results)?;
        let steps = self.alter.iter().map(|(_, alteration)| alteration.clone());
        let results = alter_configs(broker, steps.collect(), dry_run, None).await;
        progress.take(&self.alter, results)
    }
}

/// How far a plan is carried out.
struct Progress {
    dry_run: bool,
    done: usize,
    all: usize,
}

impl Progress {
    /// Takes in the results of steps, in their order.
    fn take<S, T>(
        &mut self,
        steps: &[(usize, S)],
        results: Vec<Result<T, BrokerError>>,
    ) -> Result<(), Problem> {
        let mut refused = None;
        for ((at, _), result) in steps.iter().zip(results) {
            match result {
                Ok(_) => self.done += 1,
                Err(error) => refused = refused.or(Some((*at, error))),
            }
        }
        let Some((at, error)) = refused else {
            return Ok(());
        };
        let place = format!("/topics/{at}");
        let detail = error.to_string();
        let problem = Problem::from(error).under(&format!("{place}/configs"));
        let problem = problem.with_field(place, detail);
        Err(match (self.dry_run, self.done) {
            (true, _) | (_, 0) => problem,
            (false, done) => {
                problem.also(format!("{done} of {} changes are made by now", self.all))
            }
        })
    }
}
