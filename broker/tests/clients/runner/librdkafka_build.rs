//! The test suite of librdkafka, built from the sources that the crate rdkafka-sys carries.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Fault;
use super::install::install;
use super::process::must_succeed;
use super::rust_suites::crate_folder;

/// What the build depends on.
const INPUTS: [&str; 4] = [
    "rust/Cargo.toml",
    "rust/Cargo.lock",
    "rust/empty.rs",
    "runner/librdkafka_build.rs",
];
/// The libraries of the machine that no case needs, and the optimizer; without zstd a case would leave that codec out.
/// RapidJSON, which two cases need, is found where it is.
const CONFIGURE: [&str; 8] = [
    "--disable-optimization",
    "--disable-ssl",
    "--disable-gssapi",
    "--disable-curl",
    "--enable-zstd",
    "--disable-lz4-ext",
    "--disable-syslog",
    "--enable-static",
];

/// The folder with `test-runner`.
pub(super) fn built() -> Result<PathBuf, Fault> {
    Ok(install("librdkafka", &INPUTS, make)?.join("librdkafka/tests"))
}

/// Copies the sources and builds the suite, statically.
fn make(folder: &Path) -> Result<(), Fault> {
    let sources = crate_folder(folder, "rdkafka-sys")?.join("librdkafka");
    let mut copy = Command::new("cp");
    copy.arg("-r").arg(&sources).arg(folder);
    must_succeed("cp", &mut copy)?;
    let folder = folder.join("librdkafka");
    let mut configure = Command::new("./configure");
    configure.args(CONFIGURE).current_dir(&folder);
    must_succeed("configure", &mut configure)?;
    for (part, target) in [
        ("src", "librdkafka.a"),
        ("src-cpp", "librdkafka++.a"),
        ("tests", "test-runner"),
    ] {
        let mut make = Command::new("make");
        make.args(["-j2", "-C", part, target]).current_dir(&folder);
        must_succeed("make", &mut make)?;
    }
    Ok(())
}
