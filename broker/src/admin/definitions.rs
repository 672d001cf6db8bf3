//! All topics as one document: to be kept, compared, and brought back on another broker.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use tidewheel_config::limits;
use utoipa::ToSchema;

use super::audit::Noted;
use super::problem::Problem;
use super::queries::DryRun;
use super::state::Admin;
use crate::broker::{
    Broker, BrokerError, NewPartitions, NewTopic, alter_configs, create_partitions, create_topics,
};
use crate::config_changes::{ConfigAlteration, ConfigChange, ConfigDifference, TOPIC, told};
use crate::topics::{Topic, is_internal};

/// Topics, each with what makes it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"topics": [{"name": "orders", "partitions": 3, "configs": {"retention.ms": "604800000"}}]}))]
pub(crate) struct Definitions {
    /// The version of the broker that told them; nobody looks at it.
    version: Option<String>,
    /// Each topic once; 1,000 at most are brought back at once, with 10,000 new partitions at most, in a body of 1 MiB
    /// at most.
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
    Ok(Json(admin.compute(|broker| definitions(broker)).await?))
}

fn definitions(broker: &Broker) -> Definitions {
    let topics = broker.topics();
    let topics = topics.iter().filter(|topic| !topic.is_internal());
    let topics = topics.map(|topic| TopicDefinition {
        name: topic.name.to_string(),
        partitions: topic.partition_count(),
        configs: topic.configs.clone(),
    });
    Definitions {
        version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        topics: topics.collect(),
    }
}

/// Makes the topics of such a document that are not there, gives those that are the partitions that they lack, and sets
/// what the document says. Nothing is taken away: no topic, no partition, no setting that it does not name. Everything
/// is checked before anything is done. One document adds 10,000 partitions at most.
#[utoipa::path(post, path = "/v1/definitions", tag = "topics", params(DryRun),
    request_body = Definitions, responses((status = 200, body = DefinitionsDone)))]
pub(crate) async fn import(
    State(admin): State<Arc<Admin>>,
    Query(query): Query<DryRun>,
    Extension(noted): Extension<Noted>,
    Json(definitions): Json<Definitions>,
) -> Result<Json<DefinitionsDone>, Problem> {
    let (broker, dry_run) = (admin.broker()?, query.is_dry());
    let (plan, topics) = Plan::of(broker, definitions.topics)?;
    // What is set is not told before it is known that none of it is a secret.
    noted.note(plan.told(&[]));
    let mut differences = plan.run(broker, true).await?;
    plan.check_room(broker)?;
    if !dry_run {
        differences = plan.run(broker, false).await?;
    }
    noted.note(plan.told(&differences));
    Ok(Json(DefinitionsDone { dry_run, topics }))
}

/// What is to be done. Each step names the place of its topic in the request.
#[derive(Debug, Default)]
struct Plan {
    create: Vec<(usize, NewTopic)>,
    grow: Vec<(usize, NewPartitions)>,
    alter: Vec<(usize, ConfigAlteration)>,
    /// Partitions that are made, but those of the broker's own topics.
    added: i32,
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
        let (known, default) = (broker.topics(), broker.topic_defaults().num_partitions);
        for (at, wanted) in topics.into_iter().enumerate() {
            if !names.insert(wanted.name.clone()) {
                let detail = format!("{} stands there twice", wanted.name);
                return Err(Problem::invalid(format!("/topics/{at}/name"), detail));
            }
            let name = wanted.name.clone();
            let topic = known.named(&name);
            let present = topic.map_or(0, |topic| topic.partition_count());
            plan.count(&wanted, present, default);
            let change = match topic {
                None => plan.create(at, wanted),
                Some(topic) => plan.change(at, wanted, topic),
            };
            done.push(TopicDone { name, change });
        }
        let max = limits::PARTITIONS_PER_REQUEST_MAX;
        if plan.added > max {
            let detail = format!("at most {max} new partitions at once");
            return Err(Problem::invalid("/topics", detail));
        }
        Ok((plan, done))
    }

    /// Counts what a topic that has `present` partitions adds; where it says -1, it gets the `default`.
    fn count(&mut self, wanted: &TopicDefinition, present: i32, default: i32) {
        if is_internal(&wanted.name) {
            return;
        }
        let partitions = match wanted.partitions {
            -1 => default,
            partitions => partitions,
        };
        let added = partitions.saturating_sub(present).max(0);
        self.added = self.added.saturating_add(added);
    }

    /// Refuses it where there is no room for all of its partitions together: the steps are checked each for itself.
    fn check_room(&self, broker: &Broker) -> Result<(), Problem> {
        broker.check_room(self.added).map_err(|error| {
            let detail = error.to_string();
            Problem::from(error).with_field("/topics".to_owned(), detail)
        })
    }

    /// What it does, for the audit; `differences` are those of the settings, once they are known.
    fn told(&self, differences: &[Vec<ConfigDifference>]) -> String {
        let set = self.alter.iter().enumerate().map(|(step, (_, one))| {
            let name = &one.resource_name;
            match differences.get(step) {
                Some(differences) => format!("set {name}: {}", told(differences)),
                None => format!("set {name}"),
            }
        });
        let grow = self.grow.iter();
        let grow = grow.map(|(_, more)| format!("grow {} to {}", more.topic, more.count));
        let create = self.create.iter();
        let create = create.map(|(_, topic)| format!("create {}", topic.name));
        set.chain(grow).chain(create).collect::<Vec<_>>().join("; ")
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

    /// Carries it out, or only looks whether it can be. Returns what is set otherwise, by step.
    async fn run(
        &self,
        broker: &Arc<Broker>,
        dry_run: bool,
    ) -> Result<Vec<Vec<ConfigDifference>>, Problem> {
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
    ) -> Result<Vec<T>, Problem> {
        let (mut taken, mut refused) = (Vec::new(), None);
        for ((at, _), result) in steps.iter().zip(results) {
            match result {
                Ok(result) => taken.push(result),
                Err(error) => refused = refused.or(Some((*at, error))),
            }
        }
        self.done += taken.len();
        let Some((at, error)) = refused else {
            return Ok(taken);
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
