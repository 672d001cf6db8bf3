//! From file text, environment and `--set` arguments to a [`BrokerConfig`], all problems at once.

use crate::broker::BrokerConfig;
use crate::error::{ConfigError, ConfigErrors, Place, Problem};
use crate::key::{ConfigKey, Scope};
use crate::registry::{self, Foreign};
use crate::settings::Settings;
use crate::suggest;
use crate::toml_file;
use crate::value::{self, Notation};

/// Where settings come from; a later field beats an earlier one. Reading files and the
/// environment is the caller's work.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Name and text of the TOML file.
    pub file: Option<(String, String)>,
    /// Environment variables; names that do not begin with `TIDEWHEEL_` are passed over.
    pub environment: Vec<(String, String)>,
    /// `key=value` arguments, the last of a key counts.
    pub sets: Vec<String>,
}

/// One setting as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) place: Place,
    pub(crate) key: String,
    pub(crate) value: String,
}

/// Variables with our prefix that are not settings of the broker.
const OTHER_VARIABLES: &[&str] = &[
    "TIDEWHEEL_LOG",
    "TIDEWHEEL_BROKERS",
    "TIDEWHEEL_ADMIN_URL",
    "TIDEWHEEL_SUITES",
];

#[derive(Default)]
struct Loader {
    settings: Settings,
    problems: Vec<Problem>,
    warnings: Vec<String>,
}

impl BrokerConfig {
    /// Puts the sources together: default < file < environment < `--set`. Where a later source
    /// gives one of several keys for the same thing (`log.retention.hours`, `log.retention.ms`),
    /// it replaces all that earlier sources said about it.
    ///
    /// # Errors
    /// Every problem of every source, in their order; nothing is loaded in part.
    pub fn load(sources: &Sources) -> Result<BrokerConfig, ConfigErrors> {
        let mut loader = Loader::default();
        if let Some((name, text)) = &sources.file {
            let (entries, problems) = toml_file::read(name, text);
            loader.problems.extend(problems);
            loader.apply(entries);
        }
        let environment = loader.read_environment(&sources.environment);
        loader.apply(environment);
        let sets = loader.read_sets(&sources.sets);
        loader.apply(sets);

        let Loader {
            settings,
            mut problems,
            warnings,
        } = loader;
        match BrokerConfig::from_settings(settings, warnings) {
            Ok(config) if problems.is_empty() => Ok(config),
            Ok(_) => Err(ConfigErrors(problems)),
            Err(contradictions) => {
                let place = |error| Problem {
                    place: Place::Combination,
                    error,
                };
                problems.extend(contradictions.into_iter().map(place));
                Err(ConfigErrors(problems))
            }
        }
    }
}

impl Default for BrokerConfig {
    fn default() -> BrokerConfig {
        BrokerConfig::load(&Sources::default()).expect("a test loads the defaults")
    }
}

impl Loader {
    fn read_environment(&mut self, variables: &[(String, String)]) -> Vec<Entry> {
        let mut entries = Vec::new();
        for (name, value) in variables {
            if !name.starts_with("TIDEWHEEL_") || OTHER_VARIABLES.contains(&name.as_str()) {
                continue;
            }
            let row = registry::keys(Scope::Broker).find(|key| key.environment_name() == *name);
            match row {
                Some(row) => entries.push(Entry {
                    place: Place::Environment(name.clone()),
                    key: row.name.to_owned(),
                    value: value.clone(),
                }),
                // Not an error: container platforms set variables of this form for every
                // service, such as TIDEWHEEL_SERVICE_HOST for one with our name.
                None => self.warnings.push(format!(
                    "environment {name} is not a setting{}",
                    meant(suggest_variable(name))
                )),
            }
        }
        entries
    }

    fn read_sets(&mut self, sets: &[String]) -> Vec<Entry> {
        let mut entries = Vec::new();
        for set in sets {
            match set.split_once('=') {
                Some((key, value)) => entries.push(Entry {
                    place: Place::Argument,
                    key: key.trim().to_owned(),
                    value: value.to_owned(),
                }),
                None => self.problems.push(Problem {
                    place: Place::Argument,
                    error: ConfigError::Syntax(format!("{set:?} does not look like key=value")),
                }),
            }
        }
        entries
    }

    /// Lays the entries of one source over what is known so far.
    fn apply(&mut self, entries: Vec<Entry>) {
        let known = entries
            .iter()
            .filter_map(|entry| registry::find(Scope::Broker, &entry.key));
        for synonym in known.flat_map(|row| row.synonyms) {
            self.settings.forget(synonym.name);
        }
        for entry in entries {
            let Some(row) = self.find_row(&entry) else {
                continue;
            };
            match value::parse(row, &entry.value, Notation::Human) {
                Ok(value) => self.settings.set(row, value),
                Err(error) => self.problems.push(Problem {
                    place: entry.place,
                    error,
                }),
            }
        }
    }

    fn find_row(&mut self, entry: &Entry) -> Option<&'static ConfigKey> {
        let row = registry::find(Scope::Broker, &entry.key);
        if row.is_some() {
            return row;
        }
        let error = match registry::foreign(&entry.key) {
            Some(Foreign::Meaningless(reason)) => {
                self.warnings
                    .push(format!("{} has no effect: {reason}", entry.key));
                return None;
            }
            Some(Foreign::NotBuilt(reason)) => ConfigError::Unsupported {
                key: entry.key.clone(),
                value: entry.value.clone(),
                reason: reason.to_owned(),
            },
            None => unknown_broker_key(&entry.key),
        };
        self.problems.push(Problem {
            place: entry.place.clone(),
            error,
        });
        None
    }
}

pub(crate) fn unknown_broker_key(key: &str) -> ConfigError {
    let names = registry::keys(Scope::Broker).map(|row| row.name);
    // A topic's name for a thing is meant as the broker's name for its default.
    let topic_row = registry::find(Scope::Topic, key);
    let suggestion = topic_row
        .and_then(|row| row.synonyms.first())
        .map(|synonym| synonym.name)
        .or_else(|| suggest::nearest(key, names));
    let suggestion = suggestion.map(str::to_owned);
    ConfigError::Unknown {
        scope: "broker",
        key: key.chars().take(100).collect(),
        suggestion,
    }
}

fn suggest_variable(name: &str) -> Option<String> {
    let names: Vec<String> = registry::keys(Scope::Broker)
        .map(ConfigKey::environment_name)
        .collect();
    let lower: Vec<String> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
    suggest::nearest(name, lower.iter().map(String::as_str)).map(str::to_ascii_uppercase)
}

fn meant(suggestion: Option<String>) -> String {
    suggestion
        .map(|name| format!("; did you mean {name}?"))
        .unwrap_or_default()
}
