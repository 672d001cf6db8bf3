//! What is left after kills, power cuts, and disks that fail, lie or are full. One program,
//! for the sake of the time it takes to build; `cargo test --test crashes recovery::` runs one file of it.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that meets an error has failed, and prints its seed"
)]

mod check;
mod crash;
mod damage;
mod full_disk;
mod half_made;
mod lost_dirs;
mod lying_disk;
mod power_cut;
mod recovering;
mod recovery;
mod stopping;
#[path = "../support/mod.rs"]
mod support;
mod world;
