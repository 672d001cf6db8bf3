//! Delayed delivery over sockets, and when the broker is killed. One program, for the sake of the time it
//! takes to build; `cargo test --test delays retry::` runs one file of it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failed step of a test fails the test, and says how far it was"
)]

mod admin;
mod cases;
mod damaged;
#[path = "../support/delay_watch.rs"]
mod delay_watch;
#[path = "../support/delays.rs"]
mod delays;
mod edges;
#[path = "../support/embedded.rs"]
mod embedded;
mod expired;
mod fixed;
mod kills;
mod produce;
mod retry;
#[path = "../support/mod.rs"]
mod support;
mod turned;
