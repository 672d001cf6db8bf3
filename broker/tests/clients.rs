//! Real Kafka clients against a real `tidewheel` process: kcat and clients in Python, Go, Node, Java
//! and Rust. `clients/README.md` says what runs and how.

#[path = "clients/runner/mod.rs"]
mod runner;

fn main() -> std::process::ExitCode {
    runner::main()
}
