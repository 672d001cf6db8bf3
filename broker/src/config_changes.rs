//! The rules for altered configs, in Kafka's answers.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use siphasher::sip::SipHasher13;
use tidewheel_config::{
    BrokerConfig, BrokerConfigOverrides, ConfigEntry, ConfigType, GroupConfigOverrides, LogConfig,
    Scope, TopicConfigOverrides, describe_broker, describe_topic, find, limits,
    validate_broker_config, validate_group_config, validate_topic_config,
};

use crate::broker::{BrokerError, WrongConfigs};
use crate::metadata::MetadataState;
use crate::topics::{Topic, TopicsSnapshot, topic_name_problem};

/// Kafka's numbers of what is done to a setting.
pub(crate) const SET: i8 = 0;
pub(crate) const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

/// Characters of changed settings after which a line of the log names no more of them.
const TOLD_LEN_MAX: usize = 512;

/// Kafka's numbers of the resources that have configs.
pub(crate) const TOPIC: i8 = 2;
pub(crate) const BROKER: i8 = 4;
pub(crate) const BROKER_LOGGER: i8 = 8;
pub(crate) const GROUP: i8 = 32;

/// What a request wants of one resource.
#[derive(Clone, Debug)]
pub(crate) struct ConfigAlteration {
    /// Kafka's number.
    pub(crate) resource_type: i8,
    pub(crate) resource_name: String,
    /// Whether every setting that is not named goes back to its default.
    pub(crate) replaces_all: bool,
    pub(crate) changes: Vec<ConfigChange>,
    /// Only where the settings that act on the resource have one of these digests.
    pub(crate) only_if: Option<Vec<u64>>,
}

/// A setting that is set otherwise on its resource than it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfigDifference {
    pub(crate) name: String,
    /// What was set on the resource itself.
    pub(crate) before: Option<String>,
    pub(crate) after: Option<String>,
}

impl fmt::Display for ConfigDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = |value: &Option<String>| match value {
            Some(value) => format!("{value:?}"),
            None => "unset".to_owned(),
        };
        let Self {
            name,
            before,
            after,
        } = self;
        write!(f, "{name}: {} -> {}", value(before), value(after))
    }
}

/// The differences for a line of the log, the first of them where they are many.
pub(crate) fn told(differences: &[ConfigDifference]) -> String {
    let mut text = String::new();
    for (index, difference) in differences.iter().enumerate() {
        if text.len() > TOLD_LEN_MAX {
            text.push_str(&format!(", and {} more", differences.len() - index));
            break;
        }
        if index > 0 {
            text.push_str(", ");
        }
        let one = difference.to_string();
        text.push_str(&one[..one.floor_char_boundary(TOLD_LEN_MAX)]);
    }
    text
}

/// Another number for other settings or other sources of them, the same over restarts. What would act if another value
/// were taken away is among them: a broker's own setting hides that of all brokers.
pub(crate) fn digest(settings: &[ConfigEntry]) -> u64 {
    let mut hasher = SipHasher13::new();
    for entry in settings {
        (entry.name, &entry.value, entry.source as i8).hash(&mut hasher);
        for behind in &entry.synonyms {
            (behind.name, &behind.value, behind.source as i8).hash(&mut hasher);
        }
    }
    hasher.finish()
}

/// What is done to one setting.
#[derive(Clone, Debug)]
pub(crate) struct ConfigChange {
    pub(crate) name: String,
    /// Kafka's number.
    pub(crate) operation: i8,
    pub(crate) value: Option<String>,
}

/// A topic whose settings may be replaced by these.
#[derive(Clone, Debug)]
pub(crate) struct AlteredTopic {
    pub(crate) topic: Arc<Topic>,
    /// All that is set on it from now on.
    pub(crate) configs: TopicConfigOverrides,
}

/// What may be set on a broker, or on all, from now on.
#[derive(Clone, Debug)]
pub(crate) struct AlteredBroker {
    /// The node id as text; empty for all brokers.
    pub(crate) name: String,
    pub(crate) configs: BrokerConfigOverrides,
}

/// What may be set on a consumer group, there or not, from now on.
#[derive(Clone, Debug)]
pub(crate) struct AlteredGroup {
    pub(crate) name: String,
    pub(crate) configs: GroupConfigOverrides,
}

/// An alteration that may be carried out.
#[derive(Clone, Debug)]
pub(crate) enum Altered {
    Topic(AlteredTopic),
    Broker(AlteredBroker),
    Group(AlteredGroup),
}

impl Altered {
    /// What is set otherwise than before, by name.
    pub(crate) fn differences(&self, before: &MetadataState) -> Vec<ConfigDifference> {
        let none = BTreeMap::new();
        let (scope, before, after) = match self {
            Self::Topic(altered) => (Scope::Topic, Some(&altered.topic.configs), &altered.configs),
            Self::Broker(altered) => (
                Scope::Broker,
                before.broker_configs.get(&altered.name),
                &altered.configs,
            ),
            Self::Group(altered) => (
                Scope::Group,
                before.group_configs.get(&altered.name),
                &altered.configs,
            ),
        };
        let before = before.unwrap_or(&none);
        let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        let changed = names
            .into_iter()
            .filter(|name| before.get(*name) != after.get(*name));
        let shown = |configs: &BTreeMap<String, String>, name: &String| {
            let is_secret = find(scope, name).is_some_and(|row| row.sensitive);
            let value = configs.get(name)?;
            Some(match is_secret {
                true => "[hidden]".to_owned(),
                false => value.clone(),
            })
        };
        let differences = changed.map(|name| ConfigDifference {
            name: name.clone(),
            before: shown(before, name),
            after: shown(after, name),
        });
        differences.collect()
    }
}

/// Refuses every mention of a resource that is named more than once.
pub(crate) fn refuse_repeated(
    alterations: Vec<ConfigAlteration>,
) -> Vec<Result<ConfigAlteration, BrokerError>> {
    let mut named: HashMap<(i8, String), usize> = HashMap::new();
    for one in &alterations {
        let resource = (one.resource_type, one.resource_name.clone());
        *named.entry(resource).or_default() += 1;
    }
    let checked = alterations.into_iter().map(|one| {
        let resource = (one.resource_type, one.resource_name.clone());
        match named.get(&resource) {
            Some(1) => Ok(one),
            _ => Err(invalid("the request names this resource more than once")),
        }
    });
    checked.collect()
}

/// Refuses to set anything on more groups than may have settings of their own.
pub(crate) fn refuse_too_many_groups(
    checked: Vec<Result<Altered, BrokerError>>,
    before: &MetadataState,
) -> Vec<Result<Altered, BrokerError>> {
    let max = limits::GROUPS_WITH_CONFIGS_MAX;
    let mut room = max.saturating_sub(before.group_configs.len());
    let mut bounded = |altered| match &altered {
        Altered::Group(group)
            if !group.configs.is_empty() && !before.group_configs.contains_key(&group.name) =>
        {
            if room == 0 {
                let reason = format!("{max} groups have settings of their own already");
                return Err(BrokerError::InvalidConfig { reason });
            }
            room -= 1;
            Ok(altered)
        }
        _ => Ok(altered),
    };
    checked
        .into_iter()
        .map(|one| one.and_then(&mut bounded))
        .collect()
}

impl ConfigAlteration {
    /// Checks everything that the alteration of one resource can get wrong. `before` has what is set on
    /// brokers and groups, `config` the settings that come of it.
    pub(crate) fn validate(
        self,
        config: &BrokerConfig,
        topics: &TopicsSnapshot,
        before: &MetadataState,
    ) -> Result<Altered, BrokerError> {
        match self.resource_type {
            TOPIC => self.of_topic(config, topics).map(Altered::Topic),
            BROKER => {
                let altered = self.of_broker(config, &before.broker_configs);
                altered.map(Altered::Broker)
            }
            GROUP => {
                let altered = self.of_group(config, &before.group_configs);
                altered.map(Altered::Group)
            }
            _ => Err(invalid(
                "only the configs of topics, brokers and groups can be altered",
            )),
        }
    }

    fn of_topic(
        self,
        config: &BrokerConfig,
        topics: &TopicsSnapshot,
    ) -> Result<AlteredTopic, BrokerError> {
        let name = self.resource_name.clone();
        if name.is_empty() {
            return Err(invalid(
                "the defaults of all topics are settings of the broker",
            ));
        }
        if let Some(reason) = topic_name_problem(&name) {
            return Err(BrokerError::InvalidTopic { name, reason });
        }
        let found = topics.named(&name);
        let current = found.map(|topic| &topic.configs);
        let only_if = self.only_if.clone();
        let configs = self.apply(Scope::Topic, current)?;
        LogConfig::resolve_new(config, &configs)
            .map_err(|error| WrongConfigs::find(error, &configs, validate_topic_config))
            .map_err(|wrong| BrokerError::WrongConfigs(Box::new(wrong)))?;
        let topic = found.ok_or(BrokerError::UnknownTopic { name })?;
        check_meant(only_if, || describe_topic(config, &topic.configs))?;
        Ok(AlteredTopic {
            topic: Arc::clone(topic),
            configs,
        })
    }

    /// Kafka answers everything that is wrong with a broker's settings with INVALID_REQUEST.
    fn of_broker(
        self,
        config: &BrokerConfig,
        brokers: &BTreeMap<String, BrokerConfigOverrides>,
    ) -> Result<AlteredBroker, BrokerError> {
        let name = self.resource_name.clone();
        if !name.is_empty() && name != config.node_id.to_string() {
            return Err(invalid(
                "the broker is named by its node id, or all of them by no name",
            ));
        }
        check_meant(self.only_if.clone(), || describe_broker(config))?;
        let configs = self.apply(Scope::Broker, brokers.get(&name))?;
        let checked = config.with_dynamic(&configs, &BrokerConfigOverrides::new());
        checked.map_err(|error| {
            let wrong = WrongConfigs::find(error, &configs, validate_broker_config);
            BrokerError::WrongConfigs(Box::new(WrongConfigs {
                of_broker: true,
                ..wrong
            }))
        })?;
        Ok(AlteredBroker { name, configs })
    }

    fn of_group(
        self,
        config: &BrokerConfig,
        groups: &BTreeMap<String, GroupConfigOverrides>,
    ) -> Result<AlteredGroup, BrokerError> {
        let name = self.resource_name.clone();
        if name.is_empty() {
            return Err(invalid(
                "the defaults of all groups are settings of the broker",
            ));
        }
        let refused = |reason: String| BrokerError::InvalidConfig { reason };
        let current = groups.get(&name);
        let configs = self.apply(Scope::Group, current)?;
        validate_group_config(config, &configs).map_err(|error| refused(error.to_string()))?;
        if name.len() > limits::GROUP_ID_LEN_MAX {
            let max = limits::GROUP_ID_LEN_MAX;
            return Err(refused(format!(
                "the id of a group has at most {max} bytes"
            )));
        }
        Ok(AlteredGroup { name, configs })
    }

    /// All that is set when this is done; names and values are not checked.
    fn apply(
        self,
        scope: Scope,
        current: Option<&BTreeMap<String, String>>,
    ) -> Result<BTreeMap<String, String>, BrokerError> {
        self.refuse_repeated_names()?;
        let mut configs = match current {
            Some(current) if !self.replaces_all => current.clone(),
            _ => BTreeMap::new(),
        };
        for change in self.changes {
            change.apply(scope, &mut configs)?;
        }
        Ok(configs)
    }
}

impl ConfigAlteration {
    /// Refuses to do more than one thing to one setting.
    pub(crate) fn refuse_repeated_names(&self) -> Result<(), BrokerError> {
        let mut seen = HashSet::new();
        match self.changes.iter().all(|change| seen.insert(&change.name)) {
            true => Ok(()),
            false => Err(invalid("the request names a setting more than once")),
        }
    }
}

impl ConfigChange {
    /// A setting that is given this value.
    pub(crate) fn set(name: String, value: Option<String>) -> Self {
        Self {
            name,
            operation: SET,
            value,
        }
    }

    /// A setting that goes back to its default.
    pub(crate) fn reset(name: String) -> Self {
        Self {
            name,
            operation: DELETE,
            value: None,
        }
    }

    fn apply(
        self,
        scope: Scope,
        configs: &mut BTreeMap<String, String>,
    ) -> Result<(), BrokerError> {
        let value = match (self.operation, self.value) {
            (DELETE, _) => {
                configs.remove(&self.name);
                return Ok(());
            }
            (_, None) => return Err(invalid("a setting that is not deleted needs a value")),
            (SET, Some(value)) => value,
            (APPEND | SUBTRACT, Some(value)) => {
                let current = configs.get(&self.name).map(String::as_str);
                changed_list(scope, &self.name, self.operation, current, value)?
            }
            _ => return Err(invalid("there is no such operation on a setting")),
        };
        configs.insert(self.name, value);
        Ok(())
    }
}

/// The list `current`, or the default where there is none, with the entries of `value` in it once, or
/// not at all. An unknown name is left to who checks the result.
fn changed_list(
    scope: Scope,
    name: &str,
    operation: i8,
    current: Option<&str>,
    value: String,
) -> Result<String, BrokerError> {
    let refused = |reason: String| Err(BrokerError::InvalidConfig { reason });
    let Some(row) = find(scope, name) else {
        return Ok(value);
    };
    if row.config_type != ConfigType::List {
        return refused(format!(
            "{name} is not a list: nothing is appended to it or subtracted from it"
        ));
    }
    let max = limits::CONFIG_LIST_LEN_MAX;
    if value.split(',').nth(max).is_some() {
        return refused(format!("{name} has at most {max} entries"));
    }
    let entries = |text| str::split(text, ',').map(str::trim);
    let mut list: Vec<&str> = entries(current.or(row.default).unwrap_or_default()).collect();
    list.retain(|entry| !entry.is_empty());
    for entry in entries(&value) {
        match operation {
            APPEND if list.contains(&entry) => {}
            APPEND => list.push(entry),
            _ => list.retain(|other| *other != entry),
        }
    }
    Ok(list.join(","))
}

/// Refuses a change that was meant for other settings than those that act now.
fn check_meant(
    only_if: Option<Vec<u64>>,
    acting: impl FnOnce() -> Vec<ConfigEntry>,
) -> Result<(), BrokerError> {
    match only_if {
        Some(meant) if !meant.contains(&digest(&acting())) => Err(BrokerError::ConfigsChanged),
        _ => Ok(()),
    }
}

pub(crate) fn invalid(reason: &'static str) -> BrokerError {
    BrokerError::InvalidRequest { reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THROTTLED: &str = "leader.replication.throttled.replicas";

    fn list(operation: i8, current: Option<&str>, value: &str) -> Result<String, String> {
        let value = value.to_owned();
        let changed = changed_list(Scope::Topic, THROTTLED, operation, current, value);
        changed.map_err(|error| error.to_string())
    }

    #[test]
    fn entries_are_appended_once_and_subtracted() {
        let ok = |text: &str| Ok(text.to_owned());
        assert_eq!(list(APPEND, None, "1:1,1:2,1:1"), ok("1:1,1:2"));
        assert_eq!(list(APPEND, Some("1:1, 1:2"), "1:2,1:3"), ok("1:1,1:2,1:3"));
        assert_eq!(list(SUBTRACT, Some("a,b,c"), "b,x"), ok("a,c"));
        assert_eq!(list(SUBTRACT, Some("a"), "a"), ok(""));
        assert_eq!(list(SUBTRACT, None, "a"), ok(""));
        let policy = changed_list(
            Scope::Topic,
            "cleanup.policy",
            APPEND,
            None,
            "compact".to_owned(),
        );
        assert_eq!(policy.unwrap(), "delete,compact", "beside the default");
    }

    #[test]
    fn a_list_that_a_client_sends_is_bounded() {
        let long = vec!["a"; limits::CONFIG_LIST_LEN_MAX + 1].join(",");
        assert!(list(APPEND, None, &long).unwrap_err().contains("at most"));
        assert!(list(APPEND, None, &long[2..]).is_ok());
    }
}
