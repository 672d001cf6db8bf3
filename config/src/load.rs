//! From a file, the environment and `--set` arguments to a [`BrokerConfig`], all problems at once.

use crate::broker::BrokerConfig;
use crate::error::{ConfigError, ConfigErrors, Place, Problem, Warning};
use crate::key::{Check, ConfigKey, Scope};
use crate::kraft;
use crate::registry::{self, Foreign};
use crate::settings::Settings;
use crate::suggest;
use crate::value::{self, Notation};
use crate::{environment, limits, properties_file, toml_file};

/// Where settings come from; a later field beats an earlier one. Reading files and the
/// environment is the caller's work.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `key=value` of the command that starts the broker: what it takes where nobody says otherwise.
    pub defaults: Vec<String>,
    /// The configuration file.
    pub file: Option<ConfigFile>,
    /// Environment variables. Those that begin with `KAFKA_` count as Apache Kafka's container
    /// images take them, unless `TIDEWHEEL_KAFKA_ENV` is `off`; those that begin with `TIDEWHEEL_`
    /// beat them; others are passed over.
    pub environment: Vec<(String, String)>,
    /// `key=value` arguments, the last of a key counts.
    pub sets: Vec<String>,
    /// Whether settings that nobody knows are warnings instead of problems.
    pub lenient: bool,
}

/// A configuration file as it was read.
#[derive(Clone, Debug, Default)]
pub struct ConfigFile {
    /// Its name, for messages. One that ends in `.properties` is in the syntax of
    /// `java.util.Properties`, any other is TOML.
    pub name: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// One setting as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) place: Place,
    pub(crate) key: String,
    pub(crate) value: String,
}

/// What one source says.
#[derive(Debug, Default)]
pub(crate) struct SourceContent {
    pub(crate) entries: Vec<Entry>,
    pub(crate) problems: Vec<Problem>,
    pub(crate) warnings: Vec<Warning>,
}

#[derive(Default)]
struct Loader {
    settings: Settings,
    problems: Vec<Problem>,
    warnings: Vec<Warning>,
    lenient: bool,
    /// `controller.listener.names`.
    controllers: Vec<String>,
    /// Settings of single listeners, whose meaning depends on `controllers`.
    of_listeners: Vec<Entry>,
}

impl BrokerConfig {
    /// Puts the sources together: default < the command's < file < `KAFKA_*` < `TIDEWHEEL_*` < `--set`. Where a later
    /// source gives one of several keys for the same thing (`log.retention.hours`,
    /// `log.retention.ms`), it replaces all that earlier sources said about it.
    ///
    /// # Errors
    /// Every problem of every source, in their order; nothing is loaded in part.
    pub fn load(sources: &Sources) -> Result<BrokerConfig, ConfigErrors> {
        let mut loader = Loader {
            lenient: sources.lenient,
            ..Loader::default()
        };
        loader.lay_over(read_pairs(&sources.defaults, &Place::Command));
        if let Some(file) = &sources.file {
            loader.lay_over(read_file(file));
        }
        let has_listeners = loader.settings.given("listeners").is_some();
        loader.lay_over(environment::of_kafka(&sources.environment, has_listeners));
        loader.lay_over(environment::own(&sources.environment));
        loader.lay_over(read_pairs(&sources.sets, &Place::Argument));
        loader.finish()
    }
}

impl Default for BrokerConfig {
    fn default() -> BrokerConfig {
        BrokerConfig::load(&Sources::default()).expect("a test loads the defaults")
    }
}

fn read_file(file: &ConfigFile) -> SourceContent {
    let most = limits::CONFIG_FILE_BYTES_MAX;
    if file.bytes.len() > most {
        let sentence = format!("{}: the file is longer than {most} bytes", file.name);
        let problem = Problem {
            place: Place::Combination,
            error: ConfigError::Syntax(sentence),
        };
        return SourceContent {
            problems: vec![problem],
            ..SourceContent::default()
        };
    }
    let extension = file.name.rsplit_once('.').map_or("", |(_, last)| last);
    if extension.eq_ignore_ascii_case("properties") {
        properties_file::read(&file.name, &file.bytes)
    } else {
        toml_file::read(&file.name, &file.bytes)
    }
}

fn read_pairs(pairs: &[String], place: &Place) -> SourceContent {
    let mut content = SourceContent::default();
    for pair in pairs {
        let place = place.clone();
        match pair.split_once('=') {
            Some((key, value)) => content.entries.push(Entry {
                place,
                key: key.trim().to_owned(),
                value: value.to_owned(),
            }),
            None => content.problems.push(Problem {
                place,
                error: ConfigError::Syntax(format!("{pair:?} does not look like key=value")),
            }),
        }
    }
    content
}

impl Loader {
    /// Lays what one source says over what is known so far.
    fn lay_over(&mut self, content: SourceContent) {
        let known = content
            .entries
            .iter()
            .filter_map(|entry| registry::find(Scope::Broker, &entry.key));
        for row in known {
            for synonym in row.synonyms {
                self.settings.forget(synonym.name);
            }
            // A weaker source is not asked any more.
            self.heal(row);
        }
        self.problems.extend(content.problems);
        self.warnings.extend(content.warnings);
        for entry in content.entries {
            match registry::find(Scope::Broker, &entry.key) {
                Some(row) => self.set(row, entry),
                None if entry.key.starts_with(registry::OF_ONE_LISTENER) => {
                    self.of_listeners.push(entry);
                }
                None => self.judge(entry),
            }
        }
    }

    fn set(&mut self, row: &'static ConfigKey, entry: Entry) {
        match (value::parse(row, &entry.value, Notation::Human), row.check) {
            (Ok(value), _) => self.settings.set(row, value, entry.place),
            // What asks a broker for more than there is keeps it from nothing that it does.
            (Err(ConfigError::Unsupported { .. }), Check::OnlyDefault(reason)) => {
                self.settings.forget(row.name);
                let default = row.default.unwrap_or("not set");
                self.ignore(entry, &format!("{reason}; {default} is in force"));
            }
            (Err(error), _) => self.problems.push(Problem {
                place: entry.place,
                error,
            }),
        }
    }

    /// Takes in a setting without a row.
    fn judge(&mut self, entry: Entry) {
        if entry.key == "controller.listener.names" {
            self.controllers = kraft::listener_names(&entry.value);
        }
        let error = match registry::foreign(&entry.key, &entry.value) {
            Some(Foreign::Ignored(reason)) => return self.ignore(entry, reason),
            Some(Foreign::Refused(reason)) => ConfigError::Unsupported {
                value: registry::shown(&entry.key, &entry.value)
                    .map_or_else(|| "[hidden]".to_owned(), value::shorten),
                key: entry.key,
                reason: reason.to_owned(),
            },
            None if self.lenient => {
                self.warnings.push(Warning::Note {
                    place: entry.place,
                    sentence: unknown_broker_key(&entry.key).to_string(),
                });
                return;
            }
            None => unknown_broker_key(&entry.key),
        };
        self.problems.push(Problem {
            place: entry.place,
            error,
        });
    }

    fn ignore(&mut self, entry: Entry, reason: &str) {
        self.warnings.push(Warning::Ignored {
            value: registry::shown(&entry.key, &entry.value).map(str::to_owned),
            place: entry.place,
            key: entry.key,
            reason: reason.to_owned(),
        });
    }

    /// What is wrong with `row`, whichever source said it, counts no more.
    fn heal(&mut self, row: &ConfigKey) {
        self.problems.retain(|problem| match &problem.error {
            ConfigError::Invalid { key, .. } | ConfigError::Unsupported { key, .. } => {
                key != row.name && row.synonyms.iter().all(|synonym| synonym.name != *key)
            }
            ConfigError::Unknown { .. } | ConfigError::Syntax(_) => true,
        });
    }

    fn finish(mut self) -> Result<BrokerConfig, ConfigErrors> {
        for entry in std::mem::take(&mut self.of_listeners) {
            if kraft::is_of_one_of(&self.controllers, &entry.key) {
                self.ignore(entry, kraft::NO_CONTROLLERS);
            } else {
                self.judge(entry);
            }
        }
        let dropped = kraft::drop_listeners(&mut self.settings, &self.controllers);
        self.problems.extend(dropped.problems);
        self.warnings.extend(dropped.warnings);
        let places = self.settings.places();
        let (mut problems, warnings) = (self.problems, self.warnings);
        match BrokerConfig::from_settings(self.settings, warnings.clone()) {
            Ok(config) if problems.is_empty() => Ok(config),
            Ok(_) => Err(ConfigErrors { problems, warnings }),
            Err(contradictions) => {
                let placed = |error: ConfigError| Problem {
                    place: match &error {
                        ConfigError::Invalid { key, .. } => places.get(key.as_str()).cloned(),
                        _ => None,
                    }
                    .unwrap_or(Place::Combination),
                    error,
                };
                problems.extend(contradictions.into_iter().map(placed));
                Err(ConfigErrors { problems, warnings })
            }
        }
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
        key: value::shorten(key),
        suggestion,
    }
}
