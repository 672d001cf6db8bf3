//! Paths whose last piece is `NAME:ACTION`. The router knows no parameter with something behind it: one handler takes
//! all actions of a resource.

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
