//! Paths whose last piece is `NAME:ACTION`. The router knows no parameter with something behind it: one handler takes
//! all actions of a resource.

use axum::http::Method;

use super::problem::Problem;

/// Parts a path's last piece into the name and the action.
///
/// # Errors
/// Where there is no action.
pub(crate) fn parted(target: &str) -> Result<(&str, &str), Problem> {
    let missing = || Problem::not_found("say what to do with it: NAME:ACTION");
    target.rsplit_once(':').ok_or_else(missing)
}

/// There is no action of that name.
pub(crate) fn unknown(action: &str) -> Problem {
    Problem::not_found(format!("there is no action {action}"))
}

/// The methods of what actions are done to, where a path names it, without an action or with one.
fn methods_of_thing(path: &str) -> Option<&'static str> {
    let pieces: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match pieces[..] {
        ["v1", "delayed", "messages", _] => Some("GET,HEAD,DELETE"),
        ["v1", "topics", _, "partitions", _] => Some("GET,HEAD"),
        // There are actions of it, and nothing else.
        ["v1", "delayed", "topics", _] => Some("POST"),
        _ => None,
    }
}

/// Whether a path is an action: it has one method, and the router takes it for the name of something.
fn is_action(path: &str) -> bool {
    let last = path.rsplit('/').next().unwrap_or_default();
    last.contains(':') && methods_of_thing(path).is_some()
}

/// What is wrong with a request for an action that does not ask for it to be carried out.
pub(crate) fn misused(method: &Method, path: &str) -> Option<Problem> {
    let refused = method != Method::POST && is_action(path);
    let methods = methods(path).filter(|_| refused);
    methods.map(Problem::method_not_allowed)
}

/// The methods of a path of which the router does not know them: to it actions are methods of what they are done to.
pub(crate) fn methods(path: &str) -> Option<&'static str> {
    match is_action(path) {
        true => Some("POST"),
        false => methods_of_thing(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_has_one_method_and_what_it_is_done_to_has_the_others() {
        for (path, known) in [
            ("/v1/topics/t/partitions/0:roll", Some("POST")),
            ("/v1/topics/t/partitions/0", Some("GET,HEAD")),
            ("/v1/delayed/messages/t-0-1-2:deliver-now", Some("POST")),
            ("/v1/delayed/messages/t-0-1-2", Some("GET,HEAD,DELETE")),
            // These are pieces of their own to the router.
            ("/v1/delayed/clock:accept", None),
            ("/v1/groups/a:b/offsets:seek", None),
            ("/v1/topics", None),
        ] {
            assert_eq!(methods(path), known, "{path}");
        }
        assert!(misused(&Method::GET, "/v1/topics/t/partitions/0:roll").is_some());
        assert!(misused(&Method::POST, "/v1/topics/t/partitions/0:roll").is_none());
        // A group may have any name.
        assert!(misused(&Method::DELETE, "/v1/groups/a:b").is_none());
    }
}
