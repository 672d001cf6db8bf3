//! What the configuration of a KRaft node says about controllers: there are none here, so their
//! listeners are not opened.

use crate::error::{ConfigError, Problem, Warning};
use crate::listener::Listener;
use crate::load::SourceContent;
use crate::registry;
use crate::settings::Settings;
use crate::value::Value;

pub(crate) const NO_CONTROLLERS: &str = "there is no controller here";

/// The value of `controller.listener.names` as listeners are named.
pub(crate) fn listener_names(text: &str) -> Vec<String> {
    let names = text.split(',').map(|name| name.trim().to_ascii_uppercase());
    names.filter(|name| !name.is_empty()).collect()
}

/// Whether `key` is a setting of one listener, and that one is a controller's.
pub(crate) fn is_of_one_of(controllers: &[String], key: &str) -> bool {
    let rest = key.strip_prefix(registry::OF_ONE_LISTENER);
    let name = rest.and_then(|rest| rest.split_once('.'));
    name.is_some_and(|(name, _)| controllers.contains(&name.to_ascii_uppercase()))
}

/// Takes the listeners of controllers out of what was given, with a warning for each; and a problem where
/// none is left for clients.
pub(crate) fn drop_listeners(settings: &mut Settings, controllers: &[String]) -> SourceContent {
    let mut content = SourceContent::default();
    for name in ["listeners", "advertised.listeners"] {
        let Some(Value::List(given)) = settings.given(name).cloned() else {
            continue;
        };
        let is_controllers = |entry: &String| {
            Listener::parse(entry).is_ok_and(|listener| controllers.contains(&listener.name))
        };
        let (dropped, kept): (Vec<String>, Vec<String>) =
            given.into_iter().partition(is_controllers);
        if dropped.is_empty() {
            continue;
        }
        let place = settings.place(name);
        if kept.is_empty() && name == "listeners" {
            content.problems.push(Problem {
                place: place.clone(),
                error: ConfigError::Invalid {
                    key: name.to_owned(),
                    value: dropped.join(","),
                    expected: "every one is a controller's, and none is left for clients"
                        .to_owned(),
                },
            });
        }
        content
            .warnings
            .extend(dropped.iter().map(|entry| Warning::Note {
                place: place.clone(),
                sentence: format!("{entry} of {name} has no effect: {NO_CONTROLLERS}"),
            }));
        let kept = Some(kept).filter(|kept| !kept.is_empty());
        settings.replace(name, kept.map(Value::List));
    }
    content
}
