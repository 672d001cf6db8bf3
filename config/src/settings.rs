//! The values that were given, over the defaults of the registry.

use std::collections::BTreeMap;

use crate::describe::ConfigSource;
use crate::error::Place;
use crate::key::{ConfigKey, Scope};
use crate::registry;
use crate::value::{self, Value};

/// Broker settings by name.
pub(crate) type Values = BTreeMap<&'static str, Value>;

/// Broker settings that somebody gave; everything else has its default.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Settings {
    /// In file, environment and command line.
    given: Values,
    /// Where each of `given` comes from.
    places: BTreeMap<&'static str, Place>,
    /// While they ran, for this broker and for all: the first beats the second, and both what was given.
    dynamic: [Values; 2],
}

impl Settings {
    pub(crate) fn set(&mut self, key: &'static ConfigKey, value: Value, place: Place) {
        self.given.insert(key.name, value);
        self.places.insert(key.name, place);
    }

    pub(crate) fn forget(&mut self, name: &str) {
        self.given.remove(name);
        self.places.remove(name);
    }

    /// Puts another value where one was given, or none; it still comes from the same place.
    pub(crate) fn replace(&mut self, name: &str, value: Option<Value>) {
        match (value, self.given.get_mut(name)) {
            (Some(value), Some(given)) => *given = value,
            (None, _) => self.forget(name),
            (Some(_), None) => {}
        }
    }

    /// Gives `name` as `other` gives it, or not at all.
    pub(crate) fn take_over(&mut self, name: &'static str, other: &Settings) {
        self.forget(name);
        let value = other.given.get(name).cloned();
        self.given.extend(value.map(|value| (name, value)));
        let place = other.places.get(name).cloned();
        self.places.extend(place.map(|place| (name, place)));
    }

    /// Where `name` was given.
    pub(crate) fn place(&self, name: &str) -> Place {
        let place = self.places.get(name).cloned();
        place.unwrap_or(Place::Combination)
    }

    /// Where each setting was given.
    pub(crate) fn places(&self) -> BTreeMap<&'static str, Place> {
        self.places.clone()
    }

    /// The same with other values that were set while brokers ran, for this one and for all.
    pub(crate) fn with_dynamic(&self, own: Values, all: Values) -> Settings {
        Settings {
            given: self.given.clone(),
            places: self.places.clone(),
            dynamic: [own, all],
        }
    }

    /// What was set or given, by where it comes from: the strongest first.
    pub(crate) fn layers(&self) -> [(ConfigSource, &Values); 3] {
        let [own, all] = &self.dynamic;
        [
            (ConfigSource::DynamicBroker, own),
            (ConfigSource::DynamicDefaultBroker, all),
            (ConfigSource::StaticBroker, &self.given),
        ]
    }

    /// The value that was set or given for exactly this name.
    pub(crate) fn given(&self, name: &str) -> Option<&Value> {
        let mut layers = self.layers().into_iter();
        layers.find_map(|(_, values)| values.get(name))
    }

    /// The value of exactly this broker key: given, else its default.
    pub(crate) fn own(&self, key: &ConfigKey) -> Option<Value> {
        self.given(key.name)
            .cloned()
            .or_else(|| value::default_of(key))
    }

    /// The value that acts for `key`, a row of any scope on which nothing is set: the first of its synonyms that was
    /// given, else the first that has a default, in the unit of `key`.
    pub(crate) fn effective(&self, key: &ConfigKey) -> Option<Value> {
        if key.synonyms.is_empty() {
            return match key.scope {
                Scope::Broker => self.own(key),
                Scope::Topic | Scope::Group => value::default_of(key),
            };
        }
        let given = |name: &str| self.given(name).cloned();
        let default = |name: &str| value::default_of(registry::find(Scope::Broker, name)?);
        let scaled = |source: &dyn Fn(&str) -> Option<Value>| {
            let mut synonyms = key.synonyms.iter();
            synonyms.find_map(|synonym| Some(scale(source(synonym.name)?, synonym.factor)))
        };
        scaled(&given).or_else(|| scaled(&default))
    }

    /// The acting value of the broker key `name`.
    pub(crate) fn get(&self, name: &str) -> Option<Value> {
        self.effective(registry::find(Scope::Broker, name).expect("names are literals, tested"))
    }

    pub(crate) fn number(&self, name: &str) -> i64 {
        number(self.get(name))
    }

    /// A number whose row allows nothing below 0 or above `T::MAX`.
    pub(crate) fn within<T: TryFrom<i64>>(&self, name: &str) -> T {
        within(self.number(name))
    }

    pub(crate) fn boolean(&self, name: &str) -> bool {
        matches!(self.get(name), Some(Value::Bool(true)))
    }

    /// Empty where the key is not set.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        match self.get(name) {
            Some(Value::List(values)) => values,
            _ => Vec::new(),
        }
    }

    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.get(name).map(|value| value.to_string())
    }
}

/// The number in `value`; the caller names a row of a number type that has a value.
pub(crate) fn number(value: Option<Value>) -> i64 {
    match value {
        Some(Value::Number(number)) => number,
        other => unreachable!("a number row with a default holds {other:?}"),
    }
}

/// The fraction in `value`; the caller names a row of type Double that has a value.
pub(crate) fn double(value: Option<Value>) -> f64 {
    match value {
        Some(Value::Double(number)) => number,
        other => unreachable!("a double row with a default holds {other:?}"),
    }
}

/// `number` as `T`, which the row's range fits into.
pub(crate) fn within<T: TryFrom<i64>>(number: i64) -> T {
    match T::try_from(number) {
        Ok(value) => value,
        Err(_) => unreachable!("{number} passed the check of its row"),
    }
}

fn scale(value: Value, factor: i64) -> Value {
    match value {
        // -1 means "no limit" in every unit.
        Value::Number(number) if number < 0 && factor != 1 => Value::Number(-1),
        Value::Number(number) => Value::Number(number.saturating_mul(factor)),
        other => other,
    }
}
