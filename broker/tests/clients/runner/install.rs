//! Client programs made ready: a Python environment, a Go binary, Java classes and jars.
//!
//! Each lies under `target/clients/NAME-HASH`, where HASH covers the sources and lock files: a second
//! run finds everything done. A lock file on the folder keeps two runs from building at once.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::Fault;
use super::broker::files_below;
use super::machine::missing_for_mounts;
use super::process::{must_succeed, note_duration, now};

/// Debian's package rapidjson-dev has it.
const RAPIDJSON: &str = "/usr/include/rapidjson/document.h";
/// Debian's package libzstd-dev has it.
const ZSTD: &str = "/usr/include/zstd.h";

/// What a trial needs besides the broker binary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tool {
    /// kcat from the distribution, driven by a Python script without packages.
    Kcat,
    Python,
    Go,
    Java,
    Node,
    /// Chromium, driven by a program for Node.
    Browser,
    /// A log shipper, with its output to Kafka.
    Rsyslog,
    /// A C compiler, for zstd.
    C,
    /// Compilers and make, for librdkafka.
    CppAndMake,
    /// The headers of RapidJSON, for librdkafka's own tests.
    RapidJson,
    /// The headers of zstd, for the same: it brings none of its own.
    Zstd,
    /// Root and tools, for file systems of its own.
    Mounts,
    /// Not a tool: the suite starts, stops and kills its broker.
    OwnBroker,
}

impl Tool {
    fn commands(self) -> &'static [&'static str] {
        match self {
            Self::Kcat => &["kcat", "python3"],
            Self::Python => &["python3"],
            Self::Go => &["go"],
            Self::Java => &["java", "mvn"],
            Self::Node => &["node", "npm"],
            Self::Browser => &["chromium", "node", "npm"],
            Self::Rsyslog => &["rsyslogd"],
            Self::C => &["cc"],
            Self::CppAndMake => &["cc", "c++", "make"],
            Self::RapidJson | Self::Zstd | Self::Mounts | Self::OwnBroker => &[],
        }
    }

    /// The sentence about the first command that is not on the path.
    pub(crate) fn missing(self) -> Option<String> {
        let header = match self {
            Self::RapidJson => Some(RAPIDJSON),
            Self::Zstd => Some(ZSTD),
            _ => None,
        };
        if let Some(header) = header.filter(|path| !Path::new(path).is_file()) {
            return Some(format!("{header} is not installed"));
        }
        if self == Self::Mounts {
            return missing_for_mounts(&["mkfs.ext4", "xfs_io"]);
        }
        let paths = std::env::var_os("PATH").unwrap_or_default();
        let found = |name: &str| std::env::split_paths(&paths).any(|dir| dir.join(name).is_file());
        let missing = self.commands().iter().find(|name| !found(name))?;
        Some(format!("{missing} is not installed"))
    }
}

/// The folder of client programs in the source tree.
pub(crate) fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

type Installed = OnceLock<Result<PathBuf, Fault>>;

/// Each install happens at most once in a run; others wait for it.
#[derive(Default)]
pub(crate) struct Installs {
    python: Installed,
    openapi: Installed,
    franz_go: Installed,
    kgo_suite: Installed,
    sarama: Installed,
    shopify: Installed,
    kafka_go: Installed,
    dev_example: Installed,
    node: Installed,
    console: Installed,
    reference: Mutex<HashMap<&'static str, Arc<Installed>>>,
    java: Mutex<HashMap<&'static str, Arc<Installed>>>,
}

impl Installs {
    /// The interpreter of the environment with the pinned packages.
    pub(crate) fn python(&self) -> Result<PathBuf, Fault> {
        self.python.get_or_init(|| python("python")).clone()
    }

    /// The same with Schemathesis, which brings many packages of its own.
    pub(crate) fn openapi(&self) -> Result<PathBuf, Fault> {
        self.openapi.get_or_init(|| python("openapi")).clone()
    }

    /// The franz-go program.
    pub(crate) fn franz_go(&self) -> Result<PathBuf, Fault> {
        self.franz_go
            .get_or_init(|| go("franz-go", "franz-go", "go.mod"))
            .clone()
    }

    /// The tests of franz-go's client, of the version that its program uses.
    pub(crate) fn kgo_suite(&self) -> Result<PathBuf, Fault> {
        let inputs = ["go/franz-go/go.mod", "go/franz-go/go.sum"];
        let made = self
            .kgo_suite
            .get_or_init(|| install("kgo-suite", &inputs, kgo_suite));
        Ok(made.clone()?.join("kgo.test"))
    }

    /// The sarama program.
    pub(crate) fn sarama(&self) -> Result<PathBuf, Fault> {
        self.sarama
            .get_or_init(|| go("sarama", "sarama", "go.mod"))
            .clone()
    }

    /// The same with the library as it was under its old name.
    pub(crate) fn shopify(&self) -> Result<PathBuf, Fault> {
        self.shopify
            .get_or_init(|| go("shopify-sarama", "sarama", "shopify.mod"))
            .clone()
    }

    /// The program of the case that delayed delivery was made for, with a version of sarama.
    pub(crate) fn reference(&self, version: &'static str) -> Result<PathBuf, Fault> {
        let mod_file = match version {
            "1.38" => "go.mod".to_owned(),
            other => format!("v{}.mod", other.replace('.', "_")),
        };
        let one = one_of(&self.reference, version);
        let name = format!("reference-{version}");
        one.get_or_init(|| go(&name, "reference", &mod_file))
            .clone()
    }

    /// The kafka-go program.
    pub(crate) fn kafka_go(&self) -> Result<PathBuf, Fault> {
        self.kafka_go
            .get_or_init(|| go("kafka-go", "kafka-go", "go.mod"))
            .clone()
    }

    /// The example that starts a broker for itself.
    pub(crate) fn dev_example(&self) -> Result<PathBuf, Fault> {
        const FOLDER: &str = "../../../docs/examples/go";
        let make = |target: &Path| {
            let mut build = Command::new("go");
            build.args(["build", "-mod=readonly", "-o"]);
            build.arg(target.join("example")).arg(".");
            build.env("GOTOOLCHAIN", "local");
            must_succeed("go build", build.current_dir(sources().join(FOLDER))).map(|_| ())
        };
        let made = self
            .dev_example
            .get_or_init(|| install("dev-example", &[FOLDER], make));
        Ok(made.clone()?.join("example"))
    }

    /// The folder with the kafkajs program and its packages.
    pub(crate) fn node(&self) -> Result<PathBuf, Fault> {
        self.node
            .get_or_init(|| install("node", &["node"], |target| node("node", target)))
            .clone()
    }

    /// The folder with the program that drives the web console, and its packages.
    pub(crate) fn console(&self) -> Result<PathBuf, Fault> {
        self.console
            .get_or_init(|| install("console", &["console"], |target| node("console", target)))
            .clone()
    }

    /// The folder with `classes` and `lib` of the Java program with a generation of the client.
    pub(crate) fn java(&self, generation: &'static str) -> Result<PathBuf, Fault> {
        let one = one_of(&self.java, generation);
        one.get_or_init(|| java(&format!("kafka-{generation}")))
            .clone()
    }

    /// The same with the 4.x client, and with Kafka's tools in `lib`.
    pub(crate) fn java_4(&self) -> Result<PathBuf, Fault> {
        self.java("4")
    }
}

/// The install of a version. Others may build at the same time.
fn one_of(
    all: &Mutex<HashMap<&'static str, Arc<Installed>>>,
    version: &'static str,
) -> Arc<Installed> {
    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(all.entry(version).or_default())
}

/// The interpreter of an environment with what `FOLDER/requirements.txt` names.
fn python(folder: &str) -> Result<PathBuf, Fault> {
    let requirements = format!("{folder}/requirements.txt");
    let made = install(folder, &[&requirements], |target| {
        must_succeed(
            "venv",
            Command::new("python3")
                .args(["-m", "venv"])
                .arg(target.join("env")),
        )?;
        let pip = [
            "-m",
            "pip",
            "install",
            "--quiet",
            "--require-hashes",
            "--only-binary=:all:",
            "-r",
        ];
        must_succeed(
            "pip",
            Command::new(target.join("env/bin/python"))
                .args(pip)
                .arg(sources().join(&requirements)),
        )
        .map(|_| ())
    });
    Ok(made?.join("env/bin/python"))
}

/// Copies the program of a folder beside its packages, where Node looks for them.
fn node(folder: &str, target: &Path) -> Result<(), Fault> {
    for file in files_below(&sources().join(folder))? {
        let to = target.join(file.file_name().unwrap_or_default());
        std::fs::copy(&file, to).map_err(|e| format!("{}: {e}", file.display()))?;
    }
    let mut npm = Command::new("npm");
    npm.args([
        "ci",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--loglevel=error",
    ]);
    must_succeed("npm ci", npm.current_dir(target)).map(|_| ())
}

/// A program of `go/FOLDER`, built with the dependencies of one of its mod files.
fn go(name: &str, folder: &str, mod_file: &str) -> Result<PathBuf, Fault> {
    let folder = format!("go/{folder}");
    let made = install(name, &["go/harness", &folder], |target| {
        let mut build = Command::new("go");
        build.args(["build", "-mod=readonly", "-modfile", mod_file, "-o"]);
        build.arg(target.join("client"));
        // The name of the mod file tells the sources which library it is.
        build.args(["-tags", mod_file.trim_end_matches(".mod"), "."]);
        build.env("GOTOOLCHAIN", "local");
        must_succeed("go build", build.current_dir(sources().join(&folder))).map(|_| ())
    });
    Ok(made?.join("client"))
}

fn kgo_suite(target: &Path) -> Result<(), Fault> {
    let mut build = Command::new("go");
    build.args(["test", "-c", "-mod=readonly", "-o"]);
    build.arg(target.join("kgo.test"));
    build.arg("github.com/twmb/franz-go/pkg/kgo");
    build.env("GOTOOLCHAIN", "local");
    build.current_dir(sources().join("go/franz-go"));
    must_succeed("go test -c", &mut build).map(|_| ())
}

fn java(profile: &str) -> Result<PathBuf, Fault> {
    install(&format!("java-{profile}"), &["java"], |folder| {
        let mut build = Command::new("mvn");
        build.args(["-q", "-B", "package", "-P", profile]);
        build.arg(format!("-Dclients.target={}", folder.display()));
        must_succeed("mvn", build.current_dir(sources().join("java"))).map(|_| ())
    })
}

/// The folder `target/clients/NAME-HASH`, made by `make` unless an earlier run has finished it.
pub(crate) fn install(
    name: &str,
    inputs: &[&str],
    make: impl FnOnce(&Path) -> Result<(), Fault>,
) -> Result<PathBuf, Fault> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("clients");
    let folder = target.join(format!("{name}-{:016x}", hash_of(inputs)?));
    let io = |e: std::io::Error| format!("{}: {e}", folder.display());
    std::fs::create_dir_all(&folder).map_err(io)?;
    let lock = File::create(folder.join("lock")).map_err(io)?;
    lock.lock().map_err(io)?; // released with the file
    let done = folder.join("done");
    if !done.exists() {
        remove_older(name, &folder);
        let started = now();
        make(&folder)?;
        note_duration(&format!("install {name}"), started);
        File::create(done).map_err(io)?;
    }
    Ok(folder)
}

/// What earlier sources or lock files left; what cannot be removed only takes room.
fn remove_older(name: &str, folder: &Path) {
    let siblings = folder
        .parent()
        .and_then(|parent| std::fs::read_dir(parent).ok());
    for entry in siblings.into_iter().flatten().flatten() {
        let is_older = entry.file_name().to_str().is_some_and(|file| {
            file.rsplit_once('-')
                .is_some_and(|(other, _)| other == name)
                && entry.path() != folder
        });
        if is_older {
            std::fs::remove_dir_all(entry.path()).ok();
        }
    }
}

/// A hash over the names and contents of files and folders below the sources.
fn hash_of(inputs: &[&str]) -> Result<u64, Fault> {
    let mut contents = BTreeMap::new();
    for input in inputs {
        let path = sources().join(input);
        let files = if path.is_dir() {
            files_below(&path)?
        } else {
            vec![path]
        };
        for file in files {
            let bytes = std::fs::read(&file).map_err(|e| format!("{}: {e}", file.display()))?;
            contents.insert(file, bytes);
        }
    }
    let mut hasher = DefaultHasher::new();
    contents.hash(&mut hasher);
    Ok(hasher.finish())
}
