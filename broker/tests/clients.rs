//! Real Kafka clients against a real `tidewheel` process: kcat, three Python clients, franz-go and
//! generations of the Java client. `clients/README.md` says what runs and how.

#[path = "clients/runner/mod.rs"]
mod runner;

fn main() -> std::process::ExitCode {
    runner::main()
}
