//! Groups as their members, an administrator and a restart see them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed step of a test fails the test"
)]

mod bounds;
mod consumers;
mod deletions;
mod history;
mod newcomers;
mod random_histories;
mod scenarios;
mod script;
mod shares;
mod support;
mod transitions;
mod wishes;
