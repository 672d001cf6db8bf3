//! The tour of the commands that speak Kafka's protocol; CI takes it with Apache Kafka, too, where the smoke run has it.

use std::process::Command;

use crate::support::Broker;
use crate::support::commands::Ran;

const TOUR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tour/tour");

#[test]
fn commands_say_what_the_tour_expects() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let program = env!("CARGO_BIN_EXE_tidewheel");
    let tour = Command::new("bash")
        .args([TOUR, program, &broker.address, "tidewheel"])
        .env_remove("CI")
        .output();
    let tour = Ran::new(tour.unwrap());
    assert_eq!(tour.exit, Some(0), "{}{}", tour.out, tour.said);
    assert!(broker.stop());
}
